"""Is every gradient that NumPy code computes right? Proved three ways, in float64.

    central     every entry against differences of values along its axis (see dlassign.checks.differences)
    autograd    every entry against PyTorch's autograd of the same function at the same point
    directions  the derivative along random vectors, in which all entries of a tensor take part, against differences

A layer alone is checked with L = sum(y r), r fixed and random, at parameters moved a little from where they start, so
that a weight of 1 or a bias of 0 hides nothing. Before the backward that counts there is another one, with other
input: so gradients that add up, and values that are kept too long, show. Every forward starts from the same state of
the layer's generator, so dropout drops the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlassign.checks.differences import FLOOR, Bounds, Differences, Value, check_gradients, largest, relative_error
from dlassign.checks.layer_cases import LayerCase, LossCase, Rng, layer_cases, loss_cases
from dlassign.checks.layer_protocol import Probe
from dlassign.errors import UserError
from dlassign.numpy_nets.layer import Array, Layer

BOUNDS = Bounds(central=1e-9, autograd=1e-10, directions=1e-9)
"""For one layer or loss."""
MAX_ENTRIES = 1000
"""Most entries of a tensor that are compared with differences; the other two ways compare all."""
INPUT = "input"


@dataclass(frozen=True, kw_only=True)
class CheckedGradient:
    """What was found of one gradient.

    Attributes:
        tensor: what the gradient is by.
        size: its entries.
        differences: the comparison with differences.
        autograd: relative error against PyTorch; None without a peer.
        bounds: what passes.
        layer: class or function, or name in the net.
        form: what is special about it.
    """

    tensor: str
    size: int
    differences: Differences
    autograd: float | None
    bounds: Bounds
    layer: str = ""
    form: str = ""

    @property
    def ok(self) -> bool:
        """Whether all three are within their bounds, and enough entries could be compared."""
        return self._within and not self.differences.undecided

    @property
    def unproved(self) -> bool:
        """Whether all that was compared is right, but too little could be compared."""
        return self._within and self.differences.undecided

    @property
    def _within(self) -> bool:
        found, bounds = self.differences, self.bounds
        within = found.central <= bounds.central and found.directions <= bounds.directions
        return within and (self.autograd is None or self.autograd <= bounds.autograd)

    @property
    def errors(self) -> list[float]:
        """The relative errors of all ways."""
        found = [self.differences.central, self.differences.directions]
        return found if self.autograd is None else [*found, self.autograd]


def known_classes() -> dict[str, type[Any]]:
    """Return the classes of our layers by name."""
    rng = np.random.default_rng(0)
    return {case.layer: type(case.build(rng)) for case in layer_cases()}


def known_names() -> list[str]:
    """Return the names of all layers and losses of ours."""
    return list(dict.fromkeys([*(case.layer for case in layer_cases()), *(case.loss for case in loss_cases())]))


def check_known(names: Iterable[str] | None = None, *, seed: int) -> Iterator[CheckedGradient]:
    """Check all forms of layers and losses of ours, or of those that are named."""
    wanted = set(known_names() if names is None else names)
    for case in layer_cases():
        if case.layer in wanted:
            yield from check_case(case, seed=seed)
    for loss in loss_cases():
        if loss.loss in wanted:
            yield check_loss(loss, seed=seed)


def check_case(case: LayerCase, *, seed: int) -> list[CheckedGradient]:
    """Check one form of a layer."""
    rng = np.random.default_rng(seed)
    layer = case.build(rng)
    return check_layer(layer, case.layer, form=case.form, shape=case.shape, peer=case.peer(layer), rng=rng)


def check_layer(
    layer: Layer,
    name: str,
    *,
    form: str,
    shape: tuple[int, ...],
    peer: nn.Module | None,
    rng: Rng,
    scale: float = 1.0,
) -> list[CheckedGradient]:
    """Check the gradients by the input and all parameters of a layer.

    Args:
        layer: float64; its parameters are moved a little.
        name: shown.
        form: shown.
        shape: of the input, which is random.
        peer: the same in PyTorch, with parameters of the same names, which get the layer's values.
        rng: draws input, entries and directions; the layer may draw from it too.
        scale: the standard deviation of the input.

    Raises:
        UserError: the layer breaks a rule of layers, or the peer has other parameters.
    """
    probe = Probe(layer, name, shape=shape, rng=rng, scale=scale)
    grads = probe.gradients()
    autograd = {} if peer is None else _peer_errors(probe, layer, name, peer=peer, grads=grads)
    entries_rng = rng.spawn(1)[0]
    table = prove(
        grads, value=probe.value, tensors=probe.tensors, autograd=autograd, rng=entries_rng, max_entries=MAX_ENTRIES
    )
    if all(row.ok for row in table):
        probe.check_again(grads)
    return [replace(row, layer=name, form=form) for row in table]


def _peer_errors(
    probe: Probe, layer: Layer, name: str, *, peer: nn.Module, grads: Mapping[str, Array]
) -> dict[str, float]:
    """Return the relative errors of a layer's gradients against those of its PyTorch peer."""
    set_parameters(peer, layer.params, name)
    # Right before the peer runs: dropout keeps the mask of its last forward, and the peer drops the same.
    y = probe.output()
    x_peer = torch.from_numpy(probe.x.copy()).requires_grad_()
    y_peer = run_peer(peer.train(), x_peer, name)
    if y_peer.shape != y.shape:
        shapes = f"{tuple(y_peer.shape)}, not {y.shape} as the layer's"
        raise UserError(f"{name}: the output of the PyTorch peer is {shapes}; they are to compute the same")
    (y_peer * torch.from_numpy(probe.r)).sum().backward()  # type: ignore[no-untyped-call]
    off = relative_error(y, y_peer.detach().numpy(), floor=0)
    return autograd_errors(grads, {INPUT: x_peer, **dict(peer.named_parameters())}, off=off)


