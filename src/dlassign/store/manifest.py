"""manifest.json: what a run was made with, and how it stands."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.store.files import write_text
from dlassign.store.records import chain_of

_PACKAGES = ("dlassign", "torch", "torchvision", "numpy", "scikit-learn", "pydantic")


def environment(device: str, device_name: str, threads: int) -> dict[str, Any]:
    """Return versions, machine, device and the command, as plain values."""
    return {
        "python": platform.python_version(),
        "packages": {name: installed for name in _PACKAGES if (installed := package_version(name))},
        "platform": platform.platform(),
        "device": device,
        "device_name": device_name,
        "threads": threads,
        "cpus": os.cpu_count(),
        "git": git_state(),
        "command": sys.argv,
    }


def numeric_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what differs between two environments, and what that means for the result of a run, one sentence each."""
    devices = [str(found.get("device")) for found in (before, now)]
    moved = devices[0].partition(":")[0] != devices[1].partition(":")[0]
    packages = [found.get("packages", {}) for found in (before, now)]
    pairs = [(name, packages[0].get(name), packages[1].get(name)) for name in ("torch", "numpy")]
    # Logs of earlier versions lack these, and so do those of a CPU.
    pairs += [(key, before[key], now[key]) for key in ("cuda", "cudnn", "driver") if key in before and key in now]
    pairs += [(key, before.get(key), now.get(key)) for key in ("threads", *(() if moved else ("device_name",)))]
    bits = "the result may differ in its last bits from that of an unbroken run"
    told = [f"{name.replace('_', ' ')} was {old}, is {new}: {bits}" for name, old, new in pairs if old != new]
    if moved:
        why = "dropout and augmentation draw other numbers there, so with them the result is another one"
        told.append(f"device was {devices[0]}, is {devices[1]}: {why}")
    return told


# Looking a package up parses its metadata, which takes longer than anything else in the beginning of a run.
@cache
def package_version(name: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# Once a process: what runs is what it has imported, whatever becomes of the files, and git takes 20 ms each time.
@cache
def git_state() -> dict[str, Any] | None:
    """Return the commit of dlassign's own source and whether files differ from it; None if git does not hold it."""
    # An environment inside another repository is no part of it: there git does not know this file.
    known = _git("ls-files", "--error-unmatch", Path(__file__).name)
    commit = None if known is None else _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    # A git hook sets GIT_DIR, which names the user's repository.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    plain["GIT_OPTIONAL_LOCKS"] = "0"  # `git status` would lock the index, and leave the lock if it is stopped here
    line = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=10, check=True, env=plain)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def mend_manifest(path: Path, *, status: str, log: Path | None) -> None:
    """Write into the manifest of a run that is over how it ended, if a kill after its last record has kept that out.

    Args:
        path: of the manifest.
        status: how it ended.
        log: of the run, if its last record has a chain; earlier versions wrote none, in neither file.
    """
    # What reads a run must not fail where nothing can be written, or where the manifest is damaged or gone.
    with suppress(OSError, ValueError, UserError):
        values = json.loads(read_ordinary(path))
        if isinstance(values, dict) and values.get("status") == "running":
            ended = {} if log is None else {"chain": chain_of(read_ordinary(log))}
            write_manifest(path, **{**values, "status": status, **ended})


def write_manifest(path: Path, **values: Any) -> None:
    """Write the manifest, all or nothing."""
    write_text(path, json.dumps(values, indent=2) + "\n")
