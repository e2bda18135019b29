"""Which of the samples that are predicted a run was trained on: accuracy on them says little of new ones."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from dlassign.config.data import MNIST, CSVTable, Data, ImageFolder
from dlassign.data.known_files import MNIST_FILES, folder_of
from dlassign.data.load import names_today
from dlassign.deploy.sources import IdxSource, ImageSource, Source, TableSource
from dlassign.errors import ConfigError, UserError
from dlassign.train.saved import SavedRun


def note_of_own_samples(saved: SavedRun, sources: Sequence[Source]) -> str:
    """Return what the user should know of samples that are the run's own, by their places; "" if there are none.

    Nothing is decoded for it. Where the data of the run is gone, nothing is known; copies elsewhere are not noticed.
    """
    cfg = saved.cfg.data
    names = [name for source in sources for name in _own_names(cfg, source)]
    if not names:
        return ""
    try:
        dealt, same = names_today(cfg, saved.records.start["data"])
    except (UserError, ConfigError):
        return ""
    kept_names = _real_names if isinstance(cfg, ImageFolder) else list[str]
    splits = {name: split for split, own in dealt.items() for name in kept_names(own)}
    counts = Counter(split for name in names if (split := splits.get(name)) is not None)
    n, noun = sum(map(len, sources)), "rows" if isinstance(cfg, CSVTable) else "images"
    if not same and counts:
        return (
            f"note: {_of(counts.total(), n, noun)} are of the run's own data, which has changed since: "
            "it may have been trained on them"
        )
    if not counts["train"]:
        return ""
    val = f", {counts['val']:,} more of its val split" if counts["val"] else ""
    cure = "; --split test predicts those that it has not seen" if "test" in dealt else ""
    return (
        f"note: {_of(counts['train'], n, noun)} are of the run's train split{val}: accuracy on them is too high{cure}"
    )


def _of(count: int, n: int, noun: str) -> str:
    return f"all {n:,} {noun}" if count == n else f"{count:,} of these {n:,} {noun}"


def _own_names(cfg: Data, source: Source) -> Iterator[str]:
    """Yield what the data calls the samples of a source if they are its own; nothing if they cannot be."""
    match cfg, source:
        case ImageFolder(), ImageSource():
            root = Path(cfg.root).expanduser()
            # A class folder may be a link to elsewhere, so its images lie below the root by one of two paths.
            roots = tuple(f"{path}{os.sep}" for path in (os.path.realpath(root), os.path.abspath(root)))  # noqa: PTH100
            paths = [file.path for file in source.files]
            folders = {os.path.dirname(path) for path in paths}  # noqa: PTH120 - of 10,000 paths, quickly
            both = (path for folder in folders for path in (os.path.realpath(folder), os.path.abspath(folder)))  # noqa: PTH100
            if any(f"{path}{os.sep}".startswith(roots) for path in both):
                yield from _real_names(paths)
        case CSVTable(), TableSource() if _is_same(source.path, cfg.path):
            yield from (f"{cfg.path}:{line}" for line in source.rows.lines)
        case MNIST(), IdxSource():
            for part, begin in (("train", "train"), ("test", "t10k")):
                if _is_same(source.images.path, folder_of(MNIST_FILES, cfg.root) / f"{begin}-images-idx3-ubyte"):
                    yield from (f"mnist/{part}[{row}]" for row in range(len(source)))


def _real_names(paths: Sequence[str]) -> list[str]:
    """Return paths with their folders as they really are; to ask it of each file would take long."""
    split = [os.path.split(path) for path in paths]
    real = {folder: os.path.realpath(folder) for folder, _ in split}
    return [f"{real[folder]}{os.sep}{name}" for folder, name in split]


def _is_same(path: str | Path, other: str | Path) -> bool:
    try:
        return Path(path).samefile(Path(other).expanduser())
    except OSError:
        return False