def check_loss(case: LossCase, *, seed: int) -> CheckedGradient:
    """Check the gradient of one form of a loss by the scores."""
    rng = np.random.default_rng(seed)
    n, k = case.shape
    scores: Array = rng.uniform(0.1, 0.9, case.shape) if case.positive else 1.5 * rng.standard_normal(case.shape)
    y = rng.permutation(np.arange(n) % max(k, 2))
    case.ours(scores[::-1].copy(), y)
    loss, dscores = case.ours(scores, y)
    grads = {"scores": dscores.copy()}
    scores_peer = torch.from_numpy(scores.copy()).requires_grad_()
    loss_peer = case.peer(scores_peer, torch.from_numpy(y))
    loss_peer.backward()  # type: ignore[no-untyped-call]
    off = abs(loss - loss_peer.item()) / max(abs(loss), 1.0)
    [row] = prove(
        grads,
        value=lambda: case.ours(scores, y)[0],
        tensors={"scores": scores},
        autograd=autograd_errors(grads, {"scores": scores_peer}, off=off),
        rng=rng.spawn(1)[0],
    )
    return replace(row, layer=case.loss, form=case.form)


def autograd_errors(grads: Mapping[str, Array], tensors: Mapping[str, Tensor], *, off: float = 0.0) -> dict[str, float]:
    """Return the relative errors of gradients against those of PyTorch's tensors of the same names.

    off is the relative error of the output. One above the bound is the least error of every gradient: PyTorch then
    computes another function, whose gradients prove nothing.
    """
    floor = FLOOR * max((largest(g) for g in grads.values()), default=0.0)
    errors = {}
    for name, g in grads.items():
        theirs = tensors[name].grad
        expected: Array = np.zeros_like(g) if theirs is None else theirs.numpy()
        error = relative_error(g, expected, floor=floor)
        errors[name] = max(error, off) if off > BOUNDS.autograd else error
    return errors


def set_parameters(peer: nn.Module, params: Mapping[str, Array], name: str) -> None:
    """Make a module's parameters double precision and equal to arrays of the same names.

    Raises:
        UserError: the names or the shapes are others.
    """
    peer.double()
    ours = {key: p.shape for key, p in params.items()}
    theirs = {key: tuple(p.shape) for key, p in peer.named_parameters()}
    if ours != theirs:
        shown = [
            ", ".join(f"{key} {shape}" for key, shape in sorted(each.items())) or "none" for each in (ours, theirs)
        ]
        raise UserError(f"{name}: the parameters of layer and PyTorch peer are not the same: {shown[0]}; {shown[1]}")
    with torch.no_grad():
        for key, p in peer.named_parameters():
            p.copy_(torch.from_numpy(params[key]))


def run_peer(peer: Callable[[Tensor], Any], x: Tensor, name: str) -> Tensor:
    """Return what the peer makes of x.

    Raises:
        UserError: it fails, or its output is no tensor with a gradient.
    """
    try:
        y = peer(x)
    except Exception as error:  # whatever the user's module raises
        message = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: the PyTorch peer fails on input {tuple(x.shape)}: {message}") from error
    if not isinstance(y, Tensor) or not y.requires_grad:
        raise UserError(f"{name}: the PyTorch peer gives {type(y).__name__} without a gradient; expected a Tensor")
    return y


def prove(
    grads: Mapping[str, Array],
    *,
    value: Value,
    tensors: Mapping[str, Array],
    autograd: Mapping[str, float],
    rng: Rng,
    bounds: Bounds = BOUNDS,
    max_entries: int | None = None,
) -> list[CheckedGradient]:
    """Compare gradients with differences and return what all three ways found, one result per tensor.

    autograd holds the errors against PyTorch; the others are those of `check_gradients`.
    """
    found = check_gradients(value, grads, tensors=tensors, rng=rng, bounds=bounds, max_entries=max_entries)
    return [
        CheckedGradient(tensor=name, size=g.size, differences=found[name], autograd=autograd.get(name), bounds=bounds)
        for name, g in grads.items()
    ]
