"""`Run`: what a run folder says, without anything else in memory."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dlassign as dl
from dlassign.api.columns import Columns
from dlassign.errors import ConfigError, UserError
from dlassign.report.card import MOST_BYTES
from dlassign.stats.proportion import wilson
from helpers.commands import calling
from helpers.runs import digits_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_run(tmp_path_factory.mktemp("out"), {"train.steps": 6, "train.eval_every": {"steps": 2}})


@pytest.fixture
def run(folder: Path) -> dl.Run:
    return dl.open(folder)


def test_it_says_what_the_command_says(run: dl.Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calling("evaluate")(str(folder), split="val", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert run.val is not None
    assert (run.val.accuracy, run.val.n) == (told["accuracy"], 20)
    assert run.val.interval == wilson(run.val.accuracy, 20) == tuple(told["interval"])
    found = run.evaluate("val")
    assert found.result == run.val
    assert found.confusion.tolist() == told["confusion"] == run.confusion("val").tolist()
    assert list(found.per_class) == told["classes"]
    assert (found.macro_f1, found.step, found.weights) == (told["macro_f1"], told["step"], "best")
    assert f"accuracy {run.val.accuracy:.4f} [" in repr(run)
    assert repr(found).splitlines()[-1].startswith("9 ")
    assert run.classes == tuple("0123456789")
    assert run.summary.params == 64 * 4 + 4 + 4 * 10 + 10


def test_a_notebook_shows_a_card(run: dl.Run) -> None:
    html = run._repr_html_()
    assert "✓ finished" in html
    assert len(html.encode()) <= MOST_BYTES


def test_a_config_may_be_changed_for_another_run(run: dl.Run) -> None:
    run.config["optimizer"]["lr"] = 7
    assert run.config["optimizer"]["lr"] == 0.01


def test_the_history_is_arrays_of_what_was_logged(run: dl.Run) -> None:
    train, val = run.history(), run.history("val")
    assert train["step"].tolist() == [3, 6]
    assert train["step"].dtype == np.int64
    assert {"loss", "accuracy", "lr", "epoch", "seconds", "wall", "n"} <= set(train.keys())
    assert val["step"].tolist() == [2, 4, 6]
    assert dict(val)["loss"].dtype == np.float64
    assert len(val) == 3
    assert "loss" in repr(val).splitlines()[0]
    assert len(run.history("test")) == 0
    with pytest.raises(KeyError, match="there is no column 'lsos'; there are step"):
        train["lsos"]


@pytest.mark.extra
@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_columns_become_data_frames(package: str, run: dl.Run) -> None:
    frame = getattr(run.history(), f"to_{package}")()
    assert frame["step"].to_list() == [3, 6]
    assert type(frame).__module__.startswith(package)


def test_a_package_that_is_not_there_is_named(run: dl.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"this needs pandas, which cannot be imported .*: pip install pandas"):
        run.history().to_pandas()


def test_columns_of_missing_values_and_of_texts() -> None:
    columns = Columns({"a": np.arange(12), "b": np.array(["x"] * 12, dtype=object)})
    assert repr(columns).splitlines()[-1] == "and 2 more rows"


def test_a_picture_is_saved_under_a_name(run: dl.Run) -> None:
    with pytest.raises(ValueError, match="path=3; expected the name of a file"):
        run.plot().save(3)  # type: ignore[arg-type]


@pytest.mark.draws
def test_pictures_are_shown_and_saved_without_pyplot(run: dl.Run, tmp_path: Path) -> None:
    former = sys.modules.get("matplotlib.pyplot")
    picture = run.plot("loss", splits="val", x="epoch", title="mine")
    assert picture._repr_png_().startswith(b"\x89PNG")
    saved = picture.save(tmp_path / "loss.svg")
    assert saved.read_text().startswith("<?xml")
    assert run.plot("confusion").figure.axes
    assert sys.modules.get("matplotlib.pyplot") is former


def test_the_net_predicts_arrays(run: dl.Run) -> None:
    model = run.model()
    assert model.predict_proba(np.zeros((2, 8, 8, 1), dtype=np.uint8)).shape == (2, 10)


def test_it_predicts_files_and_its_own_data(run: dl.Run, tmp_path: Path) -> None:
    own = run.predict(split="test", top=2)
    assert own.keys() == ["path", "label", "probability", "label_2", "probability_2", "true_label", "error"]
    assert len(own) == 20
    assert run.test is not None
    assert np.mean(own["label"] == own["true_label"]) == pytest.approx(run.test.accuracy)
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"none")
    found = run.predict(tmp_path)
    assert [Path(name).name for name in found["path"]] == ["a.png", "b.png"]
    assert found["label"][0] in run.classes
    assert 0 < found["probability"][0] <= 1
    assert np.isnan(found["probability"][1])
    assert found["error"][0] is None
    assert found["error"][1]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda run: run.history("valid"), "split='valid'; expected one of train, val, test"),
        (lambda run: run.confusion("dev"), "split='dev'"),
        (lambda run: run.evaluate("dev"), "split='dev'"),
        (lambda run: run.evaluate(weights="first"), "weights='first'; expected one of best, last"),
        (lambda run: run.predict(), "give one source or more, or split"),
        (lambda run: run.predict("a.png", split="val"), "give one source or more, or split"),
        (lambda run: run.predict(split="val", top=0), "top=0; expected a count"),
        (lambda run: run.plot("los"), "what='los'; expected one of both, loss, penalty, accuracy, confusion"),
        (lambda run: run.plot(x="steps"), "x='steps'; expected one of step, epoch, seconds, wall"),
        (lambda run: run.plot(smooth=1), "smooth=1; expected a number from 0 and below 1"),
        (lambda run: run.plot(smooth=float("nan")), "smooth=nan; expected a number from 0 and below 1"),
        (lambda run: run.confusion("train"), "has no final confusion matrix of train; there are those of val, test"),
        (lambda run: run.plot(splits=["train", "tset"]), "split='tset'"),
        (lambda run: run.evaluate(set={"optimizer.lr": 1.0}), "a run is evaluated as it was trained"),
        (lambda run: run.evaluate(tta=True), "the run has no test-time augmentation"),
    ],
)
def test_wrong_arguments_are_named(call: object, told: str, run: dl.Run) -> None:
    with pytest.raises((ValueError, UserError, ConfigError)) as caught:
        call(run)  # type: ignore[operator]
    assert told in str(caught.value)


def test_a_place_without_a_run_and_one_with_several_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run"):
        dl.open(tmp_path / "none")
    for name in ("22222222-s0", "22222222-s1"):
        (tmp_path / "a" / name).mkdir(parents=True)
        (tmp_path / "a" / name / "log.jsonl").write_text((folder / "log.jsonl").read_text())
    with pytest.raises(UserError, match="holds 2 runs; give one of"):
        dl.open(tmp_path / "a")


def test_a_damaged_run_says_why(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("nothing\n")
    run = dl.open(tmp_path)
    assert run.status == "unreadable"
    assert "holds no complete record" in repr(run)
    assert (run.val, run.config) == (None, {})
    with pytest.raises(UserError, match="holds no complete record"):
        run.history()


def test_a_run_is_pickled_as_its_folder_and_a_few_numbers(run: dl.Run) -> None:
    text = pickle.dumps(run)
    assert len(text) < 5000
    assert pickle.loads(text).path == run.path
