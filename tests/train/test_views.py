"""Test-time augmentation against a loop over images and views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlassign.config.model import CrossEntropy
from dlassign.config.optim import SGD
from dlassign.data.torch_batches import TensorSplit
from dlassign.errors import ConfigError
from dlassign.nets.objective import make_loss
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train.learner import EvalOptions
from dlassign.train.torch_learner import TorchLearner
from dlassign.train.views import Views

ALL = [Views(flip=flip, shift=shift) for flip in (False, True) for shift in (0, 1, 2)]
ids = [f"{len(views)}-{views.shift}" for views in ALL]


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 3 * 4, 3)]
    net = nn.Sequential(*layers).double()
    net(images())  # running statistics other than those it is made with
    return net


def images(n: int = 9) -> Tensor:
    return torch.randn(n, 2, 5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def moved(image: np.ndarray, pixels: int) -> np.ndarray:
    """Return what lies `pixels` further down and right in each channel; outside, the image is mirrored."""
    channels, height, width = image.shape

    def inside(place: int, length: int) -> int:
        place = abs(place)
        return place if place < length else 2 * (length - 1) - place

    out = np.empty_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                out[c, i, j] = image[c, inside(i + pixels, height), inside(j + pixels, width)]
    return out


def by_hand(net: nn.Module, image: np.ndarray, views: Views) -> Tensor:
    """Return the scores (3,) of one image."""
    weighted = [(image, 1.0)]
    if views.shift:
        weighted = [(image, 0.5), (moved(image, -views.shift), 0.25), (moved(image, views.shift), 0.25)]
    if views.flip:
        weighted = [(side, weight / 2) for view, weight in weighted for side in (view, view[:, :, ::-1])]
    assert len(weighted) == len(views)
    assert sum(weight for _, weight in weighted) == 1.0
    scores = [weight * net(torch.from_numpy(view.copy())[None])[0] for view, weight in weighted]
    return torch.stack(scores).sum(0)


@pytest.mark.parametrize("views", ALL, ids=ids)
def test_scores_are_those_of_a_loop(views: Views) -> None:
    net, x = model().eval(), images()
    found = views.scores(net, x)
    for image, scores in zip(x.numpy(), found, strict=True):
        torch.testing.assert_close(scores, by_hand(net, image, views), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("views", ALL, ids=ids)
def test_weights_sum_to_one(views: Views) -> None:
    x = images()
    seen: list[Tensor] = []

    def constant(view: Tensor) -> Tensor:
        seen.append(view)
        return torch.full((len(view), 3), 7.0, dtype=torch.float64)

    assert torch.equal(views.scores(constant, x), torch.full((len(x), 3), 7.0, dtype=torch.float64))
    assert len(seen) == len(views)
    assert all(view.shape == x.shape for view in seen)


@pytest.mark.parametrize("views", ALL, ids=ids)
def test_an_image_is_scored_as_if_it_were_alone(views: Views) -> None:
    net, x = model().eval(), images()
    together = views.scores(net, x)
    for k in range(len(x)):
        torch.testing.assert_close(views.scores(net, x[k : k + 1])[0], together[k], rtol=1e-12, atol=1e-12)
    shuffled = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(views.scores(net, x[shuffled]), together[shuffled], rtol=1e-12, atol=1e-12)


def test_evaluation_uses_the_views_in_every_batch() -> None:
    net, views = model(), Views(flip=True, shift=1)
    x = images()
    y = torch.arange(9) % 3
    optimizer = make_optimizer(SGD(name="sgd", lr=0.1), net)
    loss = make_loss(CrossEntropy(name="cross_entropy"))
    ours = TorchLearner(net, optimizer, loss=loss, evaluation=EvalOptions(n_classes=3, batch_size=4))
    found, plain = ours.evaluate(TensorSplit(x, y), views=views), ours.evaluate(TensorSplit(x, y))
    net.eval()
    with torch.no_grad():
        scores = torch.stack([by_hand(net, image, views) for image in x.numpy()])
    assert found.loss == pytest.approx(F.cross_entropy(scores, y).item(), rel=1e-12)
    assert found.accuracy == (scores.argmax(1) == y).double().mean().item()
    assert plain.loss != pytest.approx(found.loss, rel=1e-3)


def test_samples_without_such_views_are_refused() -> None:
    Views(flip=True, shift=4).check((2, 5, 6))
    with pytest.raises(ConfigError) as caught:
        Views(flip=True, shift=5).check((2, 5, 6))
    [problem] = caught.value.problems
    assert problem.path == "train.test_time_augmentation.shift"
    assert problem.message == "5 mirrored pixels of an image with 5; give at most 4"
    with pytest.raises(ConfigError) as caught:
        Views(flip=True, shift=0).check((64,))
    [problem] = caught.value.problems
    assert problem.path == "train.test_time_augmentation"
    assert problem.message == "the samples are rows of 64 values; only images can be augmented; remove it"
