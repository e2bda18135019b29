"""Rules of the probe on labels: of the training samples, and of the test beside validation."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dlassign.doctor.finding import Finding
from dlassign.doctor.probe_limits import Thresholds
from dlassign.doctor.probe_numbers import Confusion, Probe


def label_findings(probe: Probe, limits: Thresholds, *, ill: bool) -> Iterator[Finding]:
    """Yield what is wrong with the labels; ill: another rule has a reason why the net does not learn."""
    yield from _unrelated(probe, limits, ill=ill)
    yield from _swapped(probe, limits)


def _z(share: float, chance: float, n: int) -> float:
    return (share - chance) / math.sqrt(max(chance * (1 - chance), 1e-9) / max(n, 1))


def _z_of_validation(counts: Confusion) -> float | None:
    """Return how many standard errors the accuracy is above that of one class for all; None without samples."""
    n = sum(map(sum, counts))
    return _z(sum(row[i] for i, row in enumerate(counts)) / n, max(map(sum, counts)) / n, n) if n else None


def _unrelated(probe: Probe, limits: Thresholds, *, ill: bool) -> Iterator[Finding]:
    if probe.n_neighbours < 200:
        return
    near = _z(probe.neighbours, probe.neighbours_chance, probe.n_neighbours)
    val = _z_of_validation(probe.val_confusion)
    if near < limits.by_chance and (val is None or val < limits.by_chance):
        seen = "" if val is None else f"; validation accuracy z = {val:.1f}"
        yield Finding(
            rule="labels_unrelated",
            certainty="likely" if val is not None and not ill else "hint",
            key="data",
            why=f"no relation of labels and samples was seen among {probe.n_neighbours} of them: similar ones agree in "
            "their labels no more often than any two do" + ("" if val is None else ", and validation is guessed"),
            statistic=f"nearest neighbour has the same label for {probe.neighbours:.1%}, z = {near:.1f}{seen}",
            null=f"{probe.neighbours_chance:.1%} by chance; z above {limits.by_chance:g} where a relation shows",
        )
    elif probe.against >= limits.noise_hint and probe.neighbours > 0.5:
        yield Finding(
            rule="label_noise",
            certainty="likely" if probe.against >= limits.noise_likely else "hint",
            key="data",
            why="many samples lie among samples of one other class, so a part of the labels is probably wrong; "
            "dlassign data check --labels names candidates",
            statistic=f"{probe.against:.1%} of the samples have 8 of 10 neighbours with one other label",
            null=f"below {limits.noise_hint:.0%}",
        )


def _swapped(probe: Probe, limits: Thresholds) -> Iterator[Finding]:
    test, val = probe.test_confusion, probe.val_confusion
    if not test or not val:
        return
    for i in range(len(test)):
        for j in range(i):
            if _taken(test, i, j, limits.swapped) and not _taken(val, i, j, 0.5 * limits.swapped):
                yield Finding(
                    rule="classes_swapped",
                    certainty="likely",
                    key="data",
                    why=f"in the test the classes number {j} and {i} are taken for each other, and in validation "
                    "they are not: their labels are swapped",
                    statistic=f"{test[i][j]} of {sum(test[i])} and {test[j][i]} of {sum(test[j])} test samples",
                    null=f"{val[i][j]} of {sum(val[i])} and {val[j][i]} of {sum(val[j])} in validation",
                )


def _taken(counts: Confusion, i: int, j: int, share: float) -> bool:
    """Return whether both classes are taken for the other one, in at least a share of the cases."""
    return all(sum(counts[a]) >= 5 and counts[a][b] > share * sum(counts[a]) for a, b in ((i, j), (j, i)))
