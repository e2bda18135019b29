"""The gate of an export: do the written files compute what the run computes?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Samples
from dlassign.data.preprocess_steps import Normalize
from dlassign.deploy.classifier import Scores
from dlassign.deploy.trained import Trained
from dlassign.errors import UserError

BATCHES = (1, 2, 7, 256)
BOUND = 1e-4
"""Largest difference of a score s, as a share of max(1, |s|)."""
SEED = 0
ScoresOf = Callable[[Samples], Scores]


@dataclass
class Agreement:
    """How far one file's scores were from the run's.

    Attributes:
        samples: how many were compared.
        largest: the largest difference of a score.
        relative: the largest as a share of max(1, |score|), which the bound is for.
        ties: samples with another prediction; their two scores are at most two bounds apart, one for each score.
    """

    samples: int = 0
    largest: float = 0.0
    relative: float = 0.0
    ties: int = 0


@dataclass
class Parity:
    """What an export compared with its run.

    Attributes:
        reference: what the files are compared with, in words.
        real: where the real samples come from, or why there are none.
        contents: what the batches hold, such as `random` or `all 0`.
        files: how far each file is from the run, by name.
    """

    reference: str
    real: str
    contents: tuple[str, ...]
    files: dict[str, Agreement] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for parity.json."""
        return {
            "compared_with": self.reference,
            "real_samples": self.real,
            "contents": list(self.contents),
            "batches": list(BATCHES),
            "bound": f"|difference| <= {BOUND:g} max(1, |score|)",
            "ties": "other predictions, whose two scores are at most two bounds apart",
            "files": {name: vars(found) for name, found in self.files.items()},
        }


def probes(trained: Trained, real: Samples | None) -> list[tuple[str, Samples]]:
    """Return batches of raw samples, each with a word for its content.

    Every content comes in small batches, and the large one holds all of them. real: raw samples of the run's data, or
    None where the data is not there.
    """
    rng = np.random.default_rng(SEED)
    large = BATCHES[-1]
    contents = _contents(trained, rng, large)
    if real is not None and len(real):
        contents = {"real": real[np.arange(large) % len(real)], **contents}
    found = [(content, x[:n]) for content, x in contents.items() for n in BATCHES[:-1]]
    share = -(-large // len(contents))
    mixed = np.concatenate([x[-share:] for x in contents.values()])[:large]
    return [*found, ("mixed", mixed)]


def _contents(trained: Trained, rng: np.random.Generator, n: int) -> dict[str, Samples]:
    shape, white = trained.intake.shape, trained.intake.white
    if len(shape) == 3:
        random = rng.integers(0, white + 1, (n, *shape)).astype(np.uint8)
        return {
            "random": random,
            "all 0": np.zeros((n, *shape), np.uint8),
            f"all {white}": np.full((n, *shape), white, np.uint8),
        }
    # Rows as the training rows are: numbers of any size would overflow where a column is around 1e-19.
    mean, std = np.zeros(shape), np.ones(shape)
    first = trained.preprocess.steps[0] if trained.preprocess.steps else None
    if isinstance(first, Normalize):
        mean, std = np.asarray(first.mean), np.asarray(first.std)
    return {
        "random": mean + std * rng.standard_normal((n, *shape)),
        "the mean": np.tile(mean, (n, 1)),
        "the mean and a deviation": np.tile(mean + std, (n, 1)),
    }


def compare(name: str, batches: list[tuple[str, Samples, Scores]], scores_of: ScoresOf) -> Agreement:
    """Compare the scores of a file with those of the run.

    Args:
        name: of the file.
        batches: content, raw samples and the run's own scores of each batch.
        scores_of: computes with the file.

    Raises:
        UserError: the scores have another shape, or one differs by more than the bound. Another prediction within the
            bound is a tie.
    """
    found = Agreement()
    for content, x, expected in batches:
        scores = scores_of(x)
        what = f"{name} does not compute what the run computes: on a batch of {len(x)} ({content})"
        if scores.shape != expected.shape:
            raise UserError(f"{what} it gives scores {scores.shape}, the run {expected.shape}; nothing was written")
        off, share = _differences(scores, expected)
        if not share.max() <= BOUND:
            raise UserError(
                f"{what} a score is {off.max():.3g} away from the run's, more than {BOUND:g} max(1, |score|); nothing "
                f"was written. Leave this file out with --to, and please report it"
            )
        other = scores.argmax(1) != expected.argmax(1)
        found.ties += int(other.sum())  # within the bound, predictions differ only where two scores tie
        found.samples += len(x)
        found.largest = max(found.largest, float(off.max()))
        found.relative = max(found.relative, float(share.max()))
    return found


def _differences(scores: Scores, expected: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far each score is from the expected one, and the same as a share of max(1, |score|)."""
    wide = expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = np.abs(scores.astype(np.float64) - wide)
    # Infinite or NaN in both is the same; in one alone it is not.
    off[(scores == expected) | (np.isnan(scores) & np.isnan(expected))] = 0.0
    off[np.isnan(off)] = np.inf
    return off, off / np.maximum(1.0, np.abs(wide, where=np.isfinite(wide), out=np.ones_like(wide)))
