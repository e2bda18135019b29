"""A preprocessing step of the user's own: measured on train by its code, applied by it, and saved as plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dlassign.config.data import OwnPreprocess
from dlassign.data.preprocess_chain import Float64, PreprocessStep, Shape, TrainSamples, apply_steps
from dlassign.errors import ConfigError, DataError, UserError

_TRIED = 8
"""Training samples on which a fitted step is tried."""
_UNLIKE = 1e-6
"""Share of the largest value by which a sample alone may differ from the same among others: what rounding makes."""
_REFUSED = object()


@dataclass(frozen=True, eq=False)
class OwnStep(PreprocessStep):
    """A step whose code takes (B, ...) float64 and gives (B, D) or (B, C, H, W).

    A function does it alone. An object of a class may have `fit(x)`, which is called once with all training samples;
    what it sets on `self` is saved, and set again on a new object where the weights are used.

    Attributes:
        part: its name, such as `zca.py:ZCA`.
        own: its config; None where its code is not at hand.
        fitted: what `fit` has set, by attribute; None until it is fitted.
        before: shape of one sample that it takes, and `after` of one that it gives.
        change: the user's function, or the fitted object.
    """

    part: str
    own: OwnPreprocess | None = None
    fitted: Mapping[str, Any] | None = None
    before: Shape = ()
    after: Shape = ()
    change: Callable[[Float64], Any] | None = None
    name: ClassVar[str] = "own"
    # It may: products of large matrices are quick, and a call for a few samples costs as much as for a thousand.
    multiplies: ClassVar[bool] = True

    def shape_after(self, shape: Shape | None, *, path: str) -> Shape | None:
        """Return the shape that the code gives of two random samples; None where `fit` must see the data first."""
        if shape is None:
            return None
        try:
            change = self._made({})
            if hasattr(change, "fit"):
                return None
            # Not zeros, of which a logarithm or a quotient would fail.
            samples = np.random.default_rng(0).random((2, *shape))
            return self._given(change, samples).shape[1:]
        except UserError as error:
            raise ConfigError.at(f"{path}.name", str(error)) from error

    def fit(self, train: TrainSamples, *, path: str) -> tuple[OwnStep, str]:
        """Let the code measure what it needs, and try what it does of some training samples."""
        first = np.asarray(apply_steps(train.raw[:_TRIED], train.before, "float64"), dtype=np.float64)
        try:
            change = self._made({})
            fitted = self._measure(change, train) if hasattr(change, "fit") else {}
            after = self._given(change, first.copy()).shape[1:]
            step = replace(self, fitted=fitted, before=first.shape[1:], after=after, change=change)
            step.check(first)
        except DataError:
            raise
        except UserError as error:
            raise ConfigError.at(f"{path}.name", str(error)) from error
        return step, ""

    def _measure(self, change: Any, train: TrainSamples) -> dict[str, Any]:
        """Call `fit`, and return the attributes of the object that can be saved.

        Raises:
            UserError: the code fails, or sets something that cannot be saved.
        """
        before = dict(getattr(change, "__dict__", {}))
        samples = apply_steps(train.raw, train.before, "float64")
        self._run(lambda: change.fit(samples), f"fit with samples {samples.shape}: ")
        fitted = {}
        for name, value in getattr(change, "__dict__", {}).items():
            plain = _plain(value)
            if plain is not _REFUSED:
                fitted[name] = plain
            elif before.get(name) is not value:
                raise UserError(
                    f"{self.part}: fit sets self.{name} to {type(value).__name__}, which cannot be saved with the "
                    "weights; set arrays of NumPy, numbers and texts"
                )
        return fitted

    def check(self, first: Float64) -> None:
        """See that the code gives the same for the same samples, however they come, and from what is saved of it.

        Raises:
            UserError: it does not.
        """
        found = self.apply(first.copy())
        if not np.array_equal(found, self.apply(first.copy()), equal_nan=True):
            raise UserError(
                f"{self.part} gives other values each time for the same samples, so a resumed run would differ; draw "
                "nothing at random, or measure it in fit"
            )
        alone = self.apply(first[:1].copy())
        if np.abs(alone[0] - found[0]).max() > _UNLIKE * np.abs(found).max():
            raise UserError(
                f"{self.part} gives other values for a sample alone than for the same beside others; what depends on "
                "other samples is measured on train: write a class with fit(self, x) and __call__(self, x)"
            )
        again = replace(self, change=self._made(self.fitted or {}))
        if not np.array_equal(found, again.apply(first.copy()), equal_nan=True):
            raise UserError(
                f"{self.part} gives other values once it is made again from what fit has set; keep all that it "
                "measures in attributes of self that are arrays of NumPy, numbers or texts"
            )

    def apply(self, chunk: Float64) -> Float64:
        """Return what the code makes of the samples.

        Raises:
            UserError: the code fails, or gives no finite numbers of the shape that it gave of the training samples.
        """
        if chunk.shape[1:] != self.before:
            raise DataError(
                f"{self.part} was fitted on samples of shape {self.before}, but these have {chunk.shape[1:]}"
            )
        if not len(chunk):
            return np.zeros((0, *self.after))
        assert self.change is not None, "its code is not at hand"
        finite = bool(np.isfinite(chunk).all())
        found = self._given(self.change, chunk)
        if found.shape[1:] != self.after:
            raise UserError(f"{self.part} gives samples of shape {found.shape[1:]}, of the first ones {self.after}")
        if finite and not np.isfinite(found).all():
            value = found[~np.isfinite(found)][0]
            raise UserError(f"{self.part} gives a value that is {value} of samples whose values are finite")
        return found

    def pull_back(self, weights: Float64) -> Float64:
        """Refuse: what the code does cannot be turned round."""
        raise UserError(f"weights cannot be drawn on samples as they were before {self.part}, which is code")

    def state(self) -> dict[str, Any]:
        """Return its name, what was measured, and the shapes before and after it."""
        shapes = {"before": list(self.before), "after": list(self.after)}
        return {"name": self.part, "fitted": dict(self.fitted or {}), **shapes}

    def with_code(self, own: OwnPreprocess) -> OwnStep:
        """Return the fitted step with its code."""
        step = replace(self, own=own)
        return replace(step, change=step._made(self.fitted or {}))

    def _made(self, fitted: Mapping[str, Any]) -> Callable[[Float64], Any]:
        """Return the function with its keys, or a new object of the class with what `fit` had set."""
        assert self.own is not None, "its code is not at hand"
        change: Callable[[Float64], Any] = self._run(self.own.bound)
        if not callable(change):
            raise UserError(
                f"{self.part} has no `__call__(self, x)`, which changes samples; write it beside `fit(self, x)`"
            )
        for name, value in fitted.items():
            setattr(change, name, value.copy() if isinstance(value, np.ndarray) else value)
        return change

    def _given(self, change: Callable[[Float64], Any], x: Float64) -> Float64:
        """Return what the code makes of samples, (B, ...), as float64 in memory of its own.

        Raises:
            UserError: the code fails, or gives something else than as many samples.
        """
        shape = x.shape
        found = self._run(lambda: change(x), f"with samples {shape}: ")
        expected = f"expected an array of NumPy, ({shape[0]}, D) or ({shape[0]}, C, H, W)"
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiub":
            what = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else type(found).__name__
            raise UserError(f"{self.part} gives {what} of samples {shape}; {expected}")
        if len(found.shape) not in (2, 4) or len(found) != shape[0] or not found.size:
            raise UserError(f"{self.part} gives an array {found.shape} of samples {shape}; {expected}")
        # The next step may overwrite it, and it may be a view of what the object keeps.
        return np.array(found, dtype=np.float64)

    def _run(self, call: Callable[[], Any], of: str = "") -> Any:
        """Call the user's code; `of` says with what."""
        assert self.own is not None, "its code is not at hand"
        try:
            with np.errstate(all="ignore"):  # values that are not finite are told
                return call()
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            raise UserError(f"{of}{self.own.fault(error)}") from error


def described(step: Any) -> dict[str, Any]:
    """Return a step of a config in plain values; one of the user's own as its name and, as `own`, itself."""
    return {"name": step.name, "own": step} if isinstance(step, OwnPreprocess) else step.model_dump()


def with_code(steps: Sequence[PreprocessStep], given: Sequence[object]) -> tuple[PreprocessStep, ...]:
    """Return fitted steps of a checkpoint, those of the user's own with the code of the steps given by the config.

    Raises:
        ValueError: the config has another step in their place.
        UserError: the code fails.
    """
    found = list(steps)
    for place, step in enumerate(steps):
        if isinstance(step, OwnStep):
            own = given[place] if place < len(given) else None
            if not isinstance(own, OwnPreprocess) or own.name != step.part:
                raise ValueError(f"step {place} of the preprocessing is {step.part}, which the config does not have")
            found[place] = step.with_code(own)
    return tuple(found)


def _plain(value: Any) -> Any:
    """Return what a checkpoint keeps of a value; _REFUSED if it keeps none."""
    if isinstance(value, np.ndarray | np.number | np.bool_):
        array = np.asarray(value)
        return array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind in "fiub" else _REFUSED
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return _REFUSED if any(item is _REFUSED for item in items) else items
    return _REFUSED
