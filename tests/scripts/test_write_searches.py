"""The page of the reports' searches: what its rules see in made-up runs; the shipped page is what they give."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import write_searches as searches
from dlassign.config.load_sweep import load_sweep
from dlassign.sweep.check_points import check_points

SWEEPS = Path(__file__).parents[2] / "configs" / "sweeps"
Accuracy = Callable[[dict[str, Any]], float | None]


def runs_of(name: str, val: Accuracy, train: Accuracy = lambda point: 0.9) -> list[searches.Run]:
    """Return made-up runs of a sweep: of each of its points, three seeds that hardly differ."""
    checked = check_points(load_sweep(SWEEPS / f"{name}.yaml"))
    made = []
    for point, cfg in zip(checked.points, checked.configs, strict=True):
        for seed in range(3):
            value, fitted = val(point), train(point)
            noise = random.Random(f"{point} {seed}").uniform(-5e-4, 5e-4)
            made.append(
                searches.Run(
                    sweep=name,
                    values=json.dumps(point),
                    seed=seed,
                    status="diverged" if value is None else "finished",
                    val=None if value is None else value + noise,
                    train=None if value is None else fitted,
                    batch_size=cfg.train.batch_size,
                    steps=100,
                    seconds=1.0,
                    data="made-up",
                    environment="no machine",
                )
            )
    return made


def verdicts(found: searches.Found) -> list[searches.Verdict]:
    return [one.verdict for one in found[1]]


YES, NO, UNKNOWN = VERDICTS = ("seen", "not seen", "cannot tell")


def test_a_verdict_needs_the_whole_interval_on_one_side_of_the_margin() -> None:
    margin = searches.MARGIN
    for low, high, expected in (
        (1.1 * margin, 5 * margin, YES),
        (0.9 * margin, 5 * margin, UNKNOWN),  # noise: it may matter, and it may not
        (-5 * margin, 1.1 * margin, UNKNOWN),
        (-5 * margin, 0.9 * margin, NO),
        (0.1 * margin, 0.9 * margin, NO),  # surely better, by too little to matter
    ):
        effect = searches.Effect((low + high) / 2, low, high)
        assert effect.is_gain == expected
        assert (-effect).is_loss == expected
        assert searches.reverse(effect.is_gain) == {YES: NO, NO: YES, UNKNOWN: UNKNOWN}[expected]


def test_without_an_interval_nothing_can_be_told() -> None:
    one_seed = searches.Effect.of({0: 0.31}, {0: 0.30})
    assert (one_seed.low, one_seed.high, one_seed.is_gain, one_seed.is_loss) == (None, None, UNKNOWN, UNKNOWN)
    assert str(one_seed) == "+1.00 points (no interval)"
    assert str(searches.Effect.of({}, {0: 0.3})) == "not measured"
    assert searches.Effect.of({}, {0: 0.3}).is_gain == UNKNOWN


def test_a_claim_of_two_parts_is_seen_if_both_are() -> None:
    assert [searches.both(YES, other) for other in VERDICTS] == list(VERDICTS)
    assert [searches.both(UNKNOWN, other) for other in VERDICTS] == [UNKNOWN, NO, UNKNOWN]


def test_the_best_rate_is_compared_with_the_reported_one() -> None:
    rates = {"sgd": 1e-5, "adam": 1e-2}
    runs = runs_of("uva2018_lr", lambda p: 0.5 - 0.1 * (p["optimizer.lr"] != rates[p["optimizer.name"]]))
    table, said = searches.learning_rates(runs)
    assert verdicts((table, said)) == [YES, YES, NO, NO]
    assert "less the best of the others (0.01): -10.0" in said[2].numbers
    assert len(table.splitlines()) == 2 + 11


def test_small_batches_fail_or_do_not() -> None:
    def val(point: dict[str, Any]) -> float:
        fails = point.get("loss.name") == "double_softmax" and point["train.batch_size"] <= 100
        return 0.3 if fails else 0.45

    runs = runs_of("uva2018_batch", val) + runs_of("uva2018_batch_steps", val)
    found = searches.batch_sizes(runs)
    assert verdicts(found) == [YES, YES, NO, NO, NO, NO]
    assert "the best of 100 and less" in found[1][1].numbers


def test_where_no_batch_reaches_4_it_cannot_be_told_which_ones_do() -> None:
    runs = runs_of("uva2018_batch", lambda p: 0.3 if p["train.batch_size"] > 100 else 0.2)
    assert verdicts(searches.batch_sizes(runs)) == [YES, UNKNOWN] * 2


def test_nesterov_and_weight_decay_that_gain_are_told() -> None:
    def val(point: dict[str, Any], gain: float) -> float:
        rule = point["optimizer"]
        helps = rule.get("nesterov") or rule.get("weight_decay")
        return 0.4 + 0.05 * (rule.get("momentum") == 0.85) + gain * bool(helps)

    for gain, expected in ((0.0, [YES, YES, YES]), (0.05, [YES, NO, NO])):
        assert verdicts(searches.momentum(runs_of("uva2018_momentum", lambda p, gain=gain: val(p, gain)))) == expected


def test_the_best_is_not_known_where_it_is_the_largest_that_was_tried() -> None:
    runs = runs_of("uva2018_momentum", lambda p: 0.4 + 0.1 * p["optimizer"].get("momentum", 0))
    said = searches.momentum(runs)[1][0]
    assert said.verdict == UNKNOWN
    assert said.numbers.endswith("the best is the largest that was tried")


def test_dropout_and_penalty_close_a_gap_and_cost_accuracy() -> None:
    def val(point: dict[str, Any]) -> float:
        rate = point["model.dropout"]
        return 0.4 + 0.02 * (rate == 0.1) - 0.1 * (rate == 0.5) - 0.05 * (point["model.norm"] == "batch")

    runs = runs_of("uva2018_dropout", val, lambda p: 0.9 - p["model.dropout"])
    assert verdicts(searches.dropout(runs)) == [YES, YES, YES]

    def of_penalty(point: dict[str, Any]) -> float:
        return 0.4 - sum(term["coefficient"] for term in point["loss.penalty"] if term["coefficient"] > 1e-4)

    runs = runs_of("uva2018_penalty", of_penalty, lambda p: 0.9)
    assert verdicts(searches.penalty(runs)) == [YES, NO, YES, NO]  # the gap widens


def test_a_choice_is_not_good_if_another_is_better_and_rates_are_not_best_beside_an_equal_one() -> None:
    runs = runs_of("uva2018_penalty", lambda p: 0.4 + sum(term["coefficient"] for term in p["loss.penalty"]))
    assert verdicts(searches.penalty(runs))[0] == NO
    runs = runs_of("uva2018_dropout", lambda p: 0.4 + 0.02 * (p["model.dropout"] in (0.1, 0.2)))
    assert verdicts(searches.dropout(runs))[0] == NO


def test_runs_that_diverged_have_no_figure() -> None:
    runs = runs_of("uva2018_lr", lambda p: None if p["optimizer.lr"] == 1e-2 else 0.4)
    table, _ = searches.learning_rates(runs)
    assert table.splitlines()[-1] == "| 0.01 | 3 diverged | 3 diverged | 3 diverged | 3 diverged |"


def test_wider_nets_initial_weights_and_norms() -> None:
    runs = runs_of("uva2018_hidden", lambda p: 0.4 + 1e-5 * sum(p["model.hidden"]))
    assert verdicts(searches.hidden(runs)) == [YES]
    runs = runs_of(
        "uva2018_init", lambda p: 0.4 + 0.1 * (len(p["model.hidden"]) == 4 and p["init"]["name"] == "normal")
    )
    assert verdicts(searches.initial(runs)) == [YES, NO]

    def val(point: dict[str, Any]) -> float:
        return 0.4 - 0.1 * (point["model.norm"] == "batch_manual" and point["train.batch_size"] == 8)

    assert verdicts(searches.norms(runs_of("uva2020_norm_batch", val))) == [NO, YES]


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
        return 0.3 - 1e-5 * p["train.batch_size"] + 0.02 * (p["optimizer.lr"] >= 2e-4)

    for val, expected in ((falls, YES), (rises, NO)):
        table, said = searches.rates_and_batches(runs_of("uva2018_lr_batch_steps", val))
        assert len(table.splitlines()) == 2 + 33
        assert verdicts((table, said)) == [expected] * 6


def test_sweeps_that_are_not_there_keep_their_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured is not lost because the folder of its sweep is elsewhere."""
    kept = runs_of("uva2018_hidden", lambda p: 0.4)
    searches.write_csv(kept, tmp_path / "searches.csv")
    monkeypatch.setattr(searches, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["write_searches.py", "--out", str(tmp_path / "nothing")])
    searches.main()
    assert searches.read_csv(tmp_path / "searches.csv") == kept
    assert "four layers of the final model" in (tmp_path / "searches.md").read_text()
    assert "uva2018_hidden: not there, its 24 runs of an earlier time stay\n" in capsys.readouterr().out


def test_new_runs_take_the_place_of_old_ones_and_fewer_of_them_are_refused() -> None:
    old, new = (runs_of("uva2018_hidden", lambda p, at=at: at) for at in (0.3, 0.4))
    assert searches.with_kept(new, old, ["uva2018_hidden"]) == new
    with pytest.raises(SystemExit, match="23 runs are there, the file of results has 24; nothing was written"):
        searches.with_kept(new[1:], old, ["uva2018_hidden"])
