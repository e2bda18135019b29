"""Evaluate the saved weights of a run, with the preprocessing that was saved beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.load import load_config, load_located
from dlassign.config.neutral_keys import EVALUATION, NEUTRAL, PLACES, without
from dlassign.config.run import RunConfig
from dlassign.config.values import flow
from dlassign.data.bundle import Dataset, Split
from dlassign.data.load import data_of_run, load_dataset
from dlassign.data.prepare import Preprocess
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.store.files import hold_lock
from dlassign.store.identity import flat_config
from dlassign.store.paths import RunPaths
from dlassign.store.records import MetricsWriter, Record, read_records
from dlassign.train.checkpoint import CheckpointStore, load_checkpoint, to_numpy, using
from dlassign.train.device import resolve_device
from dlassign.train.learner import Evaluation, Learner, State
from dlassign.train.make_numpy import make_numpy_learner, place_numpy
from dlassign.train.make_torch import make_torch_learner, place_torch
from dlassign.train.memory import naming_memory
from dlassign.train.task import task_of


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """An evaluation of saved weights, and what they are.

    Attributes:
        name: of the experiment.
        label: of the data set.
        classes: their names.
        step: optimizer steps done when the weights were as they are.
        chosen: best, or last; a finished run that keeps its last weights has no others.
        evaluation: of the images as they are.
        views: the same of `n_views` views of each image; None if they were not asked for.
        n_views: views of an image.
        notes: what the user should know of the data.
    """

    name: str
    label: str
    classes: tuple[str, ...]
    step: int
    chosen: str = "best"
    evaluation: Evaluation
    views: Evaluation | None = None
    n_views: int = 0
    notes: tuple[str, ...] = ()

    def per_class(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and sample count of each class; a score without a sample to count is None."""
        counts = self.evaluation.confusion
        rows = []
        for i, name in enumerate(self.classes):
            true, predicted, right = sum(counts[i]), sum(row[i] for row in counts), counts[i][i]
            rows.append(
                {
                    "class": name,
                    "precision": right / predicted if predicted else None,
                    "recall": right / true if true else None,
                    "f1": 2 * right / (true + predicted) if true + predicted else None,
                    "n": true,
                }
            )
        return rows


def evaluate_run(
    paths: RunPaths,
    split: str,
    *,
    weights: str = "best",
    device: str | None = None,
    overrides: tuple[str, ...] = (),
    views: bool = False,
) -> SavedEvaluation:
    """Evaluate the best or last weights of a run on one of its splits.

    Args:
        paths: the run.
        split: train, val or test, dealt as the run dealt them.
        weights: best, or last.
        device: where to compute; None is what the run's config says.
        overrides: keys of EVALUATION to change, such as `data.root=...` where the data has moved. The run's arithmetic
            is kept unless `train.precision` is among them.
        views: evaluate with the test-time augmentation of the config too.

    Raises:
        UserError: there is no such run, split or checkpoint, or the data is not that of the run.
        ConfigError: the config has no test-time augmentation, the device cannot compute as the run did, or an override
            changes what is measured.
    """
    records = read_records(paths.log)
    cfg = load_run_config(paths, overrides, device=device)
    if views and cfg.train.test_time_augmentation is None:
        message = "the run has no test-time augmentation; say which with --set 'train.test_time_augmentation={}'"
        raise ConfigError([Problem(path="train.test_time_augmentation", message=message)])
    state = load_saved_weights(paths, weights)
    early = _open_early(paths, step=state["step"]) if split == "test" and not records.is_over else ()
    # Accuracy on other data would look like a result of this run.
    dataset = data_of_run(cfg.data, load_dataset(cfg.data), records.start["data"])
    samples = {"train": dataset.train, "val": dataset.val, "test": dataset.test}[split]
    if samples is None:
        raise UserError(f"this run has no {split} split; it has train{' and val' * (dataset.val is not None)}")
    recorded = _arithmetic(records.start, cfg)
    with naming_memory():
        with using(paths):
            learner, placed = _prepare(cfg, state, samples, dataset=dataset, recorded=recorded)
        return SavedEvaluation(
            name=cfg.name,
            label=dataset.label,
            classes=dataset.classes,
            step=state["step"],
            chosen=str(state.get("chosen", weights)),
            evaluation=learner.evaluate(placed),
            views=learner.evaluate(placed, views=learner.views) if views else None,
            n_views=len(learner.views) if views and learner.views else 0,
            notes=(*early, *dataset.notes),
        )


def load_run_config(paths: RunPaths, overrides: tuple[str, ...], *, device: str | None) -> RunConfig:
    """Return the config of a run with overrides.

    Raises:
        ConfigError: they change a key that is not one of EVALUATION.
        UserError: config.yaml is not what the run was trained with.
    """
    located = load_located(paths.config, overrides, device=device)
    _check_unchanged(paths)
    configs = (load_config(paths.config), located.config) if overrides else (located.config, located.config)
    before, now = (dict(flat_config(without(cfg.model_dump(mode="json"), EVALUATION))) for cfg in configs)
    changed = [key for key in {**now, **before} if (key in before, before.get(key)) != (key in now, now.get(key))]
    if changed:
        named, these = ", ".join(changed), "this key" if len(changed) == 1 else "these keys"
        message = (
            f"a run is evaluated as it was trained, and --set changes {named}; leave it out, or train a run with "
            f"{these}: dlassign train --config {paths.config} --set ..."
        )
        raise ConfigError([located.place(Problem(path=changed[0], message=message))])
    return located.config


