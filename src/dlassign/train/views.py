"""Test-time augmentation: the scores of an image averaged over views of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dlassign.errors import ConfigError, Problem

ScoresOf = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Views:
    """Which views of an image are scored.

    The image itself has weight 1/2 and each of two moved ones 1/4; a view and its mirror image share its weight. The
    score of an image depends on no other image. Source: Jordan 2024, 94 % on CIFAR-10.

    Attributes:
        flip: each view mirrored too.
        shift: pixels by which views are moved to the upper left and the lower right; 0 is none.
    """

    flip: bool
    shift: int

    def __len__(self) -> int:
        return (1 + self.flip) * (3 if self.shift else 1)

    def check(self, in_shape: Sequence[int]) -> None:
        """Refuse samples that have no such views; in_shape: of a prepared sample.

        Raises:
            ConfigError: they are no images, or smaller than the shift.
        """
        path = "train.test_time_augmentation"
        if len(in_shape) != 3:
            message = f"the samples are rows of {in_shape[0]} values; only images can be augmented; remove it"
            raise ConfigError([Problem(path=path, message=message)])
        side = min(in_shape[1:])
        if self.shift >= side:
            message = f"{self.shift} mirrored pixels of an image with {side}; give at most {side - 1}"
            raise ConfigError([Problem(path=f"{path}.shift", message=message)])

    def scores(self, scores_of: ScoresOf, x: Tensor) -> Tensor:
        """Return averaged scores (B, K).

        Args:
            scores_of: (B, C, H, W) -> (B, K), the model in evaluation mode.
            x: (B, C, H, W) prepared.
        """
        total = torch.zeros((), device=x.device)
        # One view after the other: all at once would need as many times the memory.
        for view, weight in self._views(x):
            total = total + weight * scores_of(view)
        return total

    def _views(self, x: Tensor) -> Iterator[tuple[Tensor, float]]:
        moved = [(x, 0.5), *((view, 0.25) for view in _shifted(x, self.shift))] if self.shift else [(x, 1.0)]
        for view, weight in moved:
            if self.flip:
                yield view, weight / 2
                yield view.flip(-1), weight / 2
            else:
                yield view, weight


def _shifted(x: Tensor, pixels: int) -> Iterator[Tensor]:
    """Yield the image seen from `pixels` up and left, and from as many down and right; borders are mirrored."""
    height, width = x.shape[2:]
    padded = F.pad(x, (pixels,) * 4, "reflect")
    yield padded[:, :, :height, :width]
    yield padded[:, :, 2 * pixels :, 2 * pixels :]
