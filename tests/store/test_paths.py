"""Which folder a run has, and how runs are found."""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.run import RunConfig
from dlassign.store.paths import RunPaths, config_hash, find_runs, telling_names
from dlassign.store.summary import summarise
from helpers.runs import with_changes

BASE: dict[str, Any] = {
    "name": "a",
    "data": {
        "name": "image_folder",
        "root": "x",
        "train": "train",
        "size": [8, 8],
        "split": {"val": 0.1, "seed": 0},
        "preprocess": [{"name": "scale", "divisor": 255}],
    },
    "model": {"name": "mlp", "hidden": [10]},
    "loss": {"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": 0.1}]},
    "optimizer": {"name": "adam", "lr": 0.001},
    "train": {"steps": 10},
}


def dumped(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    return RunConfig.model_validate(with_changes(BASE, changes)).model_dump(mode="json")


def test_folder_name() -> None:
    paths = RunPaths.of(Path("out"), dumped({"seed": 42}), "f" * 64)
    assert paths.root.parent == Path("out/a")
    name, seed = paths.root.name.split("-s")
    assert (len(name), seed) == (8, "42")
    assert set(name) <= set("0123456789abcdef")
    assert name == config_hash(dumped(), "f" * 64)


def test_a_run_of_a_version_without_the_newest_keys_keeps_its_name() -> None:
    old = dumped()
    for key in ("background", "bits"):
        del old["data"][key]
    assert config_hash(old, "f") == config_hash(dumped(), "f")
    assert config_hash(dumped({"data.background": "black"}), "f") != config_hash(old, "f")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"device": "cpu"},
        {"data.root": "/elsewhere"},
        {"data.cache": "/cache"},
        {"train.checkpoint_seconds": 0.0},
        {"notes": "why"},
        {"train.batch_size": 64, "seed": 9},  # a default written out
    ],
    ids=str,
)
def test_the_hash_ignores_what_results_do_not_depend_on(changes: dict[str, Any]) -> None:
    assert config_hash(dumped(changes), "f") == config_hash(dumped(), "f")


