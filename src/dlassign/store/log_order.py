"""What order, steps and times of a log's records cannot be: a log has one start and one end, and goes forwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from dlassign.store.records import Line

CLOCK_SLACK = 5.0
"""Seconds by which two looks at a machine's clock may disagree: it is set now and then, and times are whole seconds."""
_OVER = ("finished", "diverged")


class Contradiction(NamedTuple):
    """Something that a log says and that cannot be.

    Attributes:
        kind: one word for what is wrong, such as `chain` or `confusion`.
        what: a sentence.
        where: `FILE:LINE`.
    """

    kind: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class _Session:
    """The records since the last start or resume.

    Attributes:
        from_step: step at which it began.
        step: of its newest record of training, evaluation, statistics or checkpoint.
        own: the newest step of each kind of record, by name; those must grow.
        finals: splits that have had their final evaluation, and where.
        clocks: the newest value of each clock that must not go back.
        end: place and status of its end, or None.
    """

    from_step: int = -1
    step: int = 0
    own: dict[str, int] = field(default_factory=dict)
    finals: dict[str, str] = field(default_factory=dict)
    clocks: dict[str, float] = field(default_factory=dict)
    end: tuple[str, str] | None = None


def order_contradictions(lines: Sequence[Line]) -> Iterator[Contradiction]:
    """Yield what cannot be about the order of a log's records, beginning with its start record."""
    planned = lines[0][1].get("steps")
    chained = "chain" in lines[0][1]
    session = _Session()
    saved: set[int] = {0}
    for place, record in lines[1:]:
        kind = record["kind"]
        if kind == "start":
            yield Contradiction("second_start", "a second start record: a log has one, its first", place)
            continue
        yield from _after_end(session, record, place)
        if kind == "resume":
            step = record["from_step"]
            if chained and step not in saved:
                yield Contradiction("resume", f"goes on from step {step:,}, where no checkpoint was written", place)
            session = _Session(from_step=step, step=step)
        elif kind in ("train", "eval", "statistics", "checkpoint"):
            yield from _step(session, record, place)
        elif kind == "end":
            session.end = (place, record["status"])
        if kind == "checkpoint" and record["file"] == "last":
            saved.add(record["step"])
        yield from _beyond(record, planned, place)
        yield from _clocks(session, record, place)
    yield from _dates(lines)


def _after_end(session: _Session, record: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield what is wrong with a record that comes after the last one of its session."""
    if session.end is None:
        return
    where, status = session.end
    ended = f"the run ended there as {status}: {where}"
    if record["kind"] == "end":
        yield Contradiction("second_end", f"a second last record; {ended}", place)
    # Of a run that was interrupted `evaluate` may say that it opened the test set, and then the run may go on.
    elif status in _OVER or record["kind"] not in ("resume", "note"):
        yield Contradiction("after_end", f"a record of kind {record['kind']} after the last one; {ended}", place)


def _step(session: _Session, record: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield what is wrong with the step of a record, and remember it."""
    step, split = record["step"], record.get("split", record.get("file", ""))
    name = f"{record['kind']} {split}".strip()
    if record.get("final"):
        if split in session.finals:
            first = session.finals[split]
            yield Contradiction("second_final", f"a second final evaluation of {split}; the first: {first}", place)
        session.finals[split] = place
        return
    if record.get("file") == "best":  # with the step at which they were the best, which may be long ago
        return
    if session.finals:
        yield Contradiction("order", f"a record of {name} after the final evaluation", place)
    before = session.own.get(name, session.from_step)
    # The checkpoint that a session began from may be written again if it ends before its next step.
    if step <= before and record["kind"] != "checkpoint":
        yield Contradiction("order", f"{name} at step {step:,} after step {before:,} of the same session", place)
    elif step < session.step:
        yield Contradiction("order", f"{name} at step {step:,} after a record of step {session.step:,}", place)
    session.own[name] = step
    session.step = max(session.step, step)


def _beyond(record: dict[str, Any], planned: Any, place: str) -> Iterator[Contradiction]:
    step = record.get("step", record.get("from_step", record.get("steps", 0)))
    if isinstance(planned, int) and isinstance(step, int) and step > planned:
        yield Contradiction("plan", f"step {step:,} of a training of {planned:,} steps", place)


def _clocks(session: _Session, record: dict[str, Any], place: str) -> Iterator[Contradiction]:
    """Yield clocks of a session that go back."""
    seconds = record.get("seconds")
    now = {"seconds": seconds, "wall": record.get("wall")}
    if isinstance(seconds, dict):  # of the end
        now = {"seconds": seconds.get("train"), "wall": seconds.get("total")}
    for name, value in now.items():
        if isinstance(value, int | float):
            before = session.clocks.get(name, 0.0)
            # A last digit may be rounded on the way through a checkpoint, never more.
            if value < before - 1e-9 * abs(before):
                what = f"{name} are {value:.6g} after {before:.6g}: time does not go back"
                yield Contradiction("clock", what, place)
            session.clocks[name] = value


def _dates(lines: Sequence[Line]) -> Iterator[Contradiction]:
    """Yield dates that go back, and sessions that trained for longer than they lasted."""
    began: tuple[str, datetime] | None = None
    seconds: list[float] = []
    for place, record in lines:
        spent = record.get("seconds")
        spent = spent.get("train") if isinstance(spent, dict) else spent
        seconds += [spent] if isinstance(spent, int | float) else []
        moment = _moment(record.get("time"))
        if record["kind"] not in ("start", "resume", "end") or moment is None:
            continue
        if began is not None:
            passed = (moment - began[1]).total_seconds()
            if passed < -CLOCK_SLACK:
                yield Contradiction("date", f"{record['time']} is before the time of {began[0]}", place)
            # From its first record on: what came before it counts from the beginning of the run.
            took = seconds[-1] - seconds[0] if seconds else 0.0
            if took > 1.01 * max(passed, 0.0) + CLOCK_SLACK:
                what = f"{took:,.1f} seconds of training in the {passed:,.0f} since {began[0]}"
                yield Contradiction("date", what, place)
        began, seconds = (place, moment), []


def _moment(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone() if isinstance(text, str) else None
    except (ValueError, OverflowError, OSError):  # a year that no calendar of this system has
        return None
