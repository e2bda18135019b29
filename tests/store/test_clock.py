"""Wall-clock time: where it begins, and what it counts."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dlassign.store import clock
from dlassign.store.clock import WallClock, since_process_start

CODE = """
import time
time.sleep(0.3)
from dlassign.store.clock import since_process_start
print(since_process_start())
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_it_begins_with_the_process() -> None:
    before = time.perf_counter()
    told = float(subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout)
    assert 0.3 < told < time.perf_counter() - before + 0.02  # the system counts in hundredths of a second


def test_it_begins_with_the_import_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", gone)
    now = time.perf_counter()
    assert now - clock._IMPORTED <= since_process_start() < now - clock._IMPORTED + 1


def test_seconds_of_earlier_sessions_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    wall = WallClock(3.0)
    now[0] = 52.0
    assert wall.seconds() == 5.0
    wall.add(100.0)
    now[0] = 53.0
    assert wall.seconds() == 106.0
