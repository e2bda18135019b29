"""Looks at a net that change nothing of its training: a copy is asked, by hooks or layer by layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dlassign.data.bundle import Split
from dlassign.data.torch_batches import TensorSplit
from dlassign.doctor.probe_numbers import LayerStats
from dlassign.nets.dropout import DropoutScaledInEval
from dlassign.numpy_nets.dropout import Dropout
from dlassign.numpy_nets.layer import NOTHING
from dlassign.optim.numpy_rules import NumpyOptimizer, adam
from dlassign.train.numpy_learner import NumpyLearner
from dlassign.train.torch_learner import TorchLearner

Array = NDArray[Any]
Rows = NDArray[np.int64]
_FLAT = 0.03
"""Slope of a sigmoid or tanh, as a share of its steepest, below which an output is saturated: beyond +-4.8 and 2.4."""
_LR = 3e-3
"""Of the Adam that learns a batch by heart: most nets take it, for 60 steps, from any sensible initial weights."""


class NetView(Protocol):
    """A net of either backend, as the probe looks at it; x and y are what `rows` gave."""

    def rows(self, split: Any, rows: Rows) -> tuple[Any, Any]:
        """Return these samples, prepared, and their labels."""
        ...

    def part(self, split: Any, rows: Rows) -> Any:
        """Return these samples as a split of their own."""
        ...

    def array(self, x: Any) -> Array:
        """Return prepared samples as rows of float32 on the host, (n, D)."""
        ...

    def layers(self, x: Any) -> list[LayerStats]:
        """Return statistics of the outputs of every layer, in training mode without dropout."""
        ...

    def loss(self, x: Any, y: Any, *, training: bool) -> float:
        """Return the loss without penalty of one batch, in training mode without dropout or in evaluation mode."""
        ...

    def gradients(self, x: Any, y: Any) -> dict[str, float]:
        """Return the norm of the gradient of the loss without penalty by each parameter, without dropout."""
        ...

    def penalty(self, decay: float) -> float:
        """Return the norm of the gradient of the penalty plus decay times the trained parameters."""
        ...

    def parameters(self) -> dict[str, Array]:
        """Return copies of all parameters, on the host."""
        ...

    def trained(self) -> set[str]:
        """Return the names of the parameters that are trained now."""
        ...

    def by_heart(self, x: Any, y: Any, steps: int) -> float:
        """Let a copy learn one batch without dropout and penalty, and return its loss then."""
        ...


def view_of(learner: TorchLearner | NumpyLearner) -> NetView:
    """Return the view of a learner's net; it sees the weights that the learner has when it is asked."""
    return NumpyView(learner) if isinstance(learner, NumpyLearner) else TorchView(learner)


