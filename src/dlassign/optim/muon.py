"""Muon: momentum whose singular values are all brought near 1, for convolution filters and weight matrices.

A gradient of a layer has a few large singular values and many small ones; the orthogonal matrix nearest to it moves
all directions alike. Nothing here waits for the device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of p(s) = a s + b s^3 + c s^5, chosen for the steepest rise at 0 that ends within about [0.7, 1.2]."""


def newton_schulz(batch: Tensor, *, steps: int) -> Tensor:
    """Return matrices with the singular vectors of `batch` and singular values near 1.

    X = G / |G|_F; each step X <- a X + (b A + c A A) X with A = X X^T, which maps every singular value s to
    a s + b s^3 + c s^5. Five steps bring all s above about 0.002 |G|_F into [0.7, 1.2]; three, all above 0.03 |G|_F.

    Args:
        batch: (N, rows, columns), float; rows at most columns makes A the smaller of two choices.
        steps: number of steps.

    Source: Jordan 2024, Muon: an optimizer for hidden layers in neural networks.
    """
    a, b, c = COEFFICIENTS
    # The Frobenius norm bounds the largest singular value, so that all lie where the polynomial rises.
    x: Tensor = batch / (batch.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def orthogonalize(updates: list[Tensor], *, steps: int, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return every update made orthogonal, as a matrix (len(u), elements of u[0]) laid out as `as_matrix` has it.

    Updates whose matrices have the same shape, but for a transposition, go through the iteration in one batch.

    Args:
        updates: two or more dimensions each.
        steps: Newton-Schulz steps.
        dtype: of the iteration; None is that of the updates.
    """
    # A few large products instead of many small ones, which would not fill a GPU.
    matrices = [as_matrix(update) for update in updates]
    batches: dict[tuple[int, int], list[int]] = {}
    for place, matrix in enumerate(matrices):
        rows, columns = matrix.shape
        batches.setdefault((min(rows, columns), max(rows, columns)), []).append(place)
    done = list(matrices)
    for shape, places in batches.items():
        first = matrices[places[0]]
        batch = torch.empty((len(places), *shape), dtype=dtype or first.dtype, device=first.device)
        for row, place in zip(batch, places, strict=True):
            row.copy_(_wide(matrices[place]))
        batch = newton_schulz(batch, steps=steps).to(first.dtype)
        for row, place in zip(batch, places, strict=True):
            done[place] = row.mT if _is_tall(matrices[place]) else row
    return done


def as_matrix(tensor: Tensor) -> Tensor:
    """Return (N, C, H, W) filters as (N, C H W), in the order of memory: the iteration does not see that of columns."""
    if not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        tensor = tensor.permute(0, 2, 3, 1)
    return tensor.reshape(len(tensor), -1)


def muon(
    params: list[Tensor],
    grads: list[Tensor],
    momenta: list[Tensor],
    *,
    lr: float,
    momentum: float,
    nesterov: bool,
    ns_steps: int,
    weight_decay: float,
    renormalize: bool,
    ns_dtype: torch.dtype | None = None,
) -> None:
    """v = momentum v + g; u = g + momentum v or v; p *= sqrt(N) / |p|; p *= 1 - lr weight_decay; p -= lr orth(u).

    Source: Jordan 2024, Muon; its use for a CIFAR-10 network, with the norm of filters kept, in cifar10-airbench.

    Args:
        params: the weights, two or more dimensions each, N = len(p); changed in place.
        grads: their gradients, not changed.
        momenta: v of each, changed in place.
        lr: learning rate.
        momentum: share of v that is kept.
        nesterov: look ahead along the momentum.
        ns_steps: Newton-Schulz steps.
        weight_decay: decoupled decay.
        renormalize: whether the norm of each p is set to sqrt(N) before the step.
        ns_dtype: number type of the iteration; None is that of the weights.
    """
    torch._foreach_mul_(momenta, momentum)
    torch._foreach_add_(momenta, grads)
    updates = list(torch._foreach_add(grads, momenta, alpha=momentum)) if nesterov else momenta
    if renormalize:
        sizes = torch._foreach_norm(params)
        torch._foreach_clamp_min_(sizes, 1e-12)  # filters that are all 0 stay so
        torch._foreach_div_(sizes, [math.sqrt(len(p)) for p in params])
        torch._foreach_div_(params, sizes)
    if weight_decay:  # decoupled: the direction below has no length that decay could be a part of
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    directions = orthogonalize(updates, steps=ns_steps, dtype=ns_dtype)
    for p, update, direction in zip(params, updates, directions, strict=True):
        p.add_(_shaped(direction, update), alpha=-lr)


def gpu_has_bf16(device: torch.device) -> bool:
    """Return whether a GPU multiplies in bf16 by itself; emulated it is slower than fp32."""
    with torch.cuda.device(device):  # torch answers for the current one
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bf16 where the device multiplies matrices in it by itself, else float32."""
    if device.type == "cuda":
        fast = gpu_has_bf16(device)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def _shaped(matrix: Tensor, like: Tensor) -> Tensor:
    """Return a matrix in the shape and layout of an update: the inverse of as_matrix."""
    if not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
        n, channels, height, width = like.shape
        return matrix.reshape(n, height, width, channels).permute(0, 3, 1, 2)
    return matrix.reshape(like.shape)


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if _is_tall(matrix) else matrix
