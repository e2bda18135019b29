"""From tables to trials: which runs each row needs, which are there, and what stands in the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dlassign.config.load_table import LocatedTable, Wanted
from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.run import RunConfig
from dlassign.config.table import TableRow
from dlassign.config.values import value_text
from dlassign.data.load import fingerprint
from dlassign.errors import ConfigError, UserError, first_few
from dlassign.store.files import is_locked
from dlassign.store.folder_name import RUN_NAME
from dlassign.store.identity import differing_keys
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, former_records
from dlassign.store.summary import DAMAGE, doubt_of, finished_records, last_step, planned_steps
from dlassign.sweep.trial import Trial
from dlassign.tables.places import IMAGES, logged_overrides, obstacle, overrides

SEEDS = 3
QUICK_SECONDS = 60.0
"""Rows of which one run takes longer are left out by `--quick`."""
_MOST_CHANGES = 3
_NOT_CONTENT = {"split", "preprocess", "augment", "shuffle_seed"}  # what is done to data, whose digest it leaves alone


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """A row and its runs.

    Attributes:
        table, name, row: the table, the row's name and the row.
        copy: whether its data is a folder of images in place of CIFAR-10's own files.
        seeds: how many runs it needs at least.
        trials: one a seed, those that are wanted and further ones that count; none if the data cannot be read, and no
            finished run says which it was.
        beside: further seeds of which there is a folder, which does not count.
        asked: whether the user asked for it; a row that shares its table with one is shown as it stands.
        why: why what is missing cannot be trained here, or "".
    """

    table: LocatedTable
    name: str
    row: TableRow
    copy: bool = False
    seeds: int = SEEDS
    trials: tuple[Trial, ...] = ()
    beside: tuple[Trial, ...] = ()
    asked: bool = True
    why: str = ""

    @property
    def full_name(self) -> str:
        """The name under which a user asks for it."""
        return f"{self.table.name}:{self.name}"

    def missing(self) -> list[Trial]:
        """Return the trials that are to be trained: those that are not finished, if they can be."""
        return [] if self.why or not self.asked else self.unfinished()

    def unfinished(self) -> list[Trial]:
        """Return the trials that are not over, also where they cannot be trained here."""
        return [trial for trial in self.trials if _over(trial.paths) is None]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a user asks for beside the tables.

    Attributes:
        seeds: runs of every row; None is what the tables say.
        quick: one run of the rows that take little time.
        places: where data lies, by `data.name`.
        device: replaces that of the configs, but of those that NumPy computes.
    """

    seeds: int | None
    quick: bool
    places: Mapping[str, Path]
    device: str | None = None

    def seeds_of(self, row: TableRow) -> int:
        """Return how many runs a row gets."""
        return self.seeds or (1 if self.quick else row.seeds or SEEDS)

    def wants(self, row: TableRow) -> bool:
        """Return whether a row is asked for."""
        return not self.quick or (row.seconds is not None and row.seconds <= QUICK_SECONDS)


def plan_rows(wanted: Sequence[Wanted], choice: Choice, *, out: Path) -> list[PlannedRow]:
    """Return every row of the tables that are asked for, each with its trials below the folder `out`.

    Raises:
        ConfigError: configs are wrong; all problems at once.
    """
    problems = []
    planned, digests = [], dict[str, str]()
    for one in wanted:
        for name, row in one.table.config.rows.items():
            plan = PlannedRow(table=one.table, name=name, row=row, asked=name in one.rows and choice.wants(row))
            try:
                planned.append(_with_trials(plan, choice, out, digests))
            except ConfigError as error:
                problems += error.problems
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    return _numbered(planned)


def _with_trials(plan: PlannedRow, choice: Choice, out: Path, digests: dict[str, str]) -> PlannedRow:
    config = plan.table.row_config(plan.name)
    # What NumPy computes stays on the CPU, wherever the other rows are computed.
    device = choice.device if config.backend == "torch" else None
    changes = overrides(config, choice.places)
    read = partial(plan.table.row_config, plan.name, device=device)
    config = read(changes)
    plan = replace(plan, seeds=choice.seeds_of(plan.row), copy=IMAGES in changes, why=obstacle(config))
    try:
        found = _with_seeds(plan, config, _digest(config, digests), out=out)
    except UserError as error:
        found = replace(plan, why=plan.why or str(error).splitlines()[0])
    if not found.why:
        return found
    if len(found.unfinished()) == len(found.trials):
        found = _as_logged(found, config, read, out=out)
    return replace(found, why="") if found.trials and not found.unfinished() else found


def _as_logged(
    plan: PlannedRow, config: RunConfig, read: Callable[[Sequence[str]], RunConfig], *, out: Path
) -> PlannedRow:
    """Return a row whose data is not here with its newest finished runs: their logs say which data it was.

    config: as it would be trained. read: returns it with changes.
    """
    newest: dict[str, RunRecords] = {}
    for folder in sorted((out / config.name).glob("*-s*")):
        if (records := records_of(RunPaths(folder))) is not None:
            newest[folder.name.partition("-s")[0]] = records
    for name, records in sorted(newest.items(), key=lambda pair: pair[1].start["time"], reverse=True):
        with suppress(UserError, *DAMAGE):  # the log of another config may have any other data
            changes = logged_overrides(config, records.start["config"]["data"])
            found = _with_seeds(plan, read(changes), records.start["data"]["sha256"], out=out)
            if found.trials[0].hash == name:
                return replace(found, copy=IMAGES in changes)
    return plan


