"""The folder of a model that left its run: names of its files, written and read back."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from dlassign.config.model import model_from
from dlassign.config.ordinary_file import read_ordinary
from dlassign.data.image_pixels import Decoding
from dlassign.data.prepare import Preprocess
from dlassign.data.table_encoding import TableEncoding
from dlassign.deploy.classifier import Intake
from dlassign.deploy.trained import COUNTER, Trained, as_float32
from dlassign.errors import UserError
from dlassign.parts.run_code import copied_code, write_code
from dlassign.store.files import reason, replacing, write_text
from dlassign.store.json_lines import Shape
from dlassign.store.manifest import package_version
from dlassign.store.paths import Below
from dlassign.store.summary import DAMAGE

FORMAT = 1
"""Raise it when an older dlassign would read a folder wrongly."""
MOST_VALUES = 2**28
"""Values of one sample up to which a shape is believed."""
PILLOW_BILINEAR = 2
"""Pillow's and the Hub's number of the filter that images are resized with."""
_CONFIG = Shape(
    {
        "model": {"name": str},
        "num_scores": int,
        "label_names": [str],
        "input": {"shape": [int], "white": int},
        "run": dict,
        "files": {"model.safetensors": str, "preprocessor_config.json": str},
    }
)


@dataclass(frozen=True)
class ModelFolder:
    """File names of a model folder."""

    root: Path

    config = Below("config.json")
    """Architecture, classes, input, where the model comes from, and the digests of the files below."""
    preprocessor = Below("preprocessor_config.json")
    """How a file becomes a sample, and the fitted steps of preprocessing."""
    weights = Below("model.safetensors")
    """Parameters and buffers, float32."""
    labels = Below("labels.txt")
    """Names of the classes, one a line; for other programs."""
    onnx = Below("model.onnx")
    """The graph from raw samples to scores, with labels and preprocessing in its metadata."""
    script = Below("predict_onnx.py")
    """Classifies with model.onnx, without torch and dlassign."""
    pt2 = Below("model.pt2")
    """The same graph for torch.export.load."""
    code = Below("code")
    """Folder of the user's own code that the architecture names."""
    parity = Below("parity.json")
    """How far the files were from the run when they were written."""
    card = Below("README.md")
    """The model card."""

    def exists(self) -> bool:
        """Return whether there is such a folder, whole or not."""
        return self.config.is_file() or self.weights.is_file()


def write_model(folder: ModelFolder, trained: Trained) -> None:
    """Write weights, labels and the two configs into a folder that is there.

    Raises:
        UserError: a file cannot be written.
    """
    weights = save_tensors(dict(trained.weights), metadata={"format": "pt"})
    with replacing(folder.weights) as file:
        file.write(weights)
    write_code(folder.code, trained.architecture)
    preprocessor = _json(_preprocessor(trained))
    write_text(folder.preprocessor, preprocessor)
    write_text(folder.labels, "".join(" ".join(label.splitlines()) + "\n" for label in trained.labels))
    digests = {folder.weights.name: _sha256(weights), folder.preprocessor.name: _sha256(preprocessor.encode())}
    # Last, so that a folder with a config is whole.
    write_text(folder.config, _sealed(_config(trained, digests)))


def _config(trained: Trained, digests: Mapping[str, str]) -> dict[str, Any]:
    intake, labels = trained.intake, trained.labels
    return {
        "format": FORMAT,
        "dlassign_version": package_version("dlassign"),
        "architecture": trained.architecture.name,
        "model": trained.architecture.model_dump(mode="json"),
        "num_classes": len(labels),
        "num_scores": trained.n_outputs,
        "label_names": list(labels),
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "input": {
            "dtype": "uint8" if len(intake.shape) == 3 else "float64",
            "layout": "N, C, H, W" if len(intake.shape) == 3 else "N, D",
            "shape": list(intake.shape),
            "white": intake.white,
        },
        "run": dict(trained.facts),
        "files": dict(digests),
    }


