"""The preprocessing steps, a class each; AppendVariants is in variants.py, the user's own in own_step.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dlassign.data.own_step import OwnStep
from dlassign.data.preprocess_chain import Float64, Operation, PreprocessStep, Shape, TrainSamples
from dlassign.data.variants import AppendVariants
from dlassign.errors import ConfigError, DataError


@dataclass(frozen=True)
class Scale(PreprocessStep):
    """Divide every value by a number."""

    divisor: float
    name: ClassVar[str] = "scale"
    by_channel: ClassVar[bool] = True

    def apply(self, chunk: Float64) -> Float64:
        """Return x / divisor."""
        chunk /= self.divisor
        return chunk

    def operations(self) -> Sequence[Operation]:
        """Return one division by (1, 1, 1)."""
        return [("divide", np.full((1, 1, 1), self.divisor, dtype=np.float64))]

    def pull_back(self, weights: Float64) -> Float64:
        """Return W / divisor."""
        return weights / self.divisor


@dataclass(frozen=True, eq=False)
class Normalize(PreprocessStep):
    """Subtract a mean and divide by a standard deviation: those of each channel, or of each feature of flat samples.

    Attributes:
        mean: (C,) or (D,); None until it is measured.
        std: population standard deviation, of the same length.
    """

    mean: Float64 | Sequence[float] | None = None
    std: Float64 | Sequence[float] | None = None
    name: ClassVar[str] = "normalize"
    by_channel: ClassVar[bool] = True

    def shape_after(self, shape: Shape | None, *, path: str) -> Shape | None:
        """Return the same shape; numbers that are given must be one for each channel or feature."""
        if shape is not None and self.mean is not None and len(self.mean) != shape[0]:
            raise ConfigError.at(f"{path}.mean", _wrong_length(len(self.mean), shape))
        return shape

    def fit(self, train: TrainSamples, *, path: str) -> tuple[Normalize, str]:
        """Take the given numbers, or measure both."""
        shape = train.shape()
        if self.mean is not None:
            self.shape_after(shape, path=path)  # known only now if a PCA by variance comes before
            return Normalize(np.asarray(self.mean, dtype=np.float64), np.asarray(self.std, dtype=np.float64)), ""
        mean, std = train.moments()
        # By the column's own size: a column of values around 1e-19 may decide the class.
        constant = std <= np.finfo(np.float64).eps * np.abs(mean)
        if any(step.multiplies for step in train.before):
            constant |= std <= 1e-12 * std.max(initial=0.0)  # what rounding leaves of directions without variance
        std[constant] = 1.0
        kind = "channels" if len(shape) > 1 else "features"
        note = f"{constant.sum()} of {len(std)} {kind} are constant on train; their std is taken as 1"
        return Normalize(mean, std), note if constant.any() else ""

    def apply(self, chunk: Float64) -> Float64:
        """Return (x - mean) / std."""
        mean, std = _measured(self.mean), _measured(self.std)
        _check_shape(chunk.shape[1:2], fitted=mean.shape, name=self.name)
        shape = (-1, *(1,) * (chunk.ndim - 2))
        chunk -= mean.reshape(shape)
        chunk /= std.reshape(shape)
        return chunk

    def operations(self) -> Sequence[Operation]:
        """Return a subtraction and a division by (C, 1, 1)."""
        mean, std = _measured(self.mean), _measured(self.std)
        return [("subtract", mean.reshape(-1, 1, 1)), ("divide", std.reshape(-1, 1, 1))]

    def pull_back(self, weights: Float64) -> Float64:
        """Return W / std."""
        return weights / _measured(self.std)


@dataclass(frozen=True, eq=False)
class MeanImage(PreprocessStep):
    """Subtract the mean sample, pixel by pixel.

    Attributes:
        mean: the shape of one sample; None until it is measured.
    """

    mean: Float64 | None = None
    name: ClassVar[str] = "mean_image"

    def fit(self, train: TrainSamples, *, path: str) -> tuple[MeanImage, str]:
        """Measure the mean sample."""
        return MeanImage(train.mean_sample()), ""

    def apply(self, chunk: Float64) -> Float64:
        """Return x - mean."""
        mean = _measured(self.mean)
        _check_shape(chunk.shape[1:], fitted=mean.shape, name=self.name)
        chunk -= mean
        return chunk

    def operations(self) -> Sequence[Operation]:
        """Return one subtraction of (C, H, W)."""
        return [("subtract", _measured(self.mean))]


@dataclass(frozen=True)
class Flatten(PreprocessStep):
    """Turn each sample into one row of values, channel by channel."""

    name: ClassVar[str] = "flatten"

    def shape_after(self, shape: Shape | None, *, path: str) -> Shape | None:
        """Return (C * H * W,)."""
        return None if shape is None else (math.prod(shape),)

    def apply(self, chunk: Float64) -> Float64:
        """Return (B, C * H * W)."""
        return chunk.reshape(len(chunk), math.prod(chunk.shape[1:]))


@dataclass(frozen=True, eq=False)
class PCA(PreprocessStep):
    """Project flattened samples on their leading principal components.

    Attributes:
        components: how many, or the share of the variance to keep; once fitted, the components themselves, (K, D).
        whiten: whether every component gets unit variance.
        mean: (D,); None until it is measured.
        scale: (K,) standard deviations to divide by; None without whitening.
    """

    components: int | float | Float64
    whiten: bool = False
    mean: Float64 | None = None
    scale: Float64 | None = None
    name: ClassVar[str] = "pca"
    multiplies: ClassVar[bool] = True

    def shape_after(self, shape: Shape | None, *, path: str) -> Shape | None:
        """Return (K,), or None where a share of the variance decides K."""
        k = self.count()
        if k is None:
            return None
        if shape is not None and k > math.prod(shape):
            most = math.prod(shape)
            raise ConfigError.at(f"{path}.components", f"{k} components of samples with {most} values; at most as many")
        return (k,)

    def count(self) -> int | None:
        """Return the number of components, or None where a share of the variance decides it."""
        match self.components:
            case float():
                return None
            case int() as count:
                return count
            case fitted:
                return len(fitted)

    def fit(self, train: TrainSamples, *, path: str) -> tuple[PCA, str]:
        """Measure the components with scikit-learn, without its random solvers."""
        from sklearn import decomposition

        rows = train.rows()
        n, d = rows.shape
        if not isinstance(self.components, float) and self.components > min(n, d):
            what = f"{n} training samples" if n < d else f"samples with {d} values"
            message = f"{self.components} components of {what}; give at most {min(n, d)}"
            raise ConfigError.at(f"{path}.components", message)
        span = float(np.ptp(rows, axis=0).max())
        if span == 0:
            raise ConfigError.at(path, "the training samples are all equal, so they have no components; leave pca out")
        # Variances of numbers around 1e-200 are 0. Numbers of a usual size keep their unit, and their bits.
        unit = 1.0 if 1e-100 < span < 1e100 else span
        if unit != 1.0:
            rows /= unit
        # With more samples than values the covariance is the cheaper way.
        solver = "covariance_eigh" if n > d else "full"
        pca = decomposition.PCA(n_components=self.components, svd_solver=solver, copy=False).fit(rows)
        if not self.whiten:
            return PCA(pca.components_, mean=pca.mean_ * unit), ""
        scale = np.sqrt(np.maximum(pca.explained_variance_, 0.0)) * unit
        empty = scale <= 1e-7 * scale.max(initial=0.0)
        scale[empty] = 1.0
        note = f"{empty.sum()} of {len(scale)} components have no variance on train and are not whitened"
        return PCA(pca.components_, whiten=True, mean=pca.mean_ * unit, scale=scale), note if empty.any() else ""

    def apply(self, chunk: Float64) -> Float64:
        """Return (x - mean) A^T / scale, (B, K), with the components A."""
        mean = _measured(self.mean)
        rows = chunk.reshape(len(chunk), math.prod(chunk.shape[1:]))
        _check_shape(rows.shape[1:], fitted=mean.shape, name=self.name)
        projected: Float64 = (rows - mean) @ _measured(self.components).T
        if self.scale is not None:
            projected /= self.scale
        return projected

    def pull_back(self, weights: Float64) -> Float64:
        """Return W / scale A, with the components A."""
        scaled = weights if self.scale is None else weights / self.scale
        return scaled @ _measured(self.components)

    def state(self) -> dict[str, Any]:
        """Return name, mean, components and, with whitening, the scale."""
        fitted = {"name": self.name, "mean": self.mean, "components": self.components}
        return fitted if self.scale is None else {**fitted, "scale": self.scale}


_STEPS: Mapping[str, type[PreprocessStep]] = {
    "scale": Scale,
    "normalize": Normalize,
    "mean_image": MeanImage,
    "flatten": Flatten,
    "pca": PCA,
    "append_variants": AppendVariants,
}


def make_steps(descriptions: Sequence[Mapping[str, Any]]) -> tuple[PreprocessStep, ...]:
    """Return the steps that are described: by a config, still to be fitted, or by `state()`, as they were fitted.

    Raises:
        ValueError: there is no such step.
    """
    return tuple(_make_step(**given) for given in descriptions)


def _make_step(name: str, **given: Any) -> PreprocessStep:
    if "own" in given:
        return OwnStep(name, own=given["own"])
    if "fitted" in given:
        return OwnStep(name, fitted=given["fitted"], before=tuple(given["before"]), after=tuple(given["after"]))
    if name not in _STEPS:
        raise ValueError(f"no preprocessing is called {name!r}")
    return _STEPS[name](**given)


def _measured(value: object) -> Float64:
    assert isinstance(value, np.ndarray), "fit comes first"
    return value


def _check_shape(found: Shape, *, fitted: Shape, name: str) -> None:
    if found != fitted:
        raise DataError(f"{name} was fitted on samples of shape {fitted}, but these have {found}")


def _wrong_length(given: int, shape: Shape) -> str:
    if len(shape) == 1:
        return (
            f"{given} values, but the samples are flat rows of {shape[0]} features; "
            "give one value a feature, or put normalize before flatten"
        )
    channels = "1 channel" if shape[0] == 1 else f"{shape[0]} channels"
    return f"{given} values, but the samples have {channels}; give one value a channel"
