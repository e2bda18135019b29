"""Faults planted in data sets are found and named; what is as it should be raises no alarm."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.config import data as config
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import load_dataset
from dlassign.data_checks.check import check_data
from dlassign.data_checks.classes import _difference
from dlassign.data_checks.flaw import DataCheck, Flaw
from dlassign.errors import counted
from helpers.images import folder_with_a_leak


def images(*, n: int = 300, channels: int = 3, seed: int = 0) -> Dataset:
    """Return noisy images, brighter above and redder than blue, of three classes, split 60:20:20."""
    rng = np.random.default_rng(seed)
    light = np.linspace(60, 20, 8)[:, None] + np.linspace(0, 30, 8)
    x = light + np.array([60, 30, 0])[:channels, None, None] + rng.normal(0, 12, (n, channels, 8, 8))
    return dealt(x.clip(0, 255).astype(np.uint8), rng.permutation(np.arange(n) % 3))


def dealt(x: Any, y: Any, classes: tuple[str, ...] = ("cat", "dog", "owl")) -> Dataset:
    a, b = 6 * len(y) // 10, 8 * len(y) // 10
    y = np.asarray(y, np.int64)
    train, val, test = (Split(x[rows], y[rows]) for rows in (slice(a), slice(a, b), slice(b, None)))
    origin = dict.fromkeys(("train", "val", "test"), "train")
    return Dataset(train=train, val=val, test=test, classes=classes, sha256="0", label="planted", origin=origin)


def table(n: int = 1000, *, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = np.column_stack([rng.normal(y, 1.0), rng.normal(0, 1, n), rng.integers(0, 4, n)])
    return dealt(x, y)


def only(check: DataCheck, kind: str) -> Flaw:
    [found] = [flaw for flaw in check.flaws if flaw.kind == kind]
    return found


def kinds(check: DataCheck) -> list[str]:
    return [flaw.kind for flaw in check.flaws]


def with_test(data: Dataset, change: Any) -> Dataset:
    assert data.test is not None
    return replace(data, test=Split(change(data.test.x), data.test.y))


@pytest.mark.parametrize("seed", range(5))
def test_clean_sets_have_no_flaws(seed: int) -> None:
    for data in (images(seed=seed), images(channels=1, seed=seed), table(seed=seed)):
        assert not check_data(data, by="position").flaws


def test_the_digits_have_no_flaws() -> None:
    assert not check_data(load_dataset(config.Digits(name="digits"))).flaws


@pytest.mark.data
def test_mnist_has_no_flaws(real_data: Path) -> None:
    """No two of its images are equal."""
    assert not check_data(load_dataset(config.MNIST(name="mnist", root=str(real_data)))).flaws


@pytest.mark.data
def test_cifar10_as_jpeg_has_no_flaws(real_data: Path, tmp_path: Path) -> None:
    folder = config.ImageFolder(name="image_folder", root=str(real_data / "cifar10-jpeg"), cache=str(tmp_path))
    assert not check_data(load_dataset(folder)).flaws


def test_samples_of_train_in_test_and_val() -> None:
    data = images()
    assert data.val is not None
    assert data.test is not None
    data.test.x[[4, 9, 30]] = data.train.x[[7, 7, 100]]
    data.val.x[2] = data.test.x[50]
    check = check_data(data)
    leak, between = [flaw for flaw in check.flaws if flaw.kind == "equal_across"]
    assert (leak.level, leak.counts) == ("alarm", {"samples": 3, "of": 60})
    assert leak.samples == ((("test", 4), ("train", 7)), (("test", 9), ("train", 7)), (("test", 30), ("train", 100)))
    assert leak.text == "3 of 60 samples of test also occur in train"
    assert check.leaks == {"test": [4, 9, 30]}
    assert (between.level, between.samples) == ("warning", ((("test", 50), ("val", 2)),))
    assert only(check, "equal_within").counts == {"copies": 1, "groups": 1, "of": 60}


def test_equal_samples_with_two_labels() -> None:
    data = images()
    data.train.x[5] = data.train.x[6]
    data.train.y[[5, 6]] = [0, 2]
    found = only(check_data(data), "two_labels")
    assert found.level == "alarm"
    assert found.samples == ((("train", 5), ("train", 6)),)
    assert "such as one of class cat and one of class owl" in found.text


def test_equal_rows_of_a_table_with_few_values_are_chance() -> None:
    rng = np.random.default_rng(0)
    check = check_data(dealt(rng.integers(0, 3, (1000, 3)).astype(float), rng.integers(0, 3, 1000)))
    assert not check.alarms
    assert not check.leaks
    assert set(kinds(check)) == {"equal_across", "equal_within", "two_labels"}
    assert "by chance" in only(check, "two_labels").text


@pytest.mark.parametrize("seed", range(3))
def test_equal_rows_of_many_classes_are_chance_too(seed: int) -> None:
    """Rows with labels by coin are equal to rows of either class."""
    rng = np.random.default_rng(seed)
    check = check_data(dealt(rng.integers(0, 8, (5000, 5)).astype(float), rng.integers(0, 2, 5000), ("a", "b")))
    assert not check.alarms
    assert not check.leaks


def test_rare_classes_have_other_shares_by_chance() -> None:
    """Of 200 classes most have a sample or none in val: no law of large numbers holds for them."""
    shares = 1 / np.arange(1, 201) ** 1.5
    told = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = rng.choice(200, 20_300, p=shares / shares.sum())
        counts = {name: np.bincount(part, minlength=200) for name, part in (("train", y[300:]), ("val", y[:300]))}
        _, rare, far = _difference(counts["train"], counts["val"])
        told += rare < 1e-3 or far > 0.1
    assert told <= 1


def test_huge_numbers_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    x = np.stack([rng.uniform(0, 1e308, 200), np.full(200, -1e308)], axis=1)
    assert not check_data(dealt(x, rng.integers(0, 2, 200), ("a", "b"))).alarms


def test_a_single_column_of_two_values_is_no_table_of_copies() -> None:
    rng = np.random.default_rng(0)
    check = check_data(dealt(rng.integers(0, 2, (100, 1)) + 2.0**25, rng.integers(0, 2, 100), ("a", "b")))
    assert not check.alarms


def test_equal_rows_of_a_table_of_measurements_are_copies() -> None:
    data = table()
    assert data.test is not None
    data.test.x[3], data.test.y[3] = data.train.x[8], data.train.y[8]
    check = check_data(data)
    assert check.leaks == {"test": [3]}
    assert only(check, "equal_across").level == "alarm"


def test_missing_classes() -> None:
    data = images()
    kept = data.train.y != 1
    check = check_data(replace(data, train=Split(data.train.x[kept], data.train.y[kept])))
    found = only(check, "missing_class")
    assert found.level == "alarm"
    assert "train has no sample of 1 of 3 classes (dog)" in found.text
    assert data.val is not None
    kept = data.val.y != 2
    other = only(check_data(replace(data, val=Split(data.val.x[kept], data.val.y[kept]))), "missing_class")
    assert other.level == "warning"
    assert "val has no sample" in other.text


def test_a_sorted_file_that_is_split_by_position() -> None:
    data = images()
    y = np.sort(np.concatenate([split.y for split in data.splits.values()]))
    x = np.concatenate([split.x for split in data.splits.values()])
    check = check_data(dealt(x, y), by="position")
    # One flaw: that classes are missing and the splits look unlike each other follows from it.
    [found] = check.flaws
    assert (found.kind, found.level) == ("order_by_class", "alarm")
    assert "in the order of their classes" in found.text
    assert found.counts["class_changes"] == 1


def test_other_shares_of_classes_in_a_test_set_of_its_own() -> None:
    data = images(n=3000)
    assert data.test is not None
    kept = (data.test.y != 1) | (np.arange(len(data.test)) % 5 == 0)
    test = Split(data.test.x[kept], data.test.y[kept])
    found = only(check_data(replace(data, test=test, origin={"train": "train", "test": "test"})), "class_shares")
    assert found.level == "warning"
    assert "class dog makes up" in found.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: 255 - x, "inverted"),
        (lambda x: x[:, ::-1], "BGR"),
        (lambda x: x[:, :, ::-1], "upside down"),
        (lambda x: x[..., ::-1], "mirrored"),
        (lambda x: x.swapaxes(2, 3), "rows and columns swapped"),
    ],
)
def test_a_test_split_that_was_changed(change: Any, told: str) -> None:
    found = only(check_data(with_test(images(), change)), "changed_split")
    assert found.level == "alarm"
    assert found.text.startswith("test is as train would be ")
    assert told in found.text


def test_images_of_ink_are_inverted_too() -> None:
    digits = load_dataset(config.Digits(name="digits"))
    assert "inverted" in only(check_data(with_test(digits, lambda x: 16 - x)), "changed_split").text


@pytest.mark.parametrize(
    ("change", "told"), [(lambda x: x / 255, "divided by 255"), (lambda x: x * 255, "multiplied by 255")]
)
def test_a_test_split_that_was_scaled(change: Any, told: str) -> None:
    data = table()
    for split in data.splits.values():
        split.x[:, :2] += 20
    assert told in only(check_data(with_test(data, change)), "changed_split").text
    pictures = _with(
        data, {name: split.x[:, :, None, None] * np.ones((1, 1, 8, 8)) for name, split in data.splits.items()}
    )
    assert told in only(check_data(with_test(pictures, change)), "changed_split").text


def test_a_darker_test_split_is_no_inverted_one() -> None:
    check = check_data(with_test(images(), lambda x: (0.8 * x).astype(np.uint8)))
    assert kinds(check) == ["unlike_train"]
    assert "test is darker than train" in check.flaws[0].text
    assert not check.alarms


def test_blank_images() -> None:
    data = images()
    data.train.x[[3, 8]] = np.array([9, 200, 7], np.uint8)[:, None, None]
    data.train.x[8] += 1
    found = only(check_data(data), "blank")
    assert (found.level, found.samples) == ("warning", ((("train", 3),), (("train", 8),)))


def test_a_column_that_gives_the_label_away() -> None:
    data = table()
    leak = {name: np.column_stack([split.x, 7.0 - split.y]) for name, split in data.splits.items()}
    found = only(check_data(_with(data, leak)), "leaking_column")
    assert found.level == "alarm"
    assert found.text.startswith("column '3' alone gives the label of 300 of 300 rows")
    assert found.cure.endswith("set data.drop: [3]")


def test_a_column_that_nearly_gives_the_label_away() -> None:
    data = table(5000)
    rng = np.random.default_rng(1)
    leak = {
        name: np.column_stack([split.x, 2.0 * split.y + rng.normal(0, 0.3, len(split))])
        for name, split in data.splits.items()
    }
    assert only(check_data(_with(data, leak)), "leaking_column").level == "warning"


def test_classes_that_many_columns_tell_apart_are_no_leak() -> None:
    data = table()
    rng = np.random.default_rng(0)
    easy = {name: split.y[:, None] * 10 + rng.random((len(split), 4)) for name, split in data.splits.items()}
    assert not kinds(check_data(_with(data, easy)))


def _with(data: Dataset, x: dict[str, Any]) -> Dataset:
    return replace(data, **{name: Split(x[name], split.y) for name, split in data.splits.items()})  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_sets_of_a_few_samples(n: int) -> None:
    y = np.zeros(n, np.int64)
    for x in (np.zeros((n, 3)), np.zeros((n, 3, 1, 1), np.uint8), np.full((n, 2), np.nan)):
        data = Dataset(train=Split(x, y), classes=("a", "b"), sha256="0", label="tiny")
        check = check_data(data)
        assert check == DataCheck.from_plain(json.loads(json.dumps(check.plain())))


def run(*args: str) -> Any:
    return CliRunner().invoke(main, ["data", "check", *args])


def write(path: Path, data: dict[str, Any]) -> str:
    rest = {"model": {"name": "mlp", "hidden": [4]}, "optimizer": {"name": "sgd", "lr": 0.1}, "train": {"steps": 2}}
    path.write_text(json.dumps({"name": "checked", "data": data, **rest}))
    return str(path)


def test_the_command_names_files_and_exits_1_at_an_alarm(tmp_path: Path) -> None:
    root = folder_with_a_leak(tmp_path / "photos")
    data = {"name": "image_folder", "root": str(root), "cache": str(tmp_path / "cache")}
    result = run(write(tmp_path / "c.yaml", data))
    assert result.exit_code == 1, result.output
    assert "alarm: 1 of 24 samples of test also occur in train" in result.output
    assert f"such as {root}/test/cat/3.png = {root}/train/dog/5.png" in result.output
    assert "keep one sample of each, with that label" in result.output, "a mended label alone would leave the leak"
    assert result.output.splitlines()[-1] == "2 alarms"
    found = json.loads(run(write(tmp_path / "c.yaml", data), "--json").stdout)
    assert [flaw["kind"] for flaw in found["flaws"]] == ["equal_across", "two_labels"]
    assert found["flaws"][0]["samples"][0][0] == {
        "split": "test",
        "row": 5,  # 0, 1, 10, 11, 2, 3
        "name": f"{root}/test/cat/3.png",
    }
    assert found["facts"]["class_counts"]["train"] == [12, 12]


def test_the_command_names_rows_of_a_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{a:.6f},{b:.6f},{'xy'[n % 2]}" for n, (a, b) in enumerate(rng.random((40, 2)))]
    lines[39] = lines[2].replace(",x", ",y")
    (tmp_path / "t.csv").write_text("\n".join(["a,b,label", *lines]) + "\n")
    data = {"name": "csv_table", "path": str(tmp_path / "t.csv"), "label_column": "label", "split": {"by": "position"}}
    result = run(write(tmp_path / "c.yaml", data))
    assert result.exit_code == 1
    assert f"such as {tmp_path}/t.csv:41 = {tmp_path}/t.csv:4" in result.output


def test_the_command_on_clean_data_exits_0() -> None:
    result = run("configs/quickstart.yaml")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "nothing found")


def test_arrays_of_a_process_have_the_same_check() -> None:
    x = np.random.default_rng(0).random((50, 4))
    raw = raw_of_arrays(x[[*range(50), 0]], np.array([*range(50), 0]) % 2)
    data = load_dataset(config.Arrays(name="arrays", split={"by": "position", "val": None, "test": 1}), raw=raw)  # type: ignore[arg-type]
    assert check_data(data, by="position").leaks == {"test": [0]}


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        ({"name": "csv_table", "path": "one_row.csv", "label_column": "y"}, 1, "one class only"),
        ({"name": "csv_table", "path": "one_class.csv", "label_column": "y"}, 1, "one class only"),
        ({"name": "digitz"}, 2, "digitz"),
        ({"name": "csv_table", "path": "none.csv", "label_column": "a"}, 1, "none.csv"),
        ({"name": "image_folder", "root": "none"}, 1, "none"),
        ({"name": "mnist", "root": "none"}, 1, "none"),
    ],
)
def test_bad_input_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], code: int, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one_row.csv").write_text("a,b,y\n1,2,cat\n")
    Path("one_class.csv").write_text("a,b,y\n" + "1,2,cat\n3,5,cat\n" * 10)
    result = run(write(tmp_path / "c.yaml", data))
    assert result.exit_code == code
    assert told in result.stderr
    assert not result.stdout
    assert "Traceback" not in result.stderr


def test_missing_classes_are_said_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [f"{a:.6f},{b:.6f},{'xyz'[n % 2 if n < 38 else 2]}" for n, (a, b) in enumerate(rng.random((40, 2)))]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,label", *lines]) + "\n")
    data = {"name": "csv_table", "path": str(tmp_path / "t.csv"), "label_column": "label", "split": {"by": "position"}}
    result = run(write(tmp_path / "c.yaml", data))
    assert result.output.count("train has no sample of 1 of 3 classes (z)") == 1


@pytest.mark.parametrize("text", ["pair", "sample", "file"])
def test_one_of_a_kind_is_not_many(text: str) -> None:
    assert [counted(n, text) for n in (0, 1, 2, 1000)] == [f"0 {text}s", f"1 {text}", f"2 {text}s", f"1,000 {text}s"]
    assert [counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


def test_no_page_says_one_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder_with_a_leak(tmp_path / "images")
    Path("rows.csv").write_text("a,b,label\n" + "".join(f"1,{row // 2},{row % 2}\n" for row in range(40)) + "7,7,1\n")
    rest = "model: {name: mlp, hidden: [2]}\noptimizer: {name: sgd, lr: 0.1}\ntrain: {epochs: 1, batch_size: 2}\n"
    for data in ("{name: image_folder, root: images, size: [4, 4]}", "{name: csv_table, path: rows.csv}"):
        Path("odd.yaml").write_text(f"name: odd\ndata: {data}\n{rest}")
        page = CliRunner().invoke(main, ["data", "check", "odd.yaml"]).output
        assert "samples of" in page, page
        assert re.findall(r"(?<![\d.,])1 (?!(?:as|is|has|class|was|this)\b)[a-z]+s\b", page) == [], page


def test_by_chance_nothing_is_told_twice() -> None:
    rng = np.random.default_rng(0)
    check = check_data(dealt(rng.integers(0, 3, (200, 2)).astype(np.float64), rng.integers(0, 2, 200)), by=None)
    shared = [flaw for flaw in check.flaws if flaw.kind == "equal_across"]
    assert [flaw.level for flaw in shared] == ["note"] * len(shared) != []
    assert check.leaks == {}
    for flaw in shared:
        assert flaw.cure.startswith("nothing, if rows may be equal by chance; else ")
        assert "told without them" not in flaw.cure
