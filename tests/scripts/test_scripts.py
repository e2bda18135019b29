"""Every script says what it is for and starts; the measurements compare the same work; the grid search resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bench_numpy
import bench_overhead
import bench_start
import bench_startup
from dlassign.config.load import load_config
from dlassign.config.optim import Adam
from dlassign.train.experiment import assemble
from helpers.children import environment

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
Search = Callable[..., tuple[subprocess.CompletedProcess[str], list[str]]]
BENCHES = (
    "bench_overhead.py",
    "bench_startup.py",
    "bench_start.py",
    "bench_numpy.py",
    "bench_conv.py",
    "bench_images.py",
    "bench_predict.py",
    "bench_record.py",
    "bench_limit.py",
)
GRID = SCRIPTS / "grid_search.sh"
STUB = """#!/bin/sh
echo "$*" >> "$CALLS"
[ "$1" = train ] || { echo table; exit 0; }
case " $* " in *"$BAD"*) exit "$CODE" ;; esac
"""


def run(*command: object, cwd: Path | None = None, **values: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment(**values), capture_output=True, text=True)


class TestEveryScript:
    @pytest.mark.parametrize("path", sorted(SCRIPTS.iterdir()), ids=lambda path: path.name)
    def test_begins_with_what_it_is_for(self, path: Path) -> None:
        if path.is_file():
            lines = path.read_text().splitlines()
            assert (
                lines[0].startswith('"""') if path.suffix == ".py" else lines[0] in ("#!/bin/sh", "#!/usr/bin/env bash")
            )
            assert path.suffix == ".py" or (lines[1].startswith("# ") and os.access(path, os.X_OK))

    @pytest.mark.parametrize("name", [*BENCHES, "measure_configs.py", "measure_transfer.py"])
    def test_help_of_a_measurement(
        self, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit, match=r"^0$"):
            import_module(Path(name).stem).main()
        assert f"python scripts/{name}" in capsys.readouterr().out

    def test_help_of_the_grid_search(self) -> None:
        done = run(GRID, "--help")
        assert done.returncode == 0
        assert "scripts/grid_search.sh" in done.stdout
        assert "set -u" not in done.stdout


TRAIN = {"bare": bench_overhead.train_bare, "dlassign": bench_overhead.train_dlassign}


class TestBenchOverhead:
    def test_bare_and_dlassign_do_the_same_work(self) -> None:
        work = replace(bench_overhead.WORKLOADS[1], samples=500, steps=30)
        x, y = work.tensors()
        before = bench_overhead.loss_of(work.model(), x, y)
        losses = [bench_overhead.loss_of(TRAIN[name](work, x, y), x, y) for name in ("bare", "dlassign")]
        assert losses[0] == pytest.approx(losses[1], abs=0.02)
        assert max(losses) < before - 0.1

    def test_both_begin_with_the_same_weights(self) -> None:
        work = replace(bench_overhead.WORKLOADS[1], samples=500, steps=1)
        x, y = work.tensors()
        models = [TRAIN[name](replace(work, batch_size=500), x, y) for name in ("bare", "dlassign")]
        bare, own = (list(model.parameters()) for model in models)
        assert all(a.shape == b.shape and (a - b).abs().max() < 1e-5 for a, b in zip(bare, own, strict=True))

    def test_ratio_and_added_time_go_round_by_round(self) -> None:
        result = bench_overhead.Result
        results = {"bare": result([1.0, 2.0, 4.0], 0.5), "dlassign": result([2.0, 2.0, 5.0], 0.5)}
        assert bench_overhead.ratios(results, "dlassign") == [0.5, 1.0, 0.8]
        assert bench_overhead.added(results, "dlassign", 1000) == pytest.approx(1000)

    def test_a_missing_peer_is_reported_and_judged_by_nobody(self) -> None:
        works = bench_overhead.WORKLOADS
        results = {name: bench_overhead.Result([1.0], 0.5) for name in ("bare", "dlassign")}
        assert "| skorch | not installed |" in bench_overhead.table(works[0], results)
        assert [holds for holds, _ in bench_overhead.verdicts(works, [results, results])] == [True, True]

    def test_bounds(self) -> None:
        result, works = bench_overhead.Result, bench_overhead.WORKLOADS
        slow = {"bare": result([1.0], 0.5), "dlassign": result([1.2], 0.5), "skorch": result([1.1], 0.5)}
        assert [holds for holds, _ in bench_overhead.verdicts(works, [slow, slow])] == [False, False, False, False]

    @pytest.mark.slow
    def test_runs(self, tmp_path: Path) -> None:
        done = run(sys.executable, SCRIPTS / BENCHES[0], "--quick", "--output", tmp_path / "new" / "table.md")
        assert done.returncode == 0, done.stderr
        written = (tmp_path / "new" / "table.md").read_text()
        assert done.stdout.strip() == written.strip()
        assert written.count("| dlassign | ") == 2
        noise = [line for line in done.stderr.splitlines() if "steps/s" not in line]
        assert noise == [], "the peers' hints are silenced"


