"""Which operators wait for a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

READS = {
    "_local_scalar_dense", "item", "is_nonzero", "nonzero", "nonzero_numpy", "masked_select", "equal", "bincount",
    "_unique2", "unique_consecutive", "unique_dim", "repeat_interleave", "allclose", "masked_scatter_",
}  # fmt: skip
"""Operators that wait for the device, because a value or a number of elements depends on what the tensor holds."""


def reads(name: str, args: Any) -> bool:
    """Return whether an operator waits for the device: one of READS, or an index that is a mask."""
    masks = name in ("index", "index_put", "index_put_", "_unsafe_index") and any(
        isinstance(leaf, Tensor) and leaf.dtype in (torch.bool, torch.uint8) for leaf in tree_leaves(args[1])
    )
    return name in READS or masks
