"""Runs beside each other: equal ones, copied ones, and numbers that were taken from another log."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlassign.data import sources
from dlassign.store import manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.verify.among import judge_among, verify_among
from dlassign.verify.judgement import Judgement
from helpers.repeated import edit_log, repeatable_run

OFTEN = {"train.eval_every": {"steps": 3}, "train.log_every": {"steps": 1}, "train.checkpoint_seconds": 100}
OLD = Path(__file__).parents[1] / "old_runs"
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": OFTEN,
    "again": OFTEN,
    "another name": {**OFTEN, "name": "other"},
    "seed": {**OFTEN, "seed": 1},
    "rate": {**OFTEN, "optimizer.lr": 0.02},
    "longer": {**OFTEN, "train.steps": 15},
    "patient": {**OFTEN, "train.early_stop": {"patience": 90}},
    "batch": {**OFTEN, "train.batch_size": 10},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunPaths]]:
    """A run of each setting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_digits_table", functools.cache(sources._digits_table))
        patch.setattr(manifest, "git_state", lambda: None)
        yield {name: repeatable_run(tmp_path_factory.mktemp("run"), changes) for name, changes in SETTINGS.items()}


def among(*runs: RunPaths) -> list[Judgement]:
    return judge_among([(run.root.parts[-3], read_records(run.log)) for run in runs])


def found(judgements: list[Judgement]) -> list[tuple[str, str]]:
    return [(judgement.verdict, judgement.what) for judgement in judgements]


def records_of(run: RunPaths) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.log.read_text().splitlines()]


def copy_log(run: RunPaths, out: Path) -> RunPaths:
    copied = RunPaths(out / "tiny" / run.root.name)
    copied.root.mkdir(parents=True)
    copied.log.write_bytes(run.log.read_bytes())
    return copied


def take_losses(run: RunPaths, other: RunPaths, steps: range, *, later: int = 0) -> None:
    """Let a log have the losses of training of another one; later: so many steps later."""
    taken = {record["step"]: record["loss"] for record in records_of(other) if record["kind"] == "train"}

    def take(record: dict[str, Any]) -> None:
        if record["kind"] == "train" and record["step"] in steps:
            record["loss"] = taken[record["step"] - later]

    edit_log(run, take)


def test_honest_runs_contradict_nothing(trained: dict[str, RunPaths]) -> None:
    judged = among(*trained.values())
    assert {judgement.verdict for judgement in judged} <= {"consistent", "cannot be told"}
    same = [judgement for judgement in judged if judgement.verdict == "consistent"]
    assert all("have one config, data and seed, and ended with the same weights" in one.what for one in same)
    assert len(same) == 2  # the same run again, and under another name
    [told] = [judgement.what for judgement in judged if judgement.verdict == "cannot be told"]
    assert re.search(r"they differ in train\.early_stop\S*.* alone, which may have changed nothing", told)


def test_runs_that_differ_contradict_nothing(trained: dict[str, RunPaths]) -> None:
    different = [trained[name] for name in ("plain", "seed", "rate", "batch", "longer")]
    assert found(among(*different)) == [("consistent", "no two of 5 runs contradict each other")]
    assert among(trained["plain"]) == []