@pytest.mark.slow
def test_bench_startup_runs(tmp_path: Path) -> None:
    done = run(sys.executable, SCRIPTS / BENCHES[1], "--quick", "--output", tmp_path / "table.md")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "table.md").read_text()
    assert done.stdout.strip() == written.strip()
    assert written.count("| `dlassign --help` | ") == 1


@pytest.mark.slow
def test_bench_start_runs(tmp_path: Path) -> None:
    done = run(sys.executable, SCRIPTS / "bench_start.py", "--quick", "--output", tmp_path / "table.md")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (tmp_path / "table.md").read_text().strip()
    assert done.stdout.count("| pictures drawn | ") == 1


def test_bench_start_takes_torch_and_steps_off() -> None:
    one = {"train": bench_startup.Cost(5.0, 5.0), "torch": bench_startup.Cost(2.0, 2.0), "steps": 1.0}
    assert bench_start.added([one]) == [2.0]


def test_the_bare_steps_are_those_of_the_config() -> None:
    cfg = load_config(ROOT / bench_startup.CONFIG)
    parts = assemble(cfg, torch.device("cpu"))
    bare = bench_start.bare_model(torch.nn, cfg, parts.splits["train"].x[0].numel(), 10)
    assert sum(p.numel() for p in bare.parameters()) == parts.learner.n_params
    assert isinstance(cfg.optimizer, Adam), "the bare loop takes Adam"


