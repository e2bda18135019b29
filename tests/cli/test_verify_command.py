"""`dlassign verify`: what it prints of one run and of many, and how it exits."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

import dlassign
from dlassign.cli.main import main
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.sweep.trial import Trial
from dlassign.tables.plan import PlannedRow, problem_of, records_of
from dlassign.train.experiment import run_experiment
from helpers.forging import (
    CONFIG,
    end,
    final,
    forgeries,
    honest_run,
    many_runs,
    read_lines,
    rewrite_chain,
    set_manifest,
    write_lines,
)
from helpers.runs import paths_of


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    return honest_run(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def run(honest: RunPaths, tmp_path: Path) -> RunPaths:
    """A copy, to be damaged."""
    return copied(honest, tmp_path / "out")


def copied(run: RunPaths, out: Path, name: str = "honest") -> RunPaths:
    paths = RunPaths(out / name / run.root.name)
    shutil.copytree(run.root, paths.root)
    return paths


def verify(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, ["verify", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def forge(run: RunPaths) -> None:
    lines = read_lines(run)
    final(lines)["accuracy"] = 0.9944
    write_lines(run, lines)
    rewrite_chain(run)


def test_an_honest_run_is_proven(run: RunPaths) -> None:
    lines = verify(run.root).output.splitlines()
    assert lines[0] == f"{run.root}: proven (its result; --steps and --retrain prove how the weights were trained)"
    assert any("on test, as the log says, computed again from best.pt (20 samples)" in line for line in lines)


def test_a_forged_number_is_shown_with_its_line_and_exits_with_1(run: RunPaths) -> None:
    forge(run)
    lines = verify(run.root, code=1).output.splitlines()
    assert lines[0] == f"{run.root}: contradicted"
    place = f"{run.log}:{1 + read_lines(run).index(final(read_lines(run)))}"
    assert lines[1].startswith(f"  contradicted    {place}: the accuracy is 99.44 %, by its confusion counts ")


def test_json_has_all_judgements(run: RunPaths) -> None:
    forge(run)
    [found] = json.loads(verify(run.root, "--json", code=1).output)
    assert (found["run"], found["verdict"]) == (str(run.root), "contradicted")
    wrong = [one for one in found["judgements"] if one["verdict"] == "contradicted"]
    assert {one["name"] for one in wrong} >= {"confusion", "result"}
    assert all(set(one) == {"name", "verdict", "what", "where"} for one in found["judgements"])


def test_of_many_runs_each_has_a_line_and_the_damaged_ones_do_not_end_it(honest: RunPaths, tmp_path: Path) -> None:
    out = tmp_path / "out"
    runs = [copied(honest, out, f"run{number}") for number in range(6)]
    forge(runs[1])
    runs[2].log.write_text("no record")
    set_manifest(runs[2], status="running")
    runs[3].log.write_bytes(runs[3].log.read_bytes().replace(b'"schema":1', b'"schema":99'))
    shutil.rmtree(runs[4].checkpoints)
    output = verify(out, code=1).output
    told = {Path(line.split(": ")[0]).parent.name: line for line in output.splitlines() if line.startswith(str(out))}
    assert len(told) == 6
    assert re.search(r": contradicted: .*log.jsonl:\d+: the accuracy is 99.44 %, .* \(and \d more\)$", told["run1"])
    assert "cannot be told: " in told["run2"]
    assert "is of a run that had some" in told["run2"]
    assert "log schema 99" in told["run3"]
    assert told["run4"].endswith(": consistent")
    assert output.splitlines()[-1] == "6 runs: 2 proven, 2 cannot be told, 1 contradicted, 1 consistent"


@pytest.mark.parametrize(("number", "kinds"), [(60, 40), pytest.param(500, 20, marks=pytest.mark.slow)])
def test_each_damaged_run_of_many_has_its_line(number: int, kinds: int, honest: RunPaths, tmp_path: Path) -> None:
    every = [kind for kind in forgeries() if not kind.resumed and "other" not in kind.name]
    damages = random.Random(0).sample(every, kinds)
    damaged = many_runs(tmp_path, honest, number=number, damages=damages)
    done = verify(tmp_path, code=1)
    told = [line for line in done.output.splitlines() if ": contradicted: " in line]
    assert [Path(line.partition(": ")[0]).parent.name for line in told] == damaged
    assert f"{number - kinds} proven" in done.output.splitlines()[-1]


def test_stretches_are_trained_again_and_the_choice_is_told(run: RunPaths) -> None:
    done = verify(run.root, "--steps", 2)
    assert "steps 1 to " in done.stdout
    told = re.fullmatch(r"the same stretches again: --steps 2 (--choice \d+)\n", done.stderr)
    assert told is not None
    assert verify(run.root, "--steps", 2, *told[1].split()).output == done.stdout


def test_a_run_is_trained_again(run: RunPaths, tmp_path: Path) -> None:
    other = copied(run, tmp_path, "copied")
    output = verify(run.root, other.root, "--retrain").stdout
    assert output.count("trained again to step") == 2
    assert output.splitlines()[-2:] == ["among 2 runs: consistent", "2 runs: 2 proven"]


def test_copied_losses_are_shown_among_the_runs(run: RunPaths, tmp_path: Path) -> None:
    other = copied(run, tmp_path, "copied")
    lines = read_lines(other)
    lines[0]["seed"] = lines[0]["config"]["seed"] = 7
    write_lines(other, lines)
    output = verify(run.root, other.root, code=1).stdout
    assert f"{other.root} has the weights of {run.root}" in output
    assert "among 2 runs: contradicted" in output
    [*_, among] = json.loads(verify(run.root, other.root, "--json", code=1).stdout)
    assert (among["run"], among["verdict"]) == ("among 2 runs", "contradicted")


def test_without_its_data_the_result_cannot_be_told(run: RunPaths) -> None:
    lines = read_lines(run)
    for record in (lines[0],):
        record["config"]["data"]["name"] = "mnist"
    write_lines(run, lines)
    output = verify(run.root, code=1).output
    assert "cannot be told" in output


@pytest.mark.parametrize("text", ["optimizer.lr=3", "train.precison=fp32", "optimizer", "=3"])
def test_a_key_that_changes_the_result_is_a_wrong_command_line(text: str, run: RunPaths) -> None:
    done = verify(run.root, "--set", text, code=2)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert "--set takes a key that changes no result, such as data.root=..." in line
    assert line.startswith(f"{text.partition('=')[0]}: ") or text == "=3"


@pytest.mark.parametrize("text", ["train.test_time_augmentation.flip=true", "train.precision=fp32"])
def test_a_key_of_how_a_result_is_computed_is_taken(text: str, run: RunPaths) -> None:
    assert verify(run.root, "--set", text).stderr == ""


def test_a_key_that_the_config_cannot_take_is_a_wrong_command_line(run: RunPaths) -> None:
    for places in ([run.root], [run.root, copied(run, run.root.parent / "more").root]):
        done = verify(*places, "--set", "data.root=elsewhere", code=2)
        assert done.stdout == ""
        assert done.stderr.startswith("--set:1:6: data.root: unknown key. It is a key of mnist, cifar10, image_folder")


def test_data_that_is_not_where_the_user_says_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("a,label\n" + "".join(f"{row / 7},{row % 2}\n" for row in range(40)))
    config = {
        "name": "rows",
        "data": {"name": "csv_table", "path": "rows.csv", "split": {"val": 0.2, "test": 0.2}},
        "model": {"name": "mlp", "hidden": [2]},
        "optimizer": {"name": "sgd", "lr": 0.01},
        "train": {"steps": 2, "batch_size": 4},
    }
    run = dlassign.train(config)
    Path("other.csv").write_text(Path("rows.csv").read_text() + "5,1\n")
    for place in ("nowhere.csv", "other.csv"):
        done = verify(run.path, "--set", f"data.path={place}", code=1)
        assert done.stdout == ""
        [line] = done.stderr.splitlines()
        assert line.startswith(f"--set data.path={place}: the data of the run cannot be read there: ")
    Path("rows.csv").rename("moved.csv")
    verify(run.path)  # nobody has said where it is
    assert "proven" in verify(run.path, "--set", "data.path=moved.csv").stdout


def test_a_seed_of_the_choice_is_nothing_without_steps(run: RunPaths) -> None:
    assert (
        "--choice is the seed by which --steps chooses; give --steps" in verify(run.root, "--choice", 3, code=2).stderr
    )


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "dangling"])
def test_a_run_without_a_log_is_told_by_every_command(kind: str, run: RunPaths, tmp_path: Path) -> None:
    run.log.unlink()
    if kind == "folder":
        run.log.mkdir()
    elif kind == "pipe":
        os.mkfifo(run.log)
    elif kind == "dangling":
        run.log.symlink_to("nowhere")
    out = run.root.parent
    told = verify(run.root, code=1).stdout.splitlines()
    assert told[0] == f"{run.root}: contradicted"
    assert "log" in told[1]
    for command in (["runs", out], ["report", out, "-o", tmp_path / "page.html"]):
        done = CliRunner().invoke(main, list(map(str, command)))
        assert f"warning: {run.root}: cannot read the log {run.log}: " in done.stderr, done.output
    cleaned = CliRunner().invoke(main, ["clean", str(out)])
    assert f"note: {run.root} is left alone: its log cannot be read" in cleaned.stderr


def test_a_copy_under_the_name_of_another_seed_is_no_result(run: RunPaths) -> None:
    other = run.root.with_name(run.root.name.rpartition("-")[0] + "-s9")
    shutil.copytree(run.root, other)
    seed = dlassign.open(run.root).seed
    listed = dlassign.runs(run.root.parent)
    assert [one.status for one in listed] == ["finished", "contradicted"]
    what = f"the folder is one of seed 9, the log has seed {seed}"
    assert what in str(listed[1].summary.reason)
    assert what in verify(other, code=1).stdout


def test_who_uses_a_run_with_an_edited_log_is_warned(run: RunPaths) -> None:
    lines = run.log.read_text().splitlines(keepends=True)
    number = next(place for place, line in enumerate(lines, 1) if '"kind":"train"' in line)
    lines[number - 1] = lines[number - 1].replace('"loss":', '"loss":1')
    run.log.write_text("".join(lines))
    what = f"{run.log}:{number + 1}: the chain is broken: line {number} was changed, or lines after it were removed"
    for command in (["plot"], ["evaluate"], ["predict", "--split", "val"]):
        done = CliRunner().invoke(main, [command[0], str(run.root), *command[1:]])
        assert done.exit_code == 0, done.output
        told = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
        assert told == [f"warning: {run.root}: its log contradicts itself: {what}; dlassign verify {run.root}"]


def test_a_run_that_has_not_ended_is_consistent(run: RunPaths) -> None:
    lines = read_lines(run)
    write_lines(run, lines[: lines.index(end(lines)) - 3])
    manifest = json.loads(run.manifest.read_text())
    del manifest["chain"]
    run.manifest.write_text(json.dumps({**manifest, "status": "running"}))
    shutil.rmtree(run.checkpoints)
    output = verify(run.root).output
    assert "the run has not come to its end" in output
    assert output.startswith(f"{run.root}: consistent")


def test_a_place_without_runs_is_told() -> None:
    assert "there is no run" in verify("nowhere", code=1).output


class TestMarks:
    """What shows results shows none of a run that contradicts itself, and says why."""

    @pytest.fixture
    def out(self, honest: RunPaths, tmp_path: Path) -> Path:
        copied(honest, tmp_path / "out")
        forge(copied(honest, tmp_path / "out", "forged"))
        return tmp_path / "out"

    def command(self, *arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, list(map(str, arguments)))
        assert done.exit_code == code, done.output
        assert "99.44" not in done.stdout
        return done.output

    def test_runs(self, out: Path) -> None:
        output = self.command("runs", out)
        [line] = [line for line in output.splitlines() if line.startswith(f"{out}/forged")]
        assert line.split()[1] == "contradicted"
        assert "its log contradicts itself, so no result is shown: " in output
        assert "finished" in output

    def test_train(self, out: Path) -> None:
        shutil.rmtree(out / "honest")
        (out / "forged").rename(out / "honest")
        [run] = (out / "honest").glob("*-s0")
        output = self.command("train", run / "config.yaml", "--out", out, code=1)
        assert "its log contradicts itself, so its result is not shown: " in output

    def test_compare(self, out: Path) -> None:
        assert "no run has finished: " in self.command("compare", out / "forged", out / "honest", code=1)

    def test_report(self, out: Path) -> None:
        self.command("report", out, "--output", out / "page.html")
        page = (out / "page.html").read_text()
        assert "its log contradicts itself" in page
        assert "0.9944" not in page

    def test_python(self, out: Path) -> None:
        forged, honest = (next(one for one in dlassign.runs(out / name)) for name in ("forged", "honest"))
        assert (forged.status, forged.val, forged.test) == ("contradicted", None, None)
        assert "dlassign verify" in repr(forged)
        with pytest.raises(UserError, match="its log contradicts itself"):
            forged.confusion()
        assert honest.test is not None

    def test_reproduce(self, out: Path) -> None:
        paths = RunPaths(next(folder for folder in (out / "forged").iterdir() if folder.is_dir()))
        cfg = RunConfig.model_validate(CONFIG)
        trial = Trial(number=0, values={}, config=cfg, paths=paths)
        assert records_of(paths) is None
        assert problem_of(trial).startswith(f"{paths.root} is not counted, for its log contradicts itself: ")
        nothing = cast(Any, None)
        # To train it would write to its log; it is there, whatever it says.
        assert PlannedRow(table=nothing, name="a", row=nothing, trials=(trial,)).missing() == []


@pytest.mark.parametrize("key", ["chain", "status", "data", "environment", "name"])
@pytest.mark.parametrize("value", [[], {}, 3, None, "x", {"a": [1]}])
def test_a_manifest_of_other_values_is_contradicted_or_told(run: RunPaths, key: str, value: Any) -> None:
    """A list in place of the chain was an error of Python's, and the log got the blame."""
    manifest = json.loads(run.manifest.read_text())
    run.manifest.write_text(json.dumps({**manifest, key: value}))
    told = verify(run.root, code=int(not (key == "chain" and value is None))).stdout
    assert "manifest.json" in told
    assert "TypeError" not in told
    assert "proven          the weights reach" in told


def test_what_stops_several_checks_is_told_once(run: RunPaths) -> None:
    run.config.write_text(run.config.read_text().replace("lr: ", "lr: 1"))
    told = verify(run.root, code=1).stdout.splitlines()
    assert sum("has been edited since" in line for line in told) == 1


def test_a_run_without_test_and_validation_is_not_called_diverged(tmp_path: Path) -> None:
    cfg = load_config(Path(__file__).parents[2] / "configs" / "reports" / "hlcv" / "toy.yaml", ["train.steps=3"])
    paths = paths_of(cfg, tmp_path)
    run_experiment(cfg, paths)
    said = " ".join(verify(paths.root).output.split())
    assert "the run has neither test nor validation samples" in said
    assert "diverged" not in said
