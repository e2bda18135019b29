"""What the first record of a log says of data and model, beside the data and the model that are built again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlassign.config.data import ImageFolder
from dlassign.config.run import RunConfig
from dlassign.config.values import flow
from dlassign.data.bundle import Dataset
from dlassign.data.load import sizes_of_run
from dlassign.errors import ConfigError, UserError
from dlassign.parts.run_code import EditedError, copied_code
from dlassign.store.files import is_locked
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords
from dlassign.store.summary import DAMAGE
from dlassign.train.cache import DataCache
from dlassign.train.saved import SavedRun, data_of_log, load_run_config, open_saved
from dlassign.verify.judgement import Judgement, contradicted, proven, untold


class WrongPlaceError(UserError):
    """The data of a run is not where the user says that it lies: nothing of what was asked for can be checked."""


def start_judgements(
    records: RunRecords, paths: RunPaths, cache: DataCache, *, overrides: tuple[str, ...] = (), trust: bool = False
) -> Iterator[Judgement]:
    """Yield whether label, classes, sizes and number of parameters are those of the data and of the model.

    Args:
        records: of the run's log.
        paths: its folder.
        cache: of data that was read already.
        overrides: such as `data.root=...` where the data has moved.
        trust: let the code in the folder run, if the run has parts of its user's own.

    Raises:
        WrongPlaceError: the data of the run is not where an override says that it lies.
    """
    if is_locked(paths.lock):
        yield untold("data", "the run is being trained, and its data is not read a second time beside it")
        return
    saved: SavedRun | None = None
    try:
        if any(path.is_file() for path in (paths.best, paths.last, paths.previous)):
            weights = "best" if paths.best.is_file() else "last"
            saved = open_saved(paths, weights=weights, overrides=overrides, trust=trust)
            cfg = saved.cfg
        else:
            logged = records.start["config"]
            code = copied_code(paths.code, logged, trust=trust)
            cfg = load_run_config(paths, overrides, device=None, logged=logged, code=code)
        dataset = _data(cfg, records, cache, overrides)
        yield from _of_data(records, cfg, dataset)
        if saved is None:
            yield untold("model", "there is no checkpoint that says what the model takes, so it is not built")
        else:
            yield from _of_model(records, saved, dataset, paths)
    except WrongPlaceError:
        raise
    except EditedError:
        yield untold("data", "data and model are not made by other code than that of the run")
    except (ConfigError, UserError) as error:
        yield untold("data", " ".join(str(error).split())[:300])
    except (RuntimeError, OSError, *DAMAGE) as error:
        yield untold("data", f"data and model cannot be made again: {type(error).__name__}: {error}"[:300])


def _data(cfg: RunConfig, records: RunRecords, cache: DataCache, overrides: tuple[str, ...]) -> Dataset:
    try:
        return data_of_log(cfg, records, cache=cache)
    except (ConfigError, UserError) as error:
        said = [text for text in overrides if text.startswith("data.")]
        if not said:
            raise
        why = " ".join(str(error).split())
        raise WrongPlaceError(
            f"--set {' --set '.join(said)}: the data of the run cannot be read there: {why}"
        ) from None


def _of_data(records: RunRecords, cfg: RunConfig, dataset: Dataset) -> Iterator[Judgement]:
    said = records.start["data"]
    sizes = sizes_of_run(cfg.data, dataset)
    found: dict[str, Any] = {"classes": list(dataset.classes), "raw_shape": list(dataset.train.x.shape[1:])}
    found |= {f"n_{name}": sizes.get(name) for name in ("train", "val", "test")}
    called, logged = dataset.label, records.start["config"].get("data", {})
    # A folder of images is called after the place where it lies, also behind a link; and so is a table that was moved.
    moved = isinstance(cfg.data, ImageFolder) or getattr(cfg.data, "path", None) != logged.get("path")
    if moved and called != said["label"] and getattr(cfg.data, "label", None) is None:
        yield untold("data", f"the log calls the data {said['label']}; where it lies now it is called {called}")
    else:
        found["label"] = called
    # A log with a chain has every key; `_without_keys` tells of those that all logs have.
    wrong = {key: value for key, value in found.items() if said.get(key) != value}
    for key, value in wrong.items():
        yield _differs(records, "data", f"{key} is {flow(said.get(key))}, the data has {flow(value)}")
    if not wrong:
        named = "label, classes" if "label" in found else "classes"
        yield proven("data", f"{named}, shape of a sample and sizes of the splits are those of the data, read again")


def _of_model(records: RunRecords, saved: SavedRun, dataset: Dataset, paths: RunPaths) -> Iterator[Judgement]:
    learner = saved.build_learner(dataset.train.x[:0], dataset.classes, y=dataset.train.y)
    said = records.start["n_params"]
    if said != learner.n_params:
        yield _differs(records, "n_params", f"{said:,} parameters; the model of its config has {learner.n_params:,}")
        return
    try:
        saved.load(learner)
    except UserError as error:
        yield _differs(records, "model", str(error))
    else:
        yield proven("model", f"the model of the config has {said:,} parameters, and the saved weights fit it")


def _differs(records: RunRecords, name: str, what: str) -> Judgement:
    if "chain" not in records.start:
        return untold(name, f"an earlier version wrote the log, perhaps by another rule: {what}")
    return contradicted(name, what, records.lines[0][0])
