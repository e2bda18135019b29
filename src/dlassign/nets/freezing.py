"""Freezing: which parameters of a model are not trained, and what a model's head is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn


def head_of(model: nn.Module) -> str:
    """Return the name of a model's head: the last module that has parameters of its own.

    Raises:
        ValueError: the model has no parameters.
    """
    modules: Iterable[tuple[str, nn.Module]] = model.named_modules()
    names = [name for name, module in modules if any(True for _ in module.parameters(recurse=False))]
    if not names:
        raise ValueError("model has no parameters, so it has no head")
    return names[-1]


def belongs_to(name: str, module: str) -> bool:
    """Return whether a parameter or buffer lies in a module, both named as in `named_parameters`."""
    return name == module or name.startswith(f"{module}.")


@dataclass(frozen=True)
class Frozen:
    """What of a model is not trained: parameters by name, and batch norms whose running statistics stand still."""

    names: tuple[str, ...]
    statistics: tuple[str, ...]

    def holds(self, name: str) -> bool:
        """Return whether a parameter or buffer, named as in the model's state_dict, stands still."""
        return name in self.names or any(belongs_to(name, module) for module in self.statistics)


def choose(model: nn.Module, what: str | Sequence[str], *, head: str) -> Frozen:
    """Return what of a model is to be frozen; nothing is changed.

    A batch norm is frozen if all of its own parameters are; one without parameters, if its running statistics match.
    `what` is body, which is all but the head, or a list of parameter or module names, with `*`, `?` and `[...]` as in
    file names; head is the name of the head module.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train; the message begins with freeze.
    """
    parameters = dict(model.named_parameters())
    patterns = (what,) if isinstance(what, str) else what
    chosen = (lambda name: not belongs_to(name, head)) if what == "body" else _matching(patterns, parameters)
    names = tuple(name for name, p in parameters.items() if p.requires_grad and chosen(name))
    if not names:
        raise ValueError(f"freeze: what it names is not trained anyway (the head is {head}); remove train.freeze")
    if not any(p.requires_grad for name, p in parameters.items() if name not in names):
        raise ValueError(f"freeze: nothing is left to train; leave the head {head} out")
    return Frozen(names, tuple(_still(model, names, chosen)))


def freeze(model: nn.Module, frozen: Frozen) -> None:
    """Stop training parameters, in place; a batch norm whose parameters are all frozen goes to evaluation mode.

    `set_training` keeps it there: its running statistics are used and stay as they are.
    """
    for name in frozen.names:
        model.get_parameter(name).requires_grad_(False)
    for name in frozen.statistics:
        model.get_submodule(name).eval()


def set_training(model: nn.Module, frozen: Frozen | None) -> None:
    """Put a model, not what torch.compile made of it, in training mode, but for batch norms that are frozen."""
    model.train()
    if frozen is not None:
        for name in frozen.statistics:
            model.get_submodule(name).eval()


def unfreeze(model: nn.Module, frozen: Frozen) -> None:
    """Train again what `freeze` stopped; nothing else is changed."""
    for name in frozen.names:
        model.get_parameter(name).requires_grad_(True)
    for name in frozen.statistics:
        model.get_submodule(name).train()


def _matching(patterns: Sequence[str], names: Iterable[str]) -> Callable[[str], bool]:
    """Return the test whether a name matches; each pattern must match one of `names`."""

    def matches(name: str, pattern: str) -> bool:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")

    for pattern in patterns:
        if not any(matches(name, pattern) for name in names):
            parts = list(dict.fromkeys(name.split(".")[0] for name in names))
            known = ", ".join(parts[:12]) + ", ..." * (len(parts) > 12)
            raise ValueError(f"freeze: {pattern!r} matches no parameter; the model has {known}")
    return lambda name: any(matches(name, pattern) for pattern in patterns)


def _still(model: nn.Module, names: Sequence[str], chosen: Callable[[str], bool]) -> Iterator[str]:
    """Yield the modules with running statistics none of whose parameters is trained once `names` are frozen."""
    for module_name, module in model.named_modules():
        if getattr(module, "running_mean", None) is None:
            continue
        own = [(f"{module_name}.{name}", p) for name, p in module.named_parameters(recurse=False)]
        stopped = any(name in names for name, _ in own) if own else chosen(f"{module_name}.running_mean")
        if stopped and not any(p.requires_grad for name, p in own if name not in names):
            yield module_name
