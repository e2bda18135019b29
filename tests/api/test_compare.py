"""`dlassign.compare` takes places, runs and lists of runs, and says what the command says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest

import dlassign as dl
from dlassign.errors import ConfigError, UserError
from helpers.commands import calling
from helpers.synthetic import make_run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    for seed in range(3):
        make_run(folder, name="a", seed=seed, steps=20, loss=lambda step, seed, lr: 1.0 + 0.004 * seed)
        make_run(folder, name="b", seed=seed, steps=20, lr=0.2, loss=lambda step, seed, lr: 0.5 + 0.01 * seed)
    return folder


def test_places_and_lists_of_runs_are_one_group(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calling("compare")([str(out / "a"), str(out / "b")], metric="loss", as_json=True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    found = dl.compare(out / "a", str(out / "b"), metric="loss")
    assert json.loads(json.dumps(found.to_dict())) == told
    [against] = told["comparisons"]
    assert (found.difference, found.p) == (against["difference"], against["p_corrected"])
    assert found.interval == (against["low"], against["high"])
    lists = dl.compare(dl.runs(out / "a"), [run for run in dl.runs(out) if run.name == "b"], metric="loss")
    assert [group["mean"] for group in lists.to_dict()["groups"]] == [group["mean"] for group in told["groups"]]
    assert (
        Path(lists.to_dict()["groups"][0]["group"])
        == dl.runs(out / "a")[0].path.parent / dl.runs(out / "a")[0].summary.hash
    )


def test_printed_it_is_the_text_of_the_command(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hows: tuple[Literal["text", "latex"], ...] = ("text", "latex")
    for how in hows:
        calling("compare")([str(out / "a"), str(out / "b")], how=how)
        assert dl.compare(out / "a", out / "b").text(how) + "\n" == capsys.readouterr().out
    assert repr(dl.compare(out / "a", out / "b")) == dl.compare(out / "a", out / "b").text()


def test_a_run_compares_itself_with_another(out: Path) -> None:
    one, other = dl.runs(out, where="seed=0", sort="name")
    found = one.compare(other)
    assert one.test is not None
    assert other.test is not None
    assert found.difference == pytest.approx(other.test.accuracy - one.test.accuracy)
    assert (found.interval, found.p) == (None, None)
    assert "takes all 3 of its seeds" in " ".join(repr(found).split())


def test_what_is_no_group_is_told(out: Path) -> None:
    with pytest.raises(UserError, match="a list holds 2 groups of runs"):
        dl.compare(dl.runs(out), out / "a")
    with pytest.raises(UserError, match="a group of runs is empty"):
        dl.compare([], out / "a")
    with pytest.raises(ConfigError, match="compare takes 2 to 26 groups"):
        dl.compare(out / "a")
    with pytest.raises(ValueError, match="format='html'; expected one of text"):
        dl.compare(out / "a", out / "b").text("html")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="metric='los'"):
        dl.compare(out / "a", out / "b", metric="los")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split='train'"):
        dl.compare(out / "a", out / "b", split="train")  # type: ignore[arg-type]
