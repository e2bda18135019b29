"""A layer of the user's own, of NumPy or PyTorch, by import path: `my_layers:Swish` or `path/to/my_layers.py:Swish`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd import Function

from dlassign.checks.torch_layer import Applied, TorchLayer, function_arguments
from dlassign.config.suggestion import did_you_mean
from dlassign.errors import ConfigError, UserError
from dlassign.numpy_nets.layer import Layer


def load_class(place: str, *, option: str) -> type[Any]:
    """Return the class that an import path names.

    Args:
        place: module or file, a colon, and the name.
        option: where it was given, for errors.

    Raises:
        ConfigError: there is no such module or class.
        UserError: the module fails when it is imported.
    """
    module_name, _, name = place.rpartition(":")
    if not module_name or not name:
        raise ConfigError(f"{option}: {place!r} is no import path; expected MODULE:CLASS or FILE.py:CLASS")
    module = _import(module_name, option)
    found = getattr(module, name, None)
    if found is None:
        known = [key for key, value in vars(module).items() if inspect.isclass(value) and not key.startswith("_")]
        hint = did_you_mean(name, known)
        have = f"Its classes: {', '.join(sorted(known)[:20]) or 'none'}"
        raise ConfigError(f"{option}: {module_name} has no {name!r}.{hint} {have}")
    if not inspect.isclass(found):
        raise ConfigError(f"{option}: {place} is {_article(type(found).__name__)}; expected a class")
    return found


def build_layer(cls: type[Any], arguments: Mapping[str, Any], *, rng: np.random.Generator) -> Layer:
    """Return a layer in float64: of NumPy arrays, or made of a torch.nn.Module or a torch.autograd.Function.

    A NumPy layer gets dtype and rng if its constructor takes them.

    Raises:
        ConfigError: the constructor, or forward of a function, does not take the arguments.
        UserError: it fails.
    """
    if issubclass(cls, Function):
        return TorchLayer(Applied(cls, arguments), rng=rng)
    if issubclass(cls, nn.Module):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**62)))
            return TorchLayer(_build(cls, arguments, "--layer"), rng=rng)
    layer: Layer = _build(cls, {**dtype_and_rng(cls, rng), **arguments}, "--layer")
    return layer


def dtype_and_rng(cls: type[Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return float64 and the generator as arguments of a layer, as far as its constructor takes them."""
    taken = parameters(cls)
    return {key: value for key, value in (("dtype", np.float64), ("rng", rng)) if key in taken}


def build_peer(cls: type[Any], arguments: Mapping[str, Any], *, seed: int) -> nn.Module:
    """Return the PyTorch peer, made with the same arguments.

    Raises:
        ConfigError: it is no module, or its constructor does not take the arguments.
        UserError: it fails.
    """
    if not issubclass(cls, nn.Module):
        raise ConfigError(f"--torch: {cls.__name__} is no torch.nn.Module")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = _build(cls, arguments, "--torch")
        return module


def default_peer(name: str, arguments: Mapping[str, Any]) -> type[nn.Module] | None:
    """Return the layer of torch.nn with this name; None if it does not take the arguments.

    Dropout has none: it would drop other values.
    """
    cls: type[nn.Module] | None = getattr(nn, name, None)
    known = cls is not None and name != "Dropout" and set(arguments) <= set(parameters(cls))
    return cls if known else None


def _build(cls: type[Any], arguments: Mapping[str, Any], option: str) -> Any:
    shown = [f"{key}={value!r}" for key, value in arguments.items() if key not in ("dtype", "rng")]
    call = f"{cls.__name__}({', '.join(shown)})"
    try:
        return cls(**arguments)
    except TypeError as error:
        known = ", ".join(key for key in parameters(cls) if key not in ("dtype", "rng", "self"))
        cure = f"give arguments with --arg KEY=VALUE; it takes: {known or 'none'}"
        raise ConfigError(f"{option}: {call} fails: {error}; {cure}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{option}: {call} fails: {type(error).__name__}: {error}; --traceback shows where") from error


def parameters(cls: type[Any]) -> dict[str, Any]:
    """Return the arguments that a constructor takes, with their defaults; nothing where Python cannot tell.

    Those of a torch.autograd.Function are what its forward takes beside x.
    """
    if issubclass(cls, Function):
        return function_arguments(cls)
    try:
        return {name: one.default for name, one in inspect.signature(cls).parameters.items()}
    except (TypeError, ValueError):
        return {}


def annotated(cls: type[Any]) -> dict[str, Any]:
    """Return what the arguments of a constructor are annotated with; nothing where that cannot be read.

    Of a torch.autograd.Function, what those of its forward are annotated with.
    """
    taking = "forward" if issubclass(cls, Function) else "__init__"
    try:
        return typing.get_type_hints(getattr(cls, taking), include_extras=True)
    except Exception:  # noqa: BLE001  # whatever the user's annotation does
        return {}


def _import(name: str, option: str) -> ModuleType:
    path = Path(name)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise ConfigError(f"{option}: there is no file {name}")
    with _on_path(path.parent if is_file else Path()):
        try:
            return _load_file(path) if is_file else importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                cure = f"expected a module to be found from this folder, such as {path.name}.py in it"
                raise ConfigError(f"{option}: there is no module {name!r}; {cure}") from error
            raise UserError(_failed(name, error)) from error
        except (Exception, SystemExit) as error:
            raise UserError(_failed(name, error)) from error


def _load_file(path: Path) -> ModuleType:
    name = f"_gradcheck_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    # Before it runs: a dataclass in it looks its module up here.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let imports find modules in a folder, without leaving compiled files there."""
    entry, before = str(folder.resolve()), sys.dont_write_bytecode
    sys.path.insert(0, entry)
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
        sys.path.remove(entry)


def _failed(name: str, error: BaseException) -> str:
    """Say what went wrong in an import, and in which line of the user's file."""
    if isinstance(error, SyntaxError):
        return f"{error.filename or name}:{error.lineno or 1}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    ours = [frame for frame in frames if frame.filename != __file__]
    where = f"{ours[-1].filename}:{ours[-1].lineno}: " if ours else ""
    return f"{where}{type(error).__name__}: {error}; {name} cannot be imported"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
