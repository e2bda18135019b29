"""From a run to a folder that computes what the run computes, proven before it gets its name."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dlassign.data.bundle import Samples
from dlassign.data.load import data_of_run, load_dataset
from dlassign.deploy.card import model_card
from dlassign.deploy.classifier import Scores
from dlassign.deploy.from_run import own_scores, trained_of
from dlassign.deploy.graph import refuse_batch_statistics
from dlassign.deploy.kinds import KINDS
from dlassign.deploy.model import Model
from dlassign.deploy.model_folder import ModelFolder, read_model, write_model
from dlassign.deploy.onnx_file import OnnxScores, metadata, missing_packages, onnx_bytes, require_packages, traced
from dlassign.deploy.parity import BATCHES, Parity, compare, probes
from dlassign.deploy.trained import Trained
from dlassign.errors import ConfigError, UserError
from dlassign.store.files import making_folder, replacing, write_text
from dlassign.store.manifest import package_version
from dlassign.store.paths import RunPaths
from dlassign.train.saved import SavedRun, open_saved


def installed_kinds() -> tuple[str, ...]:
    """Return the kinds that can be written with what is installed."""
    return tuple(kind for kind in KINDS if kind != "onnx" or not missing_packages())


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What an export has written.

    Attributes:
        folder: where the files lie.
        files: their names, in the order in which they were written.
        parity: how far they are from the run.
        notes: what the user should know, one sentence each.
    """

    folder: Path
    files: tuple[str, ...]
    parity: Parity
    notes: tuple[str, ...] = ()


def export_run(
    paths: RunPaths,
    out: Path,
    *,
    kinds: Iterable[str] = KINDS,
    weights: str = "best",
    overrides: tuple[str, ...] = (),
    trust: bool = False,
) -> Exported:
    """Write the trained net of a run into a new folder, if it computes there what it computes in the run.

    Args:
        paths: the run.
        out: the folder; it is not there, or empty.
        kinds: of KINDS: what is written beside weights and configs.
        weights: best, or last.
        overrides: config keys such as `data.root=...`, where the data has moved that samples are compared on.
        trust: let the code in the run's folder run, if it has own parts; the model folder gets a copy of it.

    Raises:
        UserError: there is no such run, `out` is taken or cannot be written, a package is missing, or the files do not
            compute what the run computes; nothing is left under the name of `out` then.
        ConfigError: the config with `overrides` cannot be used, or names no such data.
    """
    kinds = tuple(kinds)
    if "onnx" in kinds:
        require_packages()
    with making_folder(out) as temporary:
        saved = open_saved(paths, weights=weights, overrides=overrides, trust=trust)
        trained = trained_of(saved)
        if code := trained.preprocess.own_parts():
            raise UserError(
                f"{paths.root} prepares samples by {code[0]}, code in NumPy that no file of a model can hold; predict "
                f"with the run: dlassign predict {paths.root} FILE --trust, or in Python load_model(run, trust=True)"
            )
        refuse_batch_statistics(trained.graph().model)
        own, how = own_scores(saved)
        real, where, notes = _real_samples(saved, demanded=bool(overrides))
        batches = [(content, x, own(x)) for content, x in probes(trained, real)]
        parity = Parity(how, where, contents=tuple(dict.fromkeys(content for content, _, _ in batches)))
        folder = ModelFolder(temporary)
        for name, scores_of in _write(folder, trained, kinds=kinds):
            parity.files[name] = compare(name, batches, scores_of)
        write_text(folder.parity, json.dumps({**parity.as_dict(), "versions": _versions()}, indent=2) + "\n")
        if "hf" in kinds:
            write_text(folder.card, model_card(trained, parity))
        files = tuple(sorted(file.name for file in temporary.iterdir()))
    return Exported(folder=out, files=files, parity=parity, notes=notes)


def _write(
    folder: ModelFolder, trained: Trained, *, kinds: tuple[str, ...]
) -> Iterator[tuple[str, Callable[[Samples], Scores]]]:
    """Write the files, and yield the name of each that computes, with the scores by this file as it lies there."""
    write_model(folder, trained)
    # Its code, if there is any, is what has just run here.
    yield folder.weights.name, Model(read_model(folder, trust=True)).scores
    if not {"onnx", "pt2"} & set(kinds):
        return
    program = traced(trained)
    if "onnx" in kinds:
        with replacing(folder.onnx) as file:
            file.write(onnx_bytes(program, trained))
        yield folder.onnx.name, OnnxScores(folder.onnx)
        write_text(folder.script, Path(__file__).with_name("predict_onnx.py").read_text())
    if "pt2" in kinds:
        content = io.BytesIO()
        torch.export.save(program, content, extra_files=metadata(trained))
        with replacing(folder.pt2) as file:
            file.write(content.getbuffer())
        yield folder.pt2.name, _program_scores(folder.pt2)


def _program_scores(path: Path) -> Callable[[Samples], Scores]:
    module = torch.export.load(path).module()

    def scores(x: Samples) -> Scores:
        with torch.no_grad():
            found: Scores = module(torch.from_numpy(x)).numpy()
        return found

    return scores


def _real_samples(saved: SavedRun, *, demanded: bool) -> tuple[Samples | None, str, tuple[str, ...]]:
    """Return raw samples that the run was validated on, in words where they are from, and notes for the user.

    Without validation they are those it was trained on. None where the data is not there or has changed, unless they
    are demanded.
    """
    cfg = saved.cfg.data
    try:
        dataset = data_of_run(cfg, load_dataset(cfg), saved.records.start["data"])
    except (UserError, ConfigError) as error:
        if demanded:
            raise
        # Why is said to the user alone: it names folders of this machine, and the files go elsewhere.
        note = (
            f"note: no real samples are compared, for the run's data is not there or has changed; --set data.root=DIR "
            f"says where it is: {error}"
        )
        return None, "none: the run's data was not there, or had changed", (note,)
    name, split = ("train", dataset.train) if dataset.val is None else ("val", dataset.val)
    if split.x.ndim == 4 and split.x.dtype != np.uint8:
        raise UserError(
            f"the run's images are {split.x.dtype} numbers, and an exported net takes bytes from 0 to 255; to export "
            "it, train on bytes (uint8) with `scale` in data.preprocess"
        )
    return split.x[: BATCHES[-1]], f"the first of the {name} split of {dataset.label}", ()


def _versions() -> dict[str, str]:
    names = ("dlassign", "torch", "numpy", "onnx", "onnxscript", "onnxruntime")
    return {name: found for name in names if (found := package_version(name))}
