"""The JSON Schemas: current, valid, and of one mind with the classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dlassign.config.schema import run_schema, schema_text, sweep_schema_text
from dlassign.config.yamlpos import parse_yaml

ROOT = Path(__file__).parents[2]
SCHEMA = run_schema()
VALID = """\
data: {name: digits, split: {val: 0.1}, preprocess: [{name: scale, divisor: 16}, {name: pca, components: 10}]}
model: {name: mlp, hidden: [100, 50], activation: [relu, tanh]}
optimizer: {name: adam, lr: 1e-3, betas: [0.9, 0.99]}
schedule: {name: multistep, milestones: [{epochs: 30}], warmup: {steps: 10}}
loss: {name: cross_entropy, penalty: [{name: l2, coefficient: 1e-3}]}
train: {epochs: 10, early_stop: {patience: 3}}
device: cuda:1
"""


def errors(text: str) -> list[Any]:
    document = parse_yaml(text, "f").data
    return list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document))


def test_the_file_is_current() -> None:
    current = (ROOT / "configs" / "schema.json").read_text(encoding="utf-8")
    assert current == schema_text(), "write schema_text() to configs/schema.json"


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_described() -> None:
    for definition in [SCHEMA, *SCHEMA["$defs"].values()]:
        assert definition["description"]
        for key, node in definition["properties"].items():
            assert node["description"].strip(), key
            assert "\n" not in node["description"]
            assert "title" not in node


def test_good_configs_validate() -> None:
    assert errors(VALID) == []
    assert errors("extends: base.yaml\nseed: 3\n") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("adam", "adan"),
        ("betas", "beta"),
        ("lr: 1e-3", "lr: 0"),
        ("[0.9, 0.99]", "[0.9]"),
        ("[100, 50]", "100"),
        ("train:", "training:"),
        ("cuda:1", "gpu"),
        ("epochs: 10", "epochs: ten"),
        ("[{epochs: 30}]", "[]"),
    ],
)
def test_broken_configs_do_not(old: str, new: str) -> None:
    assert old in VALID
    assert errors(VALID.replace(old, new, 1))


SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


def test_the_file_for_sweeps_is_current() -> None:
    current = (ROOT / "configs" / "sweeps" / "schema.json").read_text(encoding="utf-8")
    assert current == sweep_schema_text(), "write sweep_schema_text() to configs/sweeps/schema.json"


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_fit_their_schema(path: Path) -> None:
    schema = json.loads(sweep_schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = parse_yaml(path.read_text(), str(path)).data
    assert not list(jsonschema.Draft202012Validator(schema).iter_errors(document))
    assert list(jsonschema.Draft202012Validator(schema).iter_errors({**document, "spaec": {}}))
