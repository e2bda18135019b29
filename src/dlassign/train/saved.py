"""Evaluate the saved weights of a run, with the preprocessing that was saved beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dlassign.config.load import load_config, load_located
from dlassign.config.neutral_keys import EVALUATION, NEUTRAL, PLACES, without
from dlassign.config.run import RunConfig
from dlassign.config.values import flow
from dlassign.data.bundle import Dataset, Labels, Raw, Samples, Split
from dlassign.data.load import AS_BEFORE, data_of_run, load_dataset
from dlassign.data.prepare import Preprocess
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.parts.code import Code
from dlassign.parts.run_code import copied_code
from dlassign.store.files import hold_lock
from dlassign.store.identity import flat_config
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter, Record, RunRecords, read_records
from dlassign.store.summary import unseen_text
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import CheckpointStore, load_checkpoint, to_numpy, using
from dlassign.train.device import resolve_device
from dlassign.train.learner import Learner, State
from dlassign.train.make_numpy import make_numpy_learner, place_numpy
from dlassign.train.make_torch import make_torch_learner, place_torch
from dlassign.train.memory import naming_memory
from dlassign.train.saved_evaluation import SavedEvaluation
from dlassign.train.task import Task, task_of
from dlassign.train.torch_learner import TorchLearner

MAY_BE_EDITED = NEUTRAL | PLACES | {"data.train", "data.val", "data.test"}
"""Keys of config.yaml that change no result, or say where the data lies now."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedRun:
    """The saved weights of a run, and all that its folder says of how samples are prepared for them.

    Attributes:
        paths: the run.
        cfg: its config, with the keys that may be changed.
        records: its log.
        state: of its checkpoint: step, weights, preprocessing.
        chosen: best, or last; a finished run that keeps its last weights has no others.
        step: optimizer steps done when the weights were as they are.
        preprocess: as it was fitted.
    """

    paths: RunPaths
    cfg: RunConfig
    records: RunRecords
    state: State
    chosen: str
    step: int
    preprocess: Preprocess

    def make_learner(self, raw: Samples, classes: Sequence[str], *, y: Labels | None = None) -> Learner:
        """Return a learner that has the weights.

        Args:
            raw: samples like those that it is for, (N, ...); there may be none.
            classes: their names.
            y: labels of the training split, by which a loss may weigh classes; None if no loss will be asked for.

        Raises:
            UserError: the weights are those of another model, or the checkpoint does not hold what a run saves.
        """
        learner = self.build_learner(raw, classes, y=y)
        with using(self.paths):
            self.load(learner)
        return learner

    def load(self, learner: Learner) -> None:
        """Set a learner's weights to the saved ones.

        Raises:
            UserError: they are those of another model.
        """
        try:
            learner.load_weights(self.state["weights"])
        except RuntimeError as error:
            why = " ".join(str(error).split())[:200]
            raise UserError(f"the weights do not fit the model of config.yaml ({why})") from error

    def build_learner(self, raw: Samples, classes: Sequence[str], *, y: Labels | None = None) -> Learner:
        """Do as `make_learner`, but leave the learner with its initial weights."""
        cfg = self.cfg
        learner: Learner
        with using(self.paths):
            in_shape = self.preprocess.apply(raw[:0]).shape[1:]
            task = Task(in_shape, len(classes))
            if y is not None:
                task = task_of(cfg.loss, y, in_shape=in_shape, classes=classes)
            if cfg.backend == "numpy":
                learner = make_numpy_learner(cfg, task)
            else:
                recorded = _arithmetic(self.records.start, cfg)
                # Without a plan, which only training needs.
                learner, _ = make_torch_learner(cfg, task, device=resolve_device(cfg.device), recorded=recorded)
        return learner

    def place(self, learner: Learner, samples: Split) -> Any:
        """Return raw samples as a learner of `make_learner` takes them."""
        with using(self.paths):
            if isinstance(learner, TorchLearner):
                return place_torch(self.cfg, learner, samples, preprocess=self.preprocess)
            return place_numpy(self.cfg, samples, preprocess=self.preprocess)


