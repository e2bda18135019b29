"""Commands run in this process as a user would run them, held to what every command promises whatever its input is."""

from __future__ import annotations

import resource
import signal
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from types import FrameType

from click.testing import CliRunner, Result

from dlassign.cli.main import main

CODES = (0, 1, 2, 3, 130)
SECONDS = 20
MEMORY = 4 * 2**30
TRIED: Counter[str] = Counter()
"""How many commands, kills and failing disks were tried; tests/campaigns/conftest.py prints it."""


class Hung(BaseException):
    """A command has run for too long. Not an Exception, so that no command takes it for an error of its input."""


def run_guarded(command: Sequence[str], folder: Path) -> Result:
    """Run a command in a folder.

    Raises:
        AssertionError: it ended with a traceback or an exit code that no command has, it hung, or it left a process.
    """
    TRIED["commands"] += 1
    before = _children()
    with chdir(folder), _alarm(), _memory():
        result = CliRunner().invoke(main, list(command))
    text = result.output
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        text += "".join(traceback.format_exception(result.exception))
    line = f"dlassign {' '.join(command)}"
    assert "Traceback" not in text, f"{line}\n{text}"
    assert result.exit_code in CODES, f"{line}: exit code {result.exit_code}\n{text}"
    assert result.exit_code == 0 or text.strip(), f"{line}: exit code {result.exit_code} without a word"
    left = _children() - before
    assert not left, f"{line} left processes: {left}"
    return result


def _children() -> set[str]:
    """Return the command lines of this process's children, but for the helper that multiprocessing keeps."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            line = Path("/proc", child, "cmdline")
            text = line.read_bytes().replace(b"\0", b" ").decode() if line.exists() else ""
            if text and "resource_tracker" not in text and "forkserver" not in text:
                found.add(f"{child} {text}")
    return found


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung(f"after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _memory() -> Iterator[None]:
    """Let this process have only so much more memory, so that a huge input fails here and not the whole machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
