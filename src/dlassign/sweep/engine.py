"""Sweep: makes trials, has them trained, and keeps the sweep's own files, which only it writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from dlassign.config.load_sweep import LocatedSweep, dump_sweep
from dlassign.config.neutral_keys import NEUTRAL, PLACES, without
from dlassign.config.sweep import TPE, NoPruning
from dlassign.config.values import flow
from dlassign.errors import Interrupted, UserError
from dlassign.store.clock import now
from dlassign.store.files import write_text
from dlassign.store.json_lines import JsonLines
from dlassign.store.records import Record
from dlassign.store.sweep_journal import SCHEMA, Journal, JournalEntry, read_journal
from dlassign.store.sweep_paths import SweepPaths, only_driver
from dlassign.store.sweep_table import Objective as TableObjective
from dlassign.store.sweep_table import PointResult, SweepTable, table_content, write_table
from dlassign.sweep.check_points import CheckedPoints
from dlassign.sweep.ranking import ranked
from dlassign.sweep.search import Search
from dlassign.sweep.standing import Standing, read_standing
from dlassign.sweep.strategies import make_strategy
from dlassign.sweep.trial import Candidate, Executor, Strategy, Trial, TrialMaker, TrialResult
from dlassign.train.stopping import StopRequest

_DECIDE = ("base", "space", "when", "strategy", "seed", "seeds", "objective")
"""Keys of a sweep file that decide which points come and what a strategy is told of them."""


class SweepView(Protocol):
    """Shows a user how a sweep goes."""

    def begin(self, standings: Iterable[Standing], total: int, *, slots: int) -> None:
        """Take in what is there already, how many trials there will be, and how many run at a time."""

    def started(self, trial: Trial) -> None:
        """A trial begins or goes on."""

    def record(self, trial: Trial, record: Record) -> None:
        """Take in the next log record of a trial."""

    def say(self, text: str, trial: Trial | None = None) -> None:
        """Show a line, of the sweep or of one trial."""

    def ended(self, standing: Standing) -> None:
        """A trial has ended, or was interrupted."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a sweep came to: the content of table.json, and the trials that failed."""

    content: dict[str, Any]
    failed: list[Standing]


class Sweep:
    """One sweep and how it stands; its runs lie below `out`.

    `strategy` gives what chooses the points, fresh; None is the one that the file names.

    Raises:
        UserError: the data cannot be read.
    """

    def __init__(
        self,
        located: LocatedSweep,
        checked: CheckedPoints,
        *,
        out: Path,
        strategy: Callable[[], Strategy] | None = None,
    ) -> None:
        self.config = located.config
        self.paths = SweepPaths(out / located.config.name)
        self._located = located
        self._strategy = strategy or (lambda: make_strategy(located))
        self.make = TrialMaker(located, checked, out)
        self._probe = checked.configs[0]
        self.known = [self.make.candidate(number, values) for number, values in enumerate(checked.points)]
        chosen = self.config.strategy
        self.prunes = isinstance(chosen, TPE) and not isinstance(chosen.pruning, NoPruning)

    def same_points(self) -> Iterator[str]:
        """Yield what is to be said of known points that differ in their values and come to the same run."""
        firsts: dict[str, Candidate] = {}
        for candidate in self.known:
            first = firsts.setdefault(candidate.hash, candidate)
            if first is not candidate:
                both = (f"point {one.number} ({flow(one.values)})" for one in (candidate, first))
                yield f"{' is the same run as '.join(both)}, so it is trained and ranked once"

    def trials(self) -> list[Trial]:
        """Return the trials that are known before the sweep begins, each once; none of an adaptive strategy."""
        every = {trial.run: trial for candidate in self.known for trial in reversed(candidate.trials)}
        return sorted(every.values(), key=lambda trial: trial.number)

    def standings(self) -> list[Standing]:
        """Return how the known trials stand; nothing is written."""
        journal = read_journal(self.paths.journal)
        return [self.standing(trial, journal) for trial in self.trials()]

    def standing(self, trial: Trial, journal: Journal) -> Standing:
        """Return how a trial stands."""
        result = journal.results.get(trial.run)
        failed = result if result is not None and result["status"] == "failed" else None
        return read_standing(trial, failed, self.config.objective, prunes=self.prunes)

    @property
    def total(self) -> int:
        """How many trials there will be, those that confirm included; a strategy may stop before."""
        points = len(self.known) or getattr(self.config.strategy, "trials", 0)
        own = len(self.trials()) or points * len(self.config.seeds or (0,))
        confirm = self.config.confirm
        return own + (min(confirm.top, points) * confirm.seeds if confirm else 0)

    def run(self, executor: Executor, view: SweepView, *, retry: bool = False, fail_fast: bool = False) -> Outcome:
        """Train what is not there yet, with `retry` also what has failed, and write the table.

        With `fail_fast` it ends with the first trial that fails.

        Raises:
            UserError: another process drives this sweep, or the disk or the machine fails.
            Interrupted: Ctrl-C or SIGTERM; the same command goes on.
        """
        with only_driver(self.paths):
            journal = read_journal(self.paths.journal)
            for warning in journal.warnings:
                view.say(warning)
            with closing(JsonLines(self.paths.journal)) as writer:
                self._note_plan(journal, writer, view)
                writer.write("session", time=now(), executor=type(executor).__name__)
                search = Search(self._strategy(), self.make, journal=writer, calls=journal.calls)
                session = _Session(self, search, journal=journal, writer=writer, view=view, retry=retry)
                return session.go(executor, fail_fast=fail_fast)

    def _note_plan(self, journal: Journal, writer: JsonLines, view: SweepView) -> None:
        """Write down what is planned, and say what has changed since the last time."""
        dump = json.loads(self.config.model_dump_json(by_alias=True))
        trials = [trial.run for trial in self.trials()]
        search = self._search_digest(dump)
        plan = {"schema": SCHEMA, "search": search, "file": dump, "trials": trials}
        former = journal.plan
        if former is not None and all(former[key] == value for key, value in plan.items()):
            return
        if former is not None and (former["search"] != search or former["trials"] != trials):
            view.say(_changes(former, dump, trials))
        write_text(self.paths.config, dump_sweep(self._located))
        writer.write("plan", time=now(), **plan)
        writer.sync()
        journal.add({"kind": "plan", **plan})

    def _search_digest(self, dump: Mapping[str, Any]) -> str:
        """Return a digest of all that decides which points a strategy chooses and what they give, but not how many."""
        base = without(self._located.base.data, NEUTRAL | PLACES)  # the fingerprint says which data it is
        decide = {key: dump[key] for key in _DECIDE}
        decide["strategy"] = {key: value for key, value in dump["strategy"].items() if key != "trials"}
        everything = [decide, base, self.make.fingerprint(self._probe)]
        return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _changes(former: JournalEntry, dump: Mapping[str, Any], trials: list[str]) -> str:
    """Return what a changed sweep file means for the trials that are there."""
    before = former["file"]
    keys = [key for key in (*_DECIDE, "set") if before.get(key) != dump[key]] or ["base"]
    head = f"the sweep has changed since it ran last ({', '.join(keys)})"
    if not trials or not former["trials"]:
        return f"{head}: the search begins anew; runs of points that come up again are read, all others stay"
    old, new = set(former["trials"]), set(trials)
    gone = len(old - new)
    stay = f", {gone} no longer in it (their runs stay)" if gone else ""
    kept = len(old & new)
    return f"{head}: {kept} trial{'s' * (kept != 1)} kept, {len(new - old)} new{stay}"


