"""Update rules in NumPy, in place, with the definitions and defaults of torch.optim.

Each rule takes the parameter p, of any shape; its gradient g, which it does not change; `slots`, what it remembers of
the parameter, changed in place; the learning rate; and `scratch`, an array like p to compute in, so that a step
allocates nothing (None: allocate). `weight_decay` is coupled L2 decay, g' = g + weight_decay p, except in AdamW.
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
"""Bytes of a parameter that are updated at once."""


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
    Derivation: docs/derivations/optimizers.md; docs/derivations/penalty.md for the decay,
    docs/derivations/step_size.md for the size of lr.

    Slots: `momentum`, like p, if momentum, the share of v that is kept, is above 0.
    """
    out = np.empty_like(p) if scratch is None else scratch
    if not momentum:
        np.multiply(_decayed(p, g, weight_decay, out), lr, out=out)
        p -= out
        return
    v = slots["momentum"]
    # p is written last: the decayed gradient is computed from it.
    decayed = _decayed(p, g, weight_decay, out)
    # g' is not multiplied by 1 - momentum: v tends to g'/(1 - momentum), so a larger momentum is a larger step too.
    v *= momentum
    v += decayed
    if nesterov:
        # Two subtractions instead of a sum in a second array: g' may lie in `out`, which is free after the first one.
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
    Derivation: docs/derivations/optimizers.md.

    Slots: `square`, like p; `momentum` too if momentum is above 0. alpha: decay rate of s.
    """
    out = np.empty_like(p) if scratch is None else scratch
    s = slots["square"]
    # Not in `out`, which holds the square of this while this is still needed.
    decayed = g + weight_decay * p if weight_decay else g
    s *= alpha
    np.multiply(decayed, decayed, out=out)
    out *= 1 - alpha
    s += out
    np.sqrt(s, out=out)
    # eps stands outside the root, as in torch: inside, it would act as sqrt(eps), 1e-4 instead of 1e-8.
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
    Derivation: docs/derivations/optimizers.md; docs/derivations/penalty.md for the decay.

    Slots: `mean` and `square`, like p, and `step`, a scalar array: t - 1 before the step. betas: b1 and b2.
    """
    out = np.empty_like(p) if scratch is None else scratch
    b1, b2 = betas
    m, s, step = slots["mean"], slots["square"], slots["step"]
    # Counted before use: with t = 0 the divisors 1 - b^t would be 0.
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
    # m and s stay uncorrected in the slots; the divisors are numbers, multiplied into the step.
    out *= 1 / math.sqrt(1 - b2**t)
    # After the correction of s and outside the root, as in torch; in another place it would be another size.
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
    Derivation: docs/derivations/penalty.md for the decay.

    Slots and betas as Adam's.
    """
    # Decay in the gradient would be divided by sqrt(s) like all of it: weights with large gradients would decay less.
    # Outside of Adam's means, so that parameters with large gradients are not decayed less.
    p *= 1 - lr * weight_decay
    adam(p, g, slots, lr=lr, betas=betas, eps=eps, scratch=scratch)


class _Chunk(NamedTuple):
    """A piece of a flattened parameter, what the rule remembers of it, and room to compute in; all are views."""

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
        self.params = dict(params)
        self.lr = lr
        self._update = update
        self._slots: dict[str, Slots] = {
            key: {name: np.zeros(()) if name == "step" else np.zeros_like(p) for name in slots}
            for key, p in params.items()
        }
        self._chunks = {key: _cut(p, self._slots[key]) for key, p in params.items()}

    def step(self, grads: Mapping[str, Array]) -> None:
        """Update every parameter from its gradient, which has the same name."""
        for key, p in self.params.items():
            g, count = _flat(grads[key], p), self._slots[key].get("step")
            done = 0.0 if count is None else float(count)
            # A rule goes over its arrays several times: in chunks they stay in the core's cache.
            for chunk in self._chunks[key]:
                # The chunks share one count and each adds 1 to it, but they are one step of one parameter.
                if count is not None:
                    count[...] = done
                self._update(chunk.p, g[chunk.rows], chunk.slots, lr=self.lr, scratch=chunk.scratch)

    def state_dict(self) -> dict[str, Any]:
        """Return the slots, by parameter and name, and the learning rate."""
        return {"slots": self._slots, "lr": self.lr}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the slots and the learning rate of a state that state_dict gave.

        Raises:
            ValueError: a slot has another shape.
        """
        self.lr = state["lr"]
        for key, slots in self._slots.items():
            for name, array in slots.items():
                saved = state["slots"][key][name]
                if saved.shape != array.shape:  # copying would repeat a smaller one to fill the larger
                    raise ValueError(f"{key} of {name} is {array.shape}; got {saved.shape}")
                # Copied into the arrays: the chunks are views of them.
                array[...] = saved


def make_numpy_optimizer(cfg: config.Optimizer, params: Mapping[str, Array]) -> NumpyOptimizer:
    """Return the optimizer for these parameters, which it changes in place.

    Raises:
        ValueError: Muon, groups or decoupled SGD, which are written in PyTorch only.
    """
    if isinstance(cfg, config.Muon | config.OwnOptimizer):
        raise ValueError(f"{cfg.name} is written in PyTorch only")
    if cfg.groups or (isinstance(cfg, config.SGD) and cfg.parametrization != "plain"):
        raise ValueError("groups and decoupled rates of an optimizer are written in PyTorch only")
    decay = cfg.weight_decay
    match cfg:
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


def _cut(p: Array, slots: Slots) -> list[_Chunk]:
    """Cut a parameter into chunks of at most CHUNK_BYTES; `step` is one for all of them.

    Raises:
        ValueError: the parameter does not lie in one piece of memory, so that flattening copies it.
    """
    size = min(CHUNK_BYTES // p.itemsize, p.size)
    flat, scratch = _flat(p, p), np.empty(size, p.dtype)
    # Updates of a copy would be lost, and training would go on with weights that never change.
    if p.size and not np.shares_memory(flat, p):
        raise ValueError(f"a parameter of shape {p.shape} does not lie in one piece of memory; give a copy of it")
    chunks = []
    for start in range(0, p.size, size or 1):
        rows = slice(start, start + size)
        views = {name: slot if name == "step" else _flat(slot, p)[rows] for name, slot in slots.items()}
        chunks.append(_Chunk(flat[rows], views, scratch[: len(flat[rows])], rows))
    return chunks


def _flat(array: Array, like: Array) -> Array:
    """Return an array flattened in the order in which another one lies in memory; a view, if both lie so."""
    # Linear's weights lie column by column; .T turns them into rows without a copy.
    return array.T.reshape(-1) if like.flags.f_contiguous else array.reshape(-1)


def _decayed(p: Array, g: Array, weight_decay: float, out: Array) -> Array:
    """Return g + weight_decay p, in `out` if there is decay."""
    if not weight_decay:
        return g
    np.multiply(p, weight_decay, out=out)
    out += g
    return out
