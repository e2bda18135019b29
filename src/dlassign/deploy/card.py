"""The model card: what the model is, how it was measured, and how it is used, as the Hugging Face Hub reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dlassign.deploy.parity import Parity
from dlassign.deploy.trained import Trained
from dlassign.errors import first_few

_SHOWN_LABELS = 20


def model_card(trained: Trained, parity: Parity) -> str:
    """Return the card: front matter for the Hub, then what a reader wants to know."""
    return "\n".join([*_front_matter(trained, parity), "", *_text(trained, parity)]) + "\n"


def _front_matter(trained: Trained, parity: Parity) -> Iterator[str]:
    # JSON is YAML: a label or name with a colon or a quote cannot break it.
    facts, task = trained.facts, "image-classification" if len(trained.intake.shape) == 3 else "tabular-classification"
    yield "---"
    yield "library_name: dlassign"
    yield f"pipeline_tag: {task}"
    yield f"tags: {json.dumps([task, 'dlassign', 'pytorch', *(['onnx'] if 'model.onnx' in parity.files else [])])}"
    yield "metrics: [accuracy]"
    if results := facts["results"]:
        entries = [
            {
                "task": {"type": task},
                "dataset": {"name": facts["data"], "type": facts["data"], "split": split},
                "metrics": [{"type": "accuracy", "value": found["accuracy"]}, {"type": "loss", "value": found["loss"]}],
            }
            for split, found in results.items()
        ]
        yield f"model-index: {json.dumps([{'name': facts['name'], 'results': entries}])}"
    yield "---"


def _text(trained: Trained, parity: Parity) -> Iterator[str]:
    facts, shape, model = trained.facts, "x".join(map(str, trained.intake.shape)), trained.architecture.name
    yield f"# {facts['name']}"
    yield ""
    yield (
        f"{_article(model)} {model} that tells {len(trained.labels)} classes apart, trained with dlassign on "
        f"{facts['data']} (run {facts['folder']}, seed {facts['seed']}, {facts['weights']} weights of step "
        f"{facts['step']:,})."
    )
    yield ""
    yield from _results(facts)
    yield "## Input and output"
    yield ""
    kind = "pixels from 0 to 255, uint8, channels first" if len(trained.intake.shape) == 3 else "numbers, float64"
    yield f"* Input: samples of shape {shape}, {kind}, any number at once. All preprocessing is inside the model."
    if trained.intake.table is not None:
        names = trained.intake.table.features()
        shown = first_few(names, _SHOWN_LABELS)
        yield f"* The numbers of a sample, made of the columns of a table as preprocessor_config.json says: {shown}"
    yield f"* Output: a score for each class; softmax makes probabilities of them. Trained with {facts['loss']}."
    shown = ", ".join(trained.labels[:_SHOWN_LABELS])
    yield f"* Classes: {shown}{', ... (labels.txt)' * (len(trained.labels) > _SHOWN_LABELS)}"
    yield ""
    yield "## Use"
    yield ""
    yield "```python"
    yield "import dlassign"
    yield ""
    yield 'model = dlassign.load_model("FOLDER")'
    yield f"model.predict({_EXAMPLES[len(trained.intake.shape)]})"
    yield "```"
    yield ""
    yield from _parity(parity)


def _article(name: str) -> str:
    # A name that is spelt out, as MLP is, begins with the sound of its first letter.
    return "An" if name.startswith(("a", "e", "i", "o", "mlp")) else "A"


_EXAMPLES = {1: "rows", 3: '["a.jpg", "b.png"]'}
"""What is predicted, by the axes of a sample."""


def _results(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts["results"]:
        return
    yield "| split | samples | accuracy | loss |"
    yield "|---|---|---|---|"
    for split, found in facts["results"].items():
        yield f"| {split} | {found['n']:,} | {found['accuracy']:.4f} | {found['loss']:.4f} |"
    yield ""


def _parity(parity: Parity) -> Iterator[str]:
    yield "## What was compared"
    yield ""
    yield "Weights are float32. Before this folder was written, the scores of each file were compared with those of"
    yield f"{parity.reference}:"
    yield ""
    yield "| file | samples | largest difference of a score |"
    yield "|---|---|---|"
    for name, found in parity.files.items():
        yield f"| {name} | {found.samples} | {found.largest:.2g} |"
    yield ""
    yield f"Real samples: {parity.real}. parity.json has the rest."
