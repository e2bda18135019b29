"""bench_limit: FLOPs are those of the formulas, times are those of the log, and the tables and bounds follow."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import bench_limit as bench
import limit_step
from dlassign.config.load import load_config
from dlassign.store.records import RunRecords

ROOT = Path(__file__).parents[2]
DIGITS = ["data.name=digits", "data.preprocess=[]", "data.augment=[]"]


def recipe(config: str, *overrides: str) -> limit_step.Recipe:
    return limit_step.Recipe(load_config(ROOT / "configs" / config, [*DIGITS, *overrides]))


def products(n: int, sizes: tuple[int, ...]) -> int:
    """Multiplications with their additions of an MLP: forward, by the weights, and by all inputs but the first."""
    pairs = [a * b for a, b in pairwise(sizes)]
    return n * (3 * sum(pairs) - pairs[0])


class TestNeeds:
    @pytest.mark.parametrize("backend", ["torch", "numpy"])
    def test_flops_of_an_mlp_are_those_of_the_formula(self, backend: str) -> None:
        one = recipe("reports/uva2018/numpy_mlp.yaml", f"backend={backend}", "train.batch_size=32", "train.steps=7")
        assert len(one.needs) == one.steps == 7
        assert len(set(one.needs)) == 1
        assert one.needs[0][0] == 2 * products(32, (64, 100, 10))

    def test_bytes_of_an_mlp_are_those_of_its_products_and_its_parameters(self) -> None:
        one = recipe("reports/uva2018/numpy_mlp.yaml", "train.batch_size=32", "train.steps=7", "model.hidden=[]")
        w, b, x, y = 64 * 10, 10, 32 * 64, 32 * 10
        forward, by_weights, update = b + x + w + y, y + x + w, 3 * (w + b)
        assert one.needs[0][1] == 8 * (forward + by_weights + update)  # in fp64, plain SGD

    def test_flops_of_a_convolution_are_those_of_the_formula(self) -> None:
        conv = nn.Conv2d(3, 5, 3, padding=1)
        learner = SimpleNamespace(optimizer=torch.optim.SGD(conv.parameters(), lr=0.1))
        learner.optimizer.params = list(conv.parameters())
        learner.step = lambda x, y, factor: conv(x).sum().backward()
        parts: Any = SimpleNamespace(learner=learner)
        flops, moved = limit_step.counted_steps(parts, torch.rand(2, 3, 8, 8), None)
        assert flops == 2 * 2 * (2 * 8 * 8 * 5 * 3 * 9)  # forward, and by the filters
        assert moved >= 4 * (2 * 3 * 64 * 2 + 2 * 5 * 64 * 2 + 5 * (5 * 27 + 5))

    def test_small_images_at_first_need_less_and_the_turn_has_as_large_a_part_of_them(self) -> None:
        augment = "data.augment=[{name: resize, sizes: [4], until: {steps: 3}}]"
        model = ["model.widths=[4]", "model.depths=[1]", "model.patch=2", "model.stride=1", "model.filters=4"]
        options = [augment, "train.steps=6", "train.epochs=null", "train.batch_size=64", *model]
        one = recipe("fast/mnist_99.yaml", *options)
        flops = [flops for flops, _ in one.needs]
        assert flops[0] < flops[-1]
        assert flops == [flops[0]] * 3 + [flops[-1]] * 3
        assert one.shortened(4) == ["train.steps=4", "train.epochs=null", "data.augment.0.until={steps: 2}"]
        assert one.shortened(1)[-1] == "data.augment.0.until={steps: 1}", "no resize may end before it begins"
        assert [flops for flops, _ in recipe("fast/mnist_99.yaml", *options, *one.shortened(4)).needs] == [
            *[flops[0]] * 2,
            *[flops[-1]] * 2,
        ]


def test_images_are_evaluated_while_a_recipe_trains_and_in_every_view_at_its_end() -> None:
    options = ["train.steps=7", "train.eval_every={steps: 3}", "train.eval_offset=0", "train.evaluate=[test]"]
    one = recipe("reports/uva2018/mlp_default.yaml", *options)
    val, test = (len(one.parts.splits[name]) for name in ("val", "test"))
    assert one.images_evaluated == 3 * test + val + test  # after steps 3, 6 and 7; and both at the end
    more = recipe("reports/uva2018/mlp_default.yaml", *options, "train.test_time_augmentation={flip: true, shift: 1}")
    assert more.images_evaluated == 3 * test + (1 + 6) * (val + test)  # plainly, and in six views


def log() -> RunRecords:
    """Four steps of a run; the first two take a second more each."""
    final = {"split": "test", "n": 100, "final": True}
    spent = {"import": 1.0, "data": 2.0, "build": 3.0, "train": 6.0, "eval": 4.0, "other": 0.5, "total": 16.5}
    start = {"data": {"n_test": 100, "n_train": 9}, "environment": {"threads": 1}, "arithmetic": {"precision": "fp32"}}
    return RunRecords(
        start=start,
        train=[{"step": n, "seconds": seconds} for n, seconds in enumerate((2.0, 4.0, 5.0, 6.0), 1)],
        evals=[{"split": "test", "n": 100}, final],
        augmented={"test": {"n": 100, "views": 2}},
        end={"seconds": spent, "steps": 4},
    )


@pytest.fixture
def one() -> bench.Turn:
    plan = SimpleNamespace(samples_a_step=5)
    whole: Any = SimpleNamespace(
        needs=[(10, 8)] * 20,
        steps=20,
        images_evaluated=600,
        parts=SimpleNamespace(plan=plan),
    )
    return bench.read_turn(log(), whole, [(10, 8)] * 4)


NET = bench.Net(config="configs/fast/cifar10_82.yaml", steps=4, block=1, least=0.65)


class TestTurn:
    def test_what_the_log_says_is_extrapolated(self, one: bench.Turn) -> None:
        assert (one.step, one.rate) == ([1.0, 1.0], [10.0, 10.0])
        expected = {"import": 1, "data": 2, "build": 3, bench.FIRST: 2, "train": 20, "evaluate": 6, "the rest": 0.5}
        assert one.seconds == pytest.approx(expected)

    def test_bounds_and_tables(self, one: bench.Turn) -> None:
        peaks = {
            bench.Kind("fp32", 2048, "PyTorch", 1): [12.0, 11.0, 9.0],
            bench.Kind("fp32", 1024, "NumPy", 1): [2.0, 16.0],
            bench.Kind("fp32", 1024, "NumPy", 2): [99.0],
            bench.Kind("copy", bench.COPIED, "PyTorch", 1): [2.0, 1.0],
        }
        assert [holds for holds, _ in bench.verdicts({NET: one}, peaks)] == [False]
        assert bench.limit_of(one, peaks) == (10 / 16, 4.0)
        assert "| 0.62 [0.62, 0.62] |" in bench.step_table({NET: one}, peaks)
        phases = bench.phase_table({NET: one}, peaks)
        assert phases.splitlines()[-1].startswith("| fast/cifar10_82 | 20, **extrapolated** from 4 | 1.00 | 2.00 |")
        assert phases.endswith("| 34.5 | 80.00 | 2.32 |")
        assert "NumPy | 1 | **0.0** | 0.0 [0.0, 0.0] | 2 |" in bench.machine_table(peaks)
        peaks[bench.Kind("fp32", 1024, "NumPy", 1)] = [15.0]
        assert [holds for holds, _ in bench.verdicts({NET: one}, peaks)] == [True]

    def test_an_operation_belongs_to_the_first_group_that_fits_it_or_what_it_is_part_of(self) -> None:
        step = SimpleNamespace(name="the optimizer", cpu_parent=None)
        backward = SimpleNamespace(name="autograd::engine::evaluate_function: ConvolutionBackward0", cpu_parent=None)
        names = {
            "optimizer": ("aten::mm", step),
            "convolutions, backward": ("aten::copy_", backward),
            "convolutions, forward": ("aten::mkldnn_convolution", None),
            "batch norm": ("aten::native_batch_norm", None),
            "all else": ("aten::add", None),
        }
        for group, (name, parent) in names.items():
            assert limit_step.group_of(SimpleNamespace(name=name, cpu_parent=parent)) == group


def test_the_networks_are_those_of_the_page() -> None:
    chosen = bench.nets("DIR", "DIR")
    assert all((ROOT / net.config).is_file() for net in chosen)
    assert {net.name: net.least for net in chosen if net.least} == {"uva2018/vgg": 0.75, "fast/cifar10_82": 0.65}
    assert all((net.steps or net.block * 9) >= (bench.WARM_UP + 4) * net.block for net in chosen)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--quick"], "--quick needs --output FILE, another file: it would overwrite limit.md"),
        (["--only", "vgg", "--output", str(bench.OUTPUT)], "--only needs --output FILE, another file"),
        (
            ["--only", "vgh", "--output", "new.md"],
            "--only vgh: no network is called so; there are uva2018/mlp_default, ",
        ),
    ],
)
def test_a_part_of_the_work_overwrites_no_measured_page(
    given: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_limit.py", "--mnist-root", ".", "--cifar10-jpeg-root", ".", *given])
    with pytest.raises(SystemExit, match="2"):
        bench.parse()
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        ROOT / "scripts" / "bench_limit.py",
        "--quick",
        "--output",
        tmp_path / "new" / "table.md",
    ]
    done = subprocess.run(list(map(str, command)), env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "new" / "table.md").read_text()
    assert done.stdout.strip() == written.strip()
    assert written.count("\n| quickstart | ") == written.count("\n| quickstart, NumPy | ") == 2
    assert "| optimizer | " in written
