"""RunPaths: the only place that knows a file name under out/."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlassign.config.neutral_keys import REPEATS, without, without_later
from dlassign.config.ordinary_file import open_ordinary
from dlassign.errors import UserError
from dlassign.store.files import reason


class Below:
    """The path of a file or folder below the `root` of what it is an attribute of."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, paths: Any, kind: type) -> Path:
        return Path(paths.root, *self._names)


@dataclass(frozen=True)
class RunPaths:
    """File names of one run, whose folder is `out/<name>/<hash8>-s<seed>`."""

    root: Path

    config = Below("config.yaml")
    """The resolved config, every default written out."""
    manifest = Below("manifest.json")
    """Versions, git state, device, data digest and status."""
    log = Below("log.jsonl")
    """The append-only log that everything is read from."""
    checkpoints = Below("checkpoints")
    """Folder of checkpoints."""
    last = Below("checkpoints", "last.pt")
    """Newest checkpoint, to go on from."""
    previous = Below("checkpoints", "previous.pt")
    """The checkpoint before the newest, used if that one is damaged."""
    best = Below("checkpoints", "best.pt")
    """Weights with the best validation metric."""
    code = Below("code")
    """Folder of the user's own code that the config names, as it was when the run began."""
    plots = Below("plots")
    """Folder of the pictures."""

    @classmethod
    def of(cls, out: Path, config: dict[str, Any], fingerprint: str) -> RunPaths:
        """Return the folder of a run of this config (as plain values) on data of this digest; see config_hash."""
        return cls(out / config["name"] / f"{config_hash(config, fingerprint)}-s{config['seed']}")

    @property
    def lock(self) -> Path:
        """Lock file held by the process that writes this run; beside the folder, so that the folder can be moved."""
        return self.root.parent / f".{self.root.name}.lock"

    @property
    def latest(self) -> Path:
        """Link to the newest run of this name."""
        return self.root.parent / "latest"

    def point_latest(self) -> None:
        """Make `latest` point here, where the file system has links."""
        temporary = self.latest.with_name(f".latest-{os.getpid()}")
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(self.root.name, target_is_directory=True)
            temporary.replace(self.latest)

    def drop_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run but its best weights; what cannot be removed stays."""
        for path in (self.previous, self.last):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Rename the run folder to the first free `<folder>.old-N`, and return the new name."""
        number = 1
        while (target := self.root.with_name(f"{self.root.name}.old-{number}")).exists():
            number += 1
        self.root.rename(target)
        return target


def telling_names(roots: Sequence[Path], *, least: int = 2) -> list[str]:
    """Return the names of folders with as many folders above them, at least so many parts, as tell them apart."""
    parts = [Path(os.path.abspath(root)).parts for root in roots]  # noqa: PTH100 (a link has the name that it was given)
    for count in range(least, max(map(len, parts), default=least)):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(Path(*own)) for own in parts]


def config_hash(config: dict[str, Any], fingerprint: str, *, weights: str | None = None) -> str:
    """Return 8 hex digits that repeats of one experiment share: they name its run folders.

    The content of data and of pretrained weights counts in place of their paths.

    Args:
        config: plain values.
        fingerprint: digest of the data.
        weights: what stands for pretrained weights whose file may be gone, as the log has it; None reads the file.

    Raises:
        UserError: the pretrained weights that the config names are not there.
    """
    named = without(without_later(config), REPEATS)
    named["data"]["sha256"] = fingerprint
    if "weights" in config["init"]:
        own = identity_of(config["init"]) if weights is None else {**config["init"], "weights": weights}
        named["init"] = without(own, REPEATS, prefix="init.")
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]


def weights_file(source: str) -> Path:
    """Return the file that holds pretrained weights: the source itself, or the best weights of a run folder.

    Raises:
        UserError: there is no such file, or the folder holds no finished run.
    """
    path = Path(source).expanduser()
    if not path.is_dir():
        if path.is_file():
            return path
        where = f"no such file or run folder (working directory {Path.cwd()})"
        raise UserError(f"there are no weights at {path}: {where}")
    best = RunPaths(path).best
    if not best.is_file():
        raise UserError(
            f"init.weights: {path} holds no finished run (there is no {best}); give the folder of a run, such as "
            "out/NAME/latest, or a file"
        )
    return best


def hub_folder() -> Path:
    """Return the folder in which torch keeps downloaded weights, without the seconds that importing torch takes."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", f"{cache}/torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def identity_of(init: dict[str, Any]) -> dict[str, Any]:
    """Return the section init of pretrained weights with the content's digest in place of the path."""
    kept = without(init, REPEATS, prefix="init.")
    if init["weights"] == "imagenet":  # torchvision's: the file's name says the digest
        return kept
    file = weights_file(init["weights"])
    try:
        with open_ordinary(file) as stream:
            return {**kept, "weights": "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()}
    except OSError as error:
        raise UserError(f"{file} cannot be read: {reason(error)}") from error


def is_run_folder(folder: Path) -> bool:
    """Return whether a folder is that of a run: it has a log, whatever that is, or what a run writes beside one.

    Who reads a log that is a pipe, a folder or a link to nothing says so.

    Raises:
        OSError: the folder cannot be looked into.
    """
    paths = RunPaths(folder)
    if paths.log.is_symlink() or paths.log.exists():
        return True
    return paths.config.is_file() and (paths.manifest.exists() or paths.checkpoints.is_dir())


def find_runs(root: Path) -> Iterator[RunPaths]:
    """Yield every run at or below `root`, sorted by name; links and folders set aside by --again are left out.

    A folder that cannot be read, or whose log is gone, is given as a run, so that its reader says why and the others
    are found.

    Args:
        root: a run folder, the folder of one experiment, or the whole out folder.
    """
    waiting = [root]  # a list, as folders may be nested deeper than functions may call themselves
    while waiting:
        folder = waiting.pop()
        try:
            is_run = is_run_folder(folder)
            children = () if is_run or not folder.is_dir() else folder.iterdir()
            found = [child for child in children if child.is_dir() and not child.is_symlink()]
        except OSError:
            yield RunPaths(folder)
            continue
        if not is_run:
            waiting += sorted((child for child in found if not child.name.startswith(".")), reverse=True)
        elif folder == root or not re.search(r"\.old-[0-9]+$", folder.name):
            # Only of a run does the ending say that it was set aside: an experiment may be called x.old-2.
            yield RunPaths(folder)
