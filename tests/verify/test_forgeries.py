"""What a forger changes in a run is found without training, and called by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dlassign.store.paths import RunPaths
from dlassign.verify.one_run import verify_run
from helpers.forging import (
    Forgery,
    forgeries,
    honest_run,
    of,
    read_lines,
    rewrite_chain,
    stopped_run,
    write_lines,
)
from helpers.runs import stop_after_steps

TINY_CNN = {"name": "vgg", "stages": [[2]], "hidden": []}
KINDS = list(forgeries())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunPaths]:
    """Honest runs: one that nobody interrupted, one that went on twice, and one of another seed."""
    out = tmp_path_factory.mktemp("honest")
    with pytest.MonkeyPatch.context() as patch:
        stop_after_steps(patch)
        resumed = stopped_run(out / "resumed", steps=[4, 8])
    return {"plain": honest_run(out), "other": honest_run(out, {"seed": 1}), "resumed": resumed}


def test_there_are_at_least_forty_kinds() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS) >= 40


@pytest.mark.parametrize("name", ["plain", "other", "resumed"])
def test_an_honest_run_is_proven(runs: dict[str, RunPaths], name: str) -> None:
    found = verify_run(runs[name])
    assert found.verdict == "proven"
    assert {one.verdict for one in found.judgements} == {"proven", "consistent"}, list(map(str, found.judgements))


def test_statistics_out_of_place_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlassign.train.plan.MEASURE_EVERY", 3)
    paths = honest_run(tmp_path)
    honest = read_lines(paths)
    assert of(honest, "statistics")["step"] == 3
    assert verify_run(paths).verdict == "proven"
    for step, name in ((4, "extra"), (12, "order")):
        lines = read_lines(paths)
        of(lines, "statistics")["step"] = step
        write_lines(paths, lines)
        rewrite_chain(paths)
        assert name in {one.name for one in verify_run(paths).judgements if one.verdict == "contradicted"}
        write_lines(paths, honest)


@pytest.mark.parametrize("values", [{"accuracy": 1.0}, {"loss": 0.001}])
def test_a_forged_result_of_views_is_found(values: dict[str, float], tmp_path: Path) -> None:
    paths = honest_run(tmp_path, {"train.test_time_augmentation": {"flip": False, "shift": 1}, "model": TINY_CNN})
    assert verify_run(paths).verdict == "proven"
    lines = read_lines(paths)
    of(lines, "tta", split="test").update(values)
    write_lines(paths, lines)
    rewrite_chain(paths)
    (found,) = [one for one in verify_run(paths).judgements if one.verdict == "contradicted"]
    assert (found.name, "on test with 3 views" in found.what) == ("result", True)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_forgery_is_found_by_its_name(kind: Forgery, runs: dict[str, RunPaths], tmp_path: Path) -> None:
    honest = runs["resumed" if kind.resumed else "plain"]
    paths = RunPaths(tmp_path / honest.root.parent.name / honest.root.name)
    shutil.copytree(honest.root, paths.root)
    kind.commit(paths, runs["other"])
    [root] = paths.root.parent.iterdir()  # a forger may give it another name
    found = verify_run(RunPaths(root))
    names = {one.name for one in found.judgements if one.verdict == "contradicted"}
    assert kind.found & names, list(map(str, found.judgements))
    assert found.verdict == "contradicted"
    assert all(one.where for one in found.judgements if one.verdict == "contradicted")
