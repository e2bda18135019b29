"""Preprocessing: measured on train, applied to every split, saved with the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dlassign.data.bundle import Dataset, Samples, Split
from dlassign.data.own_step import OwnStep, with_code
from dlassign.data.preprocess_chain import (
    Float64,
    Floats,
    PreprocessStep,
    Shape,
    TrainSamples,
    apply_steps,
    chunks,
    fill,
    fitted_shape,
    through,
)
from dlassign.data.preprocess_steps import PCA, make_steps
from dlassign.data.variants import AppendVariants, find_variants
from dlassign.errors import first_few

ROUNDED_AWAY = 0.01
"""Share of a feature's range from which a rounding error hides what the feature tells."""
Description = Mapping[str, Any]
"""A step in plain values, such as `{"name": "scale", "divisor": 255.0}`."""


@dataclass(frozen=True, eq=False)
class Preprocess:
    """Fitted preprocessing.

    Attributes:
        steps: what is done, in order.
        notes: what the user should know of the fit, one sentence each.
    """

    steps: tuple[PreprocessStep, ...] = ()
    notes: tuple[str, ...] = ()

    def apply(self, x: Samples, dtype: DTypeLike = "float32") -> Floats:
        """Return the preprocessed samples, (N, ...) of dtype float32 or float64; never a view of x.

        x: (N, ...), raw.

        Raises:
            DataError: the samples have another shape than those it was fitted on.
        """
        return apply_steps(x, self.steps, dtype)

    def apply_to_train(self, split: Split, dtype: DTypeLike = "float32") -> Split:
        """Return the preprocessed training split, followed by the changed copies if a step appends some.

        split: raw, x: (N, ...). In the result x is (N, ...) of dtype float32 or float64, or (2 N, ...) whose second
        half are the copies, in the order of the first.
        """
        found = find_variants(self.steps)
        if found is None:
            return Split(self.apply(split.x, dtype), split.y)
        place, variants = found
        n = len(split)
        kinds = variants.draw_kinds(n)
        # One array for both halves, so that memory never holds the samples twice.
        out = np.empty((2 * n, *fitted_shape(split.x.shape[1:], self.steps)), dtype=dtype)
        fill(out[:n], split.x, self.steps)
        for start, chunk in chunks(split.x, self.steps):
            copies = through(self.steps[:place], chunk)
            variants.change(copies, kinds[start : start + len(copies)])
            out[n + start : n + start + len(copies)] = through(self.steps[place:], copies)
        return Split(out, np.concatenate([split.y, split.y]))

    def checked_in_float32(self, x: Samples) -> Preprocess:
        """Return the same with a note if float32 does not tell apart what the values of flat samples, (N, D), tell."""
        if x.ndim != 2 or x.dtype != np.float64:
            return self
        exact = self.apply(x, "float64")
        with np.errstate(over="ignore", invalid="ignore"):
            error, span = np.abs(exact.astype(np.float32) - exact).max(axis=0), np.ptp(exact, axis=0)
            lost = np.flatnonzero((error > ROUNDED_AWAY * span) & (span > 0))
        if not len(lost):
            return self
        named = first_few([str(feature) for feature in lost], 5)
        what = f"of features {named} (counted from 0) float32 does not tell the values apart"
        cure = "add normalize to data.preprocess, or set train.precision: fp64"
        return replace(self, notes=(*self.notes, f"{what}; {cure}"))

    def with_code(self, given: Sequence[object]) -> Preprocess:
        """Return the same with the code of the user's own steps, which come without it from a checkpoint.

        given: `data.preprocess` of the run.

        Raises:
            ValueError: it has another step in the place of one of them.
            UserError: the code fails.
        """
        return replace(self, steps=with_code(self.steps, given))

    def own_parts(self) -> tuple[str, ...]:
        """Return the names of the steps that are the user's own."""
        return tuple(step.part for step in self.steps if isinstance(step, OwnStep))

    def without_copies(self) -> Preprocess:
        """Return the same but for copies, which belong to the training set that they were made of."""
        return replace(self, steps=tuple(step for step in self.steps if not isinstance(step, AppendVariants)))

    def before_pca(self, weights: Float64) -> tuple[Float64, int | None]:
        """Return the weights with which a layer acts on what goes into the first PCA, and its number of components.

        For z = A x + b and scores W z, these are W A. Without a PCA they are the given ones, (units, D) or (filters, C,
        KH, KW), and the number is None.
        """
        pca = next((step for step in self.steps if isinstance(step, PCA)), None)
        if pca is None:
            return weights, None
        for step in reversed(self.steps[self.steps.index(pca) :]):
            weights = step.pull_back(weights)
        return weights, pca.count()

    def state(self) -> list[dict[str, Any]]:
        """Return the steps in plain values and NumPy arrays, to be saved in a checkpoint."""
        return [step.state() for step in self.steps]

    @classmethod
    def from_state(cls, state: Sequence[Description]) -> Preprocess:
        """Return what `state()` described."""
        return cls(make_steps(state))


def prepare(
    dataset: Dataset, steps: Sequence[Description], *, dtype: DTypeLike = "float32"
) -> tuple[Dataset, Preprocess]:
    """Fit preprocessing on train, apply it to every split, and return both; the data set's notes have those of the fit.

    steps: in plain values, as `load.preprocess_steps` gives them.

    Raises:
        ConfigError: a step does not fit the data; the path names it, such as `data.preprocess.1.mean`.
    """
    preprocess = fit_preprocess(steps, dataset.train)

    def of(split: Split | None) -> Split | None:
        return None if split is None else Split(preprocess.apply(split.x, dtype), split.y)

    train = preprocess.apply_to_train(dataset.train, dtype)
    notes = (*dataset.notes, *preprocess.notes)
    return replace(dataset, train=train, val=of(dataset.val), test=of(dataset.test), notes=notes), preprocess


def fit_preprocess(steps: Sequence[Description], train: Split) -> Preprocess:
    """Measure what the steps need on the raw training split, x: (N, ...).

    Raises:
        ConfigError: a step does not fit the data.
    """
    preprocessed_shape(train.x.shape[1:], steps)
    fitted: list[PreprocessStep] = []
    notes: list[str] = []
    for index, step in enumerate(make_steps(steps)):
        path = f"data.preprocess.{index}"
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # applying the step tells of huge numbers
            fitted_step, note = step.fit(TrainSamples(train.x, tuple(fitted)), path=path)
        fitted.append(fitted_step)
        if note:
            notes.append(f"{path}: {note}")
    return Preprocess(tuple(fitted), tuple(notes))


def preprocessed_shape(shape: Shape, steps: Sequence[Description]) -> Shape | None:
    """Return the shape of one sample after the steps, without looking at data.

    shape: of a raw sample, (C, H, W) or (D,). The result is None if only the data decides it (PCA by a fraction of the
    variance).

    Raises:
        ConfigError: a step does not fit the shape.
    """
    known: Shape | None = shape
    for index, step in enumerate(make_steps(steps)):
        known = step.shape_after(known, path=f"data.preprocess.{index}")
    return known
