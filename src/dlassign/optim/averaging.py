"""Averages of the weights over training: an exponential moving average to evaluate with, and Lookahead."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from dlassign.config import optim as config

State = dict[str, Any]


class Average(Protocol):
    """What is done with the weights after the optimizer's steps. Nothing in it waits for the device."""

    def after_step(self, step: int) -> None:
        """Take in the weights after a step of the optimizer; step: steps done, from 1."""

    def stop(self, names: Collection[str]) -> None:
        """Take in that these tensors of the model's state_dict stand still from now on; again is fine."""

    def swapped(self) -> AbstractContextManager[None]:
        """Return a context in which the model has the weights to evaluate with; it has its own bits back after."""

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to evaluate with, under the names and with the types of the model's state_dict."""

    def state_dict(self) -> State:
        """Return all that is remembered between steps."""

    def load_state_dict(self, state: State) -> None:
        """Copy a state that state_dict gave."""


class EMA:
    """Exponential moving average of weights and floating-point buffers, in at least single precision.

    Update n, from 1, is s <- d s + (1 - d) p with d = decay, or with a ramp d = min(decay, (1 + n) / (10 + n)); s
    begins as the weights at construction. Whole-number buffers are copied.

    Source: Polyak and Juditsky 1992; the ramp as in TensorFlow's ExponentialMovingAverage.

    Args:
        model: on its device.
        decay: share of the average that one update keeps.
        every: steps between two updates.
        ramp: begin with smaller decays.
    """

    def __init__(self, model: nn.Module, *, decay: float, every: int = 1, ramp: bool = True) -> None:
        self._shadow = _Shadow(model)
        self._decay = decay
        self._every = every
        self._ramp = ramp

    def after_step(self, step: int) -> None:
        """Take in the weights after every `every` steps; step: steps done, from 1."""
        if step % self._every == 0:
            n = step // self._every
            decay = min(self._decay, (1 + n) / (10 + n)) if self._ramp else self._decay
            self._shadow.take_in(1 - decay)

    def stop(self, names: Collection[str]) -> None:
        """Do nothing: the average comes nearer to weights that stand still, as to others."""

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Give the model the average, and its own bits back at the end."""
        own, slow = self._shadow.moving
        # Copied into the model's own tensors: its optimizer and compiled programs hold on to these.
        # Clones, not the average of the average: the model must have its own bits back.
        kept = [p.detach().clone() for p in own]
        _copy(own, slow)
        try:
            yield
        finally:
            _copy(own, kept)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the average, under the names and with the types of the model's state_dict."""
        own, shadow = self._shadow.own, self._shadow.slow
        return {name: shadow[name].to(own[name].dtype, copy=True) for name in own}

    def state_dict(self) -> State:
        """Return the average, in full precision."""
        return {"shadow": self._shadow.slow}

    def load_state_dict(self, state: State) -> None:
        """Copy an average that state_dict gave."""
        self._shadow.load(state["shadow"])


class Lookahead:
    """Slow weights that the model's are pulled back to: after every `every` steps s <- d s + (1 - d) p, then p <- s.

    d = decay (step / total)^power, so that early steps are hardly held back. After the last step p <- s as it is.
    Floating-point buffers take part as the weights do.

    Source: Zhang et al. 2019, Lookahead optimizer; the rising decay from Jordan 2024, 94 % on CIFAR-10.

    Args:
        model: on its device.
        total: steps of the whole training.
        every: steps between two averages.
        decay: share of the slow weights that the average at the end keeps.
        power: how the share rises; 0 keeps it constant.
    """

    def __init__(self, model: nn.Module, *, total: int, every: int = 5, decay: float, power: float = 3.0) -> None:
        self._shadow = _Shadow(model)
        self._model = model
        self._total = total
        self._every = every
        self._decay = decay
        self._power = power

    def after_step(self, step: int) -> None:
        """Average after every `every` steps, and end with the slow weights; step: steps done, from 1."""
        if step % self._every == 0:
            self._shadow.take_in(1 - self._decay * (step / self._total) ** self._power)
        # After the last step the slow weights are the result, wherever the interval stands.
        if step % self._every == 0 or step == self._total:
            self._shadow.give_back()

    def stop(self, names: Collection[str]) -> None:
        """p <- s for these, as after the last step: their training is over, and no average moves them any more."""
        self._shadow.give_back(names)

    def swapped(self) -> AbstractContextManager[None]:
        """Leave the model as it is: its own weights are those to evaluate with."""
        return nullcontext()

    def weights(self) -> dict[str, Tensor]:
        """Return the model's own weights."""
        return {name: tensor.detach() for name, tensor in self._model.state_dict().items()}

    def state_dict(self) -> State:
        """Return the slow weights, in full precision."""
        return {"shadow": self._shadow.slow}

    def load_state_dict(self, state: State) -> None:
        """Copy slow weights that state_dict gave."""
        self._shadow.load(state["shadow"])


