"""ResNets against torchvision's, and resizing."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from dlassign.nets.resnet import Resize, check_size, resnet


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


class TestResNet:
    @pytest.mark.parametrize(
        ("name", "parameters"),
        [("resnet18", 11_181_642), ("resnet34", 21_289_802), ("resnet50", 23_528_522)],
    )
    def test_parameters_are_those_of_the_report_and_of_torchvision(self, name: str, parameters: int) -> None:
        with torch.device("meta"):
            model, peer = resnet(name, (3, 32, 32), n_outputs=10), getattr(models, name)(num_classes=10)
        assert count(model) == parameters
        assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in peer.state_dict().items()}

    def test_computes_what_torchvision_computes(self) -> None:
        """With the same weights; 33x47 pixels, so that rounding of odd sizes counts."""
        peer = models.resnet18(num_classes=7)
        model = resnet("resnet18", (3, 33, 47), n_outputs=7)
        model.load_state_dict(peer.state_dict())
        x = torch.randn(3, 3, 33, 47)
        assert torch.equal(model(x), peer(x))
        assert torch.equal(model.eval()(x), peer.eval()(x))

    def test_random_weights_are_drawn_as_torchvision_draws_them(self) -> None:
        torch.manual_seed(3)
        ours = resnet("resnet18", (3, 32, 32), n_outputs=10).state_dict()
        torch.manual_seed(3)
        theirs = models.resnet18(num_classes=10).state_dict()
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())

    def test_stem_for_small_images_keeps_their_size(self) -> None:
        model = resnet("resnet18", (3, 32, 32), n_outputs=10, stem="cifar")
        assert count(model) == 11_181_642 - 64 * 3 * (7 * 7 - 3 * 3)
        x = torch.randn(2, 3, 32, 32)
        sizes = {name: x.shape[2] for name, part in model.named_children() if (x := part(x)).dim() == 4}
        full = dict.fromkeys(("conv1", "bn1", "relu", "layer1"), 32)
        assert sizes == full | {"layer2": 16, "layer3": 8, "layer4": 4, "avgpool": 1}
        deviation = model.conv1.weight.std().item()
        assert deviation == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)

    def test_gray_images_get_a_first_convolution_of_one_channel(self) -> None:
        model = resnet("resnet18", (1, 28, 28), n_outputs=10)
        assert model.conv1.weight.shape == (64, 1, 7, 7)
        assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)

    def test_dropout_stands_before_the_head_and_changes_no_name(self) -> None:
        with torch.device("meta"):
            plain = resnet("resnet18", (3, 32, 32), n_outputs=10)
            model = resnet("resnet18", (3, 32, 32), n_outputs=10, dropout=0.25)
        assert list(model.state_dict()) == list(plain.state_dict())
        assert [name for name, _ in model.named_children()][-4:] == ["avgpool", "flatten", "dropout", "fc"]
        assert model.dropout.p == 0.25

    @pytest.mark.parametrize(
        ("in_shape", "options", "message"),
        [
            ((20,), {}, "in_shape is (20,); a ResNet needs images, (C, H, W)"),
            (
                (1, 8, 8),
                {},
                "stem imagenet does not fit images of 8x8: the imagenet stem and the layers after it halve an image "
                "5 times, which takes 17x17 pixels or more; use resize: 32 or `stem: cifar`",
            ),
            (
                (3, 32, 4),
                {"stem": "cifar"},
                "stem cifar does not fit images of 32x4: the cifar stem and the layers after it halve an image "
                "3 times, which takes 5x5 pixels or more; use resize: 32",
            ),
            (
                (3, 224, 224),
                {"resize": 16},
                "resize 16 is too small: the imagenet stem and the layers after it halve an image 5 times, which "
                "takes 17x17 pixels or more; use resize: 32 or `stem: cifar`",
            ),
        ],
    )
    def test_images_that_do_not_fit(self, in_shape: tuple[int, ...], options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            resnet("resnet18", in_shape, n_outputs=10, **options)

    @pytest.mark.parametrize(
        ("in_shape", "stem", "resize"),
        [((3, 17, 33), "imagenet", None), ((3, 5, 9), "cifar", None), ((3, 2, 2), "imagenet", 65)],
    )
    def test_last_map(self, in_shape: tuple[int, int, int], stem: str, resize: int | None) -> None:
        model = resnet("resnet18", in_shape, n_outputs=2, stem=stem, resize=resize)
        parts = list(model.named_children())
        body = nn.Sequential(*(part for name, part in parts if name not in ("avgpool", "flatten", "fc")))
        assert check_size(in_shape, stem=stem, resize=resize) == tuple(body(torch.zeros(2, *in_shape)).shape[2:])


class TestResize:
    def test_shrinking_by_a_whole_number_is_a_weighted_mean(self) -> None:
        """Halving weighs 4 pixels by 1/8, 3/8, 3/8, 1/8; 3 pixels by 3/7, 3/7, 1/7 at the border."""
        row = torch.tensor([7.0, 0, 0, 8, 0, 0, 0, 0])
        x = row.expand(1, 1, 8, 8)
        assert torch.allclose(Resize(4)(x)[0, 0, 0], torch.tensor([3.0, 3, 1, 0]))

    def test_a_constant_stays(self) -> None:
        assert torch.allclose(Resize(224)(torch.full((1, 3, 32, 48), 0.5)), torch.full((1, 3, 224, 224), 0.5))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    def test_keeps_the_type_and_the_memory_format(self, dtype: torch.dtype) -> None:
        x = torch.rand(2, 3, 8, 8, dtype=dtype).to(memory_format=torch.channels_last)
        resized = Resize(12)(x)
        assert resized.dtype == dtype
        assert resized.is_contiguous(memory_format=torch.channels_last)

    def test_happens_before_the_stem(self) -> None:
        torch.manual_seed(0)
        resized = resnet("resnet18", (3, 32, 32), n_outputs=2, resize=40).eval()
        torch.manual_seed(0)
        plain = resnet("resnet18", (3, 40, 40), n_outputs=2).eval()
        x = torch.rand(2, 3, 32, 32)
        assert torch.equal(resized(x), plain(Resize(40)(x)))
