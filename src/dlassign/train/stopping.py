"""Ctrl-C and SIGTERM: finish the step, write a checkpoint, leave."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StopRequest:
    """While active, the first signal sets `requested`, and a second Ctrl-C interrupts at once.

    Outside the main thread, where Python allows no handlers, `requested` is never set. A StopRequest inside another,
    such as that of a run in that of a sweep, takes over and passes on what has been heard.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, object] = {}

    def __call__(self) -> bool:
        """Return whether a signal has come."""
        return self.requested

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._former = {
                number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)
            }
            self.requested |= any(outer.requested for outer in self._outer())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            # Give the handlers back, so that a library that calls dlassign keeps its own.
            signal.signal(number, handler)  # type: ignore[arg-type]
        # The sweep around this run has missed the signal, since the run's handler took it.
        for outer in self._outer():
            outer.requested |= self.requested

    def _outer(self) -> list[StopRequest]:
        """Return the StopRequest around this one, once for each signal that it handles; [] if there is none."""
        owners = [getattr(handler, "__self__", None) for handler in self._former.values()]
        return [owner for owner in owners if isinstance(owner, StopRequest)]

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # The second Ctrl-C: whoever presses twice does not want to wait for a checkpoint.
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
