"""The table of `dlassign runs`: which runs it holds, in which order, and what it says of each."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from dlassign.config.values import value_text
from dlassign.config.yamlpos import parse_yaml
from dlassign.errors import ConfigError
from dlassign.stats.text import percent_interval
from dlassign.store.identity import config_value, inner_keys, telling_keys, unknown_key
from dlassign.store.records import PHASES
from dlassign.store.summary import RunSummary
from dlassign.tables.listed_cells import Cells, listed_text
from dlassign.tables.table_format import csv_text

_FIRST, _LAST = ("run", "status", "data", "steps"), ("val", "test", "age")
Condition = tuple[str, str, Any]
"""Key, sign and value."""
_CONDITION = re.compile(r"\s*(?P<key>[\w.]+)\s*(?P<sign>>=|<=|!=|=|>|<)(?P<value>.*)", re.DOTALL)
_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FIELDS = [field.name for field in fields(RunSummary) if field.name != "config"]
_PERCENT = ("val", "test", "val_tta", "test_tta")
_PHASE = "seconds."
_DERIVED = (*_PERCENT, "age")
_MISSING = object()
_MOST_LETTERS = 24


class Listing:
    """Runs, and the values that they are chosen, sorted and shown by."""

    def __init__(self, runs: Sequence[RunSummary], now: datetime) -> None:
        self.runs = runs
        self._now = now

    def check(self, keys: Iterable[str]) -> None:
        """Raise UserError for a key that no run has; with no runs there is nothing to check against."""
        known = {*_FIELDS, *_DERIVED, *(key for run in self.runs for key in inner_keys(run.config))}
        known |= {_PHASE + phase for phase in PHASES}
        for key in keys if self.runs else ():
            if key not in known:
                raise unknown_key(key, known)

    def value(self, run: RunSummary, key: str, default: Any = None) -> Any:
        """Return a field, a percentage, the age, the seconds of a phase, or a config value of a run."""
        if key.startswith(_PHASE):
            return run.seconds_by_phase.get(key.removeprefix(_PHASE), default)
        if key in _PERCENT:
            share = getattr(run, f"{key}_accuracy")
            return None if share is None else 100 * share
        if key == "age":
            started = _time(run.started)
            return None if started is None else (self._now - started).total_seconds()
        return getattr(run, key) if key in _FIELDS else config_value(run.config, key, default)

    def holds(self, run: RunSummary, key: str, sign: str, wanted: Any) -> bool:
        """Return whether a run meets a condition; one without the key does not."""
        found = self.value(run, key, _MISSING)
        if found is _MISSING:
            return False
        if isinstance(found, dict) and isinstance(wanted, str):
            found = found.get("name")  # optimizer=adam
        if sign in ("=", "!="):
            return (found == wanted) is (sign == "=")
        if not _is_number(wanted):
            return isinstance(found, str) and isinstance(wanted, str) and _SIGNS[sign](found, wanted)
        return _is_number(found) and _SIGNS[sign](found, wanted)

    def chosen(
        self, conditions: Sequence[Condition], *, sort: str | None = None, limit: int | None = None
    ) -> list[RunSummary]:
        """Return the runs that meet all conditions, sorted, and no more than so many.

        Args:
            conditions: as of `parse_condition`.
            sort: key, with - in front the largest first; None: by their start.
            limit: how many; None: all.

        Raises:
            UserError: no run has such a key.
        """
        sort = sort or "started"
        self.check([key for key, _, _ in conditions] + [sort.removeprefix("-")])
        found = [run for run in self.runs if all(self.holds(run, *condition) for condition in conditions)]
        return self.sorted(found, sort)[:limit]

    def sorted(self, runs: Sequence[RunSummary], key: str) -> list[RunSummary]:
        """Return the runs by a key, numbers before text, runs without a value last."""
        name = key.removeprefix("-")
        known = [run for run in runs if self.value(run, name) is not None]
        known.sort(key=lambda run: _order(self.value(run, name)), reverse=key.startswith("-"))
        return known + [run for run in runs if self.value(run, name) is None]

    def usual_columns(self, runs: Sequence[RunSummary]) -> tuple[str, ...]:
        """Return what is shown of runs if nothing else is asked for; the config keys that tell them apart included."""
        return *_FIRST, *telling_keys([(run.name, run.config) for run in runs if run.config]), *_LAST

    def text(self, run: RunSummary, key: str) -> str:
        """Return what the table shows of a value, without what has to be known of it."""
        found = self.value(run, key)
        match key:
            case "steps" if run.planned and run.planned != run.steps:
                return f"{run.steps}/{run.planned}"
            case "val" | "test" | "val_tta" | "test_tta" if found is not None:
                return f"{found:.2f}"
            case "age" if found is not None:
                return _duration(found)
        if found is not None and f"{key}.".startswith(_PHASE):
            return f"{found:.1f}"
        return "-" if found is None else value_text(found)

    def table(self, runs: Sequence[RunSummary], keys: Sequence[str], how: str) -> str:
        """Return the table, and below it what has to be known of figures with a star.

        Args:
            runs: to list.
            keys: of the columns; () shows the usual ones, and config values that are long in short.
            how: text, as wide as the terminal or as it needs to be; csv, markdown or latex.
        """
        most = None if keys or how == "csv" else _MOST_LETTERS
        keys = keys or self.usual_columns(runs)
        heads = {key: f"{key} %" if key in _PERCENT else key for key in keys}
        if how == "csv":
            return csv_text({head: [self._cell(run, key) for run in runs] for key, head in heads.items()})
        cells = {
            head: Cells(
                texts=[_short(self.text(run, key), most if "." in key else None) for run in runs],
                intervals=[_interval(run, key) for run in runs],
                marks=[_mark(run, key) for run in runs],
            )
            for key, head in heads.items()
        }
        return listed_text(cells, [run.run for run in runs], how)

    def _cell(self, run: RunSummary, key: str) -> Any:
        """Return a value for a table of values: numbers and texts as they are."""
        found = self.value(run, key)
        return found if found is None or isinstance(found, str | int | float) else value_text(found)


def _short(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else f"{text[: most - 3]}..."


def _interval(run: RunSummary, key: str) -> str:
    if key not in _PERCENT:
        return ""
    return percent_interval(getattr(run, f"{key}_accuracy"), run.val_n if key.startswith("val") else run.test_n)


def _mark(run: RunSummary, key: str) -> str:
    """Return what has to be known of a figure of a run."""
    if key not in ("val", "test") or getattr(run, f"{key}_accuracy") is None:
        return ""
    if key == "val":
        return run.val_unseen
    return run.mark if run.test_max is None else f"{run.mark}: {100 * run.test_max:.2f}"


def parse_condition(text: str) -> Condition:
    """Return key, sign and value of a condition.

    Raises:
        ConfigError: it is not one.
    """
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ConfigError(f"--where {text}: expected KEY=VALUE, such as optimizer.lr=0.01 or 'val>=90'")
    return found["key"], found["sign"], parse_yaml(found["value"], "--where").data


def _is_number(found: Any) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool)


def _order(found: Any) -> tuple[int, Any]:
    return (0, found) if _is_number(found) else (1, value_text(found))


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.astimezone()


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
