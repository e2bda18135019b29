"""An augmentation of whole batches: `data: {augment: [{name: "speckle.py:speckle", share: 0.05}]}`."""

import torch
from torch import Tensor


def speckle(images: Tensor, generator: torch.Generator, *, share: float = 0.05) -> Tensor:
    """Set a random share of the pixels to 0.

    Args:
        images: (B, C, H, W) uint8, 0..255, a copy that may be written to; float32 after brightness or contrast.
        generator: seeded for this step; all that is drawn comes from it, so that a run can go on exactly.
        share: of the pixels.
    """
    batch, _, height, width = images.shape
    drawn = torch.rand(batch, 1, height, width, generator=generator, device=images.device)
    return images * (drawn >= share)
