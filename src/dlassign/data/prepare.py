"""Preprocessing: measured on train, applied to every split, saved with the weights.

All arithmetic is float64 on chunks of fixed size and rounded to the run's dtype once at the end, so what is
measured does not depend on the dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dlassign.data.bundle import Dataset, Samples, Split
from dlassign.data.variants import APPEND, change, draw_kinds, place_of_variants
from dlassign.errors import ConfigError, DataError, Problem

Shape = tuple[int, ...]
Step = Mapping[str, Any]
Float64 = NDArray[np.float64]

CHUNK_VALUES = 2**16
"""Values in one chunk: half a megabyte as float64, which stays in the core's cache."""
PCA_CHUNK_VALUES = 2**22
"""Values in one chunk where there is a matrix product."""
CURE = "put append_variants before flatten and pca, or remove it"


@dataclass(frozen=True, eq=False)
class Preprocess:
    """Fitted preprocessing.

    Attributes:
        steps: what is done, in order, with every number it needs; plain values and float64 arrays only.
        notes: what the user should know of the fit, one sentence each.
    """

    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()

    def apply(self, x: Samples, dtype: DTypeLike = "float32") -> NDArray[np.floating[Any]]:
        """Return the preprocessed samples.

        Args:
            x: (N, ...), raw, of the shape that the preprocessing was fitted on.
            dtype: of the result, float32 or float64.

        Returns:
            (N, ...) of `dtype`; never a view of `x`.

        Raises:
            DataError: the samples have another shape than those it was fitted on.
        """
        if _has_table(x, self.steps):
            return _look_up(x, _table(x.shape[1], self.steps), dtype)
        out = self._empty(x, len(x), dtype)
        self._fill(out, x)
        return out

    def apply_to_train(self, split: Split, dtype: DTypeLike = "float32") -> Split:
        """Return the preprocessed training split, followed by the changed copies if a step appends some.

        Args:
            split: raw, x: (N, ...).
            dtype: of the result, float32 or float64.

        Returns:
            x: (N, ...) of `dtype`, or (2 N, ...) whose second half are the copies, in the order of the first.
        """
        place, n = place_of_variants(self.steps), len(split)
        if place is None:
            return Split(self.apply(split.x, dtype), split.y)
        kinds = draw_kinds(n, seed=self.steps[place]["seed"])
        out = self._empty(split.x, 2 * n, dtype)  # one array, so that memory never holds the samples twice
        self._fill(out[:n], split.x)
        for start, chunk in _chunks(split.x, self.steps):
            copies = _through(self.steps[:place], chunk)
            change(copies, kinds[start : start + len(copies)])
            out[n + start : n + start + len(copies)] = _through(self.steps[place:], copies)
        return Split(out, np.concatenate([split.y, split.y]))

    def _empty(self, x: Samples, n: int, dtype: DTypeLike) -> NDArray[np.floating[Any]]:
        """Return room for n samples like those of x."""
        shape = _through(self.steps, np.zeros((0, *x.shape[1:]))).shape[1:]
        return np.empty((n, *shape), dtype=dtype)

    def _fill(self, out: NDArray[np.floating[Any]], x: Samples) -> None:
        for start, chunk in _chunks(x, self.steps):
            out[start : start + len(chunk)] = _through(self.steps, chunk)

    def state(self) -> list[dict[str, Any]]:
        """Return the steps as plain values and NumPy arrays, to be saved in a checkpoint."""
        return [dict(step) for step in self.steps]

    @classmethod
    def from_state(cls, state: Sequence[Step]) -> Preprocess:
        """Return what `state()` described."""
        return cls(tuple(dict(step) for step in state))