def _preprocessor(trained: Trained) -> dict[str, Any]:
    """Return how a file becomes a sample, and the fitted steps; with the Hub's keys as far as they can say it."""
    decoding, steps = trained.intake.decoding, [_plain(step) for step in trained.preprocess.state()]
    known = [step["name"] for step in steps]
    found: dict[str, Any] = {}
    if len(trained.intake.shape) == 3:
        _, height, width = trained.intake.shape
        found |= {"do_resize": True, "size": {"height": height, "width": width}, "resample": PILLOW_BILINEAR}
        if known in (["scale"], ["scale", "normalize"]):
            found |= {"do_rescale": True, "rescale_factor": 1 / steps[0]["divisor"]}
            found |= {"do_normalize": len(known) == 2}
            found |= {f"image_{key}": steps[1][key] for key in ("mean", "std") if len(known) == 2}
    encoding = trained.intake.table
    if encoding is not None:
        found["encoding"] = encoding.plain()
    return {**found, "decoding": None if decoding is None else asdict(decoding), "steps": steps}


def _plain(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a step with lists in place of arrays; Python writes floats so that they are read back."""
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in step.items()}


def read_model(folder: ModelFolder, *, trust: bool = False) -> Trained:
    """Read a model folder after checking its format and digests; nothing in it is run but trusted code in `code/`.

    Raises:
        UserError: a file is missing, cannot be read, is damaged, or was written by a newer version.
    """
    config = _read_config(folder)
    code = copied_code(folder.code, {"model": config["model"]}, trust=trust)
    data = {}
    for path in (folder.weights, folder.preprocessor):
        data[path] = _read(path, folder)
        if _sha256(data[path]) != config["files"][path.name]:
            raise UserError(f"{path} is not the file that was exported (its SHA-256 is another); export the run again")
    try:
        preprocessor = json.loads(data[folder.preprocessor])
        weights = load_tensors(data[folder.weights])
        if wrong := _wrong(config, preprocessor, sum(tensor.numel() for tensor in weights.values())):
            raise UserError(f"{folder.root} is damaged ({wrong}); export the run again")
        odd = [name for name, tensor in weights.items() if not (tensor.is_floating_point() or name.endswith(COUNTER))]
        if odd:
            raise UserError(f"{folder.weights} is damaged ({odd[0]} is {weights[odd[0]].dtype}); export the run again")
        return Trained(
            architecture=model_from(config["model"], code=code),
            n_outputs=config["num_scores"],
            labels=tuple(config["label_names"]),
            intake=_intake(config["input"], preprocessor),
            preprocess=Preprocess.from_state([_arrays(step) for step in preprocessor["steps"]]),
            weights=as_float32(weights),
            facts=config["run"],
        )
    except (SafetensorError, *DAMAGE) as error:
        raise UserError(f"{folder.root} is damaged ({_why(error)}); export the run again") from error


def _read_config(folder: ModelFolder) -> dict[str, Any]:
    path = folder.config
    try:
        found = json.loads(_read(path, folder))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({_why(error)}); export the run again") from error
    if not isinstance(found, dict) or type(found.get("format")) is not int or found["format"] < 1:
        raise UserError(f"{path} is no config of a model that dlassign exported: it has no `format`")
    if found["format"] > FORMAT:
        wrote, has = found.get("dlassign_version"), package_version("dlassign")
        raise UserError(
            f"{path} has format {found['format']}, written by dlassign {wrote}; this is dlassign {has}, which reads "
            f"formats up to {FORMAT}: update dlassign, or export again with this version"
        )
    digest = found.pop("sha256", None)
    if wrong := _CONFIG.misfit(found):
        raise UserError(f"{path} is damaged ({wrong}); export the run again")
    # Before anything is built from it: labels in another order would be wrong without a sign.
    if digest != _sha256(_json(found).encode()):
        raise UserError(f"{path} is not as it was exported (its digest is another); export the run again")
    return found


def _wrong(config: Mapping[str, Any], preprocessor: Mapping[str, Any], n_weights: int) -> str:
    """Return which value no export writes, or ""; n_weights: numbers in the weights, more than any width of a layer."""
    labels, scores, given = config["label_names"], config["num_scores"], config["input"]
    shape, decoding = given["shape"], preprocessor["decoding"]
    if len(labels) < 2 or len(set(labels)) < len(labels):
        return f"label_names: expected at least two names, each once, got {len(labels)} names"
    if scores not in (len(labels), 1 if len(labels) == 2 else len(labels)):
        return f"num_scores: {scores} scores for {len(labels)} classes"
    if len(shape) not in (1, 3) or min(shape) < 1 or math.prod(shape) > MOST_VALUES:
        return f"input.shape: {shape} is of no sample"
    if not 1 <= given["white"] <= 255:
        return f"input.white: expected 1 to 255, got {given['white']}"
    if (len(shape) == 3) != (decoding is not None):
        return "decoding: images have one, and rows have none"
    if decoding is not None and (wrong := _wrong_decoding(decoding, shape)):
        return f"decoding.{wrong}"
    if any(width > n_weights for width in _whole_numbers(config["model"].get("hidden", []))):
        return f"model.hidden: a layer is wider than the {n_weights} numbers of the weights"
    return _wrong_steps(preprocessor["steps"])


def _wrong_steps(steps: Sequence[Mapping[str, Any]]) -> str:
    for place, step in enumerate(steps):
        for key in step.keys() - {"name"}:
            values = np.asarray(step[key], dtype=np.float64)
            if not np.isfinite(values).all() or (key in ("std", "scale", "divisor") and not values.all()):
                return f"steps[{place}].{key}: expected finite numbers, and none of 0 to divide by"
    return ""


def _wrong_decoding(decoding: Mapping[str, Any], shape: Sequence[int]) -> str:
    if decoding["size"] != shape[1:]:
        return f"size: {decoding['size']} is not that of the samples, {shape[1:]}"
    if decoding.get("fit", "stretch") not in ("stretch", "crop", "pad"):
        return f"fit: expected stretch, crop or pad, got {decoding['fit']!r}"
    colour = decoding["background"]
    if len(colour) != 3 or any(type(part) is not int or not 0 <= part <= 255 for part in colour):
        return f"background: expected three numbers from 0 to 255, got {colour}"
    return ""


def _whole_numbers(value: Any) -> list[int]:
    return [number for number in value if type(number) is int] if isinstance(value, list) else []


def _intake(given: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Intake:
    how = None
    if (decoding := preprocessor["decoding"]) is not None:
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in decoding.items()}
        how = Decoding(**values)
    # Folders of earlier versions have none; their rows are the numbers of a table.
    table = TableEncoding.from_plain(preprocessor["encoding"]) if "encoding" in preprocessor else None
    return Intake(shape=tuple(given["shape"]), decoding=how, white=given["white"], table=table)


def _arrays(step: Mapping[str, Any]) -> dict[str, Any]:
    return {key: np.array(value, dtype=np.float64) if isinstance(value, list) else value for key, value in step.items()}


def _read(path: Path, folder: ModelFolder) -> bytes:
    try:
        return read_ordinary(path)
    except FileNotFoundError as error:
        wanted = ", ".join(file.name for file in (folder.config, folder.preprocessor, folder.weights))
        raise UserError(f"there is no {path}; the folder of a model holds {wanted}; export the run again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def _why(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _sealed(values: Mapping[str, Any]) -> str:
    """Return JSON with the digest of all other values as the last one."""
    return _json({**values, "sha256": _sha256(_json(values).encode())})


def _json(values: Mapping[str, Any]) -> str:
    """Return JSON with one key a line: a mean image has thousands of numbers."""
    lines = (f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
