"""One thread an operation: the nets here are tiny, and waiting for other threads costs more than they give."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and inherited by child processes

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from dlassign.store import clock

# How long an example takes says how loaded the machine is, not whether the code is right.
settings.register_profile("loaded", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("loaded")

pytest_plugins = ["helpers.chromium"]
EMPTY = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<svg/>", "pdf": b"%PDF-"}
"""A picture without content, in each format."""


@pytest.fixture(autouse=True)
def gpu_or_a_pretended_one(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run a test that is marked `gpu` on the machine's GPU, or on a pretended one where there is none."""
    if request.node.get_closest_marker("gpu") is None:
        yield
        return
    import torch

    from helpers.pretended_gpu import pretended_gpu

    if torch.cuda.is_available():
        yield
        return
    with pretended_gpu():
        yield


@pytest.fixture(autouse=True)
def pictures_without_content(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build every figure, but write none out: that takes six times as long as the training of a small run.

    tests/plots is about what is drawn, and elsewhere a test that is marked `draws`.
    """
    matplotlib = sys.modules.get("matplotlib.figure")
    about_pictures = "plots" in request.path.parts or request.node.get_closest_marker("draws")
    if matplotlib is None or about_pictures:
        return

    def savefig(_figure: Any, file: Any, *, format: str, **_: Any) -> None:  # noqa: A002 (matplotlib's own name)
        if isinstance(file, str | Path):
            Path(file).write_bytes(EMPTY[format])
        else:
            file.write(EMPTY[format])

    monkeypatch.setattr(matplotlib.Figure, "savefig", savefig)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave files to the system's cache: it outlives every process that a test kills; tests/store flushes as usual."""
    if "store" not in request.path.parts:
        monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def each_look_at_the_clock_a_second_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no two records have the same time: tests that compare outputs with times in them fail always, not rarely."""
    looks = itertools.count()

    class Time:
        """The module `time`, but for one function."""

        def __getattr__(self, name: str) -> Any:
            return getattr(time, name)

        def gmtime(self) -> time.struct_time:
            return time.gmtime(time.time() + next(looks))

    monkeypatch.setattr(clock, "time", Time())


@pytest.fixture
def real_data() -> Path:
    """Return the folder of the real data sets, or skip the test."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}")
    return folder