def prepare(dataset: Dataset, steps: Sequence[Step], *, dtype: DTypeLike = "float32") -> tuple[Dataset, Preprocess]:
    """Fit preprocessing on train and apply it to every split.

    Args:
        dataset: raw splits.
        steps: plain descriptions as `load.preprocess_steps` makes them, such as
            `{"name": "scale", "divisor": 255.0}`.
        dtype: of the resulting samples.

    Returns:
        The new data set, its notes extended by those of the fit, and the fitted preprocessing.

    Raises:
        ConfigError: a step does not fit the data; the path names it, such as `data.preprocess.1.mean`.
    """
    fitted = fit_preprocess(steps, dataset.train)
    prepared = transform(dataset, fitted, dtype=dtype)
    return replace(prepared, notes=(*dataset.notes, *fitted.notes)), fitted


def transform(dataset: Dataset, preprocess: Preprocess, *, dtype: DTypeLike = "float32") -> Dataset:
    """Return the data set with every split preprocessed, and with the copies that a step appends to train.

    Args:
        dataset: raw splits.
        preprocess: fitted, or restored from a checkpoint.
        dtype: of the resulting samples.
    """

    def of(split: Split | None) -> Split | None:
        return None if split is None else Split(preprocess.apply(split.x, dtype), split.y)

    train = preprocess.apply_to_train(dataset.train, dtype)
    return replace(dataset, train=train, val=of(dataset.val), test=of(dataset.test))


def fit_preprocess(steps: Sequence[Step], train: Split) -> Preprocess:
    """Measure what the steps need on the training split.

    Args:
        steps: plain descriptions, see `prepare`.
        train: raw training samples, x: (N, ...).

    Raises:
        ConfigError: a step does not fit the data.
    """
    preprocessed_shape(train.x.shape[1:], steps)
    fitted: list[Step] = []
    notes: list[str] = []
    for index, step in enumerate(steps):
        fitted_step, note = _fit(step, train.x, before=fitted, path=f"data.preprocess.{index}")
        fitted.append(fitted_step)
        notes += [f"data.preprocess.{index}: {note}"] if note else []
    return Preprocess(tuple(fitted), tuple(notes))


def preprocessed_shape(shape: Shape, steps: Sequence[Step]) -> Shape | None:
    """Return the shape of one sample after the steps, without looking at data.

    Args:
        shape: of one raw sample, (C, H, W) or (D,).
        steps: plain descriptions, see `prepare`.

    Returns:
        The shape, or None if only the data decides it (PCA by a fraction of the variance).

    Raises:
        ConfigError: a step does not fit the shape.
    """
    known: Shape | None = shape
    for index, step in enumerate(steps):
        known = _shape_after(step, known, path=f"data.preprocess.{index}")
    return known


def _shape_after(step: Step, shape: Shape | None, *, path: str) -> Shape | None:
    match step["name"]:
        case "flatten":
            return None if shape is None else (math.prod(shape),)
        case "normalize":
            if shape is not None and step["mean"] is not None and len(step["mean"]) != shape[0]:
                raise _problem(f"{path}.mean", _wrong_length(len(step["mean"]), shape))
            return shape
        case "pca":
            components = step["components"]
            if isinstance(components, np.ndarray):  # fitted by an earlier run
                components = len(components)
            if isinstance(components, float):
                return None
            if shape is not None and components > math.prod(shape):
                raise _problem(
                    f"{path}.components",
                    f"{components} components of samples with {math.prod(shape)} values; at most as many",
                )
            return (components,)
        case "append_variants":
            if shape is None or len(shape) != 3:
                what = "rows" if shape is None else f"rows of {shape[0]} values"
                raise _problem(path, f"copies are turned and mirrored images, but here the samples are {what}; {CURE}")
            return shape
        case _:
            return shape


def _wrong_length(given: int, shape: Shape) -> str:
    if len(shape) == 1:
        return (
            f"{given} values, but the samples are flat rows of {shape[0]} features; "
            "give one value a feature, or put normalize before flatten"
        )
    channels = "1 channel" if shape[0] == 1 else f"{shape[0]} channels"
    return f"{given} values, but the samples have {channels}; give one value a channel"


def _problem(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path=path, message=message)])


