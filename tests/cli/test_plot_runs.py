"""`dlassign plot` and `dlassign runs` on made-up and on trained runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure

from dlassign.cli.main import main
from dlassign.config.run import RunConfig
from dlassign.data.prepare import Preprocess
from dlassign.errors import ConfigError, UserError
from dlassign.store.paths import RunPaths
from dlassign.train.checkpoint import CheckpointStore, load_checkpoint, to_numpy
from dlassign.train.experiment import run_experiment
from dlassign.train.first_layer import first_layer
from helpers.commands import calling
from helpers.synthetic import make_run

plot_command = calling("plot")
runs_command = calling("runs")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    started = [(datetime.now(UTC) - timedelta(hours=hours)).isoformat() for hours in (5, 4, 3)]
    folder = tmp_path / "out"
    make_run(folder, name="a", lr=0.01, started=started[0], matrix=True)
    make_run(folder, name="a", lr=0.2, seed=1, started=started[1], status=None)
    make_run(
        folder,
        name="b",
        lr=0.1,
        started=started[2],
        splits=("test",),
        finals=("test",),
        model__hidden=[7, 5],
        matrix=True,
    )
    return folder


def rows(capsys: pytest.CaptureFixture[str], *args: Path | str, **options: Any) -> list[dict[str, Any]]:
    runs_command(*map(str, args), as_json=True, **options)
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


class TestPlot:
    def test_one_run_goes_into_its_folder(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = next(out.glob("b/*-s0"))
        plot_command([str(run)])
        written = [run / "plots" / "loss.png", run / "plots" / "accuracy.png"]
        assert capsys.readouterr().out.split() == list(map(str, written))
        assert all(path.is_file() for path in written)

    def test_several_runs_go_into_the_folder_above_them(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        plot_command([str(out)], metric="loss", formats=("svg", "pdf"))
        assert capsys.readouterr().out.split() == [str(out / "plots" / f"loss.{e}") for e in ("svg", "pdf")]

    def test_two_panels_in_one_file(self, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        plot_command([str(out / "a"), str(out / "b"), str(out)], output=str(tmp_path / "new" / "x.png"))
        assert capsys.readouterr().out.split() == [str(tmp_path / "new" / "x.png")]
        plot_command([str(out)], output=str(tmp_path / "x.png"), formats=("svg",), metric="accuracy")
        assert (tmp_path / "x.svg").is_file()

    def test_output_folder(self, out: Path, tmp_path: Path) -> None:
        plot_command([str(out)], output=str(tmp_path / "pictures"))
        assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == ["accuracy.png", "loss.png"]

    def test_a_picture_of_the_users_own_is_kept(self, out: Path, tmp_path: Path) -> None:
        run = str(next(out.glob("b/*-s0")))
        for name, output in (("pic.png", "pic.png"), ("loss.png", ".")):
            (tmp_path / name).write_bytes(b"\x89PNG of the user's own")
            with pytest.raises(click.UsageError, match=f"--output .*{name} is there already, and dlassign did not"):
                plot_command([run], output=str(tmp_path / output))
            assert (tmp_path / name).read_bytes() == b"\x89PNG of the user's own"

    @pytest.mark.draws
    def test_pictures_of_ours_are_drawn_anew(self, out: Path, tmp_path: Path) -> None:
        run = next(out.glob("b/*-s0"))
        (run / "plots").mkdir(exist_ok=True)
        (run / "plots" / "loss.png").write_bytes(b"\x89PNG of an earlier version, unsigned")
        plot_command([str(run)], metric="loss")
        for _ in range(2):
            plot_command([str(run)], metric="loss", output=str(tmp_path / "x.png"), formats=("png", "svg", "pdf"))

    @pytest.mark.parametrize("more", [{}, {"weights": True}, {"metric": "confusion"}], ids=str)
    def test_output_with_an_ending_of_no_known_format(self, out: Path, tmp_path: Path, more: dict[str, Any]) -> None:
        with pytest.raises(UserError, match=r"ends in \.jpg; end a file in \.png, \.svg, \.pdf, a folder in no ending"):
            plot_command([str(out)], output=str(tmp_path / "curves.jpg"), **more)
        assert not (tmp_path / "curves.jpg").exists()

    def test_link_and_log_file_name_a_run(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = next(out.glob("b/*-s0"))
        (out / "b" / "latest").symlink_to(run.name)
        plot_command([str(out / "b" / "latest"), str(run / "log.jsonl")], metric="loss")
        assert capsys.readouterr().out.split() == [str(run / "plots" / "loss.png")]

    def test_torn_lines_are_warned_of(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = next(out.glob("a/*-s1"))
        with (run / "log.jsonl").open("a") as log:
            log.write('{"kind":"tra')
        plot_command([str(run)], metric="loss")
        assert "not a complete record" in capsys.readouterr().err

    def test_no_such_run_names_what_is_near(self, out: Path) -> None:
        with pytest.raises(UserError, match=r"there is no run .*aa\. Did you mean .*/out/a\?.*dlassign runs"):
            plot_command([str(out / "aa")])

    def test_folder_without_runs(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="no runs under"):
            plot_command([str(tmp_path)])

    def test_log_of_another_schema(self, out: Path) -> None:
        log = next(out.glob("b/*-s0")) / "log.jsonl"
        log.write_text(log.read_text().replace('"schema":1', '"schema":2', 1))
        with pytest.raises(UserError, match="log schema 2"):
            plot_command([str(out / "b")])

    def test_damaged_logs_are_warned_of_and_the_others_drawn(
        self, out: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """One of 500 ended the command, and named no other."""
        damaged = [next(out.glob(f"a/*-s{seed}")) / "log.jsonl" for seed in (0, 1)]
        for log in damaged:
            log.write_bytes(bytes(99))
        plot_command([str(out)], metric="loss")
        said = capfd.readouterr()
        assert said.out.split() == [str(next(out.glob("b/*-s0")) / "plots" / "loss.png")]
        assert [line.split(": ")[:2] for line in said.err.splitlines()] == [["warning", "left out"]] * 2
        assert all(str(log) in said.err for log in damaged)

    def test_confusion_of_each_run(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        runs = [next(out.glob("a/*-s0")), next(out.glob("b/*-s0"))]
        plot_command([str(run) for run in runs], metric="confusion")
        expected = [str(out / "plots" / f"confusion-{run.name}.png") for run in runs]
        assert capsys.readouterr().out.split() == expected
        plot_command([str(runs[0])], metric="confusion", splits=("val", "test"))
        assert [Path(p).name for p in capsys.readouterr().out.split()] == [
            "confusion-val.png",
            "confusion-test.png",
        ]

    def test_confusion_of_an_unfinished_run(self, out: Path) -> None:
        with pytest.raises(UserError, match="has not come to its end"):
            plot_command([str(next(out.glob("a/*-s1")))], metric="confusion")
        with pytest.raises(UserError, match="matrix of val; there are: test"):
            plot_command([str(out / "b")], metric="confusion", splits=("val",))


def train(root: Path, preprocess: list[Any] | None = None, **changes: Any) -> RunPaths:
    config = {
        "name": "tiny",
        "data": {"name": "digits", "split": {"train": 200, "val": 50, "test": 60}, "preprocess": preprocess or []},
        "model": {"name": "mlp", "hidden": [12], "norm": "batch"},
        "optimizer": {"name": "adam", "lr": 0.02},
        # The rate explodes after 4 of 8 steps, so the best weights are not the last.
        "schedule": {"name": "multistep", "milestones": [{"steps": 4}], "gamma": 1000.0},
        "train": {
            "steps": 8,
            "batch_size": 40,
            "eval_every": {"steps": 4},
            "metric": "loss",
            "keep_checkpoints": "all",
        },
        "device": "cpu",
    }
    run_experiment(RunConfig.model_validate(config | changes), RunPaths(root))
    return RunPaths(root)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return train(tmp_path_factory.mktemp("trained") / "run-s0")


@pytest.fixture
def copied(trained: RunPaths, tmp_path: Path) -> RunPaths:
    return RunPaths(shutil.copytree(trained.root, tmp_path / "copy"))


def with_weights(paths: RunPaths, **weights: torch.Tensor) -> RunPaths:
    """Put other weights into best.pt; __ stands for a dot."""
    state = load_checkpoint(paths.best)
    named = {name.replace("__", "."): tensor for name, tensor in weights.items()}
    CheckpointStore(paths).save_best(state | {"weights": named}, step=8)
    return paths


class TestFirstLayer:
    def test_best_and_last(self, trained: RunPaths) -> None:
        best, last = first_layer(trained), first_layer(trained, weights="last")
        assert (best.name, best.sample_shape, best.components) == ("linear1", (1, 8, 8), None)
        assert [(layer.step, layer.chosen) for layer in (best, last)] == [(4, "best"), (8, "last")]
        wanted = load_checkpoint(trained.last)["learner"]["model"]["linear1.weight"]
        assert wanted.shape == (12, 64)
        np.testing.assert_array_equal(last.array, wanted.numpy())
        np.testing.assert_array_equal(best.array, load_checkpoint(trained.best)["weights"]["linear1.weight"].numpy())
        assert (best.array != last.array).any()

    @pytest.mark.parametrize("whiten", [False, True])
    def test_pca_is_undone(self, tmp_path: Path, whiten: bool) -> None:
        """The mapped weights answer to samples before the PCA as the layer does to samples after it."""
        before, after = (
            [{"name": "scale", "divisor": 16}, {"name": "mean_image"}],
            [
                {"name": "pca", "components": 6, "whiten": whiten},
                {"name": "normalize"},
                {"name": "scale", "divisor": 3},
            ],
        )
        paths = train(tmp_path / "run", [*before, *after])
        layer = first_layer(paths)
        assert (layer.array.shape, layer.sample_shape, layer.components) == ((12, 64), (1, 8, 8), 6)
        state = load_checkpoint(paths.best)
        whole = Preprocess.from_state(to_numpy(state["preprocess"]))
        x = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8), dtype=np.uint8)
        z = whole.apply(x, "float64") @ state["weights"]["linear1.weight"].numpy().astype(float).T
        mapped = Preprocess(whole.steps[:2]).apply(x, "float64").reshape(5, -1) @ layer.array.T
        np.testing.assert_allclose(np.diff(mapped, axis=0), np.diff(z, axis=0), atol=1e-10)

    def test_flattened_images_have_their_shape_back(self, tmp_path: Path) -> None:
        layer = first_layer(train(tmp_path / "run", [{"name": "flatten"}]))
        assert (layer.array.shape, layer.sample_shape) == ((12, 64), (1, 8, 8))

    def test_tables_have_no_images_even_when_they_are_gone(self, tmp_path: Path) -> None:
        rows = [f"{i % 7},{i % 5},{i % 3},{i % 4},{'ab'[i % 2]}" for i in range(60)]
        table = tmp_path / "a.csv"
        table.write_text("\n".join(["w,x,y,z,label", *rows]) + "\n")
        data = {"name": "csv_table", "path": str(table), "preprocess": [{"name": "pca", "components": 2}]}
        paths = train(tmp_path / "run", data=data, train={"steps": 2, "batch_size": 10})
        there = first_layer(paths)
        table.unlink()
        gone = first_layer(paths)
        assert (there.array.shape, there.sample_shape, there.components) == ((12, 4), (4,), 2)
        assert (gone.array.shape, gone.sample_shape) == ((12, 4), (4,))

    def test_without_validation_the_best_are_the_last(self, tmp_path: Path) -> None:
        paths = train(tmp_path / "run", data={"name": "toy"}, train={"steps": 2, "batch_size": 5})
        layer = first_layer(paths)
        assert (layer.chosen, layer.step, layer.sample_shape) == ("last", 2, (4,))

    def test_the_first_linear_or_convolution_layer_counts(self, copied: RunPaths) -> None:
        filters = torch.arange(2.0 * 3 * 5 * 5).reshape(2, 3, 5, 5)
        with_weights(copied, norm__weight=torch.ones(3), conv__weight=filters, head__weight=torch.ones(10, 4))
        layer = first_layer(copied)
        assert layer.name == "conv"
        np.testing.assert_array_equal(layer.array, filters.numpy())

    def test_nothing_to_draw(self, copied: RunPaths) -> None:
        with pytest.raises(UserError, match="no linear or convolution layer"):
            first_layer(with_weights(copied, norm__weight=torch.ones(3), a__bias=torch.ones(2, 2)))
        with pytest.raises(UserError, match="the best weights of linear1 are not finite; training diverged"):
            first_layer(with_weights(copied, linear1__weight=torch.tensor([[1.0, torch.nan]])))
        shutil.rmtree(copied.checkpoints)
        with pytest.raises(UserError, match=r"has no checkpoint yet: .*; train it first"):
            first_layer(copied)


class TestWeights:
    @pytest.fixture
    def titles(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Titles of the pictures that are written, instead of the pictures."""
        found: list[str] = []

        def note(figure: Figure, path: Path, **more: Any) -> None:
            found.append(figure.axes[0].get_title())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

        monkeypatch.setattr("dlassign.plots.style.save_figure", note)
        return found

    def test_picture_of_a_run(self, copied: RunPaths) -> None:
        done = CliRunner().invoke(main, ["plot", str(copied.root), "--weights"])
        assert done.stdout.split() == [str(copied.plots / "weights.png")]
        assert done.exit_code == 0
        assert (copied.plots / "weights.png").read_bytes().startswith(b"\x89PNG")

    def test_titles(self, copied: RunPaths, titles: list[str]) -> None:
        shown = "\nfirst-layer weights linear1 (12 units, each scaled on its own)"
        for arguments in (["--weights"], ["--weights", "--last"], ["--weights", "--title", "mine"]):
            assert CliRunner().invoke(main, ["plot", str(copied.root), *arguments]).exit_code == 0
        heads = "tiny (digits, seed 0), best weights (step 4)", "tiny (digits, seed 0), last weights (step 8)", "mine"
        assert titles == [head + shown for head in heads]

    def test_one_picture_a_run_and_format(
        self, trained: RunPaths, copied: RunPaths, tmp_path: Path, capsys: pytest.CaptureFixture[str], titles: list[str]
    ) -> None:
        runs = [str(trained.root), str(copied.root)]
        plot_command(runs, weights=True, formats=("svg", "pdf"), output=str(tmp_path / "new"))
        written = [tmp_path / "new" / f"weights-{n}.{e}" for n in ("run-s0", "copy") for e in ("svg", "pdf")]
        assert capsys.readouterr().out.split() == list(map(str, written))
        assert all(path.is_file() for path in written)
        plot_command(runs[:1], weights=True, output=str(tmp_path / "x.png"))
        assert (tmp_path / "x.png").is_file()
        assert len(titles) == 5

    def test_options_of_curves_are_refused(self, trained: RunPaths) -> None:
        with pytest.raises(UserError, match=r"not curves; leave out --metric, --group, --log-x$"):
            plot_command([str(trained.root)], weights=True, metric="confusion", group="seed", log_x=True)
        with pytest.raises(UserError, match=r"leave out --split, --smooth, --x, --log-y$"):
            plot_command(
                [str(trained.root)], weights=True, last=True, splits=("val",), smooth=0.5, x="epoch", log_y=True
            )

    def test_options_stand_before_or_after_the_run(self, copied: RunPaths) -> None:
        done = CliRunner().invoke(main, ["plot", "--weights", "--last", str(copied.root)])
        assert done.exit_code == 0
        with pytest.raises(UserError, match="add --weights, or leave out --last"):
            plot_command([str(copied.root)], last=True)

    def test_a_run_without_checkpoint(self, out: Path) -> None:
        run = next(out.glob("b/*-s0"))
        with pytest.raises(UserError, match=rf"{run.name} has no checkpoint yet: .*; train it first"):
            plot_command([str(run)], weights=True)

    def test_curves_are_drawn_without_torch(self, out: Path) -> None:
        program = """
import sys
from dlassign.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print({"matplotlib", "torch"} & set(sys.modules))
"""
        line = [sys.executable, "-c", program, "plot", str(out / "b"), "--metric", "loss"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "{'matplotlib'}"


class TestRuns:
    def test_table_is_greppable(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        runs_command(str(out))
        lines = capsys.readouterr().out.splitlines()
        keys = {"optimizer.lr", "train.evaluate", "model.hidden"}  # in which the configs differ
        heads = lines[0].split()
        assert (heads[:4], heads[-5:]) == (["run", "status", "data", "steps"], ["val", "%", "test", "%", "age"])
        assert set(heads[4:-5]) == keys
        assert [line.split()[0] for line in lines[1:4]] == [str(next(out.glob(g))) for g in ("a/*-s0", "a/*-s1", "b/*")]
        assert "\x1b" not in "".join(lines)
        assert [line.split()[1] for line in lines[1:4]] == ["finished", "interrupted", "finished"]
        assert lines[1].endswith("5 h")
        figure, note = lines[3].rpartition("  ")[0], lines[4]
        assert figure.endswith("*")
        assert note.startswith(f"* {lines[3].split()[0]}: test max of 10 test evaluations: ")

    def test_the_keys_of_many_experiments_are_those_that_vary_within_one(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number, name in enumerate("abcdef"):
            for lr in (0.1, 0.2):
                make_run(tmp_path, name=name, steps=20 + number, lr=lr, hidden=(number + 1,))
        runs_command(str(tmp_path))
        heads = capsys.readouterr().out.splitlines()[0]
        assert "optimizer.lr" in heads

    def test_an_ordinary_table_fits_into_100_columns(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for status in ("finished", "interrupted"):
            make_run(Path("out"), name="quickstart", seed=len(status), status=status)
        runs_command("out")
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 100
        assert "50.95 [38, 64]  50.45 [37, 64]" in lines[2]

    def test_json_has_everything(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
            (["train.evaluate=null"], ["a0", "a1"]),
            (["val>0"], ["a0", "a1"]),
            (["val_accuracy<=1"], ["a0", "a1"]),
            (["age<15000"], ["a1", "b0"]),
            (["status>5"], []),
            (["started>2020"], []),
            (["name>a"], ["b0"]),
        ],
    )
    def test_where(self, out: Path, capsys: pytest.CaptureFixture[str], where: list[str], names: list[str]) -> None:
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
    def test_sort(self, out: Path, capsys: pytest.CaptureFixture[str], sort: list[str], lrs: list[float]) -> None:
        assert [run["config"]["optimizer"]["lr"] for run in rows(capsys, out, sort=sort)] == lrs

    def test_columns_and_limit(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = rows(capsys, out, columns="name,model.hidden,optimizer.lr", limit=1, sort="-optimizer.lr")
        assert found == [{"name": "a", "model.hidden": [100], "optimizer.lr": 0.2}]
        runs_command(str(out), columns="seed, model.hidden", sort="-model.hidden", limit=2)
        assert capsys.readouterr().out.splitlines() == ["seed  model.hidden", "   0  [7, 5]", "   0  [100]"]

    @pytest.mark.parametrize(
        "options", [{"where": ["optimizer.lt=1"]}, {"sort": "-optimizer.lt"}, {"columns": "optimizer.lt"}]
    )
    def test_unknown_key(self, out: Path, options: dict[str, Any]) -> None:
        with pytest.raises(UserError, match=r"Did you mean 'optimizer\.lr'"):
            runs_command(str(out), **options)

    @pytest.mark.parametrize("text", ["optimizer.lr", "=3", "seed=[1"])
    def test_bad_condition(self, out: Path, text: str) -> None:
        with pytest.raises(ConfigError):
            runs_command(str(out), where=[text])

    @pytest.mark.parametrize("as_json", [False, True])
    def test_no_runs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
        runs_command(str(tmp_path / "out"), as_json=as_json, where=["optimizer.lr=1"])
        said = capsys.readouterr()
        assert said.out == ("[]\n" if as_json else "")
        assert "no runs under" in said.err

    def test_nothing_meets_the_conditions(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert rows(capsys, out, where=["seed=9"]) == []
        runs_command(str(out), where=["seed=9"])
        assert "none of the 3 runs" in capsys.readouterr().err

    def test_unreadable_run_is_listed_with_its_reason(self, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        next(out.glob("b/*-s0/log.jsonl")).write_text("")
        runs_command(str(out))
        said = capsys.readouterr()
        assert "unreadable" in said.out
        assert "holds no complete record" in said.err
