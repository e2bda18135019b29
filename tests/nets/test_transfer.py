"""ResNets, and freezing: counts, shapes, sizes, and that what is frozen stands still, bit for bit."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision import models

from dlassign.config.run import RunConfig
from dlassign.config.transfer import PretrainedInit, ResNet
from dlassign.nets.normalization import NORMS_2D
from dlassign.nets.transfer import Resize, check_size, freeze, head_of, resnet, set_training, unfreeze


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def small() -> nn.Sequential:
    """Convolution, norm, convolution, norm from zero, norm without parameters, head: every kind that freezing sees."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), NORMS_2D["batch_from_zero"](4)),
        *(nn.BatchNorm2d(4, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )


def train_step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    model(torch.randn(8, 3, 7, 7)).square().sum().backward()
    optimizer.step()


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


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


class TestFreezing:
    def test_body(self) -> None:
        torch.manual_seed(0)
        model, frozen_by_design = small(), "8.bias"
        model[8].bias.requires_grad_(False)
        frozen = freeze(model, "body", head=head_of(model))
        assert frozen.names == ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight", "4.bias")
        assert frozen.statistics == ("1", "4", "5")
        before = snapshot(model)
        train_step(model)
        assert changed(model, before) == {"8.weight"}
        unfreeze(model, frozen)
        train_step(model)
        assert changed(model, before) == set(before) - {frozen_by_design}

    def test_statistics_stand_still_after_an_evaluation(self) -> None:
        torch.manual_seed(0)
        model = small()
        frozen = freeze(model, "body", head="8")
        before = snapshot(model)
        model.eval()
        set_training(model, frozen)
        assert [name for name, module in model.named_children() if not module.training] == ["1", "4", "5"]
        train_step(model)
        assert changed(model, before) == {"8.weight", "8.bias"}

    def test_frozen_normalisation_uses_the_running_statistics(self) -> None:
        model = small()
        freeze(model, ["1"], head="8")
        with torch.no_grad():
            model[1].running_mean.fill_(7.0)
        x = torch.zeros(2, 4, 3, 3)
        assert torch.allclose(model[1](x), torch.full_like(x, -7.0))

    def test_set_training_without_anything_frozen(self) -> None:
        model = small().eval()
        set_training(model, None)
        assert all(module.training for module in model.modules())

    def test_half_frozen_normalisation_goes_on(self) -> None:
        model = small()
        frozen = freeze(model, ["1.weight"], head="8")
        assert frozen.names == ("1.weight",)
        assert frozen.statistics == ()
        assert model[1].training

    def test_patterns(self) -> None:
        with torch.device("meta"):
            model = resnet("resnet18", (3, 32, 32), n_outputs=10)
        frozen = freeze(model, ("conv1", "layer1", "layer2.*.bn1*"), head="fc")
        assert frozen.names == tuple(
            name
            for name, _ in model.named_parameters()
            if name.startswith(("conv1.", "layer1.", "layer2.0.bn1.", "layer2.1.bn1."))
        )
        assert len(frozen.names) == 1 + 4 * 3 + 2 * 2
        layer1 = [f"layer1.{block}.bn{k}" for block in (0, 1) for k in (1, 2)]
        assert frozen.statistics == (*layer1, "layer2.0.bn1", "layer2.1.bn1")

    @pytest.mark.parametrize("what", [("conv1", "layr1"), "layr1"])
    def test_a_pattern_that_matches_nothing(self, what: Any) -> None:
        with torch.device("meta"):
            model = resnet("resnet18", (3, 32, 32), n_outputs=10)
        known = "conv1, bn1, layer1, layer2, layer3, layer4, fc"
        with pytest.raises(ValueError, match=f"^freeze: 'layr1' matches no parameter; the model has {known}$"):
            freeze(model, what, head="fc")
        assert all(p.requires_grad for p in model.parameters())

    def test_only_some_names_are_listed(self) -> None:
        model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)))
        with pytest.raises(ValueError, match=r"the model has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, \.\.\.$"):
            freeze(model, ["x"], head="19")

    def test_nothing_left_to_train(self) -> None:
        with pytest.raises(ValueError, match=r"^freeze: nothing is left to train; leave the head 8 out$"):
            freeze(small(), ["*"], head="8")

    def test_nothing_but_a_head(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        with pytest.raises(ValueError, match=r"^freeze: what it names is not trained anyway"):
            freeze(model, "body", head=head_of(model))

    def test_no_parameters_no_head(self) -> None:
        with pytest.raises(ValueError, match="has no head"):
            head_of(nn.ReLU())

    @pytest.mark.parametrize("name", ["resnet18", "resnet50"])
    def test_head_of_a_resnet(self, name: str) -> None:
        with torch.device("meta"):
            assert head_of(resnet(name, (3, 32, 32), n_outputs=10, dropout=0.1)) == "fc"


BASE: dict[str, Any] = {
    "name": "a",
    "data": {"name": "digits"},
    "model": {"name": "resnet18"},
    "init": {"name": "pretrained", "weights": "w.pt"},
    "optimizer": {"name": "adam"},
    "train": {"steps": 2},
}


class TestConfig:
    def test_example(self) -> None:
        cfg = RunConfig.model_validate(
            {
                **BASE,
                "model": {"name": "resnet34", "resize": 224},
                "init": {"name": "pretrained", "weights": "out/a/latest"},
                "train": {"steps": 2, "freeze": ["layer1"], "unfreeze_at": {"steps": 1}},
            }
        )
        assert cfg.init == PretrainedInit(name="pretrained", weights="out/a/latest", download=False)
        assert isinstance(cfg.model, ResNet)
        assert (cfg.model.resize, cfg.model.stem) == (224, "imagenet")
        assert cfg.train.freeze == ("layer1",)

    @pytest.mark.parametrize(
        ("sections", "key", "message"),
        [
            (
                {"init": {"name": "pretrained", "weights": "w.pt", "download": True}},
                "download",
                "only `weights: imagenet` can be downloaded, not 'w.pt'; remove download",
            ),
            (
                {"train": {"steps": 9, "unfreeze_at": {"steps": 5}}},
                "unfreeze_at",
                "nothing is frozen; give freeze, such as `freeze: body`, or remove this",
            ),
            (
                {
                    "init": {"name": "pretrained", "weights": "imagenet"},
                    "model": {"name": "resnet18", "stem": "cifar"},
                },
                "model.stem",
                "ImageNet weights do not fit it; use `stem: imagenet`, and `resize: 224` for small images",
            ),
            (
                {"init": {"name": "pretrained", "weights": "imagenet"}, "model": {"name": "vgg"}},
                "init.weights",
                "there are no ImageNet weights for vgg; use resnet18, resnet34 or resnet50, or give a file",
            ),
            (
                {"backend": "numpy", "model": {"name": "mlp"}},
                "init.name",
                "pretrained weights are written in PyTorch only; use `backend: torch`",
            ),
        ],
    )
    def test_rules(self, sections: dict[str, Any], key: str, message: str) -> None:
        with pytest.raises(ValidationError) as caught:
            RunConfig.model_validate({**BASE, **sections})
        (error,) = caught.value.errors()
        assert error["msg"] == message
        assert error["ctx"]["key"] == key

    @pytest.mark.parametrize(
        "sections",
        [
            *({"model": {"name": "resnet18", **wrong}} for wrong in ({"resize": 0}, {"dropout": 1.0}, {"stem": "s"})),
            {"init": {"name": "pretrained", "weights": ""}},
            {"init": {"name": "pretrained"}},
            *({"train": {"steps": 2, "freeze": wrong}} for wrong in ("all", [""], 3)),
        ],
    )
    def test_wrong_values(self, sections: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            RunConfig.model_validate({**BASE, **sections})
