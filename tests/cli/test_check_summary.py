"""`dlassign check --summary` from the outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main

CONFIG = """\
name: small
data: {name: digits, preprocess: [{name: scale, divisor: 16}]}
model: {name: mlp, hidden: [16], dropout: 0.5}
optimizer: {name: sgd, lr: 0.1}
train: {steps: 40, batch_size: 100}
"""
TABLE = """\

layer     type     output  parameters  forward FLOPs
----------------------------------------------------
flatten   Flatten      64           0              0
linear1   Linear       16       1,040          2,048
relu1     ReLU         16           0              0
dropout1  Dropout      16           0              0
head      Linear       10         170            320
----------------------------------------------------
total                           1,210          2,368

forward FLOPs per sample  2,368 (convolutions, linear layers and matrix products)
training step FLOPs ~3x   7,104 per sample, 710,400 for 100 samples
"""


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(CONFIG)


def check(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["check", "a.yaml", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_prints_layers_parameters_flops_and_memory(backend: str) -> None:
    first, _, rest = check("--summary", "--set", f"backend={backend}").partition("\n")
    assert first + "\n" == check()
    assert rest.startswith(TABLE)
    assert "kept for backward" in rest


def test_layers_that_stop_early_are_trained_at_first_and_their_names_are_checked() -> None:
    early = ("--set", "train.freeze_at={steps: 20}")
    assert " frozen " in check("--summary", "--set", "train.freeze=[linear1]")
    found = check("--summary", "--set", "train.freeze=[linear1]", *early)
    assert found.partition("\n")[2].startswith(TABLE)
    wrong = CliRunner().invoke(main, ["check", "a.yaml", "--set", "train.freeze=[liner1]", *early])
    assert wrong.exit_code != 0
    assert "train.freeze: 'liner1' matches no parameter; the model has linear1, head" in wrong.stderr


def test_a_layer_that_is_there_in_numpy_alone() -> None:
    Path("acts.py").write_text("def square(x):\n    return x**2, 2 * x\n")
    said = check("--summary", "--code", "acts.py", "--set", "model.activation=acts.py:square", "--set", "backend=numpy")
    assert "no summary: layers are counted in PyTorch, and acts.py:square is there in NumPy alone" in said


def values(*arguments: str) -> list[str]:
    [line] = [line for line in check("--summary", *arguments).splitlines() if line.startswith("kept")]
    return line.removeprefix("kept for backward").split(" per sample, ")


def test_memory_follows_precision_accumulation_and_order() -> None:
    sample, batch = values("--set", "model.dropout=0", "--set", "train.precision=fp32")
    assert (sample.strip(), batch) == (f"{(64 + 16) * 4} B", "31.2 KiB for 100 samples in fp32")
    assert values("--set", "model.dropout=0", "--set", "train.precision=fp64")[0].strip() == f"{(64 + 16) * 8} B"
    assert "for 34 samples" in values("--set", "train.accumulate=3")[1]
    assert "for 1,168 samples" in values("--set", "train.order=full")[1]


def test_a_network_whose_size_only_the_data_can_tell() -> None:
    steps = "data.preprocess=[{name: flatten}, {name: pca, components: 0.9}]"
    assert "no summary: how many values a sample has" in check("--summary", "--set", steps)


def test_a_broken_config_is_reported_beside_the_summary_of_a_good_one() -> None:
    Path("b.yaml").write_text(CONFIG.replace("steps: 40", "steps: 0"))
    result = CliRunner().invoke(main, ["check", "a.yaml", "b.yaml", "--summary"])
    assert result.exit_code == 2
    assert TABLE in result.stdout
    assert "b.yaml:5" in result.stderr


def test_nothing_of_it_is_imported_without_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("dlassign.checks.summary", "dlassign.cli.commands.check"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    check()
    assert "dlassign.cli.commands.check" in sys.modules
    assert "dlassign.checks.summary" not in sys.modules
    check("--summary")
    assert "dlassign.checks.summary" in sys.modules


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{name: mnist, root: nowhere}", "it cannot be trained yet: "),
        ("{name: image_folder, root: nowhere}", "its keys are right, but all else depends on its data: "),
        ("{name: csv_table, path: nowhere.csv}", "its keys are right, but all else depends on its data: "),
    ],
)
def test_a_missing_data_root_is_told_and_exits_1(data: str, said: str) -> None:
    result = CliRunner().invoke(main, ["check", "a.yaml", "--set", f"data={data}"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"a.yaml: {said}")
    assert "nowhere" in result.stderr


def test_data_that_training_downloads_is_not_missing() -> None:
    check("--set", "data={name: mnist, root: nowhere, download: true}")


def test_missing_weights_exit_1() -> None:
    result = CliRunner().invoke(main, ["check", "a.yaml", "--set", "init={name: pretrained, weights: nowhere.pt}"])
    assert result.exit_code == 1
    assert "a.yaml: ok: " in result.stdout
    assert "a.yaml: it cannot be trained yet: " in result.stderr
