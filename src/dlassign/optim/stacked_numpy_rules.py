"""Update rules of K NumPy networks whose parameters are stacked: numpy_rules.py with the settings of each.

The arrays are taken as rows, one a model, and cut into blocks of columns that stay in the core's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dlassign.config import optim as config
from dlassign.optim.numpy_rules import NumpyOptimizer

Array = NDArray[np.floating[Any]]
Column = NDArray[np.floating[Any]]
"""(K, 1): one value for each model, in the type of the parameters."""
BLOCK_BYTES = 2**20
"""Of a parameter that are updated at once, as CHUNK_BYTES of numpy_rules.py."""


class _Block(NamedTuple):
    """Columns of a parameter, (K, m), their gradient, what the rule remembers of them, and room to compute in."""

    p: Array
    g: Array
    slots: dict[str, Array]
    out: Array


Rule = Callable[[_Block, Column], None]
"""(block, lr) -> None, in place; made anew for every step, as Adam's depends on the number of the step."""
Settings = Callable[[Sequence[float]], Column]


class StackedNumpyOptimizer:
    """Does for stacked parameters what the NumpyOptimizer of each model does for its own.

    What it remembers are copies; `pull` gives a model's optimizer its part back.

    Args:
        optimizers: of the models, all at the same step.
        params: (K, ...) each, C-contiguous, by the names that the optimizers have.
        grads: the gradients, like params.
        cfgs: what the optimizers were made from; `kind` is the same for all.
    """

    def __init__(
        self,
        optimizers: Sequence[NumpyOptimizer],
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        *,
        cfgs: Sequence[config.Optimizer],
    ) -> None:
        self._optimizers, self._cfgs = list(optimizers), list(cfgs)
        self._lrs = [optimizer.lr for optimizer in optimizers]
        own = [optimizer.state_dict()["slots"] for optimizer in optimizers]
        self._slots: dict[str, dict[str, Array]] = {key: _stacked([slots[key] for slots in own]) for key in params}
        self._blocks = [block for key, p in params.items() for block in _cut(p, grads[key], self._slots[key])]
        dtype = next(iter(params.values())).dtype
        self._settings: Settings = partial(_column, dtype)
        self._rule = _make_rule(self._cfgs, self._settings)

    def step(self, lrs: Sequence[float]) -> None:
        """Update the parameters from their gradients, at a learning rate for each model."""
        self._lrs = list(lrs)
        rule, lr = self._rule(self._lrs, self._count()), self._settings(lrs)
        for block in self._blocks:
            rule(block, lr)

    def _count(self) -> float:
        """Count the step where the rule wants it; return its number, from 1."""
        done = 0.0
        for slots in self._slots.values():
            if "step" in slots:
                slots["step"] += 1
                done = float(slots["step"][0])
        return done

    def pull(self, k: int) -> None:
        """Copy what is remembered of model k, and its last learning rate, into its own optimizer."""
        slots = {key: {name: array[k] for name, array in own.items()} for key, own in self._slots.items()}
        self._optimizers[k].load_state_dict({"slots": slots, "lr": self._lrs[k]})

    def push(self, k: int) -> None:
        """Copy what model k's own optimizer remembers into the stack."""
        own = self._optimizers[k].state_dict()
        self._lrs[k] = own["lr"]
        for key, slots in self._slots.items():
            for name, array in slots.items():
                array[k] = own["slots"][key][name]


def kind(cfg: config.Optimizer) -> tuple[str, bool, bool]:
    """Return what models must have in common to be updated at once: the rule and which arrays it keeps."""
    return cfg.name, bool(getattr(cfg, "momentum", 0.0)), bool(getattr(cfg, "nesterov", False))


