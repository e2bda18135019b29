"""One wrong indentation is one problem; golden/config_errors/indentation.txt has the messages."""

from __future__ import annotations

from copy import deepcopy

import pytest

from dlassign.config.indentation import mend_indentation
from dlassign.config.places import Document
from dlassign.config.schema import run_schema
from dlassign.config.yamlpos import parse_yaml

SECTIONS = "data:\n  name: digits\n  model: {name: mlp}\n  optimizer: {name: sgd, lr: 0.1}\n  train: {epochs: 10}\n"


def mended(text: str) -> tuple[Document, list[str]]:
    document = parse_yaml(text, "a.yaml")
    before = deepcopy(document)
    found, problems = mend_indentation(document, run_schema())
    assert document == before
    return found, [problem.message for problem in problems]


def test_six_problems_are_one() -> None:
    document, messages = mended(SECTIONS)
    assert list(document.data) == ["data", "model", "optimizer", "train"]
    assert document.values["model", "name"].line == 3
    assert messages == [
        "wrong indentation: model, optimizer and train belong at the top level; give these lines the indentation "
        "of data"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model: {name: mlp, lr: 0.1}",
        "model:\n  name: mlp\n  sizes: 3\n",
        "optimizer: {name: sgd, lr: 0.1}\nlr: 0.2\n",
        "train: []\nepochs: 3\n",
        "- 1\n",
    ],
)
def test_other_mistakes_are_left_alone(text: str) -> None:
    document, messages = mended(text)
    assert messages == []
    assert document.data == parse_yaml(text, "a.yaml").data
