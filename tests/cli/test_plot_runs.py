from __future__ import annotations

import json
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dlassign.cli.commands.plot import plot_command
from dlassign.cli.commands.runs import runs_command
from dlassign.errors import ConfigError, UserError

make_run = runpy.run_path(str(Path(__file__).parents[1] / "plots" / "synthetic.py"))["make_run"]


@pytest.fixture
def out(tmp_path):
    started = [(datetime.now(UTC) - timedelta(hours=hours)).isoformat() for hours in (5, 4, 3)]
    folder = tmp_path / "out"
    make_run(folder, name="a", lr=0.01, started=started[0])
    make_run(folder, name="a", lr=0.2, seed=1, started=started[1], status=None)
    make_run(folder, name="b", lr=0.1, started=started[2], splits=("test",), finals=("test",), model__hidden=[7, 5])
    return folder


def rows(capsys, *args, **options) -> list:
    runs_command(*map(str, args), as_json=True, **options)
    return json.loads(capsys.readouterr().out)


class TestPlot:
    def test_one_run_goes_into_its_folder(self, out, capsys):
        run = next(out.glob("b/*-s0"))
        plot_command([str(run)])
        written = [run / "plots" / "loss.png", run / "plots" / "accuracy.png"]
        assert capsys.readouterr().out.split() == list(map(str, written))
        assert all(path.is_file() for path in written)

    def test_several_runs_go_into_the_folder_above_them(self, out, capsys):
        plot_command([str(out)], metric="loss", formats=("svg", "pdf"))
        assert capsys.readouterr().out.split() == [str(out / "plots" / f"loss.{e}") for e in ("svg", "pdf")]

    def test_two_panels_in_one_file(self, out, tmp_path, capsys):
        plot_command([str(out / "a"), str(out / "b"), str(out)], output=str(tmp_path / "new" / "x.png"))
        assert capsys.readouterr().out.split() == [str(tmp_path / "new" / "x.png")]
        plot_command([str(out)], output=str(tmp_path / "x.png"), formats=("svg",), metric="accuracy")
        assert (tmp_path / "x.svg").is_file()

    def test_output_folder(self, out, tmp_path):
        plot_command([str(out)], output=str(tmp_path / "pictures"))
        assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["accuracy.png", "loss.png"]

    def test_link_and_log_file_name_a_run(self, out, capsys):
        run = next(out.glob("b/*-s0"))
        (out / "b" / "latest").symlink_to(run.name)
        plot_command([str(out / "b" / "latest"), str(run / "log.jsonl")], metric="loss")
        assert capsys.readouterr().out.split() == [str(run / "plots" / "loss.png")]

    def test_torn_lines_are_warned_of(self, out, capsys):
        run = next(out.glob("a/*-s1"))
        with (run / "log.jsonl").open("a") as log:
            log.write('{"kind":"tra')
        plot_command([str(run)], metric="loss")
        assert "not a complete record" in capsys.readouterr().err

    def test_no_such_run_names_what_is_near(self, out):
        with pytest.raises(UserError, match=r"there is no run folder .*aa\. Did you mean .*/out/a\?.*dlassign runs"):
            plot_command([str(out / "aa")])

    def test_folder_without_runs(self, tmp_path):
        with pytest.raises(UserError, match="no runs under"):
            plot_command([str(tmp_path)])

    def test_log_of_another_schema(self, out):
        log = next(out.glob("b/*-s0")) / "log.jsonl"
        log.write_text(log.read_text().replace('"schema":1', '"schema":2', 1))
        with pytest.raises(UserError, match="log schema 2"):
            plot_command([str(out)])

    def test_confusion_of_each_run(self, out, capsys):
        runs = [next(out.glob("a/*-s0")), next(out.glob("b/*-s0"))]
        plot_command([str(run) for run in runs], metric="confusion")
        expected = [str(out / "plots" / f"confusion-{run.name}.png") for run in runs]
        assert capsys.readouterr().out.split() == expected
        plot_command([str(runs[0])], metric="confusion", splits=("val", "test"))
        assert [Path(p).name for p in capsys.readouterr().out.split()] == [
            "confusion-val.png",
            "confusion-test.png",
        ]

    def test_confusion_of_an_unfinished_run(self, out):
        with pytest.raises(UserError, match="has not come to its end"):
            plot_command([str(next(out.glob("a/*-s1")))], metric="confusion")
        with pytest.raises(UserError, match="matrix of val; there are: test"):
            plot_command([str(out / "b")], metric="confusion", splits=("val",))