def _check_unchanged(paths: RunPaths) -> None:
    """Refuse a config.yaml that someone has edited: the weights are those of what the log begins with.

    Where the data lies may be edited, as `--set` may say it: its digest is compared. Keys that an earlier version did
    not log are left alone.

    Raises:
        UserError: the file and the log differ.
    """
    neutral = NEUTRAL | PLACES | {"data.train", "data.val", "data.test"}
    logged = without(read_records(paths.log).start["config"], neutral)
    file = without(load_config(paths.config).model_dump(mode="json"), neutral)
    changes = list(_changes(logged, file))
    if changes:
        shown = [f"{key} is {flow(now)}, the log says {flow(then)}" for key, then, now in changes[:5]]
        more = f" and {len(changes) - 5} more keys" if len(changes) > 5 else ""
        raise UserError(
            f"{paths.config} has been edited since the run was trained: {'; '.join(shown)}{more}. Put it back; another "
            "config is another run: dlassign train --config FILE"
        )


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


def _prepare(
    cfg: RunConfig, state: State, samples: Split, *, dataset: Dataset, recorded: dict[str, Any] | None
) -> tuple[Learner, Any]:
    """Return a learner that has the weights, and the samples as it takes them."""
    preprocess = Preprocess.from_state(to_numpy(state["preprocess"]))
    in_shape = preprocess.apply(samples.x[:0]).shape[1:]
    task = task_of(cfg.loss, dataset.train.y, in_shape=in_shape, classes=dataset.classes)
    if cfg.backend == "numpy":
        numpy_learner = make_numpy_learner(cfg, task)
        _load(numpy_learner, state)
        return numpy_learner, place_numpy(cfg, samples, preprocess=preprocess)
    device = resolve_device(cfg.device)
    # Without a plan, which only training needs.
    torch_learner, _ = make_torch_learner(cfg, task, device=device, recorded=recorded)
    _load(torch_learner, state)
    return torch_learner, place_torch(cfg, torch_learner, samples, preprocess=preprocess)


def _load(learner: Learner, state: State) -> None:
    """Set a learner's weights.

    Raises:
        UserError: they are those of another model.
    """
    try:
        learner.load_weights(state["weights"])
    except RuntimeError as error:
        raise UserError(
            f"the weights do not fit the model of config.yaml ({' '.join(str(error).split())[:200]})"
        ) from error


def load_saved_weights(paths: RunPaths, weights: str) -> State:
    """Return step, weights and preprocessing. A run that is not over has its best weights inside its checkpoint."""
    if weights == "best" and paths.best.exists():
        return load_checkpoint(paths.best)
    state, _ = CheckpointStore(paths).load_newest()
    if state is None:
        why = "it is not trained that far, it diverged, or the file was removed"
        raise UserError(f"{paths.root} has no checkpoint yet: {why}; train it first, or anew with --again")
    if weights == "last":
        learner = state["learner"]
        return {**state, "weights": learner.get("evaluated", learner["model"])}
    # The state of train/watchers.py: KeepBest.
    kept = state["hooks"].get("keep_best", {})
    if not kept.get("weights"):
        raise UserError(f"{paths.root} has no best weights yet; take the last weights")
    return {**state, "weights": kept["weights"], "step": kept["step"]}


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstLayerWeights:
    """The weights of a model's first layer, and where they come from.

    Attributes:
        name: of the layer, such as linear1.
        array: (units, D), or (filters, C, KH, KW) of a convolution.
        sample_shape: of what the layer is applied to: (C, H, W), or (D,) if that is no image.
        components: principal components that the weights were mapped back from; None without PCA.
        step: optimizer steps done when the weights were as they are.
        chosen: best, or last; a finished run without validation has its last weights as best.
    """

    name: str
    array: NDArray[np.float64]
    sample_shape: tuple[int, ...]
    components: int | None
    step: int
    chosen: str


def first_layer(paths: RunPaths, *, weights: str = "best") -> FirstLayerWeights:
    """Return the weights of a run's first layer, from its checkpoint.

    Args:
        paths: the run.
        weights: best, or last.

    Raises:
        UserError: there is no such run or checkpoint, no layer to show, or its weights are not finite.
    """
    data = read_records(paths.log).start["data"]
    shape = tuple(data.get("raw_shape") or data.get("shape") or ())
    state = load_saved_weights(paths, weights)
    # In the order of the layers: the first weight of two or four axes is the first layer's.
    layers = (key for key, tensor in state["weights"].items() if key.endswith(".weight") and tensor.ndim in (2, 4))
    key = next(layers, None)
    if key is None:
        raise UserError(f"{paths.root}: the model has no linear or convolution layer whose weights could be drawn")
    name, array = key.removesuffix(".weight"), to_numpy(state["weights"][key]).astype(np.float64)
    if not np.isfinite(array).all():
        raise UserError(f"{paths.root}: the {weights} weights of {name} are not finite; training diverged")
    with using(paths):
        array, components = Preprocess.from_state(to_numpy(state["preprocess"])).before_pca(array)
    return FirstLayerWeights(
        name=name,
        array=array,
        sample_shape=shape,
        components=components,
        step=int(state["step"]),
        chosen=str(state.get("chosen", weights)),
    )
