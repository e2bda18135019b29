"""Are the gradients of a config's net right: of its loss with penalty, by every parameter and the input?

It is the net of `backend: numpy`, or PyTorch's where something in it is written in PyTorch only.

The net is built in float64 and sees a few random samples of the shape that its data has after preprocessing. Its
weights are PyTorch's initial ones, moved a little, so that a norm's weight of 1 hides nothing. They are not the
config's: whether a gradient is right does not depend on them, and with tiny ones every unit lies within a step of its
kink. Only the toy set is used as it is, with the config's weights: that is the check of HLCV exercise 2.

Of each tensor at most 20 entries, drawn at random, are compared with differences, on the toy set all; autograd and
directions compare all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlassign.checks.differences import Bounds, typical_size
from dlassign.checks.gradients import INPUT, CheckedGradient, autograd_errors, prove, set_parameters
from dlassign.checks.layer_protocol import restorer
from dlassign.checks.recording import share_choices
from dlassign.checks.shapes import check_fit
from dlassign.checks.torch_layer import TorchLayer, loss_of_arrays
from dlassign.config.data import Toy
from dlassign.config.model import in_numpy_alone
from dlassign.config.rules import needs_torch
from dlassign.config.run import RunConfig
from dlassign.data.load import load_dataset, preprocess_steps
from dlassign.data.prepare import prepare
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.nets.build import build_model
from dlassign.nets.objective import make_loss, make_penalty
from dlassign.numpy_nets import init as numpy_init
from dlassign.numpy_nets.layer import Array
from dlassign.numpy_nets.make_network import make_network
from dlassign.numpy_nets.network import Network
from dlassign.numpy_nets.objective import make_numpy_loss, make_numpy_penalty
from dlassign.train.plan import check_loss
from dlassign.train.task import task_of

BOUNDS = Bounds(central=1e-6, autograd=1e-10, directions=1e-6)
"""For a net: kinks by the thousand ask for small steps, which leave fewer digits."""
MAX_ENTRIES, BATCH = 20, 5


class ConfigProbe:
    """The total loss of a config's net on one batch, as a function of parameters and input.

    Args:
        cfg: the run; its backend, device and precision are ignored.

    Attributes:
        network: in float64.
        x: (N, ...), prepared.
        y: (N,).
        tensors: the input and the parameters by name, the arrays that the network uses.
        n_outputs: scores a sample.

    Raises:
        ConfigError: the config does not fit its data.
        DataError: shape and classes are those of a folder or a table that is missing.
    """

    def __init__(self, cfg: RunConfig) -> None:
        self._cfg = cfg
        fit = check_fit(cfg)
        self.n_outputs = check_loss(cfg, fit.info.n_classes)
        rng = np.random.default_rng(cfg.seed)
        self.x, y = _batch(cfg, fit.in_shape, fit.info.n_classes)
        self.y = y
        self._weights = task_of(cfg.loss, y, in_shape=self.x.shape[1:], classes=fit.info.classes).class_weights
        self._loss: Callable[[Array, NDArray[Any]], tuple[float, Array]]
        self._penalty: Callable[[], float] | None
        self.network: Any = self._in_torch(rng) if needs_torch(cfg.model, cfg.loss) else self._in_numpy(rng)
        network = self.network
        if isinstance(cfg.data, Toy) and isinstance(network, Network):
            numpy_init.initialise(network, cfg.init, rng=rng, seed=cfg.seed)
        else:
            for p in network.params.values():
                size = typical_size(p)
                p += 0.1 * size * rng.standard_normal(p.shape)
                p[...] = np.copysign(np.maximum(np.abs(p), 0.1 * size), p)  # an L1 penalty has its kinks at 0
        self.tensors: dict[str, Array] = {INPUT: self.x, **network.params}
        self._restore = restorer(network, rng)

    def _in_numpy(self, rng: np.random.Generator) -> Network:
        cfg = self._cfg
        network = make_network(cfg.model, self.x.shape[1:], self.n_outputs, rng=rng, dtype="float64")
        self._loss = make_numpy_loss(cfg.loss, self._weights)
        self._penalty = make_numpy_penalty(
            cfg.loss.penalty, weights=numpy_init.weights(network), params=network.params, grads=network.grads
        )
        return network

    def _in_torch(self, rng: np.random.Generator) -> TorchLayer:
        cfg = self._cfg
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.seed)
            model = build_model(cfg.model, self.x.shape[1:], self.n_outputs)
        network = TorchLayer(model, rng=rng)
        self._loss = loss_of_arrays(make_loss(cfg.loss, self._class_weights()))
        penalty = make_penalty(cfg.loss.penalty, model)
        self._penalty = None if penalty is None else lambda: network.add_gradients_of(penalty())
        return network

    def _class_weights(self) -> Tensor | None:
        return None if self._weights is None else torch.tensor(self._weights, dtype=torch.float64)

    def forward(self) -> tuple[float, Array]:
        """Return the mean loss and its gradient by the scores; dropout drops the same every time."""
        self._restore()
        return self._loss(self.network.forward(self.x, train=True), self.y)

    def value(self) -> float:
        """Return loss plus penalty."""
        loss, _ = self.forward()
        return loss if self._penalty is None else loss + self._penalty()

    def gradients(self) -> dict[str, Array]:
        """Return the gradients of `value` by `tensors`; those of parameters as training computes them."""
        _, dscores = self.forward()
        dx = self.network.backward(dscores)
        # Once more with what training calls; it leaves out dx, so both are needed.
        _, dscores = self.forward()
        self.network.backward_params(dscores)
        if self._penalty is not None:
            self._penalty()
        return {INPUT: dx.copy(), **{name: g.copy() for name, g in self.network.grads.items()}}

    def autograd(self, grads: dict[str, Array]) -> dict[str, float]:
        """Return the relative errors of gradients against those of the config's PyTorch net with the same weights.

        Empty where a layer of the user's own is there in NumPy alone, or the net itself is PyTorch's.
        """
        if isinstance(self.network, TorchLayer) or in_numpy_alone(self._cfg.model):
            return {}
        model = build_model(self._cfg.model, self.x.shape[1:], self.n_outputs)
        set_parameters(model, self.network.params, self._cfg.name)
        share_choices(self.network, model)
        self.forward()  # leaves its dropout masks
        x = torch.from_numpy(self.x.copy()).requires_grad_()
        total = make_loss(self._cfg.loss, self._class_weights())(model.train()(x), torch.from_numpy(self.y))
        penalty = make_penalty(self._cfg.loss.penalty, model)
        if penalty is not None:
            total = total + penalty()
        total.backward()  # type: ignore[no-untyped-call]
        return autograd_errors(grads, {INPUT: x, **dict(model.named_parameters())})


def check_config(cfg: RunConfig) -> tuple[list[CheckedGradient], int]:
    """Check the gradients of a config's net; return a row for each tensor, and the size of the batch.

    Raises:
        ConfigError: the config does not fit its data.
        DataError: shape and classes are those of a folder or a table that is missing.
        UserError: a layer fails.
    """
    probe = ConfigProbe(cfg)
    try:
        grads = probe.gradients()
    except ValueError as error:
        raise UserError(f"the NumPy net of {cfg.name} fails: {error}; --traceback shows where") from error
    found = prove(
        grads,
        value=probe.value,
        tensors=probe.tensors,
        autograd=probe.autograd(grads),
        rng=np.random.default_rng([cfg.seed, 1]),
        bounds=BOUNDS,
        max_entries=None if isinstance(cfg.data, Toy) else MAX_ENTRIES,
    )
    return [_named(row) for row in found], len(probe.x)


def _named(row: CheckedGradient) -> CheckedGradient:
    """Split `linear1.weight` into layer and tensor; `input` is the layer of x."""
    layer, _, tensor = row.tensor.partition(".")
    return replace(row, layer=layer, tensor=tensor or "x")


def _batch(cfg: RunConfig, in_shape: tuple[int, ...] | None, n_classes: int) -> tuple[Array, NDArray[Any]]:
    """Return samples and labels."""
    if isinstance(cfg.data, Toy):
        train = prepare(load_dataset(cfg.data), preprocess_steps(cfg.data), dtype="float64")[0].train
        return np.array(train.x, dtype=np.float64), train.y
    if in_shape is None:
        message = (
            "only the data tells the shape of a sample after PCA by a share of variance, or after code that is fitted; "
            "give a number of components, or leave the code out"
        )
        raise ConfigError([Problem(path="data.preprocess", message=message)])
    rng = np.random.default_rng([cfg.seed, 2])
    return rng.standard_normal((BATCH, *in_shape)), rng.integers(n_classes, size=BATCH)
