"""Templates are the configs that they are copies of; UPDATE_GOLDEN=1 copies them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlassign.checks.shapes import check_fit
from dlassign.config.load import load_config
from dlassign.config.load_sweep import load_sweep
from dlassign.drafts.template import BASES, TEMPLATES, as_template, template_summary, template_text
from dlassign.store.paths import RunPaths
from dlassign.train.experiment import run_experiment

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src" / "dlassign" / "drafts" / "templates"
COPIES = {name: source for name, source in TEMPLATES.items() if source is not None}


def test_every_file_is_a_template() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.yaml" for name in TEMPLATES}


@pytest.mark.parametrize(("name", "source"), COPIES.items(), ids=list(COPIES))
def test_a_template_is_its_config(name: str, source: str) -> None:
    expected = as_template((ROOT / "configs" / source).read_text(), name=name, source=source)
    if os.environ.get("UPDATE_GOLDEN"):
        (FOLDER / f"{name}.yaml").write_text(expected)
    assert template_text(name) == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_names_its_own_file_and_no_folder(name: str) -> None:
    text = template_text(name)
    verb = "sweep" if name == "sweep" else "train"
    assert f"  dlassign {verb} {name}.yaml\n" in text
    assert "configs/" not in text
    assert "../" not in text
    assert 20 < len(template_summary(name)) <= 100


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"sweep", "transfer"}))
def test_a_template_fits_and_its_header_counts_parameters(name: str, tmp_path: Path) -> None:
    file = tmp_path / f"{name}.yaml"
    file.write_text(template_text(name))
    assert f"# Parameters: {check_fit(load_config(file)).n_params:,}\n" in template_text(name)


def test_the_sweep_begins_with_its_base(tmp_path: Path) -> None:
    for name in ("sweep", BASES["sweep"]):
        (tmp_path / f"{name}.yaml").write_text(template_text(name))
    assert load_sweep(tmp_path / "sweep.yaml").config.base == "quickstart.yaml"


def test_the_numpy_template_trains(tmp_path: Path) -> None:
    file = tmp_path / "numpy.yaml"
    file.write_text(template_text("numpy"))
    records = run_experiment(load_config(file, ["train.epochs=2"]), RunPaths(tmp_path / "run"))
    assert records.train
