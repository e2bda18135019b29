"""The log of a run: does it agree with itself, and is each record there that its config asks for?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any, cast

from dlassign.config.optim import OwnSchedule
from dlassign.config.run import RunConfig
from dlassign.errors import ConfigError, UserError
from dlassign.parts.run_code import EditedError, copied_code
from dlassign.store.contradictions import contradictions
from dlassign.store.log_numbers import close, is_number
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords
from dlassign.store.summary import DAMAGE
from dlassign.train.learner import Evaluation
from dlassign.train.plan import Plan, make_plan
from dlassign.train.run import Run
from dlassign.train.saved import load_run_config
from dlassign.train.watchers import EarlyStop, make_early_stop, make_train_stop
from dlassign.verify.judgement import Judgement, consistent, contradicted, untold

_LOSS, _TIMES = ("step", "loss", "accuracy", "n"), ("epoch", "seconds", "wall")
_WRITTEN: dict[str, tuple[str, ...]] = {
    "start": ("environment", "arithmetic", "pretrained", "steps", "steps_per_epoch"),
    "train": (*_LOSS, *_TIMES, "lr"),
    "eval": (*_LOSS, *_TIMES, "split"),
    "tta": (*_LOSS, "split", "views", "wall"),
    "resume": ("from_step", "time", "environment"),
    "end": ("steps", "best", "test_evaluations", "seconds", "images_per_second", "time"),
}
_FINISHED = ("chosen", "weights_sha256", "keep_checkpoints")
_WRITTEN_IN = {
    "data": ("raw_shape", "shape", "classes", "n_train"),
    "environment": ("python", "packages", "platform", "device", "device_name", "threads"),
}
"""Keys of each kind of record, of a run that has finished, and of objects in records."""


def log_judgements(records: RunRecords, paths: RunPaths, *, trust: bool = False) -> Iterator[Judgement]:
    """Yield what a log tells by itself, and beside the plan of its config.

    Args:
        records: of the log.
        paths: the run.
        trust: let the code in the folder run, if the config has parts of its user's own.
    """
    found = contradictions(records, paths.log)
    yield from (contradicted(kind, what, where) for kind, what, where in found)
    yield from islice(_without_keys(records), 1)
    if not found:
        yield consistent("log", f"{len(records.lines):,} records agree with each other")
    told = any(kind == "chain" for kind, _, _ in found)
    if not told and not any("chain" in record for _, record in records.lines):
        yield untold("chain", "an earlier version wrote the log, without a chain: a change of a line cannot be seen")
    elif not told:
        since = "" if "chain" in records.start else ", since the run went on with a version that keeps one"
        yield consistent("chain", f"the chain of the log is whole{since}")
    yield from plan_judgements(records, paths, trust=trust)


def _without_keys(records: RunRecords) -> Iterator[Judgement]:
    """Yield records without a key that every version writes which writes a chain; what is gone escapes other checks."""
    for place, record in records.lines:
        if "chain" not in record:
            continue
        kind = record["kind"]
        more: tuple[str, ...] = ("confusion",) if kind == "eval" and record.get("final") else ()
        more += _FINISHED if kind == "end" and record["status"] == "finished" else ()
        parts = [("", record, _WRITTEN.get(kind, ()) + more)]
        parts += [(f"{name}.", record[name], keys) for name, keys in _WRITTEN_IN.items() if name in record]
        for name, part, keys in parts:
            for key in (key for key in keys if key not in part):
                yield contradicted("keys", f"a record of kind {kind} without {name}{key}, which all have", place)


def plan_judgements(records: RunRecords, paths: RunPaths, *, trust: bool = False) -> Iterator[Judgement]:
    """Yield where steps, learning rates and evaluations are not those of the plan; arguments as of log_judgements."""
    start = records.start
    if "steps_per_epoch" not in start:
        yield untold("plan", "the log does not say how many steps an epoch has")
        return
    try:
        cfg = _config(start["config"], paths, trust=trust)
        every, augment = start["steps_per_epoch"], cfg.data.augment
        plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=every, augment=augment)
    except EditedError:
        yield untold("plan", "steps and learning rates are not compared with a config of other code than the run's")
        return
    except (ConfigError, UserError, *DAMAGE) as error:  # a broken rule of pydantic's is a ValueError
        own = isinstance(error, UserError)
        why = " ".join(str(error).split()) if own else "this version cannot read the config that the log begins with"
        yield untold("plan", f"steps and learning rates are not compared with the config: {why}")
        return
    where = {id(record): place for place, record in records.lines}
    # A line of the log, or the whole log where something is missing in it.
    found = [
        contradicted(kind, what, where.get(id(record), paths.log))
        for kind, what, record in _departures(records, cfg, plan)
    ]
    if found and "chain" not in start and {one.name for one in found} <= {"missing", "extra"}:
        yield untold("plan", f"an earlier version wrote the log, perhaps by another rule: {found[0].what}")
        return
    yield from found or [
        consistent("plan", f"steps, learning rates and evaluations are those of the plan of {plan.steps:,} steps")
    ]


def _config(logged: dict[str, Any], paths: RunPaths, *, trust: bool) -> RunConfig:
    """Return the config that a log begins with.

    Raises:
        UserError: it has parts of its user's own, and their code is not trusted, or gone.
        ConfigError, DAMAGE: it is none that this version takes.
    """
    code = copied_code(paths.code, logged, trust=trust)
    if code is None:
        return RunConfig.model_validate(logged)
    return load_run_config(paths, (), device=None, logged=logged, code=code)


Departure = tuple[str, str, Record | None]
"""Kind, sentence, and the record that says it; None where one is missing."""


def _departures(records: RunRecords, cfg: RunConfig, plan: Plan) -> Iterator[Departure]:
    yield from _beyond(records, plan)
    yield from _training(records, plan)
    for split in ("train", "val", "test"):
        yield from _evaluations(records, cfg, plan, split)
    yield from _statistics(records, plan)
    yield from _rates(records, cfg, plan)
    yield from _stop(records, cfg, plan)


def _beyond(records: RunRecords, plan: Plan) -> Iterator[Departure]:
    """Yield the first record of a step that the plan does not have."""
    for _, record in records.lines:
        step = int(record.get("steps" if record["kind"] == "end" else "step", 0))
        if step > plan.steps:
            yield "extra", f"a record of step {step:,}; the plan has {plan.steps:,} steps", record
            return


def _training(records: RunRecords, plan: Plan) -> Iterator[Departure]:
    """Yield records of training that should not be there, and the first that should."""
    logged = {record["step"]: record for record in records.train}
    last = max(logged, default=0)
    end = records.end or {}
    ended = end.get("status") in ("finished", "diverged")
    missing, extra = _apart(set(logged), range(plan.log_every, last + 1, plan.log_every), plan)
    if missing is not None:
        yield "missing", f"no record of training at step {missing:,}", None
    # A run that stops early or diverges also logs its last steps.
    if extra is not None and not (ended and extra == last):
        what = f"a record of training at step {extra:,}; they come every {plan.log_every:,} steps"
        yield "extra", what, logged[extra]


def _evaluations(records: RunRecords, cfg: RunConfig, plan: Plan, split: str) -> Iterator[Departure]:
    """Yield the first evaluation of a split that should not be there, and the first that should."""
    asked = ["val"] if cfg.train.evaluate is None else cfg.train.evaluate
    if split not in asked or not records.start["data"].get(f"n_{split}"):
        return
    logged = {record["step"]: record for record in records.evaluations(split)}
    end = records.end or {}
    # Of a run that goes on, the newest record may be of training, and its evaluation not written yet.
    last = end.get("steps", max(logged, default=0)) if end.get("status") != "diverged" else max(logged, default=0)
    due = range(plan.eval_offset or plan.eval_every, last + 1, plan.eval_every)
    missing, extra = _apart(set(logged), due, plan)
    if missing is not None:
        yield "missing", f"no evaluation of {split} at step {missing:,}", None
    if extra is not None:
        after = f" from step {plan.eval_offset:,} on" * (plan.eval_offset > 0)
        what = f"an evaluation of {split} at step {extra:,}; they come every {plan.eval_every:,} steps{after}"
        yield "extra", what, logged[extra]


def _apart(logged: set[int], due: range, plan: Plan) -> tuple[int | None, int | None]:
    """Return the first step that is due and not logged, and the first that is logged and not due; None: there is none.

    The last step of the plan is always due. A forged step may be huge, so the range is never made a set.
    """
    missing = next((step for step in due if step not in logged), None)
    if missing is None and due.stop > plan.steps > 0 and plan.steps not in logged:
        missing = plan.steps
    return missing, min((step for step in logged if step not in due and step != plan.steps), default=None)


def _statistics(records: RunRecords, plan: Plan) -> Iterator[Departure]:
    """Yield the first statistics of a step without an evaluation; how often they come is up to the version."""
    for record in records.statistics:
        if not plan.evaluates_at(record["step"]):
            yield "extra", f"statistics of step {record['step']:,}, at which nothing is evaluated", record
            return


def _rates(records: RunRecords, cfg: RunConfig, plan: Plan) -> Iterator[Departure]:
    """Yield the first learning rate that is not that of the schedule."""
    if isinstance(cfg.schedule, OwnSchedule):
        return
    plain = getattr(cfg.optimizer, "parametrization", "plain") == "plain"
    base = getattr(cfg.optimizer, "lr", None) if plain else None
    for record in records.train:
        factor, rate = plan.lr_factor(record["step"] - 1), record.get("lr")
        if not is_number(rate):
            continue
        # Decoupled rates are converted; then the rates must fit one another.
        if base is None:
            base = rate / factor if factor else None
        elif not close(rate, base * factor, within=1e-6) and abs(rate - base * factor) > 1e-12 * abs(base):
            what = f"the learning rate of step {record['step']:,} is {rate:.6g}, by the schedule {base * factor:.6g}"
            yield "lr", what, record
            return


def _stop(records: RunRecords, cfg: RunConfig, plan: Plan) -> Iterator[Departure]:
    """Yield where a run went on after its early stop, or stopped before."""
    end, stop = records.end, cfg.train.early_stop
    if end is None or stop is None or end["status"] != "finished" or "steps" not in end:
        return
    planned, stopped = records.start.get("steps"), None
    if stop.on == "train":
        watcher = make_train_stop(stop, plan)
        steps = ((record["step"], record["loss"]) for record in records.train)
        stopped = next((step for step, loss in steps if watcher.on_record(loss, step=step)), None)
    else:
        stopped = _stopped_by_val(records, make_early_stop(cfg.train.metric, stop, plan))
    if (stopped or planned) != end["steps"]:
        when = "never" if stopped is None else f"at step {stopped:,}"
        what = f"the early stop comes {when} by the log, and the run ended at step {end['steps']:,}"
        yield "plan", what, end


def _stopped_by_val(records: RunRecords, watcher: EarlyStop) -> int | None:
    """Return the step at which the validation results of a log end the training, None if they do not."""
    for record in records.evaluations("val"):
        values: dict[str, Any] = {key: record.get(key) for key in ("loss", "accuracy", "metric")}
        nan = {key: float("nan") if value is None else value for key, value in values.items()}
        evaluation = Evaluation(**nan, n=record.get("n", 0), confusion=())
        if watcher.on_eval(cast(Run, SimpleNamespace(step=record["step"])), {"val": evaluation}):
            return int(record["step"])
    return None