def _fit(step: Step, x: Samples, *, before: Sequence[Step], path: str) -> tuple[Step, str]:
    """Return the step with its numbers filled in, and a note or ""."""
    match step["name"]:
        case "scale":
            return {"name": "scale", "divisor": float(step["divisor"])}, ""
        case "flatten":
            return {"name": "flatten"}, ""
        case "append_variants":
            return {"name": APPEND, "seed": int(step["seed"])}, ""
        case "mean_image":
            return {"name": "mean_image", "mean": _mean_sample(x, before)}, ""
        case "normalize":
            return _fit_normalize(step, x, before=before, path=path)
        case "pca":
            return _fit_pca(step, x, before=before, path=path)
        case name:
            raise ValueError(f"no preprocessing is called {name!r}")


def _fit_normalize(step: Step, x: Samples, *, before: Sequence[Step], path: str) -> tuple[Step, str]:
    """Mean and population standard deviation of each channel, or of each feature of flat samples."""
    if step["mean"] is not None:
        mean, std = np.asarray(step["mean"], dtype=np.float64), np.asarray(step["std"], dtype=np.float64)
        features = _through(before, np.zeros((0, *x.shape[1:]))).shape[1]
        if len(mean) != features:  # known only now if a PCA by variance comes before
            raise _problem(f"{path}.mean", _wrong_length(len(mean), (features,)))
        return {"name": "normalize", "mean": mean, "std": std}, ""
    mean, std = _channel_moments(x, before)
    constant = std <= 1e-12 * np.maximum(1.0, np.abs(mean))
    std[constant] = 1.0
    kind = (
        "channels"
        if x.ndim > 2 and not any(earlier["name"] in ("flatten", "pca") for earlier in before)
        else "features"
    )
    note = f"{constant.sum()} of {len(std)} {kind} are constant on train; their std is taken as 1"
    return {"name": "normalize", "mean": mean, "std": std}, note if constant.any() else ""


