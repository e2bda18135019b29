"""The config of ResNets, pretrained weights and freezing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dlassign.config.run import RunConfig
from dlassign.config.transfer import PretrainedInit, ResNet

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
            *(
                (
                    {"train": {"steps": 9, key: {"steps": 5}}},
                    key,
                    "nothing is frozen; give freeze, such as `freeze: body`, or remove this",
                )
                for key in ("freeze_at", "unfreeze_at")
            ),
            (
                {"train": {"steps": 9, "freeze": "body", "freeze_at": {"steps": 5}, "unfreeze_at": {"steps": 7}}},
                "unfreeze_at",
                "freeze_at ends the training of parameters, and unfreeze_at begins it; give one of the two",
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
