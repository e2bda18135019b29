"""Equal samples: which samples of a data set have the same decoded values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Samples, Split

_BLOCK = 2**18
"""Bytes that are summed at once: with their copy they stay in the cache of a core."""
_COMPARED = 2**24
"""Bytes of samples that are compared at once."""
Numbers = NDArray[np.int64]


def equal_to(splits: Mapping[str, Split]) -> Numbers:
    """Return for each sample the first one that has the same values, (N,): itself, if there is none before it.

    Samples are counted through the splits in their order. A sum of 64 bits finds who may be equal, in one pass over
    the values; these alone are compared, so that two samples are never called equal by chance.

    Args:
        splits: whose samples have one shape and type.
    """
    sums = np.concatenate([sample_sums(split.x) for split in splits.values()])
    order = np.argsort(sums, kind="stable")
    begins = np.concatenate([[True], sums[order][1:] != sums[order][:-1]])
    # The sort is stable, so the first of each run of equal sums is the first of the samples.
    first = np.empty(len(sums), np.int64)
    first[order] = order[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    seen: dict[bytes, int] = {}
    for number in _unequal(splits, first):
        # Equal sums of unlike samples: by design as rare as one in 2^64 pairs.
        first[number] = seen.setdefault(_taken(splits, np.array([number])).tobytes(), number)
    return first


def _unequal(splits: Mapping[str, Split], first: Numbers) -> list[int]:
    """Return the samples that differ from those that `first` (N,) names."""
    others = np.flatnonzero(first != np.arange(len(first)))
    size = next(iter(splits.values())).x[:1].nbytes
    step = max(1, _COMPARED // max(1, size))
    found: list[int] = []
    for start in range(0, len(others), step):
        rows = others[start : start + step]
        unlike = (_taken(splits, rows) != _taken(splits, first[rows])).any(axis=1)
        found += rows[unlike].tolist()
    return found


def _taken(splits: Mapping[str, Split], numbers: Numbers) -> NDArray[np.uint8]:
    """Return the bytes of samples, (M, bytes), by their numbers."""
    parts = list(splits.values())
    rows = np.empty((len(numbers), *parts[0].x.shape[1:]), parts[0].x.dtype)
    start = 0
    for split in parts:
        here = (numbers >= start) & (numbers < start + len(split))
        rows[here] = split.x[numbers[here] - start]
        start += len(split)
    return _plain(rows).reshape(len(numbers), -1).view(np.uint8)


def sample_sums(x: Samples) -> NDArray[np.uint64]:
    """Return a sum of 64 bits of the values of each sample, (N,): equal samples have equal sums.

    It is the sum of the words of a sample, each times a random odd number, modulo 2^64.

    x: (N, ...) of any plain type.

    Source: Lemire and Kaser (2014), Strongly universal string hashing is fast.
    """
    if not len(x):
        return np.zeros(0, np.uint64)
    size = x[0].nbytes
    words = -(-size // 8)
    factors = np.random.default_rng(0).integers(0, 2**63, words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    sums = np.empty(len(x), np.uint64)
    rows = max(1, _BLOCK // max(8, 8 * words))
    block = np.zeros((rows, 8 * words), np.uint8)
    for start in range(0, len(x), rows):
        part = _plain(x[start : start + rows])
        block[: len(part), :size] = part.reshape(len(part), -1).view(np.uint8)
        taken = block[: len(part)].view(np.uint64)
        # The product of a word's high bits fills high bits only; so they are laid over its low ones first.
        taken ^= taken >> np.uint64(32)
        sums[start : start + rows] = taken @ factors
    return sums


def _plain(x: Samples) -> Samples:
    """Return values of which equal ones have equal bytes: adding 0 makes 0 of -0."""
    return np.ascontiguousarray(x + 0 if x.dtype.kind == "f" else x)