class TestRuns:
    def test_table_is_greppable(self, out, capsys):
        runs_command(str(out))
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == [
            "run",
            "status",
            "data",
            "params",
            "steps",
            "val",
            "%",
            "test",
            "%",
            "seconds",
            "age",
        ]
        assert [line.split()[0] for line in lines[1:]] == [str(next(out.glob(g))) for g in ("a/*-s0", "a/*-s1", "b/*")]
        assert "\x1b" not in "".join(lines)
        assert [line.split()[1] for line in lines[1:]] == ["finished", "interrupted", "finished"]
        assert lines[1].endswith("5 h")
        assert "(max of 10 test evaluations: " in lines[3]

    def test_json_has_everything(self, out, capsys):
        found = rows(capsys, out)
        assert [run["name"] for run in found] == ["a", "a", "b"]
        assert found[2]["config"]["model"]["hidden"] == [7, 5]
        assert found[2]["mark"] == "max of 10 test evaluations"

    @pytest.mark.parametrize(
        ("where", "names"),
        [
            (["optimizer.lr=0.2"], ["a1"]),
            (["optimizer.lr=2e-1"], ["a1"]),
            (["optimizer.lr>=0.1", "status=finished"], ["b0"]),
            (["optimizer.lr < 0.1"], ["a0"]),
            (["model.hidden=[7, 5]"], ["b0"]),
            (["optimizer=adam", "seed!=0"], ["a1"]),
            (["name=b"], ["b0"]),
            (["train.evaluate=null"], ["a0", "a1", "b0"]),
            (["val>0"], ["a0", "a1"]),
            (["val_accuracy<=1"], ["a0", "a1"]),
            (["age<15000"], ["a1", "b0"]),
            (["status>5"], []),
            (["started>2020"], []),
            (["name>a"], ["b0"]),
        ],
    )
    def test_where(self, out, capsys, where, names):
        assert [f"{run['name']}{run['seed']}" for run in rows(capsys, out, where=where)] == names

    @pytest.mark.parametrize(
        ("sort", "lrs"),
        [
            ("optimizer.lr", [0.01, 0.1, 0.2]),
            ("-optimizer.lr", [0.2, 0.1, 0.01]),
            ("age", [0.1, 0.2, 0.01]),
            ("-val", [0.2, 0.01, 0.1]),  # b has no validation: last, whichever way
        ],
    )
    def test_sort(self, out, capsys, sort, lrs):
        assert [run["config"]["optimizer"]["lr"] for run in rows(capsys, out, sort=sort)] == lrs

    def test_columns_and_limit(self, out, capsys):
        found = rows(capsys, out, columns="name,model.hidden,optimizer.lr", limit=1, sort="-optimizer.lr")
        assert found == [{"name": "a", "model.hidden": [100], "optimizer.lr": 0.2}]
        runs_command(str(out), columns="seed, model.hidden", sort="-model.hidden", limit=2)
        assert capsys.readouterr().out.splitlines() == ["seed  model.hidden", "   0  [7, 5]", "   0  [100]"]

    @pytest.mark.parametrize(
        "options", [{"where": ["optimizer.lt=1"]}, {"sort": "-optimizer.lt"}, {"columns": "optimizer.lt"}]
    )
    def test_unknown_key(self, out, options):
        with pytest.raises(UserError, match=r"Did you mean 'optimizer\.lr'"):
            runs_command(str(out), **options)

    @pytest.mark.parametrize("text", ["optimizer.lr", "=3", "seed=[1"])
    def test_bad_condition(self, out, text):
        with pytest.raises(ConfigError):
            runs_command(str(out), where=[text])

    @pytest.mark.parametrize("as_json", [False, True])
    def test_no_runs(self, tmp_path, capsys, as_json):
        runs_command(str(tmp_path / "out"), as_json=as_json, where=["optimizer.lr=1"])
        said = capsys.readouterr()
        assert said.out == ("[]\n" if as_json else "")
        assert "no runs under" in said.err

    def test_nothing_meets_the_conditions(self, out, capsys):
        assert rows(capsys, out, where=["seed=9"]) == []
        runs_command(str(out), where=["seed=9"])
        assert "none of the 3 runs" in capsys.readouterr().err

    def test_unreadable_run_is_listed_with_its_reason(self, out, capsys):
        next(out.glob("b/*-s0/log.jsonl")).write_text("")
        runs_command(str(out))
        said = capsys.readouterr()
        assert "unreadable" in said.out
        assert "holds no complete record" in said.err
