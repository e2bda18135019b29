"""Where the data of a table's configs lies, and whether it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlassign.config.data import CIFAR10, MNIST, CSVTable, ImageFolder
from dlassign.config.run import RunConfig
from dlassign.config.suggestion import did_you_mean
from dlassign.config.transfer import IMAGENET, PretrainedInit
from dlassign.data.known_files import CIFAR10_FILES, CIFAR10_NAMES, MNIST_FILES, KnownSet, missing_files
from dlassign.errors import ConfigError
from dlassign.store.paths import hub_folder

KINDS = {
    "cifar10": (
        "the folder that holds cifar-10-batches-py/, or one with train/CLASS/ and test/CLASS/ images of its ten classes"
    ),
    "mnist": "the folder that holds MNIST/raw/",
    "csv_table": "the table of two classes and 20 features, a CSV file",
}
"""Values of `data.name` whose place can be given, and what is expected there."""
DATA_MISSING, WEIGHTS_MISSING = "data missing", "weights missing"
"""How an obstacle begins, before a colon and its cure."""
IMAGES = "data.name=image_folder"
"""The change by which a folder of images stands in for CIFAR-10's own files."""


def parse_places(texts: Sequence[str]) -> dict[str, Path]:
    """Return where data lies, by `data.name`, from texts NAME=PATH as after `--data`.

    Raises:
        ConfigError: one of them is something else, or nothing lies there.
    """
    places = {}
    for text in texts:
        kind, sign, path = text.partition("=")
        if not sign or not path:
            raise ConfigError(f"--data {text}: expected NAME=PATH, such as cifar10=data")
        if kind not in KINDS:
            known = f"{did_you_mean(kind, KINDS)} Known: {', '.join(KINDS)}"
            raise ConfigError(f"--data {text}: there is no data called {kind!r}.{known}")
        places[kind] = Path(path).expanduser()
        if not _is_there(kind, places[kind]):
            found = "it is there, but is not that" if places[kind].exists() else "there is nothing"
            raise ConfigError(f"--data {text}: expected {KINDS[kind]}; {found}")
    return places


def _is_there(kind: str, path: Path) -> bool:
    match kind:
        case "cifar10":
            # Photos of other things, or with a class less, are no copy of it, and nothing reported holds for them.
            classes = [path / split / name for split in ("train", "test") for name in CIFAR10_NAMES]
            return all(one.is_dir() for one in classes) or (path / CIFAR10_FILES.folder).is_dir()
        case "mnist":
            return (path / MNIST_FILES.folder).is_dir()
        case _:
            return path.is_file()


def overrides(config: RunConfig, places: Mapping[str, Path]) -> list[str]:
    """Return the changes, as after `--set`, that let a config find its data.

    A folder of images in place of CIFAR-10's files is sorted by class; where a config takes samples in the order of the
    files, it is shuffled once, with seed 0.
    """
    path = places.get(config.data.name)
    match config.data:
        case CIFAR10() if path is not None and not (path / CIFAR10_FILES.folder).is_dir():
            return _as_images(config, path)
        case CIFAR10() | MNIST() if path is not None:
            return [f"data.root={path}"]
        case CSVTable() if path is not None:
            return [f"data.path={path}"]
        case _:
            return []


def logged_overrides(config: RunConfig, data: Mapping[str, Any]) -> list[str]:
    """Return the changes that let a config have the data that a log names; data: that section of the log's config."""
    if isinstance(config.data, CIFAR10) and data["name"] == "image_folder":
        return _as_images(config, Path(data["root"]))
    return []


def _as_images(config: RunConfig, root: Path) -> list[str]:
    in_order = config.data.split.by == "position" or config.train.order in ("uva", "window")
    return [IMAGES, f"data.root={root}", *(["data.shuffle_seed=0"] if in_order else [])]


def obstacle(config: RunConfig) -> str:
    """Return why a config cannot be trained here, and the cure; "" if what it reads is there."""
    data = config.data
    match data:
        case CIFAR10():
            missing = _missing_set(CIFAR10_FILES, data.root)
        case MNIST():
            missing = _missing_set(MNIST_FILES, data.root)
        case CSVTable() if not Path(data.path).expanduser().is_file():
            missing = f"{DATA_MISSING}: no file {data.path}; give --data csv_table=FILE"
        case ImageFolder() if not Path(data.root).expanduser().is_dir():
            missing = f"{DATA_MISSING}: no folder {data.root}"
        case _:
            missing = ""
    return missing or _missing_weights(config)


def _missing_set(known: KnownSet, root: str) -> str:
    if not missing_files(known, root):
        return ""
    fetch = f"dlassign data fetch {known.name}"
    return f"{DATA_MISSING}: no {known.folder} in {root}; run `{fetch}`, or give --data {known.name}=DIR"


def _missing_weights(config: RunConfig) -> str:
    init, name = config.init, config.model.name
    wanted = isinstance(init, PretrainedInit) and init.weights == IMAGENET and not init.download
    if not wanted or any(hub_folder().glob(f"{name}-*.pth")):
        return ""
    return f"{WEIGHTS_MISSING}: run `dlassign data fetch {name}-{IMAGENET}`"
