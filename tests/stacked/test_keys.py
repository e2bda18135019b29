"""Which runs may share a stack, and which models compute as one there."""

from __future__ import annotations

from pathlib import Path

import pytest

import dlassign.stacked.keys as keys
from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.stacked.keys import model_key, stack_key

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
OWN = ("optimizer.lr=0.5", "init={name: he}", "schedule={name: cosine}", "train.metric=loss")
"""What differs between models that compute as one."""
SHAPES = ("model.hidden=[20]", "model.activation=tanh", "model.dropout=0", "model.norm=layer", "model.bias=false")
LENGTHS = ("train.batch_size=7", "train.epochs=2", "train.eval_every={steps: 9}", "train.log_every={steps: 9}")
APART = ("data.preprocess=[]", "train.precision=fp64", "train.order=window", "loss={name: multiclass_hinge}")


def config(change: str = "seed=0", *, device: str = "cpu") -> RunConfig:
    return load_config(QUICKSTART, [change, f"device={device}"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("model={name: resnet18}", "model resnet18"),
        ("model={name: vgg}", "convolutions of many models at once are slow on a CPU"),
        ("train.accumulate=2", "train.accumulate"),
        ("model.norm=batch_from_zero", "norm batch_from_zero"),
    ],
)
def test_what_cannot_be_stacked_says_why(change: str, why: str) -> None:
    key, reason = stack_key(config(change))
    assert key is None
    assert why in reason


def test_mlps_on_a_cpu_share_a_stack_whatever_their_shape_batch_size_and_length() -> None:
    base = stack_key(config())[0]
    for change in (*OWN, *SHAPES, *LENGTHS):
        assert stack_key(config(change))[0] == base, change
    for change in APART:
        assert stack_key(config(change))[0] not in (base, None), change


def test_on_a_gpu_models_of_a_stack_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(keys, "resolve_device", torch.device)
    plain = [stack_key(config(change, device="cuda")) for change in ("model.dropout=0", "model={name: vgg}")]
    assert [reason for key, reason in plain] == ["", ""] or "dropout" in plain[1][1]

    def key(change: str) -> str | None:
        cfg = config(change, device="cuda")
        model = cfg.model.model_copy(update={"dropout": 0.0})
        return stack_key(cfg.model_copy(update={"model": model}))[0]

    base = key("seed=0")
    assert [change for change in OWN if key(change) != base] == []
    assert [change for change in (*SHAPES, *LENGTHS, *APART) if key(change) == base] == ["model.dropout=0"]


def test_models_compute_as_one_if_only_values_and_rates_of_dropout_differ() -> None:
    base = model_key(config())
    for change in (*OWN, *LENGTHS, *APART, "model.dropout=0.1"):
        assert model_key(config(change)) == base, change
    for change in SHAPES:
        assert model_key(config(change)) != base, change
