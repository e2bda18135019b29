"""Every number in the text of a lesson is measured, set in a config, reported, or derived as the list below says."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from dlassign.config.load import load_config
from dlassign.data.sources import digits
from dlassign.train.make_numpy import make_numpy_learner
from dlassign.train.task import Task

ROOT = Path(__file__).parents[1]
LESSONS = ROOT / "docs" / "lessons"
PAGES = sorted(page for page in LESSONS.glob("*.md") if page.name not in ("README.md", "measured.md"))
FLOOR = math.log(1 + 9 / math.e)
DERIVED: dict[str, dict[str, float]] = {
    "double_softmax.md": {
        # log(1 + 9/e), the letters of its derivation, and what the report's share of right answers makes of it
        "1.461": FLOOR,
        "1.46115": FLOOR,
        "2.46115": FLOOR + 1,
        "9": 10 - 1,
        "95.5": 95.53,  # of uva2018:mlp, rounded
        "1.5059": 0.9553 * FLOOR + 0.0447 * (FLOOR + 1),
        ".9553": 0.9553,
        "1.506": 1.506060,  # the last logged cross-entropy, note of uva2018:mlp
        ".008": 0.008257,  # its penalty, in the same note
    },
    "collapse.md": {"79": 0.079 * 1000, "78": 0.078 * 1000},
    "running_accuracy.md": {"49.319161335369174": 49.319161335369174, "49,000": 50_000 - 1_000},
    "best_of_many.md": {"2": 2},  # the root of 2 ln n
    "sigmoid.md": {"4": 1 / (0.5 * (1 - 0.5))},  # the slope at 0 is a quarter
    "keep_p.md": {".8": 1 - 0.2},
}
"""By lesson: what stands in the text, and what it is computed from."""
WORDS = {"1", "0", "5.4", "7.1", "7.3", "3.2", "2.2", "2018", "2020", "598", "2", "6", "7"}
"""Bounds of a probability, and names: of questions, courses, tables and models."""


def numbers(text: str) -> set[str]:
    """Return the numbers of a text, without those in commands, paths and names."""
    text = re.sub(r"^    dlassign.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*\.(?:yaml|md)`|\]\([^)]*\)|!\[[^]]*\]", "", text)
    return set(re.findall(r"(?<![\w.])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?<!,)(?![\w.]*\.\d)", text))


def values(node: object) -> set[float]:
    """Return all numbers of a YAML document, of its notes too."""
    if isinstance(node, dict):
        return set().union(*map(values, node.values()))
    if isinstance(node, list):
        return set().union(*map(values, node))
    if isinstance(node, bool) or node is None:
        return set()
    return {float(node)} if isinstance(node, int | float) or re.fullmatch(r"\d.*e-\d+", str(node)) else set()


def known(page: Path) -> set[float]:
    """Return what a page may say: measured numbers, those of the configs that it names, and reported ones."""
    found = {float(text.replace(",", "")) for text in numbers((LESSONS / "measured.md").read_text())}
    configs = [ROOT / name for name in re.findall(r"configs/[\w/.-]+\.yaml", page.read_text())]
    for file in [*configs, *(ROOT / "configs" / "tables").glob("*.yaml")]:
        held = values(yaml.safe_load(file.read_text()))
        found |= held | {100 * value for value in held}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_number_of_a_lesson_has_a_source(page: Path) -> None:
    there, derived = known(page), DERIVED.get(page.name, {})
    for text in sorted(numbers(page.read_text()) - WORDS):
        value = float(text.replace(",", ""))
        if text in derived:
            digits = len(text.partition(".")[2])
            assert round(derived[text], digits) == pytest.approx(value), f"{page.name}: {text} is not {derived[text]}"
            continue
        assert any(math.isclose(value, one, rel_tol=1e-9) for one in there), f"{page.name}: where is {text} from?"


def test_no_derivation_is_left_over() -> None:
    for name, derived in DERIVED.items():
        assert set(derived) <= numbers((LESSONS / name).read_text()), name


def of_the_data_and_of_the_decay(hidden: list[int]) -> list[float]:
    """Return how large the data's gradient is beside .001 w, for each layer of the net that collapses."""
    cfg = load_config(ROOT / "configs" / "lessons" / "collapse.yaml", [f"model.hidden={hidden}", "backend=numpy"])
    train = digits().train
    x, y = (train.x.reshape(len(train.x), -1)[:200] / 8 - 1).astype(np.float32), train.y[:200]
    learner = make_numpy_learner(cfg, Task(x.shape[1:], 10))
    weights = {name: p.copy() for name, p in learner.network.params.items() if p.ndim == 2}
    learner.step(x, y, 0.0)
    norm = np.linalg.norm
    return [float(norm(learner.network.grads[name]) / (1e-3 * norm(w))) for name, w in weights.items()]


def test_small_weights_make_the_gradient_of_the_data_smaller_than_that_of_the_decay() -> None:
    """collapse.md: more than a hundred times with every hidden layer, and in the end than the decay's."""
    one, two, three = map(of_the_data_and_of_the_decay, ([50], [50, 70], [50, 70, 50]))
    for first_or_last in (0, -1):
        assert three[first_or_last] < two[first_or_last] / 100 < one[first_or_last] / 100**2
    assert max(three) < 1 / 100


def test_one_seed_of_five_is_best_in_the_end() -> None:
    """best_of_many.md: and one is further from it than the three others."""
    rows = csv.DictReader((LESSONS / "measured" / "lessons.csv").read_text().splitlines())
    found: dict[str, dict[str, float]] = {"test best": {}, "test last": {}}
    for row in rows:
        if row["row"] == "best_of_many":
            found[row["figure"]][row["seed"]] = float(row["value"])
    gains = sorted(best - found["test last"][seed] for seed, best in found["test best"].items())
    assert len(gains) == 5
    assert gains[0] == 0 < gains[1]
    assert gains[4] > 2 * gains[3]
