"""Update rules in NumPy, in place, with the definitions and defaults of torch.optim.

Each takes a parameter p, its gradient g (not changed), what it remembers of the parameter (`slots`, changed in place)
and the learning rate. `scratch` is an array like p to compute in, so that a step allocates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlassign.config import optim as config

Array = NDArray[np.floating[Any]]
Slots = dict[str, Array]
Update = Callable[..., None]
"""(p, g, slots, *, lr, scratch) -> None, in place."""


CHUNK_BYTES = 2**20
"""Of a parameter that are updated at once."""


def sgd(
    p: Array,
    g: Array,
    slots: Slots,
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    scratch: Array | None = None,
) -> None:
    """g' = g + weight_decay p; v = momentum v + g'; p -= lr v, or with Nesterov p -= lr (g' + momentum v).

    v starts at 0, so v = g' after the first step, as in torch. Source: Sutskever et al. 2013; torch.optim.SGD.

    Args:
        p: the parameter, any shape.
        g: its gradient.
        slots: `momentum`, like p, if momentum is above 0.
        lr: learning rate.
        momentum: share of the last update that is kept.
        nesterov: look ahead along the momentum.
        weight_decay: coupled L2 decay.
        scratch: like p; None allocates.
    """
    out = np.empty_like(p) if scratch is None else scratch
    if not momentum:
        np.multiply(_decayed(p, g, weight_decay, out), lr, out=out)
        p -= out
        return
    v = slots["momentum"]
    decayed = _decayed(p, g, weight_decay, out)
    v *= momentum
    v += decayed
    if nesterov:
        np.multiply(decayed, lr, out=out)
        p -= out
        np.multiply(v, lr * momentum, out=out)
    else:
        np.multiply(v, lr, out=out)
    p -= out


def rmsprop(
    p: Array,
    g: Array,
    slots: Slots,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    scratch: Array | None = None,
) -> None:
    """s = alpha s + (1 - alpha) g'^2; u = g' / (sqrt(s) + eps); p -= lr u, or v = momentum v + u; p -= lr v.

    Source: Hinton, lecture 6e of Neural Networks for Machine Learning, 2012; torch.optim.RMSprop.

    Args:
        p: the parameter, any shape.
        g: its gradient.
        slots: `square`, like p; `momentum` too if momentum is above 0.
        lr: learning rate.
        alpha: decay rate of s.
        eps: added to the denominator.
        momentum: share of the last update that is kept.
        weight_decay: coupled L2 decay: g' = g + weight_decay p.
        scratch: like p; None allocates.
    """
    out = np.empty_like(p) if scratch is None else scratch
    s = slots["square"]
    decayed = g + weight_decay * p if weight_decay else g
    s *= alpha
    np.multiply(decayed, decayed, out=out)
    out *= 1 - alpha
    s += out
    np.sqrt(s, out=out)
    out += eps
    np.divide(decayed, out, out=out)
    if momentum:
        v = slots["momentum"]
        v *= momentum
        v += out
        np.multiply(v, lr, out=out)
    else:
        out *= lr
    p -= out


def adam(
    p: Array,
    g: Array,
    slots: Slots,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    scratch: Array | None = None,
) -> None:
    """m = b1 m + (1-b1) g'; s = b2 s + (1-b2) g'^2; p -= lr (m / (1-b1^t)) / (sqrt(s / (1-b2^t)) + eps).

    The divisors undo that m and s start at 0: E[m_t] = (1 - b1^t) E[g]. Source: Kingma and Ba 2015; torch.optim.Adam.

    Args:
        p: the parameter, any shape.
        g: its gradient.
        slots: `mean` and `square`, like p, and `step`, a scalar array: t - 1 before the step.
        lr: learning rate.
        betas: decay rates b1 and b2.
        eps: added to the denominator.
        weight_decay: coupled L2 decay: g' = g + weight_decay p.
        scratch: like p; None allocates.
    """
    out = np.empty_like(p) if scratch is None else scratch
    b1, b2 = betas
    m, s, step = slots["mean"], slots["square"], slots["step"]
    step += 1
    t = float(step)
    decayed = g + weight_decay * p if weight_decay else g
    np.multiply(decayed, 1 - b1, out=out)
    m *= b1
    m += out
    np.multiply(decayed, decayed, out=out)
    out *= 1 - b2
    s *= b2
    s += out
    np.sqrt(s, out=out)
    out *= 1 / math.sqrt(1 - b2**t)
    out += eps
    np.divide(m, out, out=out)
    out *= lr / (1 - b1**t)
    p -= out


def adamw(
    p: Array,
    g: Array,
    slots: Slots,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    scratch: Array | None = None,
) -> None:
    """p *= 1 - lr weight_decay, then Adam's step without decay in the gradient.

    Source: Loshchilov and Hutter 2019; torch.optim.AdamW.

    Args:
        p: the parameter, any shape.
        g: its gradient.
        slots: as Adam's.
        lr: learning rate.
        betas: decay rates of the two means.
        eps: added to the denominator.
        weight_decay: decoupled decay.
        scratch: like p; None allocates.
    """
    p *= 1 - lr * weight_decay
    adam(p, g, slots, lr=lr, betas=betas, eps=eps, scratch=scratch)


class _Part(NamedTuple):
    """A part of a parameter in one row, what the rule remembers of it, and room to compute in."""

    p: Array
    slots: Slots
    scratch: Array
    rows: slice


class NumpyOptimizer:
    """Parameters, what their update rule remembers of each, and the learning rate.

    Args:
        params: what is trained, by name; changed in place.
        lr: learning rate; may be set anew before any step.
        update: the rule.
        slots: names of the arrays that the rule keeps for each parameter: like the parameter, or `step`, a scalar.
    """

    def __init__(self, params: Mapping[str, Array], lr: float, *, update: Update, slots: tuple[str, ...]) -> None:
        self.params, self.lr = dict(params), lr
        self._update = update
        self._slots: dict[str, Slots] = {
            key: {name: np.zeros(()) if name == "step" else np.zeros_like(p) for name in slots}
            for key, p in params.items()
        }
        self._parts = {key: _cut(p, self._slots[key]) for key, p in params.items()}

    def step(self, grads: Mapping[str, Array]) -> None:
        """Update every parameter from its gradient, which has the same name.

        A rule goes over its arrays several times, so large ones are cut into parts that stay in the core's cache.
        """
        for key, p in self.params.items():
            g, count = _flat(grads[key], p), self._slots[key].get("step")
            done = 0.0 if count is None else float(count)
            for part in self._parts[key]:
                if count is not None:
                    count[...] = done  # every part takes the same step
                self._update(part.p, g[part.rows], part.slots, lr=self.lr, scratch=part.scratch)

    def state_dict(self) -> dict[str, Any]:
        """Return the slots, by parameter and name, and the learning rate."""
        return {"slots": self._slots, "lr": self.lr}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the slots and the learning rate of a state that state_dict gave."""
        self.lr = state["lr"]
        for key, slots in self._slots.items():
            for name, array in slots.items():
                array[...] = state["slots"][key][name]


def make_numpy_optimizer(cfg: config.Optimizer, params: Mapping[str, Array]) -> NumpyOptimizer:
    """Return the optimizer for these parameters, which it changes in place.

    Raises:
        ValueError: Muon, groups or decoupled SGD, which are written in PyTorch only.
    """
    if cfg.groups or (isinstance(cfg, config.SGD) and cfg.parametrization != "plain"):
        raise ValueError("groups and decoupled rates of an optimizer are written in PyTorch only")
    decay = cfg.weight_decay
    match cfg:
        case config.Muon():
            raise ValueError("muon is written in PyTorch only")
        case config.SGD():
            update = partial(sgd, momentum=cfg.momentum, nesterov=cfg.nesterov, weight_decay=decay)
            return NumpyOptimizer(params, cfg.lr, update=update, slots=("momentum",) if cfg.momentum else ())
        case config.Adam():
            update = partial(adam, betas=cfg.betas, eps=cfg.eps, weight_decay=decay)
            return NumpyOptimizer(params, cfg.lr, update=update, slots=("mean", "square", "step"))
        case config.AdamW():
            update = partial(adamw, betas=cfg.betas, eps=cfg.eps, weight_decay=decay)
            return NumpyOptimizer(params, cfg.lr, update=update, slots=("mean", "square", "step"))
        case config.RMSprop():
            update = partial(rmsprop, alpha=cfg.alpha, eps=cfg.eps, momentum=cfg.momentum, weight_decay=decay)
            momentum = ("momentum",) if cfg.momentum else ()
            return NumpyOptimizer(params, cfg.lr, update=update, slots=("square", *momentum))


def _cut(p: Array, slots: Slots) -> list[_Part]:
    """Cut a parameter into parts of at most CHUNK_BYTES; all are views, and `step` stays one for all.

    Raises:
        ValueError: the parameter does not lie in one piece, so that no row of it is a view.
    """
    size = min(CHUNK_BYTES // p.itemsize, p.size)
    flat, scratch = _flat(p, p), np.empty(size, p.dtype)
    if p.size and not np.shares_memory(flat, p):
        raise ValueError(f"a parameter of shape {p.shape} does not lie in one piece of memory; give a copy of it")
    parts = []
    for start in range(0, p.size, size or 1):
        rows = slice(start, start + size)
        part = {name: slot if name == "step" else _flat(slot, p)[rows] for name, slot in slots.items()}
        parts.append(_Part(flat[rows], part, scratch[: len(flat[rows])], rows))
    return parts


def _flat(array: Array, like: Array) -> Array:
    """Return an array in one row, in the order in which another one lies in memory: a view, if it lies so too."""
    return array.T.reshape(-1) if like.flags.f_contiguous else array.reshape(-1)


def _decayed(p: Array, g: Array, weight_decay: float, out: Array) -> Array:
    """Return g + weight_decay p, in `out` if there is decay."""
    if not weight_decay:
        return g
    np.multiply(p, weight_decay, out=out)
    out += g
    return out
