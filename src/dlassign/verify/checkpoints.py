"""The checkpoints of a run beside the digests in its log, and its result computed again from its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dlassign.config.values import flow
from dlassign.errors import ConfigError, UserError
from dlassign.parts.run_code import EditedError
from dlassign.store.files import is_locked
from dlassign.store.folder_name import run_of
from dlassign.store.manifest_check import log_heads, read_manifest
from dlassign.store.paths import RunPaths
from dlassign.store.records import EVALUATION_VARIES, Record, RunRecords
from dlassign.store.summary import DAMAGE
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import load_checkpoint, weights_sha256
from dlassign.train.learner import Evaluation, State
from dlassign.train.saved import open_saved, open_split
from dlassign.verify.folder import unreadable
from dlassign.verify.judgement import Judgement, consistent, contradicted, proven, untold

ROUNDING = 0.005
"""Share of the samples, and two in any case, that another machine may predict otherwise with the same weights."""


def checkpoint_judgements(records: RunRecords, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the files in `checkpoints/` hold the weights whose digests the log has."""
    there = [path for path in (paths.best, paths.last, paths.previous) if path.exists()]
    if not there:
        yield untold("checkpoints", "there is no checkpoint")
    heads = set(log_heads(paths))
    for path in there:
        if (no_file := unreadable("checkpoint", path)) is not None:
            yield no_file
            continue
        try:
            state = load_checkpoint(path)
        except UserError as error:
            yield contradicted("checkpoint", str(error), path)
            continue
        try:
            yield from _chained(state, records, path, heads)
            if path == paths.best and "chained" in state and records.is_over:
                yield from _sealed(paths)
            yield from _best(state, records, path) if path == paths.best else _newest(state, records, paths, path)
        except DAMAGE as error:
            yield contradicted("checkpoint", f"it does not hold what a run saves ({error})", path)


def _chained(state: State, records: RunRecords, path: Path, heads: set[str]) -> Iterator[Judgement]:
    """Yield where the log has no longer what it had when a checkpoint was written; earlier versions do not say it."""
    where, _ = records.lines[0]
    if state.get("chained") and "chain" not in records.start:
        yield contradicted("chain", f"the first record has no chain, and {path.name} says that it had one", where)
    elif "chain" in state and state["chain"] not in heads:
        what = "the log is not the one that was there when it was written: a line of it was changed, removed or added"
        yield contradicted("checkpoint", what, path)
    classes = records.start["data"].get("classes")
    if classes is not None and state.get("classes", classes) != classes:
        yield contradicted(
            "classes", f"the classes are {flow(classes)}, in {path.name} {flow(state['classes'])}", where
        )


