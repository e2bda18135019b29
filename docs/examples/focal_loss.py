"""A loss in which easy samples count less: `loss: {name: "focal_loss.py:focal_loss", gamma: 2.0}`.

Source: Lin, Goyal, Girshick, He and Dollar, Focal Loss for Dense Object Detection, 2017.
"""

import torch
from torch import Tensor


def focal_loss(scores: Tensor, y: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Mean of -(1 - p[y])^gamma log p[y], where p = softmax(scores).

    Args:
        scores: (N, K).
        y: classes, (N,).
        gamma: 0 is the cross-entropy; the larger it is, the less an easy sample counts.
    """
    log_p = torch.log_softmax(scores, dim=1).gather(1, y[:, None]).squeeze(1)
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()
