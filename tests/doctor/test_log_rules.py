"""The log stage: each sign is planted in a log and named; logs of healthy runs are quiet; old ones are read, too."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlassign.doctor.finding import ranked
from dlassign.doctor.log_rules import log_findings
from dlassign.store.records import RunRecords, read_records

K = 10
N = 300
OLD_RUNS = Path(__file__).parents[1] / "old_runs" / "out"


def start(**config: Any) -> dict[str, Any]:
    values = {"loss": {"name": "cross_entropy"}, "optimizer": {"name": "adam", "lr": 0.01}, **config}
    return {"config": values, "data": {"classes": [str(k) for k in range(K)]}}


def train(losses: Any, accuracy: float = 0.9) -> list[dict[str, Any]]:
    return [
        {"step": 50 * (i + 1), "epoch": float(i + 1), "loss": loss, "accuracy": accuracy, "n": 1000}
        for i, loss in enumerate(losses)
    ]


def evals(accuracies: Any, split: str = "val", n: int = N, losses: Any = None) -> list[dict[str, Any]]:
    losses = [0.5] * len(accuracies) if losses is None else losses
    return [
        {"step": 50 * (i + 1), "split": split, "loss": loss, "accuracy": accuracy, "n": n}
        for i, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True))
    ]


def final(confusion: Any, split: str = "test") -> dict[str, Any]:
    counts = np.asarray(confusion)
    share = float(np.trace(counts) / counts.sum())
    known = {"step": 1000, "split": split, "loss": 0.5, "accuracy": share, "n": int(counts.sum()), "final": True}
    return {**known, "confusion": counts.tolist()}


def records(**parts: Any) -> RunRecords:
    return RunRecords(**{"start": start(), "train": train(np.geomspace(2.3, 0.1, 20).tolist()), **parts})


def rules(found: RunRecords) -> list[str]:
    return [finding.rule for finding in ranked(log_findings(found))]


def diagonal(right: int = 27, wrong: int = 3) -> Any:
    counts = np.eye(K, dtype=int) * right
    for k in range(K):
        counts[k, (k + 1) % K] = wrong
    return counts


def test_a_healthy_run_is_quiet() -> None:
    accuracies = (0.9 - 0.6 * np.geomspace(1, 0.01, 20)).tolist()
    healthy = records(evals=[*evals(accuracies), final(diagonal())], end={"status": "finished", "steps": 1000})
    assert rules(healthy) == []


def test_a_run_that_diverged() -> None:
    [first, *_] = ranked(
        log_findings(records(train=train([2.3, 40.0, None]), end={"status": "diverged", "steps": 150}))
    )
    assert (first.rule, first.certainty, first.cure) == ("diverged", "certain", "--set optimizer.lr=0.001")
    assert "step 150" in first.why


def test_one_class_for_everything_and_what_it_explains() -> None:
    counts = np.zeros((K, K), int)
    counts[:, 3] = 30
    [first, *rest] = ranked(log_findings(records(train=train([2.3] * 20, 0.1), evals=[final(counts)])))
    assert (first.rule, rest) == ("one_class", [])
    assert "predicts one class, 3, for all 300 test samples" in first.why
    assert first.swallowed == ("no_learning",)


def test_the_note_of_a_run_that_goes_on_is_the_same_rule() -> None:
    note = {"step": 100, "about": "one_class", "split": "val", "text": "..."}
    assert rules(records(train=train([2.3, 2.3]), notes={"one_class": note})) == ["one_class"]


def test_no_learning_is_held_against_chance() -> None:
    counts = np.full((K, K), 3)
    assert rules(records(train=train([2.30] * 20, 0.1), evals=[final(counts)])) == ["no_learning"]
    some = counts + np.eye(K, dtype=int) * 6  # 25 % of 360: poor, but learnt
    assert rules(records(train=train([2.2] * 20, 0.24), evals=[final(some)])) == []
    assert rules(records(train=train([2.30], 0.1), evals=[final(counts)])) == []  # 50 steps are no training


def test_a_first_loss_far_above_that_of_guessing() -> None:
    assert rules(records(train=train([60.0, *np.geomspace(3, 0.1, 19)]))) == ["loss_at_start"]


def test_pixels_that_went_in_as_they_are_need_no_data_to_be_told() -> None:
    def found(steps: Any, name: str = "image_folder", first: float = 1310.0) -> RunRecords:
        data = {"name": name, "preprocess": steps}
        counts = np.zeros((K, K), int)
        counts[:, 3] = 30  # and one class for all
        return records(start=start(data=data), train=train([first, 50.0, 2.3]), evals=[final(counts)])

    [cause] = ranked(log_findings(found([])))
    assert (cause.rule, cause.certainty) == ("inputs_not_scaled", "likely")
    assert cause.cure == "--set 'data.preprocess=[{name: scale, divisor: 255}]'"
    assert {"loss_at_start", "one_class"} <= set(cause.swallowed)
    for other in (found([{"name": "scale", "divisor": 255}]), found([], "digits"), found(None, first=9.0)):
        assert "inputs_not_scaled" not in rules(other)


def test_swings_and_their_null() -> None:
    swinging = [0.5] * 10 + [0.9, 0.6] * 5
    assert "swings" in rules(records(evals=evals(swinging)))
    noise = 0.9 + math.sqrt(0.09 / N) * np.random.default_rng(0).normal(size=40)
    assert rules(records(evals=evals(noise.tolist()))) == []


def test_two_classes_that_are_swapped() -> None:
    counts = diagonal()
    counts[[2, 7]] = counts[[7, 2]]
    [first] = ranked(log_findings(records(evals=[final(counts)])))
    assert (first.rule, "2 is taken for 7" in first.why) == ("classes_swapped", True)
    merged = diagonal()
    merged[2, 2], merged[2, 7] = 5, 22  # one class is taken for another, but not the other way round
    assert rules(records(evals=[final(merged)])) == []


def test_overfitting_is_a_hint() -> None:
    losses = [*np.linspace(2, 0.4, 8), *np.linspace(0.42, 0.9, 12)]
    [first] = ranked(log_findings(records(evals=evals([0.8] * 20, losses=losses))))
    assert (first.rule, first.certainty) == ("overfitting", "hint")


def test_losses_without_a_trend_are_quiet() -> None:
    """Noise is held against the error of what is compared: of 2,000 logs hardly one seems to fall or to rise."""
    rng = np.random.default_rng(0)
    found: Counter[str] = Counter()
    for _ in range(2000):
        flat = (2.0 + 0.05 * rng.normal(size=40)).tolist()
        falling = [*np.geomspace(2.3, 0.1, 40)]
        rough = (0.5 + 0.05 * rng.normal(size=24)).tolist()
        found.update(rules(records(train=train(flat, 0.3))))
        found.update(rules(records(train=train(falling), evals=evals([0.8] * 24, losses=rough))))
    assert found["slow_learning"] <= 2
    assert found["overfitting"] <= 2


def test_a_choice_by_luck_on_few_samples() -> None:
    noise = np.random.default_rng(1).normal(size=20)
    end = {"status": "finished", "chosen": {"weights": "best", "step": 100}}
    few = records(evals=evals((0.9 + 0.04 * noise).clip(0, 1).tolist(), n=50), end=end)
    assert rules(few) == ["validation_small"]


@pytest.mark.parametrize(
    ("n_train", "split", "cure"),
    [(1000, {"val": 50}, "--set data.split.val=225"), (300, {"val": 50}, ""), (1000, {"val": None}, "")],
)
def test_more_samples_to_choose_by_are_taken_where_there_are_enough(n_train: int, split: Any, cure: str) -> None:
    begin = start(data={"split": split})
    begin["data"]["n_train"] = n_train
    end = {"status": "finished", "chosen": {"weights": "best", "step": 100}}
    [few] = log_findings(records(start=begin, evals=evals([0.9, 0.92] * 10, n=50), end=end))
    assert (few.rule, few.cure) == ("validation_small", cure)


def test_the_maximum_over_test_evaluations() -> None:
    watched = records(evals=[*evals([0.8] * 20, "test"), final(diagonal())])
    assert rules(watched) == ["test_watched"]


def test_a_loss_that_is_still_falling() -> None:
    assert rules(records(train=train(np.linspace(2.3, 2.0, 40).tolist(), 0.3))) == ["slow_learning"]


@pytest.mark.parametrize("log", sorted(OLD_RUNS.rglob("log.jsonl")), ids=lambda path: path.parent.name)
def test_logs_of_earlier_versions_are_read(log: Path) -> None:
    found = read_records(log)
    assert log_findings(found) == []
    ill = replace(found, train=[{**record, "loss": None} for record in found.train])
    assert [one.rule for one in log_findings(ill)] == ["diverged"]
    early = replace(found, train=[{**found.train[0], "loss": 60.0}, *found.train[1:]])
    assert [one.rule for one in log_findings(early)] == ["loss_at_start"]


def test_a_log_of_the_start_alone() -> None:
    assert log_findings(RunRecords(start=start())) == []
