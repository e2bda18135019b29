"""`dlassign.open` and `dlassign.runs`: the runs that are there, as the commands find them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import dlassign as dl
from dlassign.errors import ConfigError, UserError
from helpers.commands import calling
from helpers.runs import digits_run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of two configs."""
    out = tmp_path_factory.mktemp("out")
    for name, lr, seed in (("11111111-s0", 0.01, 0), ("11111111-s1", 0.01, 1), ("22222222-s0", 0.5, 0)):
        made = digits_run(out / "made", {"optimizer.lr": lr, "seed": seed})
        (out / "tiny").mkdir(exist_ok=True)
        made.rename(out / "tiny" / name)
    return out


def test_runs_are_those_of_the_command(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = dl.runs(out, sort="-optimizer.lr")
    calling("runs")(str(out), sort="-optimizer.lr", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [str(run.path) for run in found] == [row["run"] for row in told]
    assert len(found) == 3
    assert found[0].config["optimizer"]["lr"] == 0.5
    assert [run.path for run in found[1:]] == [run.path for run in list(found)[1:]]
    calling("runs")(str(out), sort="-optimizer.lr")
    assert repr(found) == capsys.readouterr().out.rstrip("\n")
    assert len(dl.runs(out / "tiny" / "11111111")) == 2
    assert repr(dl.runs(out / "none")) == "no runs"


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("optimizer.lr>0.1", {"22222222-s0"}),
        (["optimizer.lr<0.1", "seed=1"], {"11111111-s1"}),
        ({"optimizer.lr": 0.01, "seed": 0}, {"11111111-s0"}),
        ({"optimizer": "adam"}, {"11111111-s0", "11111111-s1", "22222222-s0"}),
        ({"model.hidden": (4,)}, {"11111111-s0", "11111111-s1", "22222222-s0"}),
        ("val>=101", set()),
    ],
)
def test_runs_are_chosen(where: str | list[str] | dict[str, object], names: set[str], out: Path) -> None:
    assert {run.path.name for run in dl.runs(out, where=where)} == names


def test_runs_are_a_table(out: Path) -> None:
    found = dl.runs(out)
    columns = found.columns()
    assert sorted(columns["optimizer.lr"].tolist()) == [0.01, 0.01, 0.5]
    assert columns["test_accuracy"].tolist() == [run.test and run.test.accuracy for run in found]
    assert "model.hidden" not in dict(columns)
    chosen = found.columns("model.hidden", "test")
    assert set(chosen["model.hidden"]) == {"[4]"}
    assert chosen["test"].tolist() == [100 * share for share in columns["test_accuracy"].tolist()]
    assert len(dl.runs(out, limit=1).columns()) == 1


def test_a_wrong_condition_and_a_wrong_key_are_named(out: Path) -> None:
    with pytest.raises(ConfigError, match=r"^where lr: expected KEY=VALUE"):
        dl.runs(out, where="lr")
    with pytest.raises(UserError, match=r"optimizer\.rl.*Did you mean 'optimizer\.lr'"):
        dl.runs(out, where="optimizer.rl=1")
    with pytest.raises(UserError, match="tset"):
        dl.runs(out).columns("tset")


def test_a_tilde_is_the_home_as_in_a_shell(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(out.parent))
    assert len(dl.runs(f"~/{out.name}")) == 3
    assert dl.open(f"~/{out.name}/tiny/22222222-s0").path == out / "tiny" / "22222222-s0"
