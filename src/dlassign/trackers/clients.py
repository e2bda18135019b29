"""What trackers share that need a package of others, and those that are services, which may fail at any run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from dlassign.errors import UserError
from dlassign.trackers.run_log import RunLog

_LONGEST = 300
_NAMED = 3
"""So many runs are named that fail for one reason."""


def require_package(package: str, *, tracker: str) -> None:
    """See that a package is installed; the extra that installs it has the name of the tracker.

    Raises:
        UserError: it is not; the message has the line that installs it.
    """
    if find_spec(package) is None:
        raise UserError(f"--to {tracker} needs {package}: pip install 'dlassign[{tracker}]'")


class Failures:
    """Collects what went wrong with some of several logs, so that the others go on.

    Args:
        tracker: where to they are exported.
        total: number of logs.
    """

    def __init__(self, tracker: str, total: int) -> None:
        self._tracker = tracker
        self._total = total
        self._reasons: dict[Path, str] = {}

    def __contains__(self, log: RunLog) -> bool:
        return log.paths.root in self._reasons

    @contextmanager
    def of(self, log: RunLog) -> Iterator[None]:
        """Keep the UserError that is raised for a log."""
        try:
            yield
        except UserError as error:
            self._reasons[log.paths.root] = str(error)

    def tell(self) -> None:
        """Raise UserError if something went wrong, with a line for each reason."""
        lines = []
        for reason in dict.fromkeys(self._reasons.values()):
            names = [str(root) for root, own in self._reasons.items() if own == reason]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            lines.append(f"{', '.join(names[:_NAMED])}{more} could not be exported to {self._tracker}: {reason}")
        if lines:
            done = self._total - len(self._reasons)
            others = f" ({done} of {self._total} runs are exported)" if self._total > 1 else ""
            raise UserError("\n".join(lines) + f"; the same command goes on from there{others}")


def first_line(error: Exception) -> str:
    """Return what an error of a client says, in one line that is not too long and tells no password."""
    text = without_secrets(" ".join((str(error).strip() or type(error).__name__).splitlines()[0].split()))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def without_secrets(text: str) -> str:
    """Return text whose addresses have no user and password."""
    return re.sub(r"//[^/@\s]*@", "//", text)