CHANGES: list[dict[str, Any]] = [
    {"name": "b"},
    {"data.train": "other"},
    {"data.size": [8, 9]},
    {"data.split.seed": 1},
    {"data.split.val": 0.2},
    {"data.preprocess": []},
    {"data.preprocess": [{"name": "scale", "divisor": 16}]},
    {"model.hidden": [11]},
    {"model.dropout": 0.1},
    {"model.bias": False},
    {"init": {"name": "he"}},
    {"loss.penalty": []},
    {"loss.label_smoothing": 0.1},
    {"optimizer.lr": 0.0010000000000000002},
    {"optimizer.betas": [0.9, 0.99]},
    {"optimizer": {"name": "adamw", "lr": 0.001}},
    {"schedule": {"name": "cosine"}},
    {"schedule": {"name": "constant", "warmup": {"steps": 1}}},
    {"train.steps": 11},
    {"train.batch_size": 63},
    {"train.order": "full"},
    {"train.precision": "fp64"},
    {"train.log_every": {"steps": 51}},
    {"train.clip": {"norm": 1.0}},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_the_hash_changes_with_anything_else(changes: dict[str, Any]) -> None:
    assert config_hash(dumped(changes), "f") != config_hash(dumped(), "f")


def test_the_hash_changes_with_the_data() -> None:
    assert config_hash(dumped(), "f") != config_hash(dumped(), "e")


def test_all_hashes_differ() -> None:
    assert len({config_hash(dumped(changes), "f") for changes in CHANGES}) == len(CHANGES)


def test_folders_are_named_with_as_many_parents_as_tell_them_apart() -> None:
    one, other = Path("/x/ada/out/a/1-s0"), Path("/x/bob/out/a/1-s0")
    assert telling_names([one, other.with_name("2-s0")]) == ["a/1-s0", "a/2-s0"]
    assert telling_names([one, other.with_name("2-s0")], least=1) == ["1-s0", "2-s0"]
    assert telling_names([one, other], least=1) == ["ada/out/a/1-s0", "bob/out/a/1-s0"]
    assert telling_names([one, one]) == ["a/1-s0"] * 2
    assert telling_names([]) == []


def test_every_key_of_a_config_counts_but_for_the_named_ones() -> None:
    """Changes each top-level, data and train value in the dump itself, so that a new key cannot be forgotten."""
    config = dumped()
    ignored = {("seed",), ("device",), ("notes",), ("data", "root"), ("data", "cache")}
    ignored |= {("train", "checkpoint_seconds"), ("train", "keep_checkpoints")}
    keys = [(key,) for key in config if key not in ("data", "train")]
    keys += [(section, key) for section in ("data", "train") for key in config[section]]
    found = set()
    for key in keys:
        changed = copy.deepcopy(config)
        inner = changed if len(key) == 1 else changed[key[0]]
        inner[key[-1]] = "changed"
        if config_hash(changed, "f") == config_hash(config, "f"):
            found.add(key)
    assert found == ignored


def test_paths_of_the_csv_table_and_download_do_not_count() -> None:
    def table(path: str) -> dict[str, Any]:
        data = {"name": "csv_table", "path": path}
        return RunConfig.model_validate({**BASE, "data": data}).model_dump(mode="json")

    def mnist(download: bool) -> dict[str, Any]:
        data = {"name": "mnist", "root": "r", "download": download}
        return RunConfig.model_validate({**BASE, "data": data}).model_dump(mode="json")

    assert config_hash(table("a.csv"), "f") == config_hash(table("b.csv"), "f") == "b0afad5d"  # as before data.drop
    assert config_hash(mnist(True), "f") == config_hash(mnist(False), "f")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def make(root: Path) -> Path:
    root.mkdir(parents=True)
    (root / "log.jsonl").touch()
    return root


def test_set_aside_takes_the_first_free_number(tmp_path: Path) -> None:
    paths = RunPaths(make(tmp_path / "a" / "12345678-s0"))
    moved = []
    for _ in range(3):
        (paths.root / "mark").write_text(str(len(moved)))
        moved.append(paths.set_aside())
        assert not paths.root.exists()
        make(paths.root)
    assert [path.name for path in moved] == [f"12345678-s0.old-{i}" for i in (1, 2, 3)]
    assert [(path / "mark").read_text() for path in moved] == ["0", "1", "2"]


def test_latest_points_to_the_newest(tmp_path: Path) -> None:
    first, second = (RunPaths(make(tmp_path / "a" / name)) for name in ("1-s0", "2-s0"))
    first.point_latest()
    assert (tmp_path / "a" / "latest").resolve() == first.root.resolve()
    second.point_latest()
    assert (tmp_path / "a" / "latest").readlink() == Path("2-s0")  # relative, so that out/ can be moved
    assert names(tmp_path / "a") == ["1-s0", "2-s0", "latest"]


def test_find_runs(tmp_path: Path) -> None:
    runs = [make(tmp_path / name) for name in ("a/1-s0", "a/1-s10", "a/1-s2", "b/2-s0")]
    make(tmp_path / "a" / "1-s0.old-1")
    make(tmp_path / "a" / ".hidden")
    (tmp_path / "a" / "latest").symlink_to("1-s0", target_is_directory=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "empty").mkdir()
    assert [paths.root for paths in find_runs(tmp_path)] == runs
    assert [paths.root for paths in find_runs(tmp_path / "a")] == runs[:3]
    assert [paths.root for paths in find_runs(runs[3])] == [runs[3]]
    assert [paths.root for paths in find_runs(tmp_path / "a" / "latest")] == [tmp_path / "a" / "latest"]
    assert list(find_runs(tmp_path / "none")) == []
    assert list(find_runs(tmp_path / "a" / "file")) == []


def test_a_folder_that_cannot_be_read_hides_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make(tmp_path / name) for name in ("a/1-s0", "c/1-s0")]
    closed = tmp_path / "b"
    closed.mkdir()
    list_folder = Path.iterdir

    def iterdir(self: Path) -> Iterator[Path]:  # a mode would not keep root out
        if self == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return list_folder(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert [paths.root for paths in find_runs(tmp_path)] == [runs[0], closed, runs[1]]
    assert summarise(RunPaths(closed)).status == "unreadable"


def test_file_names() -> None:
    paths = RunPaths(Path("out/a/1-s0"))
    files = (paths.config, paths.manifest, paths.log, paths.last, paths.previous, paths.best, paths.plots)
    assert [str(path.relative_to(paths.root)) for path in files] == [
        "config.yaml",
        "manifest.json",
        "log.jsonl",
        "checkpoints/last.pt",
        "checkpoints/previous.pt",
        "checkpoints/best.pt",
        "plots",
    ]
    assert paths.lock.parent == paths.root.parent  # not inside, so that the folder can be set aside


def test_a_config_called_like_a_run_that_was_set_aside_is_listed(tmp_path: Path) -> None:
    for name in ("net.old-2/12345678-s0", "net.old-2/12345678-s0.old-1", "net/12345678-s0.old-1", "net.old-x"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "log.jsonl").touch()
    assert [str(paths.root.relative_to(tmp_path)) for paths in find_runs(tmp_path)] == [
        "net.old-2/12345678-s0",
        "net.old-x",
    ]


def test_folders_nested_without_end_are_searched(tmp_path: Path) -> None:
    nested = [tmp_path / "a"]
    for _ in range(1200):
        nested.append(nested[-1] / "a")
    for folder in nested:
        folder.mkdir()
    (nested[-1] / "log.jsonl").touch()
    try:
        assert [paths.root for paths in find_runs(tmp_path)] == [nested[-1]]
    finally:  # pytest could not remove them
        (nested[-1] / "log.jsonl").unlink()
        for folder in reversed(nested):
            folder.rmdir()


def test_a_folder_that_only_lacks_its_log_is_a_run(tmp_path: Path) -> None:
    made = [RunPaths(tmp_path / name) for name in ("a", "b", "c", "d")]
    for paths in made:
        paths.root.mkdir()
    made[0].log.symlink_to("nowhere")
    made[1].config.touch()
    made[1].manifest.touch()
    made[2].config.touch()
    made[2].checkpoints.mkdir()
    made[3].config.touch()  # some other folder with a config in it
    assert list(find_runs(tmp_path)) == made[:3]
