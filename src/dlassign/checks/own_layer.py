"""A user's own layer is checked at the values given, and at others where those could hide a mistake.

A backward that forgets a factor, or squares it, is right where the factor is 1; one that forgets a term is right where
its coefficient is 0; 2 x is the derivative of x^n for n = 2 alone, and p is 1 - p for 0.5. So each number among the
arguments, given or by default, gets another value once, and in the end all of them together, for one may hide another.
And a slope that is wrong for large x only, as beyond the clip of ReLU6, shows in an input several times as large.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlassign.checks.gradients import CheckedGradient, check_layer
from dlassign.checks.layer_protocol import Probe
from dlassign.checks.user_layer import annotated, build_layer, build_peer, parameters
from dlassign.config.own_keys import fits
from dlassign.errors import DlassignError, UserError

TELLING: Mapping[float, tuple[float, ...]] = {
    0: (0.3, 3, 0.03, -0.3),
    1: (0.7, 3, 2, 1.3, 1.03),
    -1: (-0.7, -3, -1.3),
    2: (1.7, 3, 2.3),
}
"""What is tried in place of the numbers that hide most, until the layer takes one."""
LARGE = 8.0
"""How many times as large the other input is."""
INPUT = "x"
_GIVEN_BY_US = ("dtype", "rng")


@dataclass(frozen=True)
class Tried:
    """With which values of one argument the layer was checked.

    Attributes:
        name: of the argument; INPUT for the input.
        values: the given one first.
        refused: the other values that the layer does not take.
        why: what it says of the first of them, or "".
        hides: whether the given value alone can hide a mistake.
    """

    name: str
    values: tuple[Any, ...]
    refused: tuple[Any, ...] = ()
    why: str = ""
    hides: bool = False


class _Checks:
    """The checks of one layer, with arguments that change.

    Args:
        cls: the layer.
        arguments: those given.
        options: shape, peer and seed for `check_built`.
    """

    def __init__(self, cls: type[Any], arguments: Mapping[str, Any], **options: Any) -> None:
        self._cls = cls
        self._given = arguments
        self._options = options
        self.rows: list[CheckedGradient] = []

    def check(self, other: Mapping[str, Any], *, scale: float = 1.0) -> str:
        """Check with some other arguments and add the rows; return why the layer does not take them, or "".

        Raises:
            UserError: it takes them, and then breaks a rule of layers.
        """
        peer = self._options["peer"]
        # A peer without these arguments computes what the layer computes at their old values.
        knows = peer is not None and other.keys() <= parameters(peer).keys()
        options = {**self._options, "peer": peer if knows else None, "scale": scale}
        # What is special comes first, where no table cuts it off.
        arguments = {**other, **{key: value for key, value in self._given.items() if key not in other}}
        # A root or a power that the layer is not made for is one more reason why a value is not taken.
        with np.errstate(all="ignore"):
            why = _refusal(self._cls, arguments, **options)
            if not why:
                self.rows += _told(self._cls, arguments, **options)
        return why


def check_own(
    cls: type[Any], arguments: Mapping[str, Any], *, shape: tuple[int, ...], peer: type[Any] | None, seed: int
) -> tuple[list[CheckedGradient], list[Tried]]:
    """Check the gradients of a layer at the arguments given; if they are right, also at telling values.

    Args:
        cls: the layer.
        arguments: of its constructor.
        shape: of the input.
        peer: the same in PyTorch, or None.
        seed: of input and parameters.

    Returns:
        A row for each tensor and form, and what was tried: every argument, and last the input.

    Raises:
        ConfigError: a constructor does not take the arguments.
        UserError: the layer breaks a rule of layers, or the peer has other parameters.
    """
    rows = check_built(cls, arguments, shape=shape, peer=peer, seed=seed)
    values = _values(cls, arguments)
    if not all(row.ok for row in rows):
        return rows, [Tried(name, (value,)) for name, value in values.items()]
    checks = _Checks(cls, arguments, shape=shape, peer=peer, seed=seed)
    tried = [_vary(checks, name, value, annotated(cls).get(name)) for name, value in values.items()]
    varied = {one.name: one.values[1] for one in tried if len(one.values) > 1}
    if len(varied) > 1:
        checks.check(varied)  # what it does not take together, it took one by one
    why = checks.check({}, scale=LARGE)
    large = f"{LARGE:g} times as large"
    tried.append(Tried(INPUT, ("normal",) if why else ("normal", large), (large,) if why else (), why))
    return rows + checks.rows, tried


def check_built(
    cls: type[Any],
    arguments: Mapping[str, Any],
    *,
    shape: tuple[int, ...],
    peer: type[Any] | None,
    seed: int,
    scale: float = 1.0,
) -> list[CheckedGradient]:
    """Build a layer and its peer and check the gradients; the input is `scale` times as large as usual."""
    rng = np.random.default_rng(seed)
    layer = build_layer(cls, arguments, rng=rng)
    module = None if peer is None else build_peer(peer, arguments, seed=seed)
    words = ["large x"] * (scale != 1) + [f"{key} {value}" for key, value in arguments.items()]
    return check_layer(layer, cls.__name__, form=", ".join(words), shape=shape, peer=module, rng=rng, scale=scale)


def _refusal(
    cls: type[Any],
    arguments: Mapping[str, Any],
    *,
    shape: tuple[int, ...],
    peer: type[Any] | None,
    seed: int,
    scale: float,
) -> str:
    """Return why the layer, its forward or its peer does not take these arguments, or ""."""
    rng = np.random.default_rng(seed)
    try:
        Probe(build_layer(cls, arguments, rng=rng), cls.__name__, shape=shape, rng=rng, scale=scale)
        if peer is not None:
            build_peer(peer, arguments, seed=seed)
    except DlassignError as error:
        cause = error.__cause__
        return str(error).splitlines()[0] if cause is None else f"{type(cause).__name__}: {cause}"
    return ""


def _told(cls: type[Any], arguments: Mapping[str, Any], **options: Any) -> list[CheckedGradient]:
    """Return what `check_built` does; an error says for which arguments."""
    try:
        return check_built(cls, arguments, **options)
    except UserError as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(f"with {given}: {error}") from error


def _values(cls: type[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the user chooses of a layer: its arguments, given or by default, in the order of its constructor."""
    found = {name: arguments.get(name, default) for name, default in parameters(cls).items()}
    chosen = {**found, **arguments}
    return {key: one for key, one in chosen.items() if key not in _GIVEN_BY_US and one is not inspect.Parameter.empty}


def _vary(checks: _Checks, name: str, value: Any, annotation: Any) -> Tried:
    """Check the layer with another value of one argument, if that is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Tried(name, (value,))
    refused: list[Any] = []
    first = ""
    others = [other for other in _others(value, annotation) if annotation is None or fits(annotation, other)]
    for other in others:
        why = checks.check({name: other})
        if not why:
            return Tried(name, (value, other), tuple(refused), first)
        refused.append(other)
        first = first or why
    hides = value in TELLING
    return Tried(name, (value,), tuple(refused), first or "its annotation takes no other that was thought of", hides)


def _others(value: float, annotation: Any) -> Sequence[float]:
    """Return what to try in place of a number; whole numbers first where it is one, for it may be a size."""
    steps = (value + 1, value - 1) if isinstance(value, int) else [float(f"{f * value:.3g}") for f in (0.7, 1.3)]
    others = TELLING.get(value) or steps
    whole_first = isinstance(value, int) and annotation is not float
    return sorted(others, key=lambda other: not isinstance(other, int)) if whole_first else others
