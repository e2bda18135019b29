"""Checkpoints: written all or nothing, read without running code, checked before use."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlassign.config.ordinary_file import open_ordinary, read_ordinary
from dlassign.data.prepare import Preprocess
from dlassign.data.table_encoding import TableEncoding
from dlassign.errors import UserError
from dlassign.nets.tensor_file import load_tensors
from dlassign.store.files import TEMPORARY, reason, replacing
from dlassign.store.json_lines import NUMBER, Shape
from dlassign.store.paths import RunPaths
from dlassign.store.seal import is_sealed, is_whole, seal
from dlassign.store.summary import DAMAGE
from dlassign.train.learner import State
from dlassign.train.memory import is_out_of_memory

SCHEMA = 1
_SAVED_BY_ALL = {"step": int, "preprocess": list, "chained?": bool}
_PROGRESS: dict[str, Any] = {"step": int, "images?": int, "stopped?": bool, "other_seconds?": dict}
_PROGRESS |= {f"{kind}_seconds?": NUMBER for kind in ("train", "eval", "wall")}
_PROGRESS |= {f"{name}?": list for name in ("losses", "penalties", "corrects", "counts")}
_BEST = Shape({**_SAVED_BY_ALL, "weights": dict})
_LAST = Shape({**_SAVED_BY_ALL, "learner": {"model": dict}, "progress": _PROGRESS, "hooks": dict, "chain?": str})


class CheckpointStore:
    """The checkpoints of one run: the newest, the one before it, and the best weights."""

    def __init__(self, paths: RunPaths) -> None:
        self._paths = paths
        self._last_is_whole: bool | None = None  # not looked at yet

    def save(self, state: State, *, step: int) -> None:
        """Write `last.pt`; the former one becomes `previous.pt`.

        Raises:
            UserError: it could not be written; the message names the last good checkpoint, which is untouched.
        """
        with self._naming_the_last_good(f"the checkpoint of step {step} was not saved"):
            content = sealed({"schema": SCHEMA, "step": step, **state})
            with replacing(self._paths.last, before_move=self._keep_previous) as file:
                file.write(content)
            self._last_is_whole = True

    def save_best(self, state: State, *, step: int) -> None:
        """Write `best.pt`.

        Raises:
            UserError: it could not be written; the message names the last good checkpoint, which is untouched.
        """
        with self._naming_the_last_good(f"the best weights (step {step}) were not saved"):
            content = sealed({"schema": SCHEMA, "step": step, **state})
            with replacing(self._paths.best) as file:
                file.write(content)

    def load_newest(self) -> tuple[State | None, list[str]]:
        """Return the newest readable checkpoint, or None if there is none, and a warning for each damaged one.

        Raises:
            UserError: checkpoints exist but none can be read.
        """
        warnings: list[str] = []
        for path in (self._paths.last, self._paths.previous):
            if path.exists():
                try:
                    return load_checkpoint(path), warnings
                except UserError as error:
                    warnings.append(str(error))
        if warnings:
            cure = "no checkpoint can be read; --again, or moving the folder away, trains anew"
            raise UserError("\n".join([*warnings, cure]))
        return None, warnings

    def go_back(self, state: State, load: Callable[[State], None], *, say: Callable[[str], None]) -> None:
        """Let `load` go back to the newest checkpoint or, if parts of that do not fit the run, to the one before.

        Args:
            state: what `load_newest` gave.
            load: sets every part of the run to a checkpoint, whatever it was set to before.
            say: told if it was the one before.

        Raises:
            UserError: neither fits.
        """
        try:
            with using(self._paths):
                load(state)
        except UserError as error:
            before = self._before(state)
            if before is None:
                raise
            say(f"{str(error).partition('; --again')[0]}; going on from the checkpoint before it")
            self._last_is_whole = False  # its digest is right, but it must not become `previous.pt`
            with using(self._paths):
                load(before)

    def _before(self, state: State) -> State | None:
        """Return the checkpoint before a state, None if it cannot be read or is that very one."""
        try:
            found = load_checkpoint(self._paths.previous)
        except UserError:
            return None
        return found if found["step"] != state["step"] and found.get("run") == state.get("run") else None

    def _keep_previous(self) -> None:
        """Let `previous.pt` be the present `last.pt`, which stays in place until the new one is moved over it."""
        # Once: the file of an earlier session may be damaged, and then `previous.pt` is what that run went on from.
        if self._last_is_whole is None:
            self._last_is_whole = is_whole(self._paths.last)
        if not self._last_is_whole:
            return
        link = self._paths.previous.with_name(f"{TEMPORARY}{os.getpid()}-link")
        try:
            # A link, not a copy: whatever happens between here and the move, `last.pt` is there.
            link.unlink(missing_ok=True)
            link.hardlink_to(self._paths.last)
            link.replace(self._paths.previous)
        except OSError:  # a file system without hard links
            self._paths.last.replace(self._paths.previous)
        finally:
            with suppress(OSError):  # it is still there if it could be made and not moved
                link.unlink(missing_ok=True)

    @contextmanager
    def _naming_the_last_good(self, failure: str) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            there = [path for path in (self._paths.last, self._paths.previous) if path.exists()]
            kept = f"The last good checkpoint is kept: {there[0]}" if there else "There is no earlier checkpoint"
            raise UserError(f"{failure}: {error}. {kept}") from error


def sealed(value: Any) -> bytes:
    """Return the file that torch.save writes for a value, with its digest as the comment of the zip file that it is."""
    file = io.BytesIO()  # in memory first: torch hides what went wrong when it writes to a full disk
    torch.save(value, file)
    content = file.getbuffer()[:-2]  # without the length of the comment, which is 0 so far
    return b"".join((content, seal(content)))


def is_checkpoint(path: Path) -> bool:
    """Return whether a file ends as those do that dlassign writes."""
    try:
        with open_ordinary(path) as file:
            file.seek(-73, os.SEEK_END)
            return file.read()[2:9] == b"sha256:"
    except OSError:
        return False


def load_checkpoint(path: Path) -> State:
    """Read a checkpoint after checking its digest; only tensors and plain values are accepted.

    Raises:
        UserError: it is missing, damaged, of another schema version, or carries code.
    """
    try:
        data = read_ordinary(path)
    except FileNotFoundError as error:
        raise UserError(f"there is no checkpoint {path}") from error
    except OSError as error:
        raise UserError(f"the checkpoint {path} cannot be read: {reason(error)}") from error
    # Before torch looks at a single byte: a damaged or foreign file must not reach the unpickler.
    if not is_sealed(data):
        raise UserError(f"the checkpoint {path} is damaged or was not written by dlassign (its digest is wrong)")
    try:
        state: Any = load_tensors(data)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {path} holds something other than tensors and plain values and was not loaded: "
            "it could run code. Only use checkpoints that dlassign wrote"
        ) from error
    except ValueError as error:  # a seal is no proof: anyone can make one
        raise UserError(f"the checkpoint {path} is damaged or was not written by dlassign ({error})") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        found = state.get("schema") if isinstance(state, dict) else None
        raise UserError(f"the checkpoint {path} has schema {found}; this version of dlassign reads {SCHEMA}")
    if wrong := _misfit(state):
        raise UserError(f"the checkpoint {path} is damaged or was not written by dlassign ({wrong})")
    return state


def _misfit(state: State) -> str:
    """Return what of a checkpoint is not what a run saves, "" if all of it is."""
    if wrong := (_BEST if "weights" in state else _LAST).misfit(state):
        return wrong
    learner, hooks = state.get("learner", {}), state.get("hooks", {})
    if not all(isinstance(kept, dict) for kept in hooks.values()):
        return "hooks: expected objects"
    kept = (hooks.get("keep_best", {}).get("weights"), learner.get("evaluated"), learner.get("model"))
    for weights in (state.get("weights"), *kept):
        if weights is not None and not _are_weights(weights):
            return "its weights are no tensors by name"
    try:
        Preprocess.from_state(to_numpy(state["preprocess"]))
        if "encoding" in state:
            TableEncoding.from_plain(state["encoding"])
    except (UserError, *DAMAGE) as error:
        return f"preprocess or encoding: {error}"
    return ""


def _are_weights(found: Any) -> bool:
    return isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items()
    )


@contextmanager
def using(paths: RunPaths) -> Iterator[None]:
    """Turn what a checkpoint raises that has the right keys and wrong values into one line.

    Raises:
        UserError: it does.
    """
    try:
        yield
    except (RuntimeError, *DAMAGE) as error:
        if is_out_of_memory(error):
            raise
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        message = f"a checkpoint in {paths.checkpoints} does not hold what this run saves ({why})"
        raise UserError(f"{message}; --again, or moving the folder away, trains anew") from error


def check_weights(saved: State, own: State) -> None:
    """Check that saved weights are those of a model with the weights `own`: the same names, shapes and types.

    Raises:
        RuntimeError: they are not.
    """
    kept, wanted = ({name: (tuple(t.shape), t.dtype) for name, t in weights.items()} for weights in (saved, own))
    for name in (*wanted, *kept):
        if kept.get(name) != wanted.get(name):
            raise RuntimeError(f"the best weights have {kept.get(name)} as {name}, the model has {wanted.get(name)}")


def weights_sha256(weights: State) -> str:
    """Return a digest of names, types, shapes and bytes of a model's weights; equal digests mean equal bits."""
    digest = hashlib.sha256()
    # Sorted, so that the order in which a model names its parameters does not matter.
    for name in sorted(weights):
        # The layout in memory, such as channels_last, is not part of the weights: equal numbers have equal digests.
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def to_tensors(value: Any) -> Any:
    """Turn the NumPy arrays inside lists and dicts into tensors, which a checkpoint may hold."""
    match value:
        case np.ndarray():
            # A copy: a checkpoint that is still in memory must not change with the array.
            return torch.from_numpy(value.copy())
        case dict():
            return {key: to_tensors(item) for key, item in value.items()}
        case list() | tuple():
            return [to_tensors(item) for item in value]
        case _:
            return value


def to_numpy(value: Any) -> Any:
    """Turn the tensors inside lists and dicts back into NumPy arrays."""
    match value:
        case torch.Tensor():
            return value.numpy()
        case dict():
            return {key: to_numpy(item) for key, item in value.items()}
        case list():
            return [to_numpy(item) for item in value]
        case _:
            return value
