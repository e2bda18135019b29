"""Weights that were trained before: where they come from, whether they fit, and what of them was used."""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.transfer import IMAGENET, IMAGENET_PREPROCESS
from dlassign.errors import UserError
from dlassign.nets.freezing import belongs_to
from dlassign.nets.tensor_file import load_tensors
from dlassign.store.files import reason
from dlassign.store.paths import hub_folder, weights_file

IMAGENET_URL = "https://download.pytorch.org/models/"
IMAGENET_FILES = {
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
}
"""torchvision's IMAGENET1K_V1 weights. The hexadecimal digits are the first of the file's SHA-256."""
WRAPPERS = ("state_dict", "model", "weights")
PREFIXES = ("module.", "_orig_mod.", "model.")
"""Of DataParallel and averaged models, of torch.compile, and of Lightning."""
_COUNTER = "num_batches_tracked"  # of nn.BatchNorm*; not used with a momentum, and old files lack it
_SHOWN = 5
_HOW_TO_SAVE = "save weights with torch.save(model.state_dict(), FILE)"
Weights = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of a model's tensors when weights were loaded, by name.

    Attributes:
        missing: tensors of the model that the source lacks and that do not matter: counters of batches.
        unexpected: tensors of the source that were not used.
        replaced: tensors of the new head, which keep their initial values.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    replaced: tuple[str, ...]

    def __str__(self) -> str:
        """Return one line for the log; loaded tensors are counted, all others named."""
        lists = {"new": self.replaced, "missing": self.missing, "unexpected": self.unexpected}
        named = "; ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in lists.items())
        return f"{len(self.loaded)} tensors loaded from {self.source}; {named}"


def load_pretrained(
    model: nn.Module,
    source: str,
    *,
    name: str,
    head: str,
    download: bool = False,
) -> LoadReport:
    """Set all weights of a model but its head from where a config says: imagenet, or a file.

    name: of the model, such as resnet34; it says which ImageNet weights. head: name of the head module, which keeps its
    initial weights. download: whether to download ImageNet weights that are missing.

    Raises:
        UserError: the weights are missing, damaged, carry code, or belong to another architecture.
    """
    if source != IMAGENET:
        state, prefix = _without_prefix(read_file(Path(source)), own=model.state_dict())
        return load_state(model, state, head=head, source=f"{source} (names without {prefix})" if prefix else source)
    state = read_imagenet(name, download=download)
    return load_state(model, state, head=head, source=f"{IMAGENET} ({IMAGENET_FILES[name]})")


def load_state(model: nn.Module, state: Weights, *, head: str, source: str) -> LoadReport:
    """Set all weights of a model but its head. The rest must fit exactly, but for counters of batches.

    The model, on any device and in any floating type, is changed only if the weights fit. The state holds tensors by
    name, as `state_dict` gives them; what it has of the head is not used. source: where the weights came from, for
    messages.

    Raises:
        UserError: the weights belong to another architecture; the first tensors that differ are listed.
    """
    own = model.state_dict()
    wanted = {name: tensor for name, tensor in own.items() if not belongs_to(name, head)}
    given = {name: tensor for name, tensor in state.items() if not belongs_to(name, head)}
    differing = [line for name in {**wanted, **given} if (line := _difference(name, wanted, given))]
    if differing:
        rest = f"\n  and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        lines = "".join(f"\n  {line}" for line in differing[:_SHOWN])
        lines += _other_prefix(wanted, given)
        raise UserError(
            f"the weights of {source} belong to another architecture: of {len(wanted)} tensors without the head "
            f"{head}, these differ:{lines}{rest}\nUse the model that they were trained with, or other weights"
        )
    used = {name: tensor for name, tensor in given.items() if name in wanted}
    if not used:
        raise UserError(f"nothing of {source} can be used: the model has no weights but those of its head, {head}")
    for name, tensor in used.items():
        if fault := _fault(tensor, like=own[name]):
            raise UserError(f"the weights of {source} cannot be used: {name} {fault}; save them anew, or use others")
    model.load_state_dict(used, strict=False)
    return LoadReport(
        source=source,
        loaded=tuple(name for name in wanted if name in used),
        missing=tuple(name for name in wanted if name not in used),
        unexpected=tuple(name for name in state if name not in own),
        replaced=tuple(name for name in own if name not in wanted),
    )


def _without_prefix(state: dict[str, Tensor], *, own: Weights) -> tuple[dict[str, Tensor], str]:
    """Return weights without what a wrapper puts in front of the names of a model, and what that was."""
    taken = ""
    while not own.keys() & state.keys():
        prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in state)), None)
        if prefix is None:
            break
        # What lies beside the model, such as a count of averaged updates or a loss's weights, is left.
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        taken += prefix
    return state, taken


def _other_prefix(wanted: Weights, given: Weights) -> str:
    """Return the name of what stands before all names and keeps them from fitting, as a line, or ""."""
    for name in given:
        prefix = name.removesuffix(next(iter(wanted), name))
        if prefix != name and prefix and sum(prefix + own in given for own in wanted) > len(wanted) // 2:
            return f"\n  {prefix!r} stands before the names that would fit: save the weights without it"
    return ""


