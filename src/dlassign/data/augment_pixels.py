"""What augmentations do to batches of images, given the numbers that were drawn; on the device that holds them.

torch is imported at module level: only parts that train with torch import this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dlassign.data.augment_geometry import resized_shape


def flip(x: Tensor, which: Tensor) -> Tensor:
    """Return the images, those with `which` mirrored left to right. x: (B, C, H, W); which: (B,) bool."""
    n = len(x)
    both = torch.stack([x, x.flip(-1)]).view(2 * n, -1)  # copying rows is three times as fast as torch.where on bytes
    return both.index_select(0, torch.arange(n, device=x.device) + n * which).view(x.shape)


def pad(x: Tensor, pixels: int, *, how: str) -> Tensor:
    """Return the images, (B, C, H, W), with a border of so many pixels on all sides.

    how: "zeros", "edge" (the outermost pixels repeated) or "reflect" (mirrored at the outermost pixels: less of them
    than H and W).
    """
    n, channels, height, width = x.shape
    out = x.new_empty(n, channels, height + 2 * pixels, width + 2 * pixels)
    out[:, :, pixels : pixels + height, pixels : pixels + width] = x
    for dim, last in ((2, pixels + height - 1), (3, pixels + width - 1)):
        for k in range(1, pixels + 1):
            for border, edge, inwards in ((pixels - k, pixels, k), (last + k, last, -k)):
                if how == "zeros":
                    out.select(dim, border).zero_()
                else:
                    out.select(dim, border).copy_(out.select(dim, edge + inwards if how == "reflect" else edge))
    return out


def crop(x: Tensor, *, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a window of this height and width of each image, (B, C, H, W). top, left: (B,) int64, its first pixel."""
    n, channels = x.shape[:2]
    starts = _row_starts(x, top=top, left=left, rows=size[0])
    return _runs(x.contiguous(), size[1]).index_select(0, starts).view(n, channels, *size)


def cutout(x: Tensor, *, top: Tensor, left: Tensor, size: int, fill: Tensor) -> Tensor:
    """Return the images, (B, C, H, W), with one square of each painted over.

    top, left: (B,) int64, the first pixel of each square, which lies inside the image. fill: (C,), the value of each
    channel. Source: DeVries and Taylor 2017, Cutout.
    """
    n, channels = x.shape[:2]
    out = x.clone(memory_format=torch.contiguous_format)
    paint = fill.to(x.dtype).view(1, channels, 1, 1).expand(n, channels, size, size).reshape(-1, size)
    _runs(out, size).index_copy_(0, _row_starts(x, top=top, left=left, rows=size), paint)
    return out


def _runs(x: Tensor, length: int) -> Tensor:
    """Return a view of all runs of neighbouring values in memory: row i begins at value i.

    Copying whole runs is what makes a window of each image cheap; an index for each pixel costs six times as much.
    """
    return x.as_strided((x.numel() - length + 1, length), (1, 1))


def _row_starts(x: Tensor, *, top: Tensor, left: Tensor, rows: int) -> Tensor:
    """Return where in memory each row of each window begins: (B * C * rows,) int64."""
    n, channels, height, width = x.shape
    planes = torch.arange(n * channels, device=x.device).view(n, channels, 1) * height
    lines = planes + top.view(n, 1, 1) + torch.arange(rows, device=x.device)
    return (lines * width + left.view(n, 1, 1)).view(-1)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Return x * factor in 0..255, float32. x: (B, C, H, W), 0..255; factor: (B,)."""
    return (x * factor.view(-1, 1, 1, 1)).clamp_(0, 255)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Return mean + (x - mean) * factor in 0..255, float32, with the mean of each image. Shapes as in `brightness`."""
    # Sums of whole numbers do not depend on their order, so neither on the number of threads.
    scale = 1 if x.dtype == torch.uint8 else 2**16
    integers = x if scale == 1 else (x * scale).to(torch.int32)
    sums = integers.flatten(1).sum(1, dtype=torch.int64)
    mean = (sums.double() / (scale * x[0].numel())).float().view(-1, 1, 1, 1)
    return x.float().sub_(mean).mul_(factor.view(-1, 1, 1, 1)).add_(mean).clamp_(0, 255)


def rand_augment(x: Tensor, *, n_ops: int, magnitude: int, seed: int) -> Tensor:
    """Return torchvision's RandAugment of each image, each with its own draws; uint8.

    torchvision draws from the global generator of the CPU, which is put back afterwards. x: (B, C, H, W), 0..255; float
    values are rounded first. n_ops: operations in a row; magnitude: 0..30. Source: Cubuk et al. 2020, RandAugment.
    """
    from torchvision.transforms import v2

    change = v2.RandAugment(num_ops=n_ops, magnitude=magnitude)
    images = x if x.dtype == torch.uint8 else x.round().to(torch.uint8)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return torch.stack([change(image) for image in images])


def resize(x: Tensor, side: int) -> Tensor:
    """Return the images, (B, C, H, W), made smaller, float32: the shorter side becomes `side`.

    Each pixel is a weighted mean of the pixels around it, so that patterns vanish that are too fine for those that are
    left.
    """
    size = resized_shape(tuple(x.shape[1:]), side)[1:]
    return F.interpolate(x.float(), size, mode="bilinear", antialias=True)


def mixup(x: Tensor, partner: Tensor, *, share: float) -> Tensor:
    """Return share * x + (1 - share) * x[partner]; x: (B, ...) floating point, partner: (B,) int64, share: 0..1.

    Source: Zhang et al. 2018, mixup.
    """
    return torch.lerp(_take(x, partner), x, share)


def cutmix(x: Tensor, partner: Tensor, *, box: tuple[int, int, int, int]) -> Tensor:
    """Return x, (B, C, H, W), with one rectangle of x[partner] pasted into it, the same in all images.

    partner: (B,) int64; box: top, bottom, left, right, the ends excluded. Source: Yun et al. 2019, CutMix.
    """
    top, bottom, left, right = box
    out = x.clone()
    out[:, :, top:bottom, left:right] = x[:, :, top:bottom, left:right].index_select(0, partner)
    return out


def _take(x: Tensor, rows: Tensor) -> Tensor:
    """Return x[rows] in the memory format of x."""
    if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
    return x.index_select(0, rows)