def _sealed(paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the manifest lacks what each version writes into it that wrote such a best.pt."""
    with suppress(OSError, *DAMAGE):  # of which `folder_judgements` tells
        if "chain" not in read_manifest(paths):
            what = "it does not hold the chain of the log, and the version that wrote best.pt writes it"
            yield contradicted("manifest", what, paths.manifest)


def _best(state: State, records: RunRecords, path: Path) -> Iterator[Judgement]:
    """Yield what `best.pt`, the chosen weights, says beside the log."""
    end = records.end or {}
    chosen, digest = end.get("chosen") or {}, weights_sha256(state["weights"])
    for name, saved in (("step", state["step"]), ("weights", state.get("chosen"))):
        if chosen and saved is not None and saved != chosen[name]:
            what = (
                f"it holds the {saved if name == 'weights' else f'step {saved:,}'}, the log has chosen {chosen[name]}"
            )
            yield contradicted("checkpoint", what, path)
            return
    logged = [record["weights_sha256"] for record in records.checkpoints if record["file"] == "best"]
    if not logged and chosen.get("weights") == "last" and "weights_sha256" in end:
        logged = [end["weights_sha256"]]
    yield _compared(digest, logged[-1:], path, step=state["step"])


def _newest(state: State, records: RunRecords, paths: RunPaths, path: Path) -> Iterator[Judgement]:
    """Yield what a checkpoint to go on from says beside the log."""
    run, name = state.get("run"), paths.root.resolve().name
    # A folder may be renamed, and its run is that of the log.
    if run is not None and name.partition(".old-")[0] != run and run != (_run_of_log(records) or run):
        yield contradicted("checkpoint", f"it is one of the run {run}", path)
        return
    step, digest = state["step"], weights_sha256(state["learner"]["model"])
    if state["progress"]["step"] != step:
        yield contradicted("checkpoint", f"it is one of step {step:,}, and of step {state['progress']['step']:,}", path)
        return
    # Of all sessions: the last but one may be older than what the run went on from.
    saved = [record for _, record in records.lines if record["kind"] == "checkpoint" and record["file"] == "last"]
    logged = [record["weights_sha256"] for record in saved if record["step"] == step]
    if saved and not logged:
        yield contradicted("checkpoint", f"it is one of step {step:,}, at which the log has none", path)
        return
    yield _compared(digest, [digest] if digest in logged else logged[-1:], path, step=step)


def _run_of_log(records: RunRecords) -> str | None:
    """Return the name that the log gives its run, None where its hash cannot be computed."""
    with suppress(UserError, *DAMAGE):
        return run_of(records.start)
    return None


def _compared(digest: str, logged: list[str], path: Path, *, step: int) -> Judgement:
    if not logged:
        return untold("checkpoints", f"the log does not say what weights {path.name} held when it was saved")
    if digest != logged[0]:
        what = f"its weights are {digest[:12]}, the log says {logged[0][:12]} of step {step:,}"
        return contradicted("checkpoint", what, path)
    return proven("checkpoints", f"{path.name} holds the weights of step {step:,} that the log names, {digest[:12]}")


def result_judgements(
    records: RunRecords, paths: RunPaths, cache: DataCache, *, overrides: tuple[str, ...] = (), trust: bool = False
) -> Iterator[Judgement]:
    """Yield whether the chosen weights reach what the log says, computed as `dlassign evaluate` does.

    Args:
        records: of the run's log.
        paths: its folder.
        cache: of data that was read already.
        overrides: such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.
    """
    if not records.finals or not records.is_over:
        # Not of a run that goes on: its test set is opened once, at the end.
        state = "is being trained" if is_locked(paths.lock) else "has not come to its end"
        yield untold("result", f"the run {_without_result(records) if records.is_over else state}")
        return
    if EVALUATION_VARIES in records.notes:
        yield untold("result", "the log says that an evaluation with the user's own code cannot be repeated")
        return
    if not paths.best.is_file():
        yield untold("result", "there is no best.pt to compute the result from")
        return
    try:
        pairs = list(_computed(records, paths, cache, overrides=overrides, trust=trust))
    except EditedError:
        yield untold("result", "the result is not computed by other code than that of the run")
        return
    except (ConfigError, UserError) as error:
        yield untold("result", " ".join(str(error).split())[:300])
        return
    except (RuntimeError, *DAMAGE) as error:
        yield untold("result", f"the result cannot be computed again: {type(error).__name__}: {error}"[:300])
        return
    where = {id(record): place for place, record in records.lines}
    # One loss with the very digits of the log: here is rounded as there, so nothing else may come out otherwise.
    exact = any(found.loss == record["loss"] for _, found, record in pairs)
    for what, found, record in pairs:
        yield _reached(found, record, where[id(record)], split=what, exact=exact)


def _without_result(records: RunRecords) -> str:
    if records.end is not None and records.end["status"] == "diverged":
        return "diverged, so there is no result"
    return "has neither test nor validation samples, so there is no result but its training loss"


def _computed(
    records: RunRecords, paths: RunPaths, cache: DataCache, *, overrides: tuple[str, ...], trust: bool
) -> Iterator[tuple[str, Evaluation, Record]]:
    """Yield what is evaluated, its evaluation of today, and its record."""
    views = bool(records.augmented)
    saved = open_saved(paths, overrides=overrides, views=views, trust=trust)
    for split, record in sorted(records.finals.items(), reverse=True):
        found = open_split(saved, split, cache=cache).evaluate(views=split in records.augmented)
        yield split, found.evaluation, record
        if found.views is not None:
            yield f"{split} with {found.n_views} views", found.views, records.augmented[split]


def _reached(found: Evaluation, record: Record, where: str, *, split: str, exact: bool) -> Judgement:
    """Return whether an evaluation of today is that of a record; exact: this machine rounds as that of the run did."""
    if record["accuracy"] is None or record.get("n", found.n) != found.n:
        what = f"{split} has {found.n:,} samples and accuracy {100 * found.accuracy:.2f} %; the log says otherwise"
        return contradicted("result", what, where)
    counts = record.get("confusion")
    same_counts = counts is None or counts == [list(row) for row in found.confusion]
    right, logged = found.accuracy * found.n, record["accuracy"] * found.n
    text = f"the weights reach {100 * found.accuracy:.2f} % on {split}"
    loss = record["loss"]
    same_loss = loss is None or math.isclose(loss, found.loss, rel_tol=1e-4, abs_tol=1e-7)
    if abs(right - logged) < 0.5 and same_counts and same_loss:
        return proven("result", f"{text}, as the log says, computed again from best.pt ({found.n:,} samples)")
    near_loss = loss is None or math.isclose(loss, found.loss, rel_tol=0.02, abs_tol=1e-4)
    far = abs(right - logged) > max(2.0, ROUNDING * found.n) or _moved(found, counts) > ROUNDING
    if exact or far or not near_loss:
        said = "no finite loss" if loss is None else f"loss {loss:.4f}"
        what = f"{text} with loss {found.loss:.4f}; the log says {100 * record['accuracy']:.2f} % with {said}"
        return contradicted("result", what, where)
    what = f"{text}, the log says {100 * record['accuracy']:.2f} %: another machine may round otherwise"
    return consistent("result", what)


def _moved(found: Evaluation, counts: list[list[int]] | None) -> float:
    """Return the share of samples, beyond two, whose place among the confusion counts is another one."""
    if counts is None:
        return 0.0
    if [len(row) for row in counts] != [len(row) for row in found.confusion]:
        return 1.0
    rows = zip(counts, found.confusion, strict=True)
    apart = sum(abs(one - other) for then, now in rows for one, other in zip(then, now, strict=True))
    # A sample that is predicted otherwise leaves one cell and enters another.
    return max(apart / 2 - 2.0, 0.0) / found.n