def make_average(cfg: config.Average | None, model: nn.Module, *, total: int) -> Average | None:
    """Return the average of a config, or None; total: steps of the whole training."""
    match cfg:
        case None:
            return None
        case config.EMA():
            return EMA(model, decay=cfg.decay, every=cfg.every, ramp=cfg.ramp)
        case config.Lookahead():
            return Lookahead(model, total=total, every=cfg.every, decay=cfg.decay, power=cfg.power)


class _Shadow:
    """A slow copy of a model's state.

    Attributes:
        own: the model's parameters and saved buffers, by the names of its state_dict.
        slow: the copies; floating-point ones in at least single precision.
        moving: own and slow tensors that are averaged: the floating-point ones.
    """

    def __init__(self, model: nn.Module) -> None:
        saved = model.state_dict().keys()
        named = chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
        self.own: dict[str, Tensor] = {name: tensor for name, tensor in named if name in saved}
        self.slow = {name: tensor.detach().to(_slow_dtype(tensor), copy=True) for name, tensor in self.own.items()}
        names = [name for name, tensor in self.own.items() if tensor.is_floating_point()]
        self.moving = [self.own[name] for name in names], [self.slow[name] for name in names]
        # Counters of batches cannot be averaged; the newest value counts.
        still = sorted(self.own.keys() - set(names))
        self._still = [self.slow[name] for name in still], [self.own[name] for name in still]

    @torch.no_grad()
    def take_in(self, weight: float) -> None:
        """s <- s + weight (p - s) where p is floating-point; s <- p elsewhere."""
        own, slow = self.moving
        # In the type of the slow copy: in half precision a share of 0.001 would be rounded away.
        # One kernel for all tensors: a loop over them would take longer than the update itself.
        torch._foreach_lerp_(slow, [p.detach().to(s.dtype) for p, s in zip(own, slow, strict=True)], weight)
        _copy(*self._still)

    def give_back(self, names: Collection[str] | None = None) -> None:
        """p <- s where p is floating-point, of all tensors or of these."""
        if names is None:
            _copy(*self.moving)
            return
        moving = [name for name in names if name in self.own and self.own[name].is_floating_point()]
        _copy([self.own[name] for name in moving], [self.slow[name] for name in moving])

    def load(self, saved: dict[str, Tensor]) -> None:
        """Copy saved slow weights.

        Raises:
            RuntimeError: they are those of another model.
        """
        if saved.keys() != self.slow.keys():
            raise RuntimeError(f"expected averages of {', '.join(self.slow)}; got those of {', '.join(saved)}")
        for name, tensor in self.slow.items():
            if saved[name].shape != tensor.shape:
                raise RuntimeError(f"the average of {name} is {tuple(tensor.shape)}; got {tuple(saved[name].shape)}")
        _copy(list(self.slow.values()), [saved[name].to(tensor.device) for name, tensor in self.slow.items()])


@torch.no_grad()
def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    if targets:
        torch._foreach_copy_(targets, sources)


def _slow_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
