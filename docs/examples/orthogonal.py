"""A penalty: `loss: {name: cross_entropy, penalty: [{name: "orthogonal.py:orthogonal", coefficient: 0.01}]}`."""

from collections.abc import Mapping

import torch
from torch import Tensor


def orthogonal(params: Mapping[str, Tensor], *, skip: str = "head") -> Tensor:
    """Sum over the weights W of linear and convolution layers of ||W W^T - I||^2.

    W is turned so that it has no more rows than columns.

    Args:
        params: all parameters of the model by name.
        skip: layers whose names begin so are left out.
    """
    terms = []
    for name, p in params.items():
        if p.ndim >= 2 and not name.startswith(skip):
            rows = p.flatten(1)
            rows = rows if rows.shape[0] <= rows.shape[1] else rows.T
            terms.append((rows @ rows.T - torch.eye(len(rows), dtype=p.dtype, device=p.device)).square().sum())
    return torch.stack(terms).sum() if terms else next(iter(params.values())).new_zeros(())
