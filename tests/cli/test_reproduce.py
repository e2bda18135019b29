"""`dlassign reproduce`: trains what is missing, reads what is there, says what is wrong."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from scipy import stats

from dlassign.cli.main import main
from dlassign.report.tables import reproduced_view
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from helpers.forging import rewrite_chain, set_manifest
from helpers.pretended_gpu import pretended_gpu
from helpers.tiny_tables import BASE, row, write_config, write_table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two configs and a table of both."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path, "narrow")
    write_config(tmp_path, "wide", model={"name": "mlp", "hidden": [30]})
    rows = {
        "narrow": row("narrow", {"figure": "test last", "value": 0.8}, {"figure": "test best"}, seconds=1),
        "wide": row("wide", {"figure": "val", "value": 0.05}, note="of our own", seeds=1, seconds=500),
    }
    write_table(tmp_path, rows)
    return tmp_path


def reproduce(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", "--executor", "serial", *arguments])


def content(folder: Path, name: str = "small") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "tables" / f"{name}.json").read_text())
    return found


def test_the_table_holds_what_the_logs_say(folder: Path) -> None:
    result = reproduce()
    assert result.exit_code == 0, result.output
    found = content(folder)
    narrow, wide = found["rows"]
    assert (narrow["row"], narrow["seeds"], narrow["status"]) == ("narrow", [4, 5, 6], "done")
    logs = [read_records(folder / run / "log.jsonl") for run in narrow["runs"]]
    lasts = [log.evaluations("test")[-1]["accuracy"] for log in logs]
    bests = [max(record["accuracy"] for record in log.evaluations("test")) for log in logs]
    last, best = narrow["figures"]
    assert last["values"] == lasts
    assert best["values"] == bests
    assert best["evaluations"] == 3
    assert best["verdict"] == ""
    ends = stats.t.interval(0.95, 2, statistics.mean(lasts), stats.sem(lasts))
    assert (last["low"], last["high"]) == (pytest.approx(ends[0]), pytest.approx(ends[1]))
    assert narrow["parameters"] == 64 * 8 + 8 + 8 * 10 + 10
    assert (wide["seeds"], wide["figures"][0]["verdict"], wide["note"]) == ([4], "undecided", "of our own")
    environment = logs[-1].start["environment"]
    [[machine, versions]] = found["machines"]
    assert machine == f"{environment['device_name']}, {environment['cpus']} cores"
    assert versions.startswith(f"Python {environment['python']}, dlassign ")
    rows = list(csv.DictReader((folder / "out" / "tables" / "small.csv").read_text().splitlines()))
    assert [float(row["mean"]) for row in rows[:2]] == [last["mean"], best["mean"]]
    text = (folder / "out" / "tables" / "small.md").read_text()
    assert f"| {100 * last['mean']:.2f} |" in text
    assert "test best of 3" in text
    assert "## Small nets" in text
    assert f"{100 * last['mean']:.2f}" in result.stdout


def test_a_report_reads_the_table_that_was_written(folder: Path) -> None:
    assert reproduce().exit_code == 0
    done = CliRunner().invoke(main, ["report", "out", "-o", "page.html"])
    assert done.exit_code == 0, done.output
    view = reproduced_view(folder / "out" / "tables" / "small.json", ())
    assert isinstance(view, dict), view
    assert [row["label"] for row in view["rows"]] == [row["label"] for row in content(folder)["rows"]]
    [(machine, versions)] = content(folder)["machines"]
    assert view["machine"] == f"{machine}, {versions}"


def test_what_numpy_computes_stays_on_the_cpu_whatever_the_others_are_computed_on(folder: Path) -> None:
    write_config(folder, "narrow", backend="numpy")
    with pretended_gpu():
        result = reproduce("small:narrow", "--device", "cuda", "--seeds", "1")
        assert result.exit_code == 0, result.output
    [run] = content(folder)["rows"][0]["runs"]
    assert read_records(folder / run / "log.jsonl").start["environment"]["device"] == "cpu"


def test_a_second_time_nothing_is_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reproduce()
    before = content(folder)
    monkeypatch.setattr("dlassign.tables.reproduce.executor_of", None)
    result = reproduce()
    assert result.exit_code == 0, result.output
    assert content(folder)["rows"] == before["rows"]
    more = CliRunner().invoke(main, ["reproduce", "small:narrow", "--seeds", "4", "--list"])
    assert more.stdout.splitlines()[1].split()[:3] == ["small:narrow", "4", "1"]
    assert "1 run to train: 0:01" in more.stderr


def test_runs_of_train_are_read(folder: Path) -> None:
    CliRunner().invoke(main, ["train", "--config", "configs/wide.yaml"])
    result = reproduce("small:wide")
    assert "to train" not in result.output
    assert [len(row["runs"]) for row in content(folder)["rows"]] == [0, 1]


def test_tables_are_written_without_training(folder: Path) -> None:
    CliRunner().invoke(main, ["train", "--config", "configs/wide.yaml"])
    result = reproduce("--no-train")
    assert result.exit_code == 0, result.output
    assert [(row["row"], row["status"]) for row in content(folder)["rows"]] == [("narrow", "missing"), ("wide", "done")]
    assert content(folder)["rows"][0]["figures"][0]["why"] == "not run yet"


def test_quick_leaves_out_what_takes_long(folder: Path) -> None:
    result = reproduce("--quick")
    assert result.exit_code == 0, result.output
    assert [(row["row"], len(row["runs"])) for row in content(folder)["rows"]] == [("narrow", 1), ("wide", 0)]
    assert "wide" not in result.stdout
    listed = reproduce("--list")
    assert "3 runs to train: 8:22 one after the other" in listed.stderr


def test_other_rows_and_seeds_of_a_table_stay(folder: Path) -> None:
    reproduce()
    before = content(folder)["rows"]
    result = reproduce("small:narrow", "--seeds", "1")
    assert content(folder)["rows"] == before
    assert "wide" not in result.stdout


def test_a_change_is_said_until_it_is_trained(folder: Path) -> None:
    reproduce("small:narrow", "--seeds", "1")
    write_config(folder, "narrow", optimizer={"name": "sgd", "lr": 0.25})
    for _ in range(2):
        assert "optimizer.lr: 0.5 -> 0.25" in reproduce("small:narrow", "--seeds", "1", "--no-train").stderr
    assert "optimizer.lr: 0.5 -> 0.25" in reproduce("small:narrow", "--seeds", "1").stderr
    assert "changed" not in reproduce("small:narrow", "--seeds", "1").stderr


def test_figures_that_a_config_does_not_measure_are_not_made_up(folder: Path) -> None:
    write_config(folder, "plain", train={**BASE["train"], "evaluate": None})
    figures = [
        {"figure": name, "value": 0.9, "best_of": 3 if "best" in name else 1}
        for name in ("test last", "test best", "train", "test", "val last")
    ]
    write_table(folder, {"plain": row("plain", *figures)})
    assert reproduce("--seeds", "2").exit_code == 0
    found = {figure["figure"]: figure for figure in content(folder)["rows"][0]["figures"]}
    for name in ("test last", "test best", "train"):
        assert found[name]["mean"] is None
        split = name.split()[0]
        assert found[name]["why"] == f"the config does not evaluate {split} during training (train.evaluate)"
    assert found["test"]["mean"] > 0.2
    assert found["val last"]["mean"] > 0.2


def test_changed_configs_are_said(folder: Path) -> None:
    reproduce("small:narrow", "--seeds", "2")
    write_config(folder, "narrow", optimizer={"name": "sgd", "lr": 0.25})
    result = reproduce("small:narrow", "--seeds", "2", "--list")
    assert "small:narrow has changed since its table was written (optimizer.lr: 0.5 -> 0.25): 2 runs to train" in (
        result.stderr
    )
    assert "the former runs stay in" in result.stderr


def test_a_failed_run_is_a_row_with_its_reason(folder: Path) -> None:
    write_config(folder, "narrow", optimizer={"name": "sgd", "lr": 1e30})
    result = reproduce("small:narrow", "--seeds", "1")
    found = content(folder)["rows"][0]
    assert (found["status"], found["why"]) == ("done", "1 of 1 runs diverged")
    assert found["figures"][0]["mean"] is None
    log = folder / found["runs"][0] / "log.jsonl"
    log.write_text("damaged\n" + log.read_text().replace('"schema":1', '"schema":99'))
    result = reproduce("small:narrow", "--seeds", "1")
    assert result.exit_code == 1, result.output
    found = content(folder)["rows"][0]
    assert found["status"] == "missing"
    assert "99" in found["why"]


def test_data_that_is_not_there_is_marked(folder: Path) -> None:
    write_config(folder, "real", data={"name": "mnist", "split": {"val": 0.1}}, model={"name": "mlp"})
    write_table(folder, {"real": row("real", {"figure": "test", "value": 0.98})})
    result = reproduce()
    assert result.exit_code == 0, result.output
    [found] = content(folder)["rows"]
    assert found["status"] == "cannot run"
    assert found["figures"][0]["verdict"] == "not comparable"
    assert found["figures"][0]["why"] == "data missing"
    assert "dlassign data fetch mnist" in found["why"]
    page = reproduce("--no-train", "--page", "page.md")
    assert "page.md: 1 of 1 row cannot be filled: data missing: " in page.stderr
    assert result.stdout.count("dlassign data fetch mnist") == 1
    assert (folder / "out/tables/small.md").read_text().count("dlassign data fetch mnist") == 1


def test_a_list_does_not_read_as_if_rows_without_data_were_done(folder: Path) -> None:
    """A row whose data is not there had 0 runs missing and 0:00 to go, as a finished one has."""
    write_config(folder, "real", data={"name": "mnist", "split": {"val": 0.1}}, model={"name": "mlp"})
    write_config(folder, "table", data={"name": "csv_table", "path": "gone.csv", "label_column": "y"})
    rows = {name: row(name, {"figure": "test", "value": 0.98}, seconds=1.0) for name in ("real", "table", "narrow")}
    write_table(folder, rows)
    reproduce("small:narrow")
    listed = reproduce("--list")
    assert "0 runs to train: 0:00 one after the other; 2 rows cannot be trained here" in listed.stderr
    real, table, narrow = (line.split()[1:4] for line in listed.stdout.splitlines()[1:])
    assert narrow == ["3", "0", "0:00"]
    assert [real, table] == [["3", "3", "-"]] * 2
    assert [one["seconds"] for one in json.loads(reproduce("--list", "--json").stdout)] == [None, None, 0.0]


def test_the_page_has_machine_and_tables(folder: Path) -> None:
    result = reproduce("--page", "docs/page.md", "--seeds", "2")
    text = (folder / "docs" / "page.md").read_text()
    assert text.startswith("# Reported and measured\n")
    assert "Written by `dlassign reproduce --seeds 2`" in text
    assert "## Small nets" in text
    assert "docs/page.md" in result.stdout
    assert "in [page/](page)." in text
    lines = list(csv.DictReader((folder / "docs" / "page" / "small.csv").read_text().splitlines()))
    assert [(line["row"], line["figure"], line["seed"]) for line in lines] == [
        *(("narrow", figure, seed) for figure in ("test last", "test best") for seed in "45"),
        *(("wide", "val", seed) for seed in "45"),
    ]
    narrow = content(folder)["rows"][0]
    assert [float(line["value"]) for line in lines[:2]] == narrow["figures"][0]["values"]
    assert [line["run"] for line in lines[:2]] == [Path(run).name for run in narrow["runs"]]


def test_every_machine_of_the_runs_is_named(folder: Path) -> None:
    assert reproduce("--seeds", "2").exit_code == 0
    run = RunPaths(folder / content(folder)["rows"][0]["runs"][0])
    first, *rest = run.log.read_text().splitlines(keepends=True)
    start = json.loads(first)
    start["environment"] |= {"device_name": "Abacus", "cpus": 1}
    run.log.write_text(json.dumps(start) + "\n" + "".join(rest))
    rewrite_chain(run)
    set_manifest(run, environment=start["environment"])
    assert reproduce("--seeds", "2", "--no-train", "--page", "page.md").exit_code == 0
    [line] = [line for line in (folder / "page.md").read_text().splitlines() if line.startswith("Written by")]
    assert "Machines: Abacus, 1 cores and " in line
    assert line.count("Python ") == 1
    assert reproduce_check("page.md").exit_code == 0


def reproduce_check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["reproduce", "--check", *arguments])


def test_check_takes_nothing_else(folder: Path) -> None:
    result = reproduce_check("page.md", "--seeds", "2", "--no-train")
    assert result.exit_code == 2
    assert "--check takes the tables from the page and writes nothing; leave out --seeds, --no-train" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smal"], "there is no table 'smal' in configs/tables. Did you mean 'small'? Known: small"),
        (["small:"], "small:: expected the name of a row, found none; give a row behind the colon, or leave the colon"),
        (["small:narow"], "has no row 'narow'. Did you mean 'narrow'? Known: narrow, wide"),
        (["--data", "cifar=x"], "--data cifar=x: there is no data called 'cifar'. Did you mean 'cifar10'?"),
        (["--data", "mnist"], "--data mnist: expected NAME=PATH"),
        (["--data", "mnist=."], "--data mnist=.: expected the folder that holds MNIST/raw/; it is there, but is not"),
        (["--data", "mnist=none"], "--data mnist=none: expected the folder that holds MNIST/raw/; there is nothing"),
        (["configs/narrow.yaml"], "configs/narrow.yaml is the config of a run, not a table"),
        (["none.yaml"], "none.yaml: no such file"),
    ],
)
def test_what_is_not_there(folder: Path, arguments: list[str], message: str) -> None:
    result = reproduce(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_every_problem_of_every_config_at_once(folder: Path) -> None:
    write_config(folder, "narrow", optimizer={"name": "sgd", "lr": -1.0})
    rows = {
        "narrow": row("narrow", {"figure": "test"}),
        "gone": row("gone", {"figure": "test"}),
        "odd": row("wide", {"figure": "tests", "value": 1.0}),
    }
    path = write_table(folder, rows)
    result = reproduce()
    assert result.exit_code == 2
    assert "rows.odd.reported.0.figure" in result.stderr
    assert "Did you mean 'test'?" in result.stderr
    write_table(folder, {"odd": row("wide", {"figure": "test", "value": 96.5})})
    assert "rows.odd.reported.0.value: expected an accuracy from 0 to 1, got 96.5" in reproduce().stderr
    rows = {name: one for name, one in rows.items() if name != "odd"} | {"a/b": row("wide", {"figure": "test"})}
    write_table(folder, rows)
    assert "rows.a/b: a row's name has letters" in reproduce().stderr
    del rows["a/b"]
    write_table(folder, rows)
    result = reproduce()
    assert f"{path.relative_to(folder)}:" in result.stderr
    assert "gone.yaml: no such file" in result.stderr
    assert "optimizer.lr" in result.stderr
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("reported", "changes", "message"),
    [
        ({"figure": "test", "value": 0.9}, {"margin": None}, "no margin says what matters; give the table one"),
        ({"figure": "loss last", "value": 0.9}, {}, "no margin says what matters; add margin: in units of the loss"),
        ({"figure": "test best", "value": 0.9}, {}, "say of how many the reported one is, such as best_of: 15"),
        ({"figure": "test", "value": 0.9, "margin": 2.0}, {}, "below 1, got 2; 2 % is 0.02"),
        ({"figure": "test", "value": 0.9, "within": 0.1}, {}, "within"),
    ],
)
def test_what_a_figure_lacks_to_be_compared(
    folder: Path, reported: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    path = write_table(folder, {"odd": row("wide", reported)}, **changes)
    result = reproduce()
    assert result.exit_code == 2
    assert message in result.stderr
    assert f"{path.relative_to(folder)}:" in result.stderr


def test_a_figure_at_a_step(folder: Path) -> None:
    figures = [{"figure": name, "step": 19} for name in ("test", "test best", "val", "train last", "loss last")]
    write_table(folder, {"narrow": row("narrow", *figures)})
    assert reproduce("--seeds", "1").exit_code == 0
    [found] = content(folder)["rows"]
    log = read_records(folder / found["runs"][0] / "log.jsonl")
    at = {record["step"]: record for record in log.train}
    tests = {record["step"]: record["accuracy"] for record in log.evaluations("test")}
    vals = {record["step"]: record["accuracy"] for record in log.evaluations("val")}
    assert [figure["values"][0] for figure in found["figures"]] == [
        tests[20],
        max(tests[10], tests[20]),
        vals[20],
        pytest.approx(statistics.mean(at[step]["accuracy"] for step in (15, 20))),
        at[20]["loss"],
    ]
    assert [figure["step"] for figure in found["figures"]] == [20] * 5
    assert [figure["evaluations"] for figure in found["figures"]] == [1, 2, 1, 1, 1]
    assert "| test best of 2 at step 20 |" in (folder / "out/tables/small.md").read_text()


@pytest.mark.parametrize("figure", ["test last", "loss last"])
def test_a_figure_at_a_step_beyond_the_run_is_not_compared(folder: Path, figure: str) -> None:
    write_table(folder, {"narrow": row("narrow", {"figure": figure, "value": 0.5, "margin": 0.9, "step": 31})})
    assert reproduce("--seeds", "1").exit_code == 0
    [found] = content(folder)["rows"][0]["figures"]
    why = "the run has 30 steps, the figure is of step 31"
    assert (found["values"], found["verdict"], found["why"]) == ([], "not comparable", why)


def test_interrupted_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlassign.errors import Interrupted
    from dlassign.sweep.serial import train_trial

    calls: list[int] = []

    def stops(trial: Any, listener: Any, *, cache: Any) -> Any:
        calls.append(trial.number)
        if len(calls) == 2:
            raise Interrupted("interrupted")
        return train_trial(trial, listener, cache=cache)

    monkeypatch.setattr("dlassign.sweep.serial.train_trial", stops)
    result = reproduce()
    assert result.exit_code == 130
    assert "interrupted: 3 runs are left; the same command goes on from there" in result.stderr
    assert content(folder)["rows"][0]["why"] == "1 of 3 runs"
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert reproduce().exit_code == 0
    assert content(folder)["rows"][0]["status"] == "done"


def test_images_stand_in_for_cifar10(folder: Path) -> None:
    """A folder of images is shuffled once where a config takes samples in order, and only there."""
    from dlassign.config.run import RunConfig
    from dlassign.tables.places import overrides

    images = folder / "images"
    for part in ("train", "test"):
        (images / part / "cat").mkdir(parents=True)
    data = {"name": "cifar10", "split": {"val": 0.1}}
    plain = RunConfig.model_validate({**BASE, "name": "a", "data": data})
    ordered = RunConfig.model_validate({**BASE, "name": "a", "data": data, "train": {**BASE["train"], "order": "uva"}})
    changes = ["data.name=image_folder", f"data.root={images}"]
    assert overrides(plain, {"cifar10": images}) == changes
    assert overrides(ordered, {"cifar10": images}) == [*changes, "data.shuffle_seed=0"]
    (images / "cifar-10-batches-py").mkdir()
    assert overrides(ordered, {"cifar10": images}) == [f"data.root={images}"]
    assert overrides(ordered, {}) == []


def _cifar_images(folder: Path) -> Path:
    from PIL import Image

    from dlassign.data.known_files import CIFAR10_NAMES

    for part in ("train", "test"):
        for place, kind in enumerate(CIFAR10_NAMES):
            (folder / part / kind).mkdir(parents=True)
            for number in range(6):
                colour = (40 * number, 20 * place + number, 200 if part == "test" else 100)
                Image.new("RGB", (32, 32), colour).save(folder / part / kind / f"{number}.png")
    return folder


def test_images_of_other_things_do_not_stand_in_for_cifar10(folder: Path) -> None:
    images = _cifar_images(folder / "images")
    (images / "test" / "truck").rename(images / "test" / "lorry")
    result = reproduce("--data", f"cifar10={images}")
    assert result.exit_code != 0
    assert "images of its ten classes; it is there, but is not that" in result.stderr


def test_finished_runs_count_where_their_data_is_gone(folder: Path) -> None:
    """Their logs say which data it was; without `--data` a page of finished rows was one of missing data."""
    lines = [f"{number % 7},{number % 5},{'ab'[number % 2]}" for number in range(40)]
    (folder / "table.csv").write_text("\n".join(["x,z,y", *lines]) + "\n")
    images = _cifar_images(folder / "images")
    prepared = {"split": {"val": 0.25}, "preprocess": [{"name": "scale", "divisor": 2}]}
    table_data = {"name": "csv_table", "path": "a.csv", "label_column": "y", **prepared}
    write_config(folder, "table", data=table_data, train={**BASE["train"], "evaluate": ["val"]})
    images_data = {"name": "cifar10", "split": {"val": 0.25}, "preprocess": [{"name": "scale", "divisor": 255}]}
    write_config(folder, "cifar", data=images_data, train={**BASE["train"], "batch_size": 4})
    rows = {name: row(name, {"figure": "val last", "value": 0.5}) for name in ("table", "cifar")}
    write_table(folder, rows, copy_margin=0.1)
    places = ["--data", "csv_table=table.csv", "--data", f"cifar10={images}", "--seeds", "2"]
    result = reproduce(*places, "--page", "page.md")
    assert result.exit_code == 0, result.output
    assert [one["status"] for one in content(folder)["rows"]] == ["done", "done"]
    before = (folder / "page.md").read_text()
    (folder / "table.csv").unlink()
    images.rename(folder / "elsewhere")
    again = reproduce("--seeds", "2", "--no-train", "--page", "page.md")
    assert again.exit_code == 0, again.output
    assert (folder / "page.md").read_text() == before
    assert "cannot be filled" not in again.stderr
    listed = reproduce("--seeds", "2", "--list").stdout.splitlines()[1:]
    assert [line.split()[1:3] for line in listed] == [["2", "0"]] * 2
    more = reproduce("--seeds", "3", "--no-train", "--page", "page.md")
    assert more.exit_code == 0, more.output
    found = content(folder)["rows"]
    assert [(one["status"], len(one["runs"])) for one in found] == [("partly", 2)] * 2
    assert "--data cifar10=DIR" in found[1]["why"]


def test_torch_keeps_its_weights_where_they_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    from dlassign.store.paths import hub_folder

    for name, value in (("TORCH_HOME", str(tmp_path)), ("XDG_CACHE_HOME", str(tmp_path)), ("OTHER", "")):
        for key in ("TORCH_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.setenv(name, value)
        assert hub_folder() == Path(torch.hub.get_dir()) / "checkpoints"


@pytest.mark.parametrize("key", ["steps_per_epoch", "n_params", "time", "environment", "seed"])
def test_a_damaged_log_costs_its_own_row_only(folder: Path, key: str) -> None:
    assert reproduce("--seeds", "1").exit_code == 0
    run = content(folder)["rows"][0]["runs"][0]
    log = folder / run / "log.jsonl"
    first, *rest = log.read_text().splitlines(keepends=True)
    start = json.loads(first)
    del start[key]
    log.write_text(json.dumps(start) + "\n" + "".join(rest))
    rewrite_chain(RunPaths(log.parent))  # so that nothing is wrong but that
    if key == "environment":
        set_manifest(RunPaths(log.parent), environment=None)
    write_table(
        folder,
        {
            "narrow": row("narrow", {"figure": "train last", "value": 0.8}),
            "wide": row("wide", {"figure": "val", "value": 0.05}),
        },
    )
    result = reproduce("--seeds", "1", "--no-train")
    assert result.exit_code == 0, result.output
    narrow, wide = content(folder)["rows"]
    assert narrow["status"] == "missing"
    assert "is damaged" in narrow["why"]
    assert "is damaged" in result.stdout
    assert wide["status"] == "done"


def test_diverged_runs_have_no_figures(folder: Path) -> None:
    write_config(folder, "narrow", optimizer={"name": "sgd", "lr": 1e30})
    write_table(folder, {"narrow": row("narrow", {"figure": "train last", "value": 0.1}, {"figure": "test"})})
    result = reproduce("--seeds", "2")
    [found] = content(folder)["rows"]
    assert (found["status"], found["why"]) == ("done", "2 of 2 runs diverged")
    assert [figure["values"] for figure in found["figures"]] == [[], []]
    assert found["figures"][0]["verdict"] == "not comparable"
    assert found["figures"][0]["why"] == "2 of 2 runs diverged"
    assert "2 of 2 runs diverged" in result.stdout


def test_a_page_is_not_written_over_other_files(folder: Path) -> None:
    CliRunner().invoke(main, ["train", "--config", "configs/wide.yaml"])
    [log] = (folder / "out").glob("wide/*-s4/log.jsonl")
    before = log.read_bytes()
    Path("taken").write_text("mine")
    Path("held").mkdir()
    Path("held/small.csv").write_text("mine")
    for place, message in (
        (str(log), "expected a name that ends in .md"),
        ("configs/wide.yaml", "expected a name that ends in .md"),
        ("/dev/full", "expected a name that ends in .md"),
        (".", "is a folder"),
        ("out/tables/small.md", "holds the tables themselves"),
        ("out/tables.md", "holds the tables themselves"),
        ("taken.md", "the values of its runs belong into a folder taken, but that is a file"),
        ("held.md", "held/small.csv, where its values belong, holds something else"),
    ):
        result = reproduce("--no-train", "--page", place)
        assert result.exit_code == 1
        assert message in result.stderr
    assert log.read_bytes() == before
    assert Path("held/small.csv").read_text() == "mine"
    assert not (folder / "out" / "tables").exists()


def test_two_tables_of_one_name_are_refused(folder: Path) -> None:
    (folder / "b").mkdir()
    (folder / "b" / "small.yaml").write_text((folder / "configs/tables/small.yaml").read_text())
    result = reproduce("small", "b/small.yaml")
    assert result.exit_code == 2
    assert "would be written to the same files" in result.stderr


def test_rows_that_share_a_run_train_it_once_and_first(folder: Path) -> None:
    write_table(
        folder,
        {
            "a": row("narrow", {"figure": "test"}),
            "b": row("wide", {"figure": "test"}),
            "c": row("narrow", {"figure": "val"}),
        },
    )
    result = reproduce("--seeds", "1")
    assert "2 runs to train" in result.stderr
    assert "[1/2] small:a" in result.stderr
    assert [len(found["runs"]) for found in content(folder)["rows"]] == [1, 1, 1]


def test_a_table_in_each_format(folder: Path) -> None:
    text = reproduce("small:narrow").stdout
    again = ("small:narrow", "--no-train")
    assert reproduce(*again, "--format", "text").stdout == text
    rows = list(csv.DictReader(reproduce(*again, "--format", "csv").stdout.splitlines()))
    assert [(row["table"], row["row"], row["figure"]) for row in rows] == [
        ("small", "narrow", "test last"),
        ("small", "narrow", "test best"),
    ]
    assert float(rows[0]["mean"]) == content(folder)["rows"][0]["figures"][0]["mean"]
    lines = reproduce(*again, "--format", "markdown").stdout.splitlines()
    assert set(lines) < set((folder / "out" / "tables" / "small.md").read_text().splitlines())
    assert sum(line.startswith("| narrow | Net narrow |") for line in lines) == 1
    latex = reproduce(*again, "--format", "latex").stdout
    assert latex.startswith("% Small nets\n% Reported figures: nowhere.\n\\begin{tabular}{llrrllrl}")
    assert "Net narrow & test last & 80.00 & " in latex
    by_format, by_flag = (
        json.loads(reproduce(*again, *option).stdout) for option in (("--format", "json"), ("--json",))
    )
    for (table,) in (by_format, by_flag):  # the clock may tick between the two
        assert table.pop("made")
    assert by_format == by_flag
    listed = reproduce("small", "--list", "--format", "csv").stdout
    assert listed.splitlines()[0] == "row,label,runs,missing,seconds,why"
    listed_twice = reproduce("small", "--list", "--no-train", "--page", "p.md")
    assert "--list neither trains nor writes; leave out --no-train, --page" in listed_twice.stderr
    wrong = reproduce(*again, "--format", "csv", "--json")
    assert wrong.exit_code == 2
    assert "--json is --format json; leave it out, or --format csv" in wrong.stderr
