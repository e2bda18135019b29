"""Freezing: what stays as it is in training, and what goes on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlassign.nets.freezing import Frozen, choose, freeze, head_of, set_training, unfreeze
from dlassign.nets.normalization import NORMS_2D
from dlassign.nets.resnet import resnet


def small() -> nn.Sequential:
    """Convolution, norm, convolution, norm from zero, norm without parameters, head: every kind that freezing sees."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), NORMS_2D["batch_from_zero"](4)),
        *(nn.BatchNorm2d(4, affine=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )


def frozen_at_once(model: nn.Module, what: Any, *, head: str) -> Frozen:
    frozen = choose(model, what, head=head)
    freeze(model, frozen)
    return frozen


def train_step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)
    model(torch.randn(8, 3, 7, 7)).square().sum().backward()
    optimizer.step()


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class TestFreezing:
    def test_body(self) -> None:
        torch.manual_seed(0)
        model, frozen_by_design = small(), "8.bias"
        model[8].bias.requires_grad_(False)
        frozen = frozen_at_once(model, "body", head=head_of(model))
        assert frozen.names == ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias", "4.weight", "4.bias")
        assert frozen.statistics == ("1", "4", "5")
        before = snapshot(model)
        train_step(model)
        assert changed(model, before) == {"8.weight"}
        unfreeze(model, frozen)
        train_step(model)
        assert changed(model, before) == set(before) - {frozen_by_design}

    def test_choosing_changes_nothing_and_knows_what_will_stand_still(self) -> None:
        model = small()
        frozen = choose(model, ["0", "1"], head="8")
        assert all(p.requires_grad for p in model.parameters())
        assert all(module.training for module in model.modules())
        assert frozen.statistics == ("1",)
        still = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked")
        assert tuple(name for name in model.state_dict() if frozen.holds(name)) == still

    def test_statistics_stand_still_after_an_evaluation(self) -> None:
        torch.manual_seed(0)
        model = small()
        frozen = frozen_at_once(model, "body", head="8")
        before = snapshot(model)
        model.eval()
        set_training(model, frozen)
        assert [name for name, module in model.named_children() if not module.training] == ["1", "4", "5"]
        train_step(model)
        assert changed(model, before) == {"8.weight", "8.bias"}

    def test_frozen_normalisation_uses_the_running_statistics(self) -> None:
        model = small()
        frozen_at_once(model, ["1"], head="8")
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
        frozen = frozen_at_once(model, ["1.weight"], head="8")
        assert frozen.names == ("1.weight",)
        assert frozen.statistics == ()
        assert model[1].training

    def test_patterns(self) -> None:
        with torch.device("meta"):
            model = resnet("resnet18", (3, 32, 32), n_outputs=10)
        frozen = frozen_at_once(model, ("conv1", "layer1", "layer2.*.bn1*"), head="fc")
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
            frozen_at_once(model, what, head="fc")
        assert all(p.requires_grad for p in model.parameters())

    def test_only_some_names_are_listed(self) -> None:
        model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(20)))
        with pytest.raises(ValueError, match=r"the model has 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, \.\.\.$"):
            frozen_at_once(model, ["x"], head="19")

    def test_nothing_left_to_train(self) -> None:
        with pytest.raises(ValueError, match=r"^freeze: nothing is left to train; leave the head 8 out$"):
            frozen_at_once(small(), ["*"], head="8")

    def test_nothing_but_a_head(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        with pytest.raises(ValueError, match=r"^freeze: what it names is not trained anyway"):
            frozen_at_once(model, "body", head=head_of(model))

    def test_no_parameters_no_head(self) -> None:
        with pytest.raises(ValueError, match="has no head"):
            head_of(nn.ReLU())

    @pytest.mark.parametrize("name", ["resnet18", "resnet50"])
    def test_head_of_a_resnet(self, name: str) -> None:
        with torch.device("meta"):
            assert head_of(resnet(name, (3, 32, 32), n_outputs=10, dropout=0.1)) == "fc"
