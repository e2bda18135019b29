"""The page of the reports' searches: what its rules see in made-up runs; the shipped page is what they give."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import write_searches as searches
from dlassign.config.load_sweep import load_sweep
from dlassign.sweep.check_points import check_points

SWEEPS = Path(__file__).parents[2] / "configs" / "sweeps"
Accuracy = Callable[[dict[str, Any]], float | None]


def runs_of(name: str, val: Accuracy, train: Accuracy = lambda point: 0.9) -> list[searches.Run]:
    """Return made-up runs of a sweep: of each of its points, three seeds that differ by a tenth of a percent."""
    checked = check_points(load_sweep(SWEEPS / f"{name}.yaml"))
    made = []
    for point, cfg in zip(checked.points, checked.configs, strict=True):
        for seed, noise in enumerate((-0.001, 0.0, 0.001)):
            value, fitted = val(point), train(point)
            made.append(
                searches.Run(
                    sweep=name,
                    values=json.dumps(point),
                    seed=seed,
                    status="diverged" if value is None else "finished",
                    val=None if value is None else value + noise * (1 + seed),
                    train=None if value is None else fitted,
                    batch_size=cfg.train.batch_size,
                    steps=100,
                    seconds=1.0,
                    data="made-up",
                    environment="no machine",
                )
            )
    return made


def seen(found: searches.Found) -> list[bool]:
    return [one.seen for one in found[1]]


def test_the_best_rate_is_compared_with_the_reported_one() -> None:
    rates = {"sgd": 1e-5, "adam": 1e-2}
    runs = runs_of("uva2018_lr", lambda p: 0.5 - 0.1 * (p["optimizer.lr"] != rates[p["optimizer.name"]]))
    table, said = searches.learning_rates(runs)
    assert [one.seen for one in said] == [True, True, False, False]
    assert "Adam, softmax twice: best 0.01; it less 0.0001: +10.0 points" in said[2].numbers
    assert len(table.splitlines()) == 2 + 11


def test_small_batches_fail_or_do_not() -> None:
    def val(point: dict[str, Any]) -> float:
        fails = point.get("loss.name") == "double_softmax" and point["train.batch_size"] <= 100
        return 0.3 if fails else 0.45

    runs = runs_of("uva2018_batch", val) + runs_of("uva2018_batch_steps", val)
    found = searches.batch_sizes(runs)
    assert seen(found) == [True, True, False, False, False, False]
    assert "below .4 of those up to 100: 10, 20, 50, 100" in found[1][1].numbers


def test_nesterov_and_weight_decay_that_gain_are_told() -> None:
    def val(point: dict[str, Any], gain: float) -> float:
        rule = point["optimizer"]
        helps = rule.get("nesterov") or rule.get("weight_decay")
        return 0.4 + 0.05 * bool(rule.get("momentum")) + gain * bool(helps)

    for gain, expected in ((0.0, [True, True, True]), (0.05, [True, False, False])):
        assert seen(searches.momentum(runs_of("uva2018_momentum", lambda p, gain=gain: val(p, gain)))) == expected


def test_dropout_and_penalty_close_a_gap_and_cost_accuracy() -> None:
    def val(point: dict[str, Any]) -> float:
        rate = point["model.dropout"]
        return 0.4 + 0.02 * (rate == 0.1) - 0.1 * (rate == 0.5) - 0.05 * (point["model.norm"] == "batch")

    runs = runs_of("uva2018_dropout", val, lambda p: 0.9 - p["model.dropout"])
    assert seen(searches.dropout(runs)) == [True, True, True]

    def of_penalty(point: dict[str, Any]) -> float:
        return 0.4 - sum(term["coefficient"] for term in point["loss.penalty"] if term["coefficient"] > 1e-4)

    runs = runs_of("uva2018_penalty", of_penalty, lambda p: 0.9)
    assert seen(searches.penalty(runs)) == [True, False, True, False]  # the gap widens


def test_runs_that_diverged_have_no_figure() -> None:
    runs = runs_of("uva2018_lr", lambda p: None if p["optimizer.lr"] == 1e-2 else 0.4)
    table, _ = searches.learning_rates(runs)
    assert table.splitlines()[-1] == "| 0.01 | 3 diverged | 3 diverged | 3 diverged | 3 diverged |"


def test_wider_nets_initial_weights_and_norms() -> None:
    runs = runs_of("uva2018_hidden", lambda p: 0.4 + 1e-5 * sum(p["model.hidden"]))
    assert seen(searches.hidden(runs)) == [True]
    runs = runs_of(
        "uva2018_init", lambda p: 0.4 + 0.1 * (len(p["model.hidden"]) == 4 and p["init"]["name"] == "normal")
    )
    assert seen(searches.initial(runs)) == [True, False]

    def val(point: dict[str, Any]) -> float:
        return 0.4 - 0.1 * (point["model.norm"] == "batch_manual" and point["train.batch_size"] == 8)

    assert seen(searches.norms(runs_of("uva2020_norm_batch", val))) == [False, True]


def test_a_search_that_has_not_run_is_said_to_be_missing() -> None:
    text = searches.page(runs_of("uva2018_hidden", lambda p: 0.4))
    missing = "Not measured yet: `dlassign sweep configs/sweeps/uva2018_init.yaml`"
    assert missing in text.split("## Initial weights")[1].split("##")[0]
    assert "Not measured" not in text.split("## Hidden layers")[1].split("##")[0]


def test_the_shipped_page_is_what_its_file_gives() -> None:
    runs = searches.read_csv(searches.RESULTS / "searches.csv")
    assert (searches.RESULTS / "searches.md").read_text() == searches.page(runs)
    for name in {run.sweep for run in runs}:
        checked = check_points(load_sweep(SWEEPS / f"{name}.yaml"))
        points = {json.dumps(point, sort_keys=True) for point in checked.points}
        found = [json.dumps(json.loads(run.values), sort_keys=True) for run in runs if run.sweep == name]
        assert set(found) == points
        assert all(found.count(point) == 3 for point in points)


def test_a_file_of_runs_is_read_as_it_was_written(tmp_path: Path) -> None:
    runs = runs_of("uva2018_penalty", lambda p: 0.4 if p["loss.penalty"] else None)
    searches.write_csv(runs, tmp_path / "searches.csv")
    assert searches.read_csv(tmp_path / "searches.csv") == runs


def test_a_rate_that_is_too_large_for_a_batch_is_seen() -> None:
    def falls(p: dict[str, Any]) -> float:
        return 0.2 + 1e-5 * p["train.batch_size"] - 0.1 * (p["optimizer.lr"] >= 2e-4)

    def rises(p: dict[str, Any]) -> float:
        return 0.3 - 1e-5 * p["train.batch_size"] + 0.01 * (p["optimizer.lr"] >= 2e-4)

    for val, expected in ((falls, True), (rises, False)):
        table, said = searches.rates_and_batches(runs_of("uva2018_lr_batch_steps", val))
        assert len(table.splitlines()) == 2 + 33
        assert seen((table, said)) == [expected] * 6