def _channel_moments(x: Samples, before: Sequence[Step]) -> tuple[Float64, Float64]:
    """Return mean and population standard deviation of each channel or feature after the steps so far."""
    if _has_table(x, before):
        table = _table(x.shape[1], before)
        share = _pixel_counts(x) / x[:, 0].size
        mean = (share * table).sum(axis=0)
        return mean, np.sqrt((share * np.square(table - mean)).sum(axis=0))
    mean_sample = _mean_sample(x, before)
    mean = mean_sample.reshape(len(mean_sample), -1).mean(axis=1)
    squares = np.zeros_like(mean)
    for _, chunk in _chunks(x, before):
        squares += np.square(_by_channel(_through(before, chunk)) - mean[:, None]).sum(axis=(0, 2))
    return mean, np.sqrt(squares / (len(x) * (mean_sample.size // len(mean))))


def _has_table(x: Samples, steps: Sequence[Step]) -> bool:
    """Return whether the steps do the same to every 8-bit pixel of a channel, so that 256 results say it all."""
    return x.dtype == np.uint8 and x.ndim == 4 and all(step["name"] in ("scale", "normalize") for step in steps)


def _table(channels: int, steps: Sequence[Step]) -> Float64:
    """Return what the steps make of each pixel value: (256, channels)."""
    ramp = np.repeat(np.arange(256.0), channels).reshape(256, channels, 1, 1)
    return _through(steps, ramp).reshape(256, channels)


def _look_up(x: Samples, table: Float64, dtype: DTypeLike) -> NDArray[np.floating[Any]]:
    """Return table[x] channel by channel, rounded to `dtype`."""
    columns = np.ascontiguousarray(table.T.astype(dtype))
    out = np.empty(x.shape, dtype=dtype)
    for rows in _cached_rows(x):
        for c, column in enumerate(columns):
            out[rows, c] = np.take(column, x[rows, c])
    return out


def _pixel_counts(x: Samples) -> NDArray[np.int64]:
    """Return how often each channel has each pixel value: (256, channels)."""
    counts = np.zeros((256, x.shape[1]), dtype=np.int64)
    for rows in _cached_rows(x):
        for c in range(x.shape[1]):
            counts[:, c] += np.bincount(x[rows, c].ravel(), minlength=256)
    return counts


def _cached_rows(x: Samples) -> Iterator[slice]:
    """Yield slices of rows small enough for the processor's cache."""
    size = max(1, CHUNK_VALUES // math.prod(x.shape[1:]))
    for start in range(0, len(x), size):
        yield slice(start, start + size)


def _by_channel(chunk: Float64) -> Float64:
    return chunk.reshape(*chunk.shape[:2], -1)


def _mean_sample(x: Samples, before: Sequence[Step]) -> Float64:
    """Return the mean sample after the steps so far; exact for raw integers."""
    total: Float64 | float = 0.0
    for _, chunk in _chunks(x, before):
        total = total + _through(before, chunk).sum(axis=0)
    return np.asarray(total / len(x))


def _fit_pca(step: Step, x: Samples, *, before: Sequence[Step], path: str) -> tuple[Step, str]:
    """Principal components of the flattened samples, by scikit-learn, without its random solvers."""
    from sklearn.decomposition import PCA

    components = step["components"]
    rows = Preprocess(tuple(before)).apply(x, "float64").reshape(len(x), -1)
    n, d = rows.shape
    if not isinstance(components, float) and components > min(n, d):
        what = f"{n} training samples" if n < d else f"samples with {d} values"
        raise _problem(f"{path}.components", f"{components} components of {what}; give at most {min(n, d)}")
    # the covariance is the cheaper way when there are more samples than values
    pca = PCA(n_components=components, svd_solver="covariance_eigh" if n > d else "full", copy=False)
    pca.fit(rows)
    fitted = {"name": "pca", "mean": pca.mean_, "components": pca.components_}
    if not step["whiten"]:
        return fitted, ""
    scale = np.sqrt(np.maximum(pca.explained_variance_, 0.0))
    empty = scale <= 1e-7 * scale.max(initial=0.0)
    scale[empty] = 1.0
    note = f"{empty.sum()} of {len(scale)} components have no variance on train and are not whitened"
    return {**fitted, "scale": scale}, note if empty.any() else ""


def _chunks(x: Samples, steps: Sequence[Step]) -> Iterator[tuple[int, Float64]]:
    """Yield (first row, float64 copy) of chunks whose size depends on the shape and the steps alone."""
    values = PCA_CHUNK_VALUES if any(step["name"] == "pca" for step in steps) else CHUNK_VALUES
    rows = max(1, values // max(1, math.prod(x.shape[1:])))
    for start in range(0, len(x), rows):
        yield start, x[start : start + rows].astype(np.float64)


def _through(steps: Sequence[Step], chunk: Float64) -> Float64:
    """Return the chunk after the fitted steps; works in place where it can."""
    for step in steps:
        chunk = _apply(step, chunk)
    return chunk


def _apply(step: Step, chunk: Float64) -> Float64:
    match step["name"]:
        case "scale":
            chunk /= step["divisor"]
        case "flatten":
            chunk = chunk.reshape(len(chunk), math.prod(chunk.shape[1:]))
        case "append_variants":
            pass  # copies are made of training samples alone, by apply_to_train
        case "mean_image":
            _expect(chunk.shape[1:], step["mean"].shape, name="mean_image")
            chunk -= step["mean"]
        case "normalize":
            _expect(chunk.shape[1:2], step["mean"].shape, name="normalize")
            shape = (-1, *(1,) * (chunk.ndim - 2))
            chunk -= step["mean"].reshape(shape)
            chunk /= step["std"].reshape(shape)
        case "pca":
            chunk = chunk.reshape(len(chunk), math.prod(chunk.shape[1:]))
            _expect(chunk.shape[1:], step["mean"].shape, name="pca")
            chunk = (chunk - step["mean"]) @ step["components"].T
            if "scale" in step:
                chunk /= step["scale"]
        case name:
            raise ValueError(f"no preprocessing is called {name!r}")
    return chunk


def _expect(found: Shape, fitted: Shape, *, name: str) -> None:
    if found != fitted:
        raise DataError(f"{name} was fitted on samples of shape {fitted}, but these have {found}")