class TestBenchNumpy:
    def test_all_loops_learn_the_same(self) -> None:
        x, y = bench_numpy.arrays()
        losses = [loop(x[:2000], y[:2000], 3) for loop in bench_numpy.LOOPS.values()]
        before = bench_numpy.loss_of(bench_numpy.first_weights(), x[:2000], y[:2000])
        assert losses[0] == pytest.approx(losses[1], abs=0.01)
        assert losses[0] == pytest.approx(losses[2], abs=0.1)
        assert max(losses) < before - 0.1

    def test_both_convolutions_compute_the_same(self) -> None:
        conv = bench_numpy.Conv((3, 2, 9, 9), 4, 3, 1, 1)
        conv.dlassign()
        taken, products = conv.products()
        assert 0 < products < taken
        for ours, watched in zip(conv.layer.grads.values(), conv.watched.grads.values(), strict=True):
            assert (ours == watched).all()
        x, w, b = (tensor.requires_grad_() for tensor in conv.tensors)
        torch.nn.functional.conv2d(x, w, b, padding=1).backward(conv.torch_dy)
        for ours, theirs in zip(conv.layer.grads.values(), (w.grad, b.grad), strict=True):
            assert abs(ours - theirs.numpy()).max() < 1e-3
        assert conv.columns == 3 * 81 * 2 * 9 * 4
        assert conv.peak() > conv.results / 2

    @pytest.mark.parametrize("name", bench_numpy.CONVS)
    def test_every_product_of_the_layer_is_timed(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        conv = bench_numpy.Conv(*bench_numpy.CONVS[name])
        multiplied = list[int]()

        class Counting(bench_numpy.Watched):
            def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
                if ufunc is np.matmul:
                    a, b = inputs
                    multiplied.append(a.size * b.shape[-1] * (b.shape[0] if len(a.shape) < len(b.shape) else 1))
                return super().__array_ufunc__(ufunc, method, *inputs, **options)

        monkeypatch.setattr(bench_numpy, "Watched", Counting)
        watched = bench_numpy.Conv(*bench_numpy.CONVS[name])
        watched.products(first=True)
        n, f, h, w = conv.dy.shape
        rows = conv.layer.params["weight"][0].size
        # y and dW; of y there is one row more, of ones, by which the bias is multiplied.
        assert sum(multiplied) == 2 * n * f * h * w * (rows + 1)
        multiplied.clear()
        watched.products()
        assert sum(multiplied) >= 2 * n * f * h * w * (rows + 1) + min(n * f * h * w * rows, conv.x.size * f)

    @pytest.mark.slow
    def test_runs(self, tmp_path: Path) -> None:
        done = run(sys.executable, SCRIPTS / "bench_numpy.py", "--quick", "--output", tmp_path / "table.md")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == (tmp_path / "table.md").read_text().strip()
        assert done.stdout.count("| dlassign | ") == len({1, os.cpu_count()})


class TestGridSearchAlone:
    """The loop, with a stub in place of dlassign."""

    @pytest.fixture
    def grid(self, tmp_path: Path) -> Search:
        stub = tmp_path / "bin" / "dlassign"
        stub.parent.mkdir()
        stub.write_text(STUB)
        stub.chmod(0o755)

        def search(*arguments: str, **values: object) -> tuple[subprocess.CompletedProcess[str], list[str]]:
            calls = tmp_path / "calls"
            calls.write_text("")
            path = f"{stub.parent}{os.pathsep}{os.environ['PATH']}"
            given = {"PATH": path, "CALLS": calls, "BAD": "nothing", "CODE": 0, "LRS": "1e-3 1e-2", "BATCHES": "8 16"}
            done = run(GRID, *arguments, cwd=tmp_path, **{**given, **values})
            return done, calls.read_text().splitlines()

        return search

    def test_every_pair_is_trained_and_the_table_printed(self, grid: Search) -> None:
        done, calls = grid("--set", "train.epochs=1", SEEDS="0 7", OUT="out/here", CONFIG="a b.yaml")
        assert (done.returncode, done.stdout) == (0, "table\n")
        assert len(calls) == 9
        expected = "train --config a b.yaml --set optimizer.lr=1e-3 --set train.batch_size=8 --seed 7 --out out/here"
        assert calls[1] == f"{expected} --set train.epochs=1"
        assert calls[-1].startswith("runs out/here --sort=-val --columns optimizer.lr,train.batch_size")

    def test_it_finds_its_config_from_anywhere(self, grid: Search) -> None:
        _, calls = grid()
        assert Path(calls[0].split()[2]).resolve() == ROOT / "configs" / "quickstart.yaml"

    @pytest.mark.parametrize("code", [1, 3])
    def test_a_failed_trial_does_not_end_it(self, grid: Search, code: int) -> None:
        done, calls = grid(BAD="lr=1e-3 --set train.batch_size=16", CODE=code)
        assert (done.returncode, done.stdout, len(calls)) == (1, "table\n", 5)
        assert done.stderr.endswith(f"failed:\noptimizer.lr=1e-3 train.batch_size=16 seed=0 (exit {code})\n")

    @pytest.mark.parametrize("code", [2, 127, 130])
    def test_a_wrong_config_and_ctrl_c_end_it(self, grid: Search, code: int) -> None:
        done, calls = grid(BAD="batch_size=16", CODE=code)
        assert (done.returncode, done.stdout, len(calls)) == (code, "", 2)


@pytest.mark.slow
class TestGridSearch:
    """The loop with dlassign itself, on the digits."""

    def search(self, out: Path, *, steps: int = 20, **values: object) -> subprocess.Popen[str]:
        """Start a 2 x 2 grid in a process group of its own."""
        command = [str(GRID), "--device", "cpu", "--set", "train.epochs=null", "--set", f"train.steps={steps}"]
        given = environment(**{"OUT": out, "LRS": "1e-3 1e-2", "BATCHES": "32 64", **values})
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=given, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def logs(self, out: Path) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(out.glob("*/*-s*/log.jsonl"))}

    def statuses(self, out: Path) -> list[str]:
        return sorted(json.loads(log.splitlines()[-1])["status"] for log in self.logs(out).values())

    def test_the_second_time_trains_nothing(self, tmp_path: Path) -> None:
        first = self.search(tmp_path)
        table, progress = first.communicate()
        assert first.returncode == 0, progress
        assert self.statuses(tmp_path) == ["finished"] * 4
        heads, *rows = (line.split() for line in table.splitlines())
        assert heads[:3] == ["optimizer.lr", "train.batch_size", "seed"]
        accuracies = [float(row[3]) for row in rows]
        assert len(rows) == 4
        assert accuracies == sorted(accuracies, reverse=True)

        before = self.logs(tmp_path)
        again = self.search(tmp_path)
        assert again.communicate()[0] == table
        assert again.returncode == 0
        assert self.logs(tmp_path) == before

    def test_a_diverging_learning_rate_does_not_end_it(self, tmp_path: Path) -> None:
        search = self.search(tmp_path, LRS="1e35 1e-2", BATCHES="32")
        table, progress = search.communicate()
        assert search.returncode == 1
        assert self.statuses(tmp_path) == ["diverged", "finished"]
        assert progress.endswith("failed:\noptimizer.lr=1e35 train.batch_size=32 seed=0 (exit 3)\n")
        assert len(table.splitlines()) == 3

    def test_ctrl_c_ends_it_and_the_same_command_goes_on(self, tmp_path: Path) -> None:
        grid = {"steps": 1500, "LRS": "1e-3 3e-3 1e-2", "BATCHES": "32"}
        search = self.search(tmp_path, **grid)
        deadline = time.monotonic() + 120
        while not (len(found := self.logs(tmp_path)) == 2 and all(b'"train"' in log for log in found.values())):
            assert time.monotonic() < deadline
            assert search.poll() is None, search.communicate()
            time.sleep(0.01)
        os.killpg(search.pid, signal.SIGINT)
        search.communicate()
        assert search.returncode == 130
        assert self.statuses(tmp_path) == ["finished", "interrupted"]
        done = {path: log for path, log in self.logs(tmp_path).items() if b'"finished"' in log}

        again = self.search(tmp_path, **grid)
        _, progress = again.communicate()
        assert again.returncode == 0, progress
        assert "going on from step" in progress
        assert self.statuses(tmp_path) == ["finished"] * 3
        assert done.items() <= self.logs(tmp_path).items()


@pytest.mark.slow
def test_the_page_of_verdicts_is_what_the_rule_that_ships_gives(tmp_path: Path) -> None:
    """The rule was once changed and the page was not."""
    done = run(sys.executable, SCRIPTS / "simulate_verdicts.py", "--output", tmp_path / "verdicts.md")
    assert done.returncode == 0, done.stderr
    page = SCRIPTS.parent / "docs" / "benchmarks" / "verdicts.md"
    assert (tmp_path / "verdicts.md").read_text() == page.read_text()
