"""`dlassign predict`: its columns in every form, its exit codes, and what it says of a mistake."""

from __future__ import annotations

import csv
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.cli.views.prediction import summary_lines
from dlassign.config.run import RunConfig
from dlassign.deploy.predict import Tally
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment
from dlassign.train.saved import evaluate_run
from helpers.images import save
from helpers.runs import digits_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the digits, which are images of 8x8 from 0 to 16."""
    return digits_run(tmp_path_factory.mktemp("out"), {"train.keep_checkpoints": "all"})


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("3/a.png", "3/b.png", "7/c.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "photos" / name, rng.integers(0, 256, (10, 12), dtype=np.uint8))
    return tmp_path / "photos"


def predict(*arguments: Any, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], input=stdin)


def test_every_form_says_the_same(run: Path, photos: Path, tmp_path: Path) -> None:
    done = predict(run, photos, "--top", 2, "--out", tmp_path / "p.csv")
    assert done.exit_code == 0, done.output
    assert f"wrote  {tmp_path / 'p.csv'}" in done.stderr
    assert "accuracy " in done.stdout
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "probability", "label_2", "probability_2", "true_label", "error"]
    assert [row["path"] for row in rows] == [str(photos / name) for name in ("3/a.png", "3/b.png", "7/c.png")]
    assert [row["true_label"] for row in rows] == ["3", "3", "7"]
    lines = predict(run, photos, "--top", 2, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line)["probability"] for line in lines] == [float(row["probability"]) for row in rows]
    assert json.loads(predict(run, photos, "--top", 2, "--format", "json").stdout) == list(map(json.loads, lines))
    table = predict(run, photos, "--top", 2).stdout.splitlines()
    assert table[0].split() == list(rows[0])[:-1]
    assert table[1].split() == [
        rows[0]["path"],
        rows[0]["label"],
        f"{float(rows[0]['probability']):.4f}",
        rows[0]["label_2"],
        f"{float(rows[0]['probability_2']):.4f}",
        "3",
    ]


def test_a_split_is_predicted_as_it_was_evaluated(run: Path, tmp_path: Path) -> None:
    done = predict(run, "--split", "test", "--out", tmp_path / "p.json", "--weights", "last")
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "p.json").read_text())
    right = sum(row["label"] == row["true_label"] for row in rows)
    found = evaluate_run(RunPaths(run), "test", weights="last").evaluation
    assert (right / len(rows), len(rows)) == (found.accuracy, found.n)
    assert rows[0]["path"].startswith("digits[")


def test_an_unreadable_image_is_a_row_and_exit_code_1(run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "7" / "bad.png").write_bytes(b"no image")
    done = predict(run, photos, "--format", "jsonl")
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["label"] is None for row in rows] == [False, False, True, False]
    assert "cannot identify image file" in rows[2]["error"]
    assert "1 of 4 images cannot be read; the predictions say why:\n" in done.stderr
    lines = predict(run, photos, "--labels", "none").stdout.splitlines()
    assert lines[0].split() == ["path", "label", "probability"]
    assert "7/bad.png  error: cannot identify image file" in lines[3]
    done = predict(run, photos, "--skip-bad", "--out", tmp_path / "p.jsonl", "--grid", tmp_path / "sheet.png")
    assert done.exit_code == 0
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 3
    assert "1 of 4 images was left out because it cannot be read:" in done.stderr
    assert (tmp_path / "sheet.png").exists()


def test_photos_that_are_made_to_fit_are_told_on_standard_error(run: Path, tmp_path: Path) -> None:
    save(tmp_path / "large.png", np.zeros((40, 32, 3), np.uint8))
    done = predict(run, tmp_path / "large.png", "--format", "csv")
    assert "note: 1 of 1 image is shrunk to 8x8 (height x width) to fit the net" in done.stderr
    assert "note: 1 of 1 image is saved in colour, and made gray to fit the net" in done.stderr
    assert "note" not in done.stdout


def test_a_list_on_standard_input(run: Path, photos: Path) -> None:
    done = predict(run, "-", "--format", "jsonl", stdin=f"{photos}/7/c.png\nnowhere.png\n")
    assert done.exit_code == 1
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [f"{photos}/7/c.png", "nowhere.png"]


def test_mistakes_are_one_message(run: Path, photos: Path, tmp_path: Path) -> None:
    for code, text, arguments in (
        (1, "there is no run", (tmp_path / "nothing", photos)),
        (1, "there is no file or folder", (run, tmp_path / "nothing")),
        (1, "lie in no folder that is called as a class", (run, tmp_path / "new", "--labels", "folder")),
        (2, "give one SOURCE or more, or --split", (run,)),
        (2, "give one SOURCE or more, or --split", (run, photos, "--split", "test")),
        (2, "end the name in .csv", (run, photos, "--out", tmp_path / "p.xlsx")),
        (2, "is a SOURCE, which would be lost", (run, photos / "7/c.png", "--out", photos / "7/c.png")),
        (2, "end the name in .png", (run, photos, "--grid", tmp_path / "sheet")),
        (2, "the run has no test-time augmentation", (run, photos, "--tta")),
    ):
        (tmp_path / "new").mkdir(exist_ok=True)
        save(tmp_path / "new" / "a.png", np.zeros((2, 2), np.uint8))
        done = predict(*arguments)
        assert (done.exit_code, text in done.output) == (code, True), done.output
    assert (photos / "7/c.png").stat().st_size > 50


def test_a_run_without_weights(run: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny" / "22222222-s0"
    other.mkdir(parents=True)
    for name in ("log.jsonl", "config.yaml"):
        (other / name).write_bytes((run / name).read_bytes())
    done = predict(other, photos)
    assert done.exit_code == 1
    assert "has no checkpoint yet" in done.output


def test_an_exported_model_predicts_as_its_run(run: Path, photos: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "model")])
    assert done.exit_code == 0, done.output
    rows = [
        [json.loads(line) for line in predict(place, photos, "--format", "jsonl").stdout.splitlines()]
        for place in (run, tmp_path / "model")
    ]
    assert [row.pop("probability") for row in rows[0]] == pytest.approx([row.pop("probability") for row in rows[1]])
    assert rows[0] == rows[1]
    for option in (("--split", "test"), ("--tta",), ("--weights", "last"), ("--set", "data.root=x")):
        sources = () if option[0] == "--split" else (photos,)
        done = predict(tmp_path / "model", *sources, *option)
        assert (done.exit_code, "is for runs" in done.output) == (2, True), done.output


def test_a_new_table_says_what_train_did_not_have(tmp_path: Path) -> None:
    rows = [f"{i % 7 or ''},{('red', 'blue')[i % 2]},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["age,colour,label", *rows]) + "\n")
    values = {
        "name": "shop",
        "data": {
            "name": "csv_table",
            "path": str(tmp_path / "t.csv"),
            "columns": {"colour": "one_hot"},
            "missing": "median",
        },
        "model": {"name": "mlp", "hidden": []},
        "optimizer": {"name": "adam", "lr": 0.01},
        "train": {"steps": 3, "batch_size": 20},
        "device": "cpu",
    }
    run_experiment(RunConfig.model_validate(values), RunPaths(tmp_path / "shop" / "11111111-s0"))
    new = tmp_path / "new.csv"
    new.write_text("colour,age\npink,3\nred,\nblue,old\n")
    done = predict(tmp_path / "shop" / "11111111-s0", new)
    assert done.exit_code == 1
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: {new}: missing cells of 3 rows, and what they are taken for: column 'age' 1 (4)",
        f"note: {new}: column 'colour': the table has texts that train does not have: 'pink' (1 row); none of its "
        "features is 1 there",
    ]
    assert "1 of 3 rows cannot be read" in done.stderr


def test_many_classes_are_told_by_what_is_confused_most() -> None:
    tally = Tally.of(30)
    tally.confusion[range(30), range(30)] = 2
    tally.confusion[4, 7] = 5
    tally.confusion[7, 4] = 3
    names = [f"c{i}" for i in range(30)]
    assert list(summary_lines(tally, names)) == [
        "accuracy 0.8824 [0.7847, 0.9392]: 60 of 68",
        "c4 taken for c7: 5",
        "c7 taken for c4: 3",
    ]
    assert list(summary_lines(Tally.of(30), names)) == []


def test_nothing_of_the_users_own_is_written_over(run: Path, photos: Path, tmp_path: Path) -> None:
    """A photo, the log of a run and a table are theirs; what an earlier command wrote may be written anew."""
    photo = photos / "3" / "a.png"
    table = tmp_path / "rows.csv"
    table.write_text("x,label\n1,a\n2,b\n")
    config = tmp_path / "c.yaml"
    config.write_text((run / "config.yaml").read_text())
    kept = [photo, table, run / "log.jsonl"]
    before = [path.read_bytes() for path in kept]
    for line in (
        ["predict", run, photo, "--grid", photo],
        ["predict", run, photo, "--out", table],
        ["predict", run, "--split", "test", "--out", table],
        ["evaluate", run, "--predictions", run / "log.jsonl"],
        ["data", "list", config, "--out", table],
    ):
        done = CliRunner().invoke(main, list(map(str, line)))
        assert done.exit_code == 2, (line, done.output)
        assert "is there already, and dlassign did not write it; give another name" in done.stderr
        assert [path.read_bytes() for path in kept] == before
    for _ in range(2):
        assert predict(run, photo, "--out", tmp_path / "p.csv").exit_code == 0


@pytest.mark.draws
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_sheet_of_ours_may_be_drawn_anew(run: Path, photos: Path, tmp_path: Path, ending: str) -> None:
    for _ in range(2):
        assert predict(run, photos, "--grid", tmp_path / f"g.{ending}").exit_code == 0


def test_results_go_into_ordinary_files_alone(run: Path, photos: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "link.csv").symlink_to("theirs.csv")
    for name in ("pipe.csv", "link.csv"):
        done = predict(run, photos, "--out", tmp_path / name)
        assert done.exit_code == 2
        assert "is a link, a pipe or a device; give the name of an ordinary file" in done.stderr
    assert stat.S_ISFIFO((tmp_path / "pipe.csv").stat().st_mode)
    assert (tmp_path / "link.csv").is_symlink()


def test_a_pipe_among_the_photos_is_a_row_with_an_error(run: Path, photos: Path) -> None:
    os.mkfifo(photos / "3" / "pipe.png")
    done = predict(run, photos, "--format", "jsonl")
    assert done.exit_code == 1
    errors = {Path(row["path"]).name: row["error"] for row in map(json.loads, done.stdout.splitlines())}
    assert "it is no ordinary file" in errors["pipe.png"]
    assert errors["a.png"] is None


def test_names_with_line_feeds_stay_one_row(run: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "3" / "a.png").rename(photos / "3" / "a\nb.png")
    (photos / "3" / "b.png").rename(photos / "3" / "c\rd, e.png")
    assert predict(run, photos, "--out", tmp_path / "p.csv").exit_code == 0
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == ["a\nb.png", "c\rd, e.png", "c.png"]
    assert all(row["label"] for row in rows)
    assert len(predict(run, photos).stdout.splitlines()) >= 4


def test_an_empty_source_is_no_place(run: Path) -> None:
    done = predict(run, "")
    assert done.exit_code == 2
    assert "the path is empty" in done.stderr