@dataclass
class _Session:
    """One run of the command on a sweep: trains what is left. It is the TrialListener of its trials."""

    sweep: Sweep
    search: Search
    journal: Journal
    writer: JsonLines
    view: SweepView
    retry: bool
    standings: dict[str, Standing] = field(default_factory=dict)
    confirming: dict[str, list[str]] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)  # runs that the executor has been given
    stop: StopRequest = field(default_factory=StopRequest)

    def go(self, executor: Executor, *, fail_fast: bool) -> Outcome:
        for candidate in (*self.sweep.known, *self.search.candidates):
            self._read(candidate.trials)
        if self.sweep.known and self.sweep.config.confirm and all(known.over for known in self.standings.values()):
            self._find_confirming()  # those of an earlier session count among what is there already
        self.view.begin(list(self.standings.values()), self.sweep.total, slots=executor.slots)
        try:
            with self.stop:
                going = self._train(executor, self._searched(), fail_fast=fail_fast)
                if going and self.sweep.config.confirm is not None:
                    self._train(executor, self._confirmed(), fail_fast=fail_fast)
            if self.stop.requested:
                raise Interrupted("interrupted")
        except Interrupted as error:
            self._write_table()
            over = sum(standing.over for standing in self.standings.values())
            total = max(self.sweep.total, len(self.standings))
            text = f"interrupted: {over} of {total} trials have ended; the same command goes on from there"
            raise Interrupted(text) from error
        except UserError:  # such as a full disk, on which the table may not fit either
            with suppress(UserError):
                self._write_table()
            raise
        return self._write_table()

    def _train(self, executor: Executor, trials: Iterator[Trial], *, fail_fast: bool) -> bool:
        """Train trials; False if one failed and that is to end the sweep."""
        results = executor.run(trials, self)
        try:
            for result in results:
                self._settle(result)
                if fail_fast and result.status == "failed":
                    return False
        finally:
            if isinstance(results, Generator):
                results.close()  # now, so that running trials write their checkpoints
        return not self.stop.requested

    def _searched(self) -> Iterator[Trial]:
        """Yield the trials of the strategy's points that are not over."""
        for candidate in self.search.each(lambda: not self.stop.requested):
            self._read(candidate.trials)
            yield from self._wanted(candidate.trials)
            self._tell(candidate)

    def _confirmed(self) -> Iterator[Trial]:
        """Yield the trials of the best points on fresh seeds that are not over."""
        self._find_confirming()
        yield from self._wanted([self.standings[run].trial for runs in self.confirming.values() for run in runs])

    def _find_confirming(self) -> None:
        """Find out which trials are those of the best points on fresh seeds, and how they stand."""
        confirm = self.sweep.config.confirm
        assert confirm is not None
        fresh = self.sweep.config.fresh_seeds(
            {trial.config.seed for candidate in self._candidates() for trial in candidate.trials}
        )
        number = sum(not known.trial.confirms for known in self.standings.values())
        candidates = {candidate.hash: candidate for candidate in reversed(self._candidates())}
        for row in [row for row in self._rows() if row.value is not None][: confirm.top]:
            trials = self.sweep.make.confirming(candidates[row.point], fresh, first=number)
            number += len(trials)
            self.confirming[row.point] = [trial.run for trial in trials]
            self._read(trials)

    def _wanted(self, trials: Iterable[Trial]) -> Iterator[Trial]:
        from dlassign.sweep.anew import set_aside_if_damaged  # imports torch, which listing a sweep does not need

        for trial in trials:
            run = trial.run
            standing = self.standings[run]
            if self.stop.requested or run in self.given:
                continue
            again = standing.status == "failed" and self.retry
            if again and (kept := set_aside_if_damaged(trial.paths)):
                self.view.say(kept)
            if again or not standing.over:
                self.given.add(run)
                yield trial

    def _read(self, trials: Iterable[Trial]) -> None:
        """Find out how trials stand that are not known yet, and note those whose end is not in the journal."""
        for trial in trials:
            run = trial.run
            if run not in self.standings:
                self.standings[run] = standing = self.sweep.standing(trial, self.journal)
                if standing.over and run not in self.journal.ended:
                    self._note(standing)

    def _settle(self, result: TrialResult) -> None:
        """Note how a trial ended, and tell the strategy if that completes a point."""
        trial = result.trial
        failed = {"message": result.message} if result.status == "failed" else None
        standing = read_standing(trial, failed, self.sweep.config.objective, prunes=True)
        self.standings[standing.run] = standing
        self._note(standing)
        if standing.status != "waiting":  # interrupted before it began
            self.view.ended(replace(standing, message=result.message))
        for candidate in self.search.candidates:
            if any(own.run == trial.run for own in candidate.trials):
                self._tell(candidate)

    def _note(self, standing: Standing) -> None:
        values = {"status": standing.status, "message": standing.message, "value": standing.value}
        confirms = standing.trial.confirms
        entry = {"run": standing.run, **values, "seconds": standing.seconds, "confirms": confirms}
        self.writer.write("result", **entry)
        self.writer.sync()
        self.journal.add({"kind": "result", **entry})

    def _tell(self, candidate: Candidate) -> None:
        """Tell the strategy the mean over the seeds once all are over."""
        standings = [self.standings[trial.run] for trial in candidate.trials]
        if all(standing.over for standing in standings):
            values = [standing.value for standing in standings if standing.value is not None]
            whole = len(values) == len(standings)
            self.search.tell(candidate.number, sum(values) / len(values) if whole else None)

    def _candidates(self) -> list[Candidate]:
        return [*self.search.candidates, *self.sweep.known]

    def _rows(self) -> list[PointResult]:
        return ranked(
            self._candidates(),
            self.standings,
            confirming={point: [self.standings[run] for run in runs] for point, runs in self.confirming.items()},
            objective=self.sweep.config.objective,
            ended=self.journal.ended,
        )

    def _write_table(self) -> Outcome:
        for run, standing in self.standings.items():
            if not standing.over:
                self.standings[run] = self.sweep.standing(standing.trial, self.journal)
        config, rows = self.sweep.config, self._rows()
        sought = config.objective
        table = SweepTable(
            folder=self.sweep.paths.root,
            name=config.name,
            objective=TableObjective(split=sought.split, metric=sought.metric, of=sought.of),
            keys=tuple(dict.fromkeys([*config.space, *(key for row in rows for key in row.values)])),
            rows=tuple(rows),
        )
        write_table(table)
        failed = [self.standings[run.run] for row in rows for run in row.runs if run.status == "failed"]
        return Outcome(content=table_content(table), failed=failed)

    # What follows makes it a TrialListener.

    def started(self, trial: Trial) -> None:
        self.view.started(trial)

    def record(self, trial: Trial, record: Record) -> bool:
        """Show a record, and ask the strategy after an evaluation of the objective's split."""
        self.view.record(trial, record)
        objective = self.sweep.config.objective
        if not self.sweep.prunes or trial.confirms or record["kind"] != "eval" or record["split"] != objective.split:
            return False
        number = trial.number // len(self.sweep.config.seeds or (0,))
        return self.search.report(number, record["step"], record[objective.metric])

    def say(self, trial: Trial, text: str) -> None:
        self.view.say(text, trial)