def _digest(config: RunConfig, digests: dict[str, str]) -> str:
    """Return the digest of a config's data; data in one place is looked at once."""
    section = config.data.model_dump_json(exclude=_NOT_CONTENT)
    if section not in digests:
        digests[section] = fingerprint(config.data)
    return digests[section]


def _with_seeds(plan: PlannedRow, config: RunConfig, digest: str, *, out: Path) -> PlannedRow:
    """Return a row with its trials, those with further seeds that count, and folders of others; digest: of its data."""

    def trial(seed: int) -> Trial:
        own = config.model_copy(update={"seed": seed})
        paths = RunPaths.of(out, own.model_dump(mode="json"), digest)
        return Trial(number=0, values={"row": plan.full_name}, config=own, paths=paths)

    end = config.seed + plan.seeds
    wanted = [trial(seed) for seed in range(config.seed, end)]
    further = [trial(seed) for seed in sorted(_seeds_there(wanted[0])) if seed >= end]
    counted = {trial.run for trial in further if records_of(trial.paths) is not None}
    return replace(
        plan,
        trials=(*wanted, *(trial for trial in further if trial.run in counted)),
        beside=tuple(trial for trial in further if trial.run not in counted),
    )


def _seeds_there(trial: Trial) -> Iterator[int]:
    """Yield the seeds of which there is a folder beside that of a trial."""
    with suppress(OSError):
        for child in trial.paths.root.parent.iterdir():
            found = RUN_NAME.fullmatch(child.name)
            if found is not None and child.name == f"{trial.hash}-s{int(found['seed'])}":
                yield int(found["seed"])


def _numbered(planned: Sequence[PlannedRow]) -> list[PlannedRow]:
    """Number the trials over all rows."""
    number, rows = 0, []
    for plan in planned:
        trials = tuple(replace(trial, number=number + i) for i, trial in enumerate(plan.trials))
        number += len(trials)
        rows.append(replace(plan, trials=trials))
    return rows


def records_of(paths: RunPaths) -> RunRecords | None:
    """Return the log of a run that is over; None if it is not, or cannot be believed: `problem_of` says why.

    It is believed if it agrees with itself and with the manifest, and is the log of this very run: the folder's name
    has the hash of the log's config and data, and its seed. So no folder counts for another row or seed.
    """
    try:
        records = finished_records(paths)
        return None if records is None or doubt_of(paths, records, strict=True) else records
    except (UserError, OSError, *DAMAGE):
        return None


def _over(paths: RunPaths) -> RunRecords | None:
    """Return the log of a run that is over, whatever it says: to train on would write to it."""
    try:
        return finished_records(paths)
    except (UserError, OSError, *DAMAGE):
        return None


def problem_of(trial: Trial) -> str:
    """Return why a run folder does not count, in one line, and what helps; "" if it does, or is not there."""
    paths = trial.paths
    if not paths.root.is_dir():
        there = paths.root.is_symlink() or paths.root.exists()
        return f"{paths.root} is no folder, and a run belongs there; move it away" if there else ""
    try:
        records = finished_records(paths)
        if records is None:
            return _unfinished(paths)
        if doubt := doubt_of(paths, records, strict=True):
            return f"{paths.root} is not counted, for {doubt}; move it away to train this seed again"
    except UserError as error:
        return str(error).splitlines()[0]
    except (OSError, *DAMAGE) as error:
        return f"{paths.root} is damaged: {type(error).__name__}: {error}"
    return ""


def _unfinished(paths: RunPaths) -> str:
    """Return how far a run is that is not over."""
    records = former_records(paths.log)
    if records is None:
        return f"{paths.root} has no log; leave out --no-train, or remove it"
    status = "running" if is_locked(paths.lock) else (records.end or {}).get("status", "interrupted")
    far = f"step {last_step(records)} of {planned_steps(records) or 'some'}"
    return f"{paths.root} is not over ({status}, {far}); train it to its end, or remove it"


def changed_rows(planned: Sequence[PlannedRow], folder: Path) -> list[str]:
    """Return, a text for each, which rows have other configs than when their table was last written to a folder."""
    texts = []
    for plan in planned:
        former = [Path(run) for run in former_runs(plan, folder)]
        names = {run.name.partition("-s")[0] for run in former}
        if plan.trials and names and plan.trials[0].hash not in names:
            missing = len(plan.unfinished())
            left = "to train" if plan.missing() else "missing"
            again = f"{missing} run{'s' * (missing != 1)} {left}" if missing else "its runs are there already"
            texts.append(
                f"{plan.full_name} has changed since its table was written ({_changes(former, plan.trials[0])}): "
                f"{again}; the former runs stay in {former[0].parent}"
            )
    return texts


def former_runs(plan: PlannedRow, folder: Path) -> list[str]:
    """Return the runs of a row as its table was written last, or before that if it had none then."""
    try:
        content = json.loads(read_ordinary(folder / f"{plan.table.name}.json"))
        [row] = [row for row in content["rows"] if row["row"] == plan.name]
        return [run for run in row["runs"] or row.get("former", []) if isinstance(run, str)]
    except (OSError, *DAMAGE):
        return []


def _changes(former: Sequence[Path], trial: Trial) -> str:
    """Return which keys of a config have changed, with both values."""
    records = next((records for run in former if (records := records_of(RunPaths(run))) is not None), None)
    if records is None:
        return "its former runs are gone"
    differ = differing_keys([records.start["config"], trial.config.model_dump(mode="json")])
    texts = [f"{key}: {value_text(old)} -> {value_text(new)}" for key, (old, new) in differ.items()]
    return first_few(texts, _MOST_CHANGES) or "other data"
