"""How a run stands and what it reached, read from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any

from dlassign.errors import UserError
from dlassign.store.contradictions import contradictions
from dlassign.store.files import is_locked
from dlassign.store.folder_name import RUN_NAME, other_run, other_seed
from dlassign.store.identity import experiment_of
from dlassign.store.log_order import Contradiction
from dlassign.store.manifest import mend_manifest
from dlassign.store.manifest_check import manifest_contradictions, read_manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords, former_records, read_records

DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What is raised by reading a file whose values are missing, or of another type or size than dlassign writes."""


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run in a few numbers; what is not known is None.

    Attributes:
        run: the run folder.
        name, hash, seed: what the folder is called after.
        status: finished, interrupted, diverged, pruned, failed, running, unreadable or contradicted.
        reason: why a run is unreadable, or what in its log cannot be.
        data: label of the data set.
        started: ISO time of the start.
        params: number of parameters.
        steps, planned: optimizer steps done, and in the whole plan.
        best: {step, metric, value} of the best validation, or None.
        val_loss, val_accuracy, test_loss, test_accuracy: with the chosen weights at the end, or the newest
            of a run that has not ended; accuracy 0..1.
        val_n, test_n: samples that these are of.
        val_tta_accuracy, test_tta_accuracy: the same at the end with test-time augmentation.
        test_evaluations: evaluations of the test split during training.
        test_max: largest test accuracy among them.
        test_opened: the step at which `evaluate` opened the test set before the run was over; None if it did not.
        mark: how a result has to be read, such as "max of 15 test evaluations".
        val_unseen, test_unseen: the final accuracy without the samples that also occur in train, such as "87.90 %
            without 331 samples that also occur in train"; "" if there are none. `mark` says it of test, too.
        seconds: total time, or time trained so far if the run has not ended.
        seconds_by_phase: seconds of each of PHASES, over all sessions; {} if the run has not ended.
        precision: fp32, tf32, bf16, fp16 or fp64.
        images_per_second, weights_sha256: as the end record has them.
        config: the resolved config.
    """

    run: str
    name: str
    hash: str | None = None
    seed: int | None = None
    status: str
    reason: str | None = None
    data: str | None = None
    started: str | None = None
    params: int | None = None
    steps: int | None = None
    planned: int | None = None
    best: dict[str, Any] | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    val_n: int | None = None
    test_n: int | None = None
    val_tta_accuracy: float | None = None
    test_tta_accuracy: float | None = None
    test_evaluations: int = 0
    test_max: float | None = None
    test_opened: int | None = None
    mark: str = ""
    val_unseen: str = ""
    test_unseen: str = ""
    seconds: float | None = None
    seconds_by_phase: dict[str, float] = field(default_factory=dict)
    precision: str | None = None
    images_per_second: float | None = None
    weights_sha256: str | None = None
    config: dict[str, Any] = field(default_factory=dict)


def summarise(paths: RunPaths) -> RunSummary:
    """Return how a run stands; a folder that cannot be read gets the status "unreadable".

    One whose log contradicts itself gets the status "contradicted", and none of its results: which of them are right,
    the log cannot tell.
    """
    try:
        records = read_records(paths.log)
        summary, doubt = _summary(paths, records), doubt_of(paths, records, so=", so no result is shown")
        return _without_results(summary, doubt) if doubt else summary
    except UserError as error:
        reason = str(error)
    except DAMAGE as error:
        reason = f"{paths.log} is damaged: {type(error).__name__}: {error}"
    if is_locked(paths.lock):
        return RunSummary(**_folder(paths), status="running")
    return unreadable(paths, reason)


def unreadable(paths: RunPaths, reason: str) -> RunSummary:
    """Return what the folder alone tells of a run whose log cannot be read."""
    return RunSummary(**_folder(paths), status="unreadable", reason=reason)


def doubt_of(paths: RunPaths, records: RunRecords, *, so: str = "", strict: bool = False) -> str:
    """Return what in a log cannot be, in a sentence that names the command which tells more; "" of a log that agrees.

    Args:
        paths: the run.
        records: of its log.
        so: what follows from it, such as ", so no result is shown".
        strict: whether the folder's name must have the hash of the log's config and data, and the manifest must agree.

    Raises:
        UserError, DAMAGE: strict, and the hash cannot be computed.
    """
    beside = list((other_run if strict else other_seed)(records.start, paths.root))
    found = [*beside, *contradictions(records, paths.log)]
    if strict and records.is_over and not found:  # the manifest of a run that goes on may be written just now
        beside = found = _beside_manifest(paths, records)
    if not found:
        return ""
    who = "its folder and its log contradict each other" if beside else "its log contradicts itself"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return f"{who}{so}: {found[0]}{more}; dlassign verify {quote(str(paths.root))}"


def _beside_manifest(paths: RunPaths, records: RunRecords) -> list[Contradiction]:
    """Return what the manifest of a run that is over says otherwise than its log; [] if it is gone."""
    try:
        manifest = read_manifest(paths)
    except (OSError, ValueError, RecursionError):
        return []
    return list(manifest_contradictions(manifest, records, paths)) if isinstance(manifest, dict) else []


def _without_results(summary: RunSummary, doubt: str) -> RunSummary:
    """Return what can still be said of a run whose log contradicts itself."""
    nothing: dict[str, Any] = {
        f"{split}_{key}": None for split in ("val", "test") for key in ("loss", "accuracy", "n", "tta_accuracy")
    }
    return replace(
        summary,
        status="contradicted",
        reason=doubt,
        **nothing,
        best=None,
        test_max=None,
        mark="",
        seconds=None,
        seconds_by_phase={},
        images_per_second=None,
        weights_sha256=None,
    )


def _folder(paths: RunPaths) -> dict[str, Any]:
    found = RUN_NAME.fullmatch(paths.root.name)
    named: dict[str, Any] = {"run": str(paths.root), "name": paths.root.parent.name}
    return named | ({"hash": found["hash"], "seed": int(found["seed"])} if found else {})


def _summary(paths: RunPaths, records: RunRecords) -> RunSummary:
    start, end, config = records.start, records.end or {}, records.start["config"]
    maximum = test_maximum(records) or {}
    count = maximum.get("evaluations", 0)
    seconds = end.get("seconds") or {}
    return RunSummary(
        **_folder(paths) | {"name": start["name"], "seed": start["seed"]},
        status=end.get("status") or ("running" if is_locked(paths.lock) else "interrupted"),
        data=start["data"]["label"],
        started=start["time"],
        params=start["n_params"],
        steps=end.get("steps", last_step(records)),
        planned=planned_steps(records),
        best=end.get("best") or _best(records, config["train"]["metric"]),
        **_scores(records, "val"),
        **_scores(records, "test"),
        **{f"{split}_tta_accuracy": record["accuracy"] for split, record in records.augmented.items()},
        test_evaluations=count,
        test_max=maximum.get("accuracy"),
        test_opened=(opened := test_opened(records)),
        val_unseen=unseen_text(records.finals.get("val")),
        test_unseen=(unseen := unseen_text(records.finals.get("test"))),
        mark=_mark(opened, count, unseen=unseen),
        seconds=seconds.get("total", max((r["seconds"] for r in _newest(records)), default=None)),
        seconds_by_phase={phase: spent for phase, spent in seconds.items() if phase != "total"},
        precision=precision(start),
        images_per_second=end.get("images_per_second"),
        weights_sha256=end.get("weights_sha256"),
        config=config,
    )


def test_opened(records: RunRecords) -> int | None:
    """Return the step at which `evaluate` opened the test set before the run was over, or None if it did not."""
    note = records.notes.get("test_opened_early")
    return None if note is None else int(note["step"])


def unseen_text(final: Record | None) -> str:
    """Return the accuracy of a final evaluation without the samples that also occur in train; "" if there are none."""
    unseen = (final or {}).get("unseen")
    if final is None or unseen is None or final.get("n") is None:
        return ""
    seen = final["n"] - unseen["n"]
    if seen < 1:  # of a damaged log, which `contradictions` tells
        return ""
    if unseen["accuracy"] is None:
        return f"all {seen:,} samples also occur in train"
    what = f"{seen:,} samples that also occur" if seen > 1 else "a sample that also occurs"
    return f"{100 * unseen['accuracy']:.2f} % without {what} in train"


def _mark(opened: int | None, evaluations: int, *, unseen: str) -> str:
    # The maximum comes last, as the largest accuracy is written after the mark.
    marks = [unseen] if unseen else []
    marks += [] if opened is None else [f"test set opened early, at step {opened}"]
    marks += [f"max of {evaluations} test evaluation{'s' * (evaluations != 1)}"] if evaluations else []
    return "; ".join(marks)


def last_step(records: RunRecords) -> int:
    """Return the last step that the log knows of."""
    return max((int(record["step"]) for record in _newest(records)), default=0)


def planned_steps(records: RunRecords) -> int | None:
    """Return the number of optimizer steps that the config asks for, or None if the log cannot tell yet."""
    train = records.start["config"]["train"]
    if train["steps"] is not None:
        return int(train["steps"])
    for record in _newest(records):
        if record.get("epoch"):
            steps: int = round(record["step"] / record["epoch"] * train["epochs"])
            return steps
    return None


def _newest(records: RunRecords) -> list[Record]:
    return [*records.train[-1:], *[record for record in records.evals if not record.get("final")][-1:]]


def _scores(records: RunRecords, split: str) -> dict[str, Any]:
    newest = records.finals.get(split) or next(reversed(records.evaluations(split)), {})
    return {f"{split}_{key}": newest.get(key) for key in ("loss", "accuracy", "n")}


def _best(records: RunRecords, metric: str | dict[str, Any]) -> dict[str, Any] | None:
    # One of the user's own is a section of the config, and its value is always called so.
    key, name = ("metric", metric["name"]) if isinstance(metric, dict) else (metric, metric)
    known = [record for record in records.evaluations("val") if record.get(key) is not None]
    if not known:
        return None
    higher = metric.get("better") == "higher" if isinstance(metric, dict) else metric == "accuracy"
    best = (max if higher else min)(known, key=lambda record: record[key])
    return {"step": best["step"], "metric": name, "value": best[key]}


def opened_records(paths: RunPaths) -> RunRecords | None:
    """Do as `former_records`, and do what a kill has kept a run that is over from: its manifest, fewer checkpoints."""
    records = former_records(paths.log)
    if records and records.end and records.is_over and not is_locked(paths.lock):  # a living process does it itself
        log = paths.log if "chain" in records.end else None
        mend_manifest(paths.manifest, status=records.end["status"], log=log)
        # Asked of the record, not of the config: runs of earlier versions keep what they have.
        if drops_checkpoints(records) and paths.best.is_file():
            paths.drop_checkpoints()
    return records


def drops_checkpoints(records: RunRecords) -> bool:
    """Return whether a run has finished and was to keep nothing but its best weights."""
    end = records.end or {}
    return end.get("status") == "finished" and end.get("keep_checkpoints") == "best"


def finished_records(paths: RunPaths) -> RunRecords | None:
    """Return the records of a run that is over (finished or diverged), else None.

    Raises:
        UserError: another version of dlassign wrote the log.
    """
    records = opened_records(paths)
    return records if records is not None and records.is_over else None


def same_on_other_data(paths: RunPaths, config: Mapping[str, Any]) -> Iterator[tuple[RunPaths, RunRecords]]:
    """Yield the runs beside a new one that have its config and seed but other data.

    Args:
        paths: of the new run.
        config: the resolved config as plain values.
    """
    wanted = experiment_of(config, None)
    for folder in sorted(paths.root.parent.glob(f"*-s{config['seed']}")):
        with suppress(UserError):  # an unreadable run is no reason not to train
            records = former_records(folder / "log.jsonl")
            if folder != paths.root and records and experiment_of(records.start["config"], None) == wanted:
                yield RunPaths(folder), records


def result_line(paths: RunPaths, records: RunRecords) -> dict[str, Any]:
    """Return what `train --json` prints.

    val and test are {"n", "loss", "accuracy"} with the chosen weights, or None; train is the last log record, means
    over the `n` samples before `step`. `precision_why` says what decided the precision; null in logs of early versions.
    `metric` is there only with one of the user's own: its name, and in val and test its value.
    `unseen` in val and test is there only if some of their samples also occur in train: without those.
    `val_tta` and `test_tta` are there only with test-time augmentation, and say of how many `views`.
    `test_maximum` is there only if the config evaluates the test split during training: the largest of those
    accuracies, at which step, of how many. `test_opened` is there only if `evaluate` opened the test set before the run
    was over: at which step.
    """
    end = records.end or {"status": "interrupted"}
    finals = records.finals
    line = {
        "run": str(paths.root),
        "status": end["status"],
        "steps": end.get("steps", records.train[-1]["step"] if records.train else 0),
        "planned": records.start.get("steps", 0),
        "n_params": records.start["n_params"],
        "seconds": end["seconds"]["total"] if "seconds" in end else None,
        "images_per_second": end.get("images_per_second"),
        "precision": precision(records.start),
        "precision_why": _why_precision(records),
        "train": _taken(next(reversed(records.train), None), "step", "n"),
        "val": _taken(finals.get("val"), "n"),
        "test": _taken(finals.get("test"), "n"),
        **{f"{split}_tta": _taken(record, "views", "n") for split, record in sorted(records.augmented.items())},
        "weights_sha256": end.get("weights_sha256"),
        "chosen": end.get("chosen"),
        "data": records.start["data"]["label"],
    }
    metric = records.start["config"]["train"].get("metric")
    own = metric["name"] if isinstance(metric, dict) else None
    more = {"metric": own, "test_maximum": test_maximum(records), "test_opened": test_opened(records)}
    return {**line, **{key: value for key, value in more.items() if value is not None}}


def _why_precision(records: RunRecords) -> str | None:
    """Return what decided the precision when the run began; a later session may have had another machine."""
    found: str | None = (records.start.get("arithmetic") or {}).get("why")
    later = found is not None and found.startswith("auto: convolutions") and bool(records.resumes)
    return f"{found}, where it began" if later else found


def precision(start: Record) -> str | None:
    """Return what a run computes in; earlier versions did not record it, and did as their config says."""
    found: str | None = (start.get("arithmetic") or start.get("config", {}).get("train", {})).get("precision")
    return found


def test_maximum(records: RunRecords) -> dict[str, Any] | None:
    """Return the best test accuracy seen during training, its step and the number of evaluations; None without any."""
    seen = [record for record in records.evaluations("test") if record["accuracy"] is not None]
    if not seen:
        return None
    best = max(seen, key=lambda record: record["accuracy"])
    return {"accuracy": best["accuracy"], "step": best["step"], "evaluations": len(seen), "n": best.get("n")}


def _taken(record: Record | None, *more: str) -> dict[str, Any] | None:
    """Return loss, accuracy and other values of an evaluation, and those that only some have; None of none."""
    own = [key for key in ("metric", "unseen") if record and key in record]
    return record and {key: record.get(key) for key in (*more, "loss", "accuracy", *own)}