def test_equal_runs_with_other_weights_are_contradicted(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    forged = copy_log(trained["again"], tmp_path)
    edit_log(forged, lambda record: record.update(weights_sha256="0" * 64) if record["kind"] == "end" else None)
    [judged] = among(trained["plain"], forged)
    assert judged.verdict == "contradicted"
    assert re.search(rf"one config, data and seed, and other weights \({trained['plain'].log}:\d+\)", judged.what)
    assert re.fullmatch(rf"{forged.log}:\d+", judged.where)


def test_equal_runs_of_two_machines_may_have_other_weights(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    elsewhere = copy_log(trained["again"], tmp_path)
    edit_log(elsewhere, lambda record: record.update(weights_sha256="0" * 64) if record["kind"] == "end" else None)
    edit_log(elsewhere, lambda record: record.get("environment", {}).update(threads=8))
    [judged] = among(trained["plain"], elsewhere)
    assert judged.verdict == "cannot be told"
    assert judged.what.endswith("other weights; but threads was 1, is 8")


def test_runs_of_an_earlier_version_contradict_nothing() -> None:
    """A stack on a CPU had other last bits then than a run alone, and these folders have both of one config."""
    judged = verify_among([RunPaths(log.parent) for log in sorted((OLD / "out").glob("*/*-s?/log.jsonl"))])
    assert judged.verdict != "contradicted"
    told = [str(one) for one in judged.judgements if one.verdict == "cannot be told"]
    assert any("other weights; but an earlier version of dlassign wrote the log" in text for text in told)


CLAIMS = {
    "seed": ("seed", 5, "though their seeds are 5 and 0"),
    "batch": ("train.batch_size", 7, "though their batches have 7 and 20 samples"),
}


@pytest.mark.parametrize(("key", "value", "why"), CLAIMS.values(), ids=CLAIMS)
def test_a_copied_run_with_another_config_is_contradicted(
    key: str, value: int, why: str, trained: dict[str, RunPaths], tmp_path: Path
) -> None:
    copied = copy_log(trained["plain"], tmp_path)

    def claim(record: dict[str, Any]) -> None:
        if record["kind"] == "start":
            if key == "seed":
                record["seed"] = value
            inner = record["config"]
            *sections, leaf = key.split(".")
            for section in sections:
                inner = inner[section]
            inner[leaf] = value

    edit_log(copied, claim)
    weights, *losses = among(trained["plain"], copied)
    assert weights.verdict == "contradicted"
    assert re.search(rf"has the weights of .* \({trained['plain'].log}:\d+\), {why}", weights.what)
    assert [one.verdict for one in losses] == ["contradicted"]


def test_a_copied_run_with_another_rate_is_contradicted(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    copied = copy_log(trained["plain"], tmp_path)

    def claim(record: dict[str, Any]) -> None:
        if "lr" in record:
            record["lr"] *= 2
        if record["kind"] == "start":
            record["config"]["optimizer"]["lr"] *= 2

    edit_log(copied, claim)
    assert "though their learning rates at step 1 are 0.02 and 0.01" in among(trained["plain"], copied)[0].what


def test_runs_that_learn_nothing_contradict_nothing(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    """In float32 no weight moves at such a rate, so that all these runs end with their first weights."""
    rates = (1e-12, 1e-13, 1e-14)
    still = [repeatable_run(tmp_path / f"{rate}", {**OFTEN, "optimizer.lr": rate}) for rate in rates]
    still.append(repeatable_run(tmp_path / "batch", {**OFTEN, "optimizer.lr": 1e-12, "train.batch_size": 10}))
    judged = among(*still)
    assert {one.verdict for one in judged} == {"cannot be told"}


def test_losses_taken_from_another_log_are_contradicted(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    forged = copy_log(trained["seed"], tmp_path)
    take_losses(forged, trained["plain"], range(5, 10))
    [judged] = among(trained["plain"], forged)
    assert judged.verdict == "contradicted"
    there = rf"\({trained['plain'].log}:\d+ to \d+\)"
    why = "to the last digit, though their seeds are 1 and 0"
    assert re.fullmatch(rf"5 losses of steps 5 to 9 are those of \S+ {there}, {why}", judged.what)
    assert re.fullmatch(rf"{forged.log}:\d+", judged.where)


def test_losses_taken_from_other_steps_are_contradicted(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    forged = copy_log(trained["again"], tmp_path)
    take_losses(forged, trained["plain"], range(6, 12), later=2)
    [same, judged] = among(trained["plain"], forged)
    assert same.verdict == "consistent"
    assert re.search("losses of steps 6 to 11 are those of .*, where they are of steps 4 to 9", judged.what)


def test_losses_that_become_equal_again_are_contradicted(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    forged = copy_log(trained["patient"], tmp_path)
    edit_log(forged, lambda record: record.update(loss=1.5) if record.get("step") == 2 else None)
    judged = [judgement for judgement in among(trained["plain"], forged) if judgement.verdict == "contradicted"]
    assert len(judged) == 1
    assert "though they differ at step 2" in judged[0].what


def test_losses_that_stay_where_they_are_are_nobodys(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    dead = [copy_log(trained[name], tmp_path / name) for name in ("plain", "seed")]
    for run in dead:
        edit_log(run, lambda record: record.update(loss=2.302585092994046) if record.get("split") != "test" else None)
    assert [one.verdict for one in among(*dead)] == ["consistent"]


def test_a_log_that_cannot_be_read_is_left_out(trained: dict[str, RunPaths], tmp_path: Path) -> None:
    damaged = copy_log(trained["seed"], tmp_path)
    damaged.log.write_text("{}\n")
    judged = verify_among([trained["plain"], trained["rate"], damaged])
    assert (judged.run, judged.verdict) == ("among 2 runs", "consistent")


def test_where_the_start_was_measured_by_matrix_products_other_weights_contradict_nothing(
    trained: dict[str, RunPaths], tmp_path: Path
) -> None:
    pair = [copy_log(trained[name], tmp_path / name) for name in ("plain", "again")]

    def measured(record: dict[str, Any]) -> None:
        if record["kind"] == "start":
            record["config"]["data"]["preprocess"] = [{"name": "pca", "components": 9, "whiten": False}]

    for run in pair:
        edit_log(run, measured)
    edit_log(pair[1], lambda record: record.update(weights_sha256="0" * 64) if record["kind"] == "end" else None)
    [judged] = among(*pair)
    assert judged.verdict == "cannot be told"
    assert "measured by matrix products" in judged.what
