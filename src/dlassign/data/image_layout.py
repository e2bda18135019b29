"""How people lay out folders of images, and what to write into a config where it expects another layout."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import Any

from dlassign.config.load import dump_plain
from dlassign.data.image_scan import is_image_name, visible_folders
from dlassign.errors import first_few

TRAIN = frozenset({"train", "training", "trainset", "trainingset"})
VAL = frozenset({"val", "valid", "validation", "dev", "valset", "validset", "validationset"})
TEST = frozenset({"test", "testing", "testset", "testingset"})
SHARES = {"val": 0.15, "test": 0.15}
"""What is held out of a folder that has no parts of its own, if nothing else is said."""
_DEEP = 4
"""Folders in a folder that are looked into; archives often hold one folder with all."""
_FOLDERS = 200
"""Most folders that are searched for the first image of a class."""


@dataclass(frozen=True)
class Layout:
    """Where the class folders of a folder of images lie.

    Attributes:
        root, train, val, test: what to write for these keys of `data`.
        classes: the names of the class folders of train, sorted.
        odd: a sentence on each folder that is called as a part and cannot be one.
    """

    root: str
    train: str
    val: str | None
    test: str | None
    classes: tuple[str, ...]
    odd: tuple[str, ...] = ()


def find_layout(root: str, *, deep: int = _DEEP) -> Layout | None:
    """Return where the images of a folder lie; None if it has no two class folders.

    A part of its own, such as `test` or `validation`, counts if all its classes are those of train.
    """
    base = Path(root).expanduser()
    names = visible_folders(base)
    plain = {name: "".join(char for char in name.lower() if char not in "-_ ") for name in names}
    classes = {name: class_folders(base / name) for name, called in plain.items() if called in TRAIN | VAL | TEST}
    parts = {name for name, found in classes.items() if found}
    train = next((name for name in names if name in parts and plain[name] in TRAIN), ".")
    own = classes[train] if train != "." else class_folders(base, leave_out=parts)
    if len(own) > 1:
        fits = {name for name, its in classes.items() if its and set(its) <= set(own)}

        def part(known: frozenset[str]) -> str | None:
            return next((name for name in names if plain[name] in known and name in fits), None)

        unlike = [name for name in names if plain[name] in VAL | TEST and name not in fits and name not in own]
        odd = tuple(why for name in unlike if (why := _why_no_part(base / name, classes[name], base / train, own)))
        return Layout(root, train, part(VAL), part(TEST), own, odd)
    if len(names) == 1 and deep:
        return find_layout(str(Path(root) / names[0]), deep=deep - 1)
    return None


def _why_no_part(folder: Path, classes: Sequence[str], train: Path, own: Sequence[str]) -> str:
    """Return why a folder of images is no part beside train, and what it is; "" if there are no images in it."""
    cure = "make its class folders those of train and give `dlassign init` again, or its images are not used"
    if not classes:
        return f"{folder} is left out: its images lie in no class folders; {cure}" if _holds_images(folder) else ""
    lacks, more = [sorted({*one} - {*other}) for one, other in ((own, classes), (classes, own))]
    says = [f"it lacks the {_called(lacks)} of {train}"] * bool(lacks)
    says += [f"{'' if lacks else 'it '}has the {_called(more)}, which {train} lacks"]
    if folder.parent == train:  # where the classes lie in root itself, all folders are read as classes
        return f"{folder} is read as a class: {', and '.join(says)}; move it elsewhere, or make its class folders these"
    return f"{folder} is left out: {', and '.join(says)}; {cure}"


def _called(classes: Sequence[str]) -> str:
    return f"class{'es' * (len(classes) > 1)} {first_few(classes, 3)}"


def class_folders(folder: Path, *, leave_out: frozenset[str] | set[str] = frozenset()) -> tuple[str, ...]:
    """Return the sorted names of the folders in `folder` that hold images, at any depth."""
    names = [name for name in visible_folders(folder) if name not in leave_out and _holds_images(folder / name)]
    return tuple(sorted(unicodedata.normalize("NFC", name) for name in names))


def _holds_images(folder: Path) -> bool:
    walk = islice(os.walk(folder, followlinks=True), _FOLDERS)  # links may lead in a circle
    return any(is_image_name(name) for _, _, names in walk for name in names)


def layout_advice(root: str, parts: Mapping[str, str | None], *, split: Mapping[str, Any]) -> str | None:
    """Return what to write where a folder of a part is missing but others are there; None if nothing is known.

    Args:
        root: `data.root`.
        parts: `data.train`, `data.val` and `data.test`.
        split: `data.split`, as far as it is written.
    """
    base = Path(root).expanduser()
    missing = [part for part, name in parts.items() if name is not None and not (base / name).is_dir()]
    found = find_layout(root) if missing and base.is_dir() else None
    if found is None:
        return None
    lacks = f"data.{missing[0]}: there is no folder {base / str(parts[missing[0]])}"
    has = f"{Path(found.root) / found.train} has class folders: {first_few(found.classes, 3)}"
    lines = dump_plain(data_keys(found, now={"root": root, **parts}, split=split))
    return f"{lacks}, but {has}. Write below `data:`\n\n{indent(lines, '  ').rstrip()}"


def data_keys(found: Layout, *, now: Mapping[str, str | None], split: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `data` that must be other than now, so that a config reads a layout.

    Args:
        found: the layout.
        now: the present values of `root`, `train`, `val` and `test`.
        split: the present `split`, as far as it is written.
    """
    keys: dict[str, Any] = {key: getattr(found, key) for key in now if getattr(found, key) != now[key]}
    if split.get("val") is not None and now["val"] is None:
        keys.pop("val", None)  # validation is taken from train already
    lacking = {part: share for part, share in SHARES.items() if getattr(found, part) is None and not split.get(part)}
    return keys | ({"split": {**split, **lacking}} if lacking else {})