class TorchView:
    """A PyTorch net; see NetView."""

    def __init__(self, learner: TorchLearner) -> None:
        self._learner = learner

    def rows(self, split: TensorSplit, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return these samples, prepared, and their labels."""
        part = self.part(split, rows)
        return part.prepared(0, len(part)), part.y

    def part(self, split: TensorSplit, rows: Rows) -> TensorSplit:
        """Return these samples as a split of their own."""
        chosen = torch.from_numpy(rows).to(split.x.device)
        return TensorSplit(split.x.index_select(0, chosen), split.y.index_select(0, chosen), split.prepare)

    def array(self, x: Tensor) -> Array:
        """Return prepared samples as rows of float32 on the host, (n, D)."""
        return x.flatten(1).float().cpu().numpy()

    def _copy(self, *, training: bool = True) -> nn.Module:
        model = copy.deepcopy(self._learner.model)
        if not training:
            return model.eval()
        for module in model.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd | DropoutScaledInEval):
                module.eval()
        return model

    def layers(self, x: Tensor) -> list[LayerStats]:
        """Return statistics of the outputs of every layer, in training mode without dropout."""
        model, found = self._copy(), {}

        def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
            def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
                if isinstance(output, Tensor) and output.ndim >= 2 and name not in found:
                    found[name] = _stats(name, type(module).__name__.lower(), output.detach().float().cpu().numpy())

            return keep

        for name, module in model.named_modules():
            if not list(module.children()) and not isinstance(module, nn.Flatten):
                module.register_forward_hook(hook(name))
        with torch.no_grad(), _drawing_apart(x):
            model(x)
        return list(found.values())

    def loss(self, x: Tensor, y: Tensor, *, training: bool) -> float:
        """Return the loss without penalty of one batch, in training mode without dropout or in evaluation mode."""
        with torch.no_grad(), _drawing_apart(x):
            return float(self._learner.loss(self._copy(training=training)(x), y))

    def gradients(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Return the norm of the gradient of the loss without penalty by each parameter, without dropout."""
        model = self._copy()
        for p in model.parameters():
            p.grad = None
        with _drawing_apart(x):
            self._learner.loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        return {name: 0.0 if p.grad is None else float(p.grad.norm()) for name, p in model.named_parameters()}

    def penalty(self, decay: float) -> float:
        """Return the norm of the gradient of the penalty plus decay times the trained parameters."""
        params = [p for p in self._learner.model.parameters() if p.requires_grad]
        grads = [decay * p.detach() for p in params]
        if self._learner.penalty is not None:
            own = torch.autograd.grad(self._learner.penalty(), params, allow_unused=True)
            grads = [g if one is None else g + one for g, one in zip(grads, own, strict=True)]
        return float(torch.stack([g.norm() for g in grads]).norm())

    def parameters(self) -> dict[str, Array]:
        """Return copies of all parameters, on the host."""
        named = self._learner.model.named_parameters()
        return {name: p.detach().float().cpu().numpy().copy() for name, p in named}

    def trained(self) -> set[str]:
        """Return the names of the parameters that are trained now."""
        return {name for name, p in self._learner.model.named_parameters() if p.requires_grad}

    def by_heart(self, x: Tensor, y: Tensor, steps: int) -> float:
        """Let a copy learn one batch without dropout and penalty, and return its loss then."""
        model, loss = self._copy(), self._learner.loss
        params = [p for p in model.parameters() if p.requires_grad]
        slots = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params]
        with _drawing_apart(x):
            for step in range(1, steps + 1):
                for p in params:
                    p.grad = None
                loss(model(x), y).backward()  # type: ignore[no-untyped-call]
                _adam(params, slots, step)
            return float(loss(model(x), y).detach())


def _drawing_apart(x: Tensor) -> AbstractContextManager[None]:
    """Put torch's generators back afterwards, from which a net of a user's own may draw."""
    return torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])


def _adam(params: Sequence[Tensor], slots: Sequence[tuple[Tensor, Tensor]], step: int) -> None:
    """Take one step of Adam; torch.optim would import the compiler first, which takes seconds."""
    with torch.no_grad():
        for p, (m, s) in zip(params, slots, strict=True):
            if p.grad is not None:
                m.lerp_(p.grad, 0.1)
                s.lerp_(p.grad.square(), 0.001)
                p.sub_(_LR * (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)).sqrt() + 1e-8))


