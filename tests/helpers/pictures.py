"""Batches of random pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pictures(shape: tuple[int, ...], dtype: torch.dtype = torch.uint8, seed: int = 0) -> Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, shape)
    x = torch.from_numpy(pixels.astype(np.uint8)).to(dtype)
    return x if dtype == torch.uint8 else x * 0.73