def open_saved(
    paths: RunPaths,
    *,
    weights: str = "best",
    device: str | None = None,
    overrides: tuple[str, ...] = (),
    views: bool = False,
    trust: bool = False,
) -> SavedRun:
    """Read the best or last weights of a run from its folder alone; the data may be gone.

    Args:
        paths: the run.
        weights: best, or last.
        device: where to compute; None is what the run's config says.
        overrides: keys of EVALUATION to change, such as `data.root=...` where the data has moved. The run's arithmetic
            is kept unless `train.precision` is among them.
        views: whether the test-time augmentation of the config will be asked for.
        trust: let the code in the folder run, if the run has own parts.

    Raises:
        UserError: there is no such run or checkpoint, or its code is not trusted or was edited.
        ConfigError: the config has no test-time augmentation, or an override changes what is computed.
    """
    records = read_records(paths.log)
    code = copied_code(paths.code, records.start["config"], trust=trust)
    cfg = load_run_config(paths, overrides, device=device, logged=records.start["config"], code=code)
    if views and cfg.train.test_time_augmentation is None:
        message = "the run has no test-time augmentation; say which with --set 'train.test_time_augmentation={}'"
        raise ConfigError([Problem(path="train.test_time_augmentation", message=message)])
    state = load_saved_weights(paths, weights)
    with using(paths):
        preprocess = Preprocess.from_state(to_numpy(state["preprocess"])).with_code(cfg.data.preprocess or ())
    return SavedRun(
        paths=paths,
        cfg=cfg,
        records=records,
        state=state,
        chosen=str(state.get("chosen", weights)),
        step=int(state["step"]),
        preprocess=preprocess,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedSplit:
    """A split of a run's data beside its saved weights.

    Attributes:
        saved: the weights.
        dataset: the data of the run.
        samples: the split, raw.
        notes: what the user should know of the data.
        learner: the model with these weights.
        placed: the samples in the form that the learner takes.
    """

    saved: SavedRun
    dataset: Dataset
    samples: Split
    notes: tuple[str, ...]
    learner: Learner
    placed: Any

    def evaluate(self, *, views: bool = False) -> SavedEvaluation:
        """Evaluate the weights; views: with the test-time augmentation of the config too."""
        learner, saved = self.learner, self.saved
        with naming_memory():
            evaluation, scores = learner.evaluate_scores(self.placed)
            return SavedEvaluation(
                name=saved.cfg.name,
                label=self.dataset.label,
                classes=self.dataset.classes,
                step=saved.step,
                metric=getattr(saved.cfg.train.metric, "name", ""),
                chosen=saved.chosen,
                evaluation=evaluation,
                views=learner.evaluate(self.placed, views=learner.views) if views else None,
                n_views=len(learner.views) if views and learner.views else 0,
                notes=self.notes,
                scores=scores,
                true=self.samples.y,
            )

    def scores(self, *, views: bool = False) -> NDArray[Any]:
        """Return the scores that `evaluate` counts by, (N, K) or (N, 1); views: averaged over those of the config."""
        with naming_memory():
            return self.learner.evaluate_scores(self.placed, views=self.learner.views if views else None)[1]


def open_split(saved: SavedRun, split: str, *, raw: Raw | None = None, cache: DataCache | None = None) -> SavedSplit:
    """Read the data of a run and place one of its splits, dealt as the run dealt them.

    Args:
        saved: the run.
        split: train, val or test.
        raw: the samples of `data: {name: arrays}`.
        cache: of a process that reads the data of run after run.

    Raises:
        UserError: there is no such split, the data is not that of the run, or the run is being trained.
        ConfigError: the device cannot compute as the run did.
    """
    records, cfg = saved.records, saved.cfg
    early = _open_early(saved.paths, step=saved.step) if split == "test" and not records.is_over else ()
    # Accuracy on other data would look like a result of this run.
    dataset = data_of_log(cfg, records, raw=raw, cache=cache)
    samples = dataset.splits.get(split)
    if samples is None:
        raise UserError(f"this run has no {split} split; it has train{' and val' * (dataset.val is not None)}")
    with naming_memory():
        learner = saved.make_learner(samples.x, dataset.classes, y=dataset.train.y)
        placed = saved.place(learner, samples)
    return SavedSplit(
        saved=saved,
        dataset=dataset,
        samples=samples,
        # What else there is to know of the data, training has said; but an accuracy is not told without its leaks.
        notes=(*early, *(note for note in dataset.notes if note == AS_BEFORE), *_without_leaks(records, split)),
        learner=learner,
        placed=placed,
    )


def data_of_log(
    cfg: RunConfig, records: RunRecords, *, raw: Raw | None = None, cache: DataCache | None = None
) -> Dataset:
    """Return the data that a run of this config and log was trained on; the other arguments are those of `open_split`.

    Raises:
        UserError, ConfigError: it is not there, or other data is there.
    """
    cache = cache or DataCache(raw)
    dataset = cache.get("dataset", cfg.data.model_dump_json(), lambda: load_dataset(cfg.data, raw=cache.raw))
    return data_of_run(cfg.data, dataset, records.start["data"])


def _without_leaks(records: RunRecords, split: str) -> Iterator[str]:
    """Yield what the run's log says of a split whose samples also occur in train."""
    if text := unseen_text(records.finals.get(split)):
        yield f"the run's own {split} accuracy is {text}"


def evaluate_run(
    paths: RunPaths,
    split: str,
    *,
    weights: str = "best",
    device: str | None = None,
    overrides: tuple[str, ...] = (),
    views: bool = False,
    trust: bool = False,
) -> SavedEvaluation:
    """Evaluate the best or last weights of a run on one of its splits; the arguments are those of `open_saved`.

    Raises:
        UserError: there is no such run, split or checkpoint, or the data is not that of the run.
        ConfigError: the config has no test-time augmentation, the device cannot compute as the run did, or an override
            changes what is measured.
    """
    saved = open_saved(paths, weights=weights, device=device, overrides=overrides, views=views, trust=trust)
    return open_split(saved, split).evaluate(views=views)


def load_run_config(
    paths: RunPaths, overrides: tuple[str, ...], *, device: str | None, logged: Mapping[str, Any], code: Code | None
) -> RunConfig:
    """Return the config of a run with overrides.

    Args:
        paths: the run.
        overrides: as of `open_saved`.
        device: as of `open_saved`.
        logged: the config that its log begins with.
        code: of its own parts.

    Raises:
        ConfigError: they change a key that is not one of EVALUATION.
        UserError: config.yaml is not what the run was trained with.
    """
    located = load_located(paths.config, overrides, device=device, code=code)
    plain = located.config.model_dump(mode="json")
    file = load_config(paths.config, code=code).model_dump(mode="json") if overrides else plain
    _check_unchanged(paths, file, logged=logged)
    before, now = (dict(flat_config(without(config, EVALUATION))) for config in (file, plain))
    changed = [key for key in {**now, **before} if (key in before, before.get(key)) != (key in now, now.get(key))]
    if changed:
        named, these = ", ".join(changed), "this key" if len(changed) == 1 else "these keys"
        message = (
            f"a run is evaluated as it was trained, and --set changes {named}; leave it out, or train a run with "
            f"{these}: dlassign train --config {paths.config} --set ..."
        )
        raise ConfigError([located.place(Problem(path=changed[0], message=message))])
    return located.config


def _check_unchanged(paths: RunPaths, file: Mapping[str, Any], *, logged: Mapping[str, Any]) -> None:
    """Refuse a config.yaml that someone has edited: the weights are those of what the log begins with.

    Where the data lies may be edited, as `--set` may say it: its digest is compared. Keys that an earlier version did
    not log are left alone.

    Raises:
        UserError: the file and the log differ.
    """
    changes = edited_keys(file, logged=logged)
    if changes:
        shown = [f"{key} is {flow(now)}, the log says {flow(then)}" for key, then, now in changes[:5]]
        more = f" and {len(changes) - 5} more keys" if len(changes) > 5 else ""
        raise UserError(
            f"{paths.config} has been edited since the run was trained: {'; '.join(shown)}{more}. Put it back; another "
            "config is another run: dlassign train --config FILE"
        )


def edited_keys(file: Mapping[str, Any], *, logged: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (key, value in the log, value in config.yaml) of what someone has edited in a config that counts."""
    return list(_changes(without(logged, MAY_BE_EDITED), without(file, MAY_BE_EDITED)))


def _changes(then: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (key, value then, value now) of what has changed; keys that are new are left out."""
    inner: Iterable[tuple[Any, Any, Any]]
    if isinstance(then, dict) and isinstance(now, dict):
        inner = ((name, value, now.get(name)) for name, value in then.items())
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        inner = zip(range(len(then)), then, now, strict=True)
    else:
        if then != now:
            yield key, then, now
        return
    for name, own_then, own_now in inner:
        yield from _changes(own_then, own_now, f"{key}.{name}" if key else str(name))


def _open_early(paths: RunPaths, *, step: int) -> tuple[str, ...]:
    """Leave a trace that the test set was opened before the run is over, and return what the user is told.

    Raises:
        UserError: the run is being trained, or its log cannot be written.
    """
    taken = f"{paths.root} is being trained: its test set is opened once, at the end; take --split val until then"
    text = f"the test set was opened at step {step}, before the run was over; what is decided by it makes it no test"
    with hold_lock(paths.lock, taken=taken):
        log = MetricsWriter(paths.log)
        try:
            log.write("note", step=step, about="test_opened_early", text=text)
            log.sync()
        finally:
            log.close()
    return (f"note: {text}; the log says so",)


def _arithmetic(start: Record, cfg: RunConfig) -> dict[str, Any] | None:
    """Return the recorded arithmetic, or None if another precision was asked for."""
    # Logs of earlier versions lack the arithmetic; then the config decides again.
    same = start["config"]["train"].get("precision") == cfg.train.precision
    return start.get("arithmetic") if same else None


def load_saved_weights(paths: RunPaths, weights: str) -> State:
    """Return step, weights and preprocessing. A run that is not over has its best weights inside its checkpoint."""
    if weights == "best" and paths.best.exists():
        return load_checkpoint(paths.best)
    state, _ = CheckpointStore(paths).load_newest()
    if state is None and weights == "last" and paths.best.exists():
        best = load_checkpoint(paths.best)
        if best.get("chosen") == "last":
            return best
        raise UserError(
            f"{paths.root} has its last weights no more: a finished run keeps the best ones alone. Take --weights "
            "best, or train it anew and keep both with --again --set train.keep_checkpoints=all"
        )
    if state is None:
        why = "it is not trained that far, it diverged, or the file was removed"
        raise UserError(f"{paths.root} has no checkpoint yet: {why}; train it first, or anew with --again")
    if weights == "last":
        learner = state["learner"]
        return {**state, "weights": learner.get("evaluated", learner["model"])}
    # The state of train/watchers.py: KeepBest.
    kept = state["hooks"].get("keep_best", {})
    if not kept.get("weights"):
        raise UserError(f"{paths.root} has no best weights yet; take the last weights with --weights last")
    return {**state, "weights": kept["weights"], "step": kept["step"]}
