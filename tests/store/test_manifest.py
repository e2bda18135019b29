"""What a run is made with: the commit of the code, and what a resumed run says of another machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlassign.store import manifest
from dlassign.store.manifest import git_state, numeric_differences


def environment(**changes: Any) -> dict[str, Any]:
    packages = {"torch": "2.11", "numpy": "2.3"}
    return {"packages": packages, "device": "cpu", "device_name": "one CPU", "threads": 2} | changes


def test_another_machine_may_change_the_last_bits() -> None:
    assert numeric_differences(environment(), environment()) == []
    bits = "the result may differ in its last bits from that of an unbroken run"
    assert numeric_differences(environment(), environment(threads=4, device_name="another CPU")) == [
        f"threads was 2, is 4: {bits}",
        f"device name was one CPU, is another CPU: {bits}",
    ]
    assert numeric_differences(environment(device="cuda:0"), environment(device="cuda:1")) == []


def test_another_kind_of_device_changes_dropout_and_augmentation() -> None:
    assert numeric_differences(environment(), environment(device="cuda:0", device_name="one GPU")) == [
        "device was cpu, is cuda:0: dropout and augmentation draw other numbers there, so with them the result is "
        "another one"
    ]


def test_another_driver_or_none_in_an_old_log_is_said_or_not() -> None:
    now = {"device": "cuda:0", "threads": 1, "packages": {}, "cuda": "12.8", "driver": "550.1"}
    assert numeric_differences({**now, "driver": "535.2"}, now) == [
        "driver was 535.2, is 550.1: the result may differ in its last bits from that of an unbroken run"
    ]
    assert numeric_differences({"device": "cuda:0", "threads": 1}, now) == []


@pytest.fixture
def _asked_anew() -> Iterator[None]:
    git_state.cache_clear()
    yield
    git_state.cache_clear()


def make_repository(folder: Path, ignored: str = "") -> str:
    folder.joinpath(".gitignore").write_text(ignored)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("_asked_anew")
def test_the_commit_is_that_of_the_package_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "checkout" / "src" / "manifest.py"
    code.parent.mkdir(parents=True)
    code.touch()
    commit = make_repository(tmp_path / "checkout")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(manifest, "__file__", str(code))
    assert git_state() == {"commit": commit, "dirty": False}
    code.write_text("changed = True")
    # A process has imported what was there when it first looked.
    assert git_state() == {"commit": commit, "dirty": False}
    git_state.cache_clear()
    assert git_state() == {"commit": commit, "dirty": True}


@pytest.mark.usefixtures("_asked_anew")
def test_the_commit_of_a_repository_that_only_holds_the_environment_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "venv" / "manifest.py"
    code.parent.mkdir()
    code.touch()
    make_repository(tmp_path, ignored="venv\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(manifest, "__file__", str(code))
    assert git_state() is None


@pytest.mark.usefixtures("_asked_anew")
def test_looking_changes_nothing_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`git status` would refresh the index under a lock: a commit of the user's beside it would fail."""
    code = tmp_path / "manifest.py"
    code.touch()
    commit = make_repository(tmp_path)
    monkeypatch.setattr(manifest, "__file__", str(code))
    os.utime(code, (1, 1))  # what the index says of the file is out of date
    index = (tmp_path / ".git" / "index").read_bytes()
    assert git_state() == {"commit": commit, "dirty": False}
    assert (tmp_path / ".git" / "index").read_bytes() == index