class NumpyView:
    """A NumPy network; see NetView."""

    def __init__(self, learner: NumpyLearner) -> None:
        self._learner = learner

    def rows(self, split: Split, rows: Rows) -> tuple[Array, Array]:
        """Return these samples, prepared, and their labels."""
        return split.x[rows], split.y[rows]

    def part(self, split: Split, rows: Rows) -> Split:
        """Return these samples as a split of their own."""
        return Split(split.x[rows], split.y[rows])

    def array(self, x: Array) -> Array:
        """Return prepared samples as rows of float32 on the host, (n, D)."""
        return x.reshape(len(x), -1).astype(np.float32)

    def _forward(self, network: Any, x: Array, *, training: bool = True) -> Array:
        for layer in network.layers.values():
            x = x if training and isinstance(layer, Dropout) else layer.forward(x, train=training)
        return x

    def layers(self, x: Array) -> list[LayerStats]:
        """Return statistics of the outputs of every layer, in training mode without dropout."""
        found = []
        with np.errstate(all="ignore"):
            for name, layer in _network(self._learner).layers.items():
                if isinstance(layer, Dropout) or name == "flatten":
                    x = x.reshape(len(x), -1) if name == "flatten" else x
                    continue
                x = layer.forward(x, train=True)
                found.append(_stats(name, type(layer).__name__.lower(), x))
        return found

    def loss(self, x: Array, y: Array, *, training: bool) -> float:
        """Return the loss without penalty of one batch, in training mode without dropout or in evaluation mode."""
        with np.errstate(all="ignore"):
            network = _network(self._learner)
            return float(self._learner.loss(self._forward(network, x, training=training), y)[0])

    def _gradients(self, network: Any, x: Array, y: Array) -> None:
        """Leave the gradients of the loss of a batch in the network."""
        _, dy = self._learner.loss(self._forward(network, x), y)
        for layer in reversed(network.layers.values()):
            dy = dy if isinstance(layer, Dropout) else layer.backward(dy)

    def gradients(self, x: Array, y: Array) -> dict[str, float]:
        """Return the norm of the gradient of the loss without penalty by each parameter, without dropout."""
        network = _network(self._learner)
        with np.errstate(all="ignore"):
            self._gradients(network, x, y)
            return {name: float(np.linalg.norm(g)) for name, g in network.grads.items()}

    def penalty(self, decay: float) -> float:
        """Return the norm of the gradient of the penalty plus decay times the trained parameters."""
        network = self._learner.network
        # The next backward overwrites the gradients, so that nothing has to be put back.
        for name, g in network.grads.items():
            np.multiply(network.params[name], decay, out=g)
        if self._learner.penalty is not None:
            self._learner.penalty()
        return float(np.sqrt(sum(float(np.square(g).sum()) for g in network.grads.values())))

    def parameters(self) -> dict[str, Array]:
        """Return copies of all parameters."""
        return {name: p.copy() for name, p in self._learner.network.params.items()}

    def trained(self) -> set[str]:
        """Return the names of the parameters that are trained now: all."""
        return set(self._learner.network.params)

    def by_heart(self, x: Array, y: Array, steps: int) -> float:
        """Let a copy learn one batch without dropout and penalty, and return its loss then."""
        network = _network(self._learner)
        rule = NumpyOptimizer(network.params, _LR, update=adam, slots=("mean", "square", "step"))
        with np.errstate(all="ignore"):
            for _ in range(steps):
                self._gradients(network, x, y)
                rule.step(network.grads)
            return float(self._learner.loss(self._forward(network, x), y)[0])


def _network(learner: NumpyLearner) -> Any:
    """Return a copy of the network, with a copy of the generator that dropout draws from."""
    # Layers without parameters share one mapping that cannot be written, and cannot be copied either.
    return copy.deepcopy(learner.network, {id(NOTHING): NOTHING})


def _stats(name: str, kind: str, y: Array) -> LayerStats:
    """Return the statistics of one output; y: (n, units) or (n, channels, ...)."""
    with np.errstate(all="ignore"):
        saturated = 0.0
        if kind == "sigmoid":
            saturated = float(np.mean(4 * y * (1 - y) < _FLAT))
        elif kind == "tanh":
            saturated = float(np.mean(1 - y * y < _FLAT))
        zero = y == 0
        dead = float(np.mean(zero.all(axis=(0, *range(2, y.ndim))))) if kind == "relu" else 0.0
        return LayerStats(
            name=name,
            kind=kind,
            std=float(y.std(dtype=np.float64)),
            varies=float(np.sqrt(y.var(axis=0, dtype=np.float64).mean())),
            zeros=float(zero.mean()),
            dead=dead,
            saturated=saturated,
        )


def changes(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[str, float]:
    """Return |after - before| / |before| of each parameter."""
    return {
        name: float(np.linalg.norm((after[name] - p).ravel()) / (np.linalg.norm(p.ravel()) + 1e-12))
        for name, p in before.items()
    }
