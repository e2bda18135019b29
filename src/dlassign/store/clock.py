"""The time, as records hold it, and wall-clock seconds since the process was started, imports included."""

from __future__ import annotations

import os
import time
from pathlib import Path

_IMPORTED = time.perf_counter()


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def since_process_start() -> float:
    """Return the seconds since this process was started.

    Where the system does not tell when that was (it does on Linux), they are counted from the import of this module.
    """
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")  # field 22 of proc(5): ticks between boot and start
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)
    except (OSError, AttributeError, ValueError, IndexError):
        return time.perf_counter() - _IMPORTED


class WallClock:
    """Wall-clock seconds that a run has taken, over all sessions.

    Args:
        earlier: seconds that count already, such as those since the process was started.
        share: of the time from now on that counts, such as 1 / K for each of K runs that train together.
        import_seconds: how many of the earlier seconds were spent importing.
    """

    def __init__(self, earlier: float = 0.0, *, share: float = 1.0, import_seconds: float = 0.0) -> None:
        self.share = share
        self.import_seconds = import_seconds
        self._offset = earlier
        self._began = time.perf_counter()

    def add(self, seconds: float) -> None:
        """Count the seconds of an earlier session too."""
        self._offset += seconds

    def seconds(self) -> float:
        """Return the seconds until now."""
        return self._offset + self.share * (time.perf_counter() - self._began)