def _difference(name: str, wanted: Weights, given: Weights) -> str:
    """Return how one tensor differs, or "" if it does not or does not matter."""
    shapes = [tuple(weights[name].shape) if name in weights else None for weights in (given, wanted)]
    if shapes[0] == shapes[1] or (None in shapes and name.split(".")[-1] == _COUNTER):
        return ""
    found, expected = ("missing" if shape is None else str(shape) for shape in shapes)
    return f"{name}: found {found}, expected {'no such tensor' if expected == 'missing' else expected}"


def _fault(tensor: Tensor, *, like: Tensor) -> str:
    """Return why a tensor of the right shape is no weight, or ""."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        return "is sparse, quantized or without values"
    if like.is_floating_point() and not tensor.is_floating_point():
        return f"holds {str(tensor.dtype).removeprefix('torch.')} numbers, not floating-point ones"
    if like.is_floating_point() and not torch.isfinite(tensor.to(like.dtype)).all():
        return "holds values that are not finite"
    return ""


def read_file(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file or a state dict that torch.save wrote; no code in it is run.

    The state dict may lie under one of the keys WRAPPERS.

    Raises:
        UserError: the file is missing, damaged, carries code, or holds something else.
    """
    path = weights_file(str(path))
    return _safetensors(path) if path.suffix == ".safetensors" else _state_dict(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error}); get it anew") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    content: Any
    try:
        content = load_tensors(read_ordinary(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} was not loaded: it is damaged, or holds something other than tensors and plain values, which "
            "could run code. Save weights with torch.save(model.state_dict(), FILE) or as safetensors"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged or was not written by torch.save; get it anew") from error
    inner = (content[key] for key in WRAPPERS if isinstance(content, dict) and isinstance(content.get(key), dict))
    weights = next(inner, content)
    if not isinstance(weights, dict) or not weights:
        raise UserError(f"{path} holds {_kind(weights)} instead of tensors by name; {_HOW_TO_SAVE}")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} is no state dict: under {name!r} lies {_kind(value)}; {_HOW_TO_SAVE}")
    return weights


def _kind(value: Any) -> str:
    return "nothing" if isinstance(value, dict) and not value else f"a value of type {type(value).__name__}"


def read_imagenet(name: str, *, download: bool = False) -> dict[str, Tensor]:
    """Read torchvision's ImageNet weights from torch's hub folder; the file's digest is checked.

    Raises:
        UserError: there are no such weights, the file is missing or damaged, or the download failed.
    """
    path = fetch_imagenet(name) if download else find_imagenet(name)
    if not _has_digest(path):
        raise UserError(
            f"{path} is damaged: its SHA-256 does not begin with the digits in its name. "
            f"`dlassign data fetch {name}-{IMAGENET}` gets it anew"
        )
    return _state_dict(path)


def find_imagenet(name: str) -> Path:
    """Return the file with torchvision's ImageNet weights, unread.

    Raises:
        UserError: there are no such weights, or the file is missing.
    """
    file = _imagenet_file(name)
    path = hub_folder() / file
    if not path.is_file():
        raise UserError(
            f"the ImageNet weights of {name} are not there: the file {file} must lie in {path.parent}. "
            f"Run `dlassign data fetch {name}-{IMAGENET}`, copy the file there from another machine, or set "
            "`download: true` beside `weights: imagenet`"
        )
    return path


def fetch_imagenet(name: str, root: str | None = None) -> Path:
    """Download torchvision's ImageNet weights unless they are there and whole, and return the file.

    root: folder to put the file in; None is torch's hub folder, where training looks for it.

    Raises:
        UserError: there are no such weights, the download failed or is damaged, or the folder cannot be written.
    """
    file = _imagenet_file(name)
    url = IMAGENET_URL + file
    folder = hub_folder() if root is None else Path(root).expanduser()
    path = folder / file
    try:
        if path.is_file() and _has_digest(path):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_digest_in(file), progress=sys.stderr.isatty())
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        raise UserError(
            f"could not download {url}: {str(error).rstrip('.') or type(error).__name__}. Check the network "
            f"and the free space, or copy {file} from another machine to {folder}"
        ) from error
    return path


def imagenet_preprocess() -> tuple[dict[str, Any], ...]:
    """Return, as plain values, the preprocessing that ImageNet weights were trained with: images of values 0..255."""
    return tuple(step.model_dump() for step in IMAGENET_PREPROCESS)


def _imagenet_file(name: str) -> str:
    if name not in IMAGENET_FILES:
        raise UserError(f"there are no ImageNet weights for {name!r}; there are for {', '.join(IMAGENET_FILES)}")
    return IMAGENET_FILES[name]


def _digest_in(file: str) -> str:
    return file.rsplit("-", 1)[1].split(".")[0]


def _has_digest(path: Path) -> bool:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest().startswith(_digest_in(path.name))