def _stacked(slots: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Return the slots of one parameter, (K, ...) each and C-contiguous."""
    found: dict[str, Array] = {}
    for name, array in slots[0].items():
        found[name] = np.empty((len(slots), *array.shape), array.dtype)
        for k, own in enumerate(slots):
            found[name][k] = own[name]
    return found


def _cut(p: Array, g: Array, slots: Mapping[str, Array]) -> list[_Block]:
    """Cut a parameter into blocks of columns; all are views."""
    k = len(p)
    rows, grad = p.reshape(k, -1), g.reshape(k, -1)
    memory = {name: slot.reshape(k, -1) for name, slot in slots.items() if name != "step"}
    size = max(BLOCK_BYTES // (p.itemsize * k), 64)
    scratch = np.empty((k, min(size, rows.shape[1])), p.dtype)
    blocks = []
    for start in range(0, rows.shape[1], size):
        cut = slice(start, start + size)
        part = rows[:, cut]
        blocks.append(
            _Block(part, grad[:, cut], {n: s[:, cut] for n, s in memory.items()}, scratch[:, : part.shape[1]])
        )
    return blocks


def _column(dtype: Any, values: Sequence[float]) -> Column:
    return np.array(values, dtype)[:, None]


def _make_rule(cfgs: Sequence[config.Optimizer], column: Settings) -> Callable[[Sequence[float], float], Rule]:
    """Return (learning rates, number of the step) -> the rule of that step.

    Raises:
        ValueError: Muon, groups or decoupled SGD, which are written in PyTorch only.
    """
    decays = [cfg.weight_decay for cfg in cfgs]
    decay = column(decays) if any(decays) else None
    momenta = [getattr(cfg, "momentum", 0.0) for cfg in cfgs]
    momentum = column(momenta) if any(momenta) else None
    match cfgs[0]:
        case config.SGD(nesterov=nesterov, parametrization="plain", groups=()):
            sgd = partial(_sgd, momentum=momentum, nesterov=nesterov, decay=decay)
            return lambda lrs, step: sgd
        case config.RMSprop(groups=()):
            alpha, eps = (column([getattr(cfg, key) for cfg in cfgs]) for key in ("alpha", "eps"))
            rmsprop = partial(_rmsprop, alpha=alpha, eps=eps, momentum=momentum, decay=decay)
            return lambda lrs, step: rmsprop
        case config.Adam(groups=()):
            return partial(_adam_at, cfgs, column, decay)
        case config.AdamW(groups=()):
            return partial(_adamw_at, cfgs, column, decays)
        case _:
            raise ValueError(f"{cfgs[0].name} with these settings is written in PyTorch only")


def _sgd(block: _Block, lr: Column, *, momentum: Column | None, nesterov: bool, decay: Column | None) -> None:
    """v = mu v + g', p -= lr v, or p -= lr (g' + mu v) with Nesterov."""
    p, _, slots, out = block
    g = _decayed(block, decay)
    if momentum is None:
        p -= np.multiply(g, lr, out=out)
        return
    v = slots["momentum"]
    v *= momentum
    v += g
    if nesterov:
        p -= np.multiply(g, lr, out=out)
        lr = lr * momentum
    p -= np.multiply(v, lr, out=out)


def _rmsprop(
    block: _Block, lr: Column, *, alpha: Column, eps: Column, momentum: Column | None, decay: Column | None
) -> None:
    """s = a s + (1 - a) g'^2; u = g' / (sqrt(s) + eps); v = mu v + u; p -= lr v, or lr u without momentum."""
    p, _, slots, out = block
    g, s = _decayed(block, decay), slots["square"]
    s *= alpha
    np.multiply(g, g, out=out)
    out *= 1 - alpha
    s += out
    np.sqrt(s, out=out)
    out += eps
    np.divide(g, out, out=out)
    if momentum is not None:
        v = slots["momentum"]
        v *= momentum
        v += out
        p -= np.multiply(v, lr, out=out)
        return
    out *= lr
    p -= out


def _adam_at(cfgs: Sequence[Any], column: Settings, decay: Column | None, lrs: Sequence[float], step: float) -> Rule:
    """Return Adam at a step, with coupled decay; the corrections of both means go into the learning rate and eps.

    lr (m / c1) / (sqrt(s / c2) + eps) = lr sqrt(c2) / c1 * m / (sqrt(s) + eps sqrt(c2)), with c = 1 - b^t.
    """
    firsts, seconds = ([cfg.betas[i] for cfg in cfgs] for i in (0, 1))
    roots = [math.sqrt(1 - b**step) for b in seconds]
    rates = column([lr * root / (1 - b**step) for lr, root, b in zip(lrs, roots, firsts, strict=True)])
    eps = column([cfg.eps * root for cfg, root in zip(cfgs, roots, strict=True)])
    first, second = column(firsts), column(seconds)
    others = column([1 - b for b in firsts]), column([math.sqrt(1 - b) for b in seconds])

    def adam(block: _Block, lr: Column) -> None:
        p, _, slots, out = block
        g, m, s = _decayed(block, decay), slots["mean"], slots["square"]
        m *= first
        m += np.multiply(g, others[0], out=out)
        np.multiply(g, others[1], out=out)
        out *= out
        s *= second
        s += out
        np.sqrt(s, out=out)
        out += eps
        np.divide(m, out, out=out)
        out *= rates
        p -= out

    return adam


def _adamw_at(
    cfgs: Sequence[Any], column: Settings, decays: Sequence[float], lrs: Sequence[float], step: float
) -> Rule:
    """Return Adam at a step, after p *= 1 - lr weight_decay."""
    adam = _adam_at(cfgs, column, None, lrs, step)
    kept = column([1 - lr * decay for lr, decay in zip(lrs, decays, strict=True)])

    def adamw(block: _Block, lr: Column) -> None:
        block.p[...] *= kept
        adam(block, lr)

    return adamw if any(decays) else adam


def _decayed(block: _Block, decay: Column | None) -> Array:
    """Return g + weight_decay p, in the gradient, which nobody reads after the step."""
    g = block.g
    if decay is not None:
        np.multiply(block.p, decay, out=block.out)
        g += block.out
    return g
