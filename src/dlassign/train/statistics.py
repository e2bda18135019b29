"""Statistics of a net in training: norms of gradients and weights on one fixed batch, for the log and its doctor.

They change no bit of the training, and the same training gives the same numbers. Where that cannot be held, none are
written: of compiled nets, of nets that train in one stack, and of runs with code of their user's own, which may have
a state that nobody knows. `plan.py: Plan.measures_at` says when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dlassign.config.own_part import own_parts
from dlassign.data.bundle import Labels
from dlassign.nets.dropout import DropoutScaledInEval
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.objective import NumpyLoss
from dlassign.train.device import restore_rng, rng_state
from dlassign.train.learner import Evaluation, State, Statistics

if TYPE_CHECKING:  # run.py makes the watchers
    from dlassign.train.run import Run

_ROUGH = 1e-15
"""A norm in fp32 below this, or above its inverse, may have lost squares to underflow or overflow."""


class Measure:
    """The watcher that writes statistics; it has no state, since the plan alone says when it does."""

    def __init__(self) -> None:
        self._is_ours: bool | None = None

    def on_eval(self, run: Run, evaluations: Mapping[str, Evaluation]) -> bool:
        """Write a record if the plan says so and measuring changes nothing; never ends training."""
        plan = run.parts.plan
        if not plan.measures_at(run.step):
            return False
        if self._is_ours is None:  # looked for once: to go through a config takes as long as steps of a tiny net
            self._is_ours = next(own_parts(run.cfg), None) is None
        if self._is_ours:
            found = run.learner.statistics(run.parts.splits["train"], plan.measured)
            if found is not None:
                run.log.write("statistics", step=run.step, **found.logged())
        return False

    def state_dict(self) -> State:
        """Return nothing: there is no state."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Do nothing: there is no state."""


def evenly(size: int, n: int) -> slice:
    """Return n of so many rows, or all, that lie evenly: of samples sorted by class the first would be of one."""
    every = max(size // n, 1)
    return slice(0, every * n, every)


@contextmanager
def at_rest(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let a model in training mode be asked without dropout, and put back its running statistics and the generators.

    Gradients on the parameters are the caller's to leave alone.
    """
    before = rng_state(device)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    dropping = [
        module
        for module in model.modules()
        if module.training and isinstance(module, nn.modules.dropout._DropoutNd | DropoutScaledInEval)
    ]
    for module in dropping:
        module.eval()
    try:
        yield
    finally:
        for module in dropping:
            module.train()
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
        restore_rng(before, device)


def torch_statistics(model: nn.Module, loss: Tensor, *, scale: Tensor | None, n: int) -> Statistics:
    """Return the statistics of a model, and wait for the device once; no `.grad` changes.

    Args:
        model: of whose parameters the loss was computed.
        loss: a scalar, the mean over n samples.
        scale: what to multiply the loss by while the gradients are computed, a scalar; None is 1.
        n: samples.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss if scale is None else loss * scale, list(trained.values()), allow_unused=True)
    pairs = zip(trained.values(), found, strict=True)
    gradients = {name: torch.zeros_like(p) if g is None else g for name, (p, g) in zip(trained, pairs, strict=True)}
    # One number for each row: largest size, in fp32 where squares would be 0.
    rows = {name: g.detach().reshape(len(g), -1).abs().amax(1) for name, g in gradients.items() if g.ndim >= 2}
    with torch.no_grad():
        norms = [*torch._foreach_norm(list(gradients.values())), *torch._foreach_norm(list(trained.values()))]
        factor = torch.ones_like(loss) if scale is None else scale
        scalars = torch.stack([value.to(loss.dtype) for value in (*norms, loss, factor)])
        # In one transfer, for each of them waits for the device.
        values = torch.cat([scalars, *rows.values()]).double().cpu().numpy()
    count = len(trained)
    ends = np.cumsum([count, count, 2, *map(len, rows.values())])
    of_gradients, of_weights, (value, by), *peaks = np.split(values, ends[:-1])
    exact = [
        _exact(norm, partial(_in_fp64, g)) for norm, g in zip(of_gradients.tolist(), gradients.values(), strict=True)
    ]
    return Statistics(
        n=n,
        loss=float(value),
        gradients={name: norm / float(by) for name, norm in zip(trained, exact, strict=True)},
        weights=dict(zip(trained, of_weights.tolist(), strict=True)),
        idle=_idle(dict(zip(rows, peaks, strict=True))),
    )


def _in_fp64(values: Tensor) -> float:
    return float(values.double().norm())


def numpy_statistics(network: Network, loss: NumpyLoss, x: Array, y: Labels) -> Statistics:
    """Return the statistics of a NumPy network, in training mode without dropout; all its arrays stay as they are.

    Args:
        network: whose layers keep nothing, as after a step.
        loss: (scores, labels) -> mean loss and its gradient.
        x: (n, ...) prepared.
        y: (n,) int64.
    """
    without = network
    if any(isinstance(layer, Dropout) for layer in network.layers.values()):
        # The same layers, so that nothing large has to be copied.
        without = Network({name: layer for name, layer in network.layers.items() if not isinstance(layer, Dropout)})
    changing = [*network.grads.values(), *network.buffers.values()]
    kept = [array.copy() for array in changing]
    with np.errstate(all="ignore"):
        value, dscores = loss(without.forward(x, train=True), y)
        without.backward_params(dscores)
        grads = network.grads
        found = Statistics(
            n=len(y),
            loss=float(value),
            gradients={name: _norm(g) for name, g in grads.items()},
            weights={name: _norm(network.params[name]) for name in grads},
            idle=_idle({name: np.abs(g.reshape(len(g), -1)).max(axis=1) for name, g in grads.items() if g.ndim >= 2}),
        )
    for array, before in zip(changing, kept, strict=True):
        array[...] = before
    return found


def _norm(values: Array) -> float:
    return _exact(float(np.linalg.norm(values)), lambda: float(np.linalg.norm(values.astype(np.float64))))


def _exact(norm: float, in_fp64: Callable[[], float]) -> float:
    # Squares of 1e-23 are 0 in fp32, and a gradient of 0 would mean something else.
    return norm if _ROUGH < norm < 1 / _ROUGH or math.isnan(norm) else in_fp64()


def _idle(rows: Mapping[str, Array]) -> dict[str, float]:
    """Return the share of rows without any gradient; rows: the largest size of a number in each, by parameter."""
    return {name: float(np.mean(peaks == 0)) for name, peaks in rows.items()}
