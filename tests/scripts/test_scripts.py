from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
BENCHES = ("bench_overhead.py", "bench_startup.py", "bench_numpy.py", "bench_conv.py")
GRID = SCRIPTS / "grid_search.sh"
STUB = """#!/bin/sh
echo "$*" >> "$CALLS"
[ "$1" = train ] || { echo table; exit 0; }
case " $* " in *"$BAD"*) exit "$CODE" ;; esac
"""


def environment(**values: object) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"} | {key: str(value) for key, value in values.items()}


def run(*command: object, cwd: Path | None = None, **values: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment(**values), capture_output=True, text=True)


class TestEveryScript:
    @pytest.mark.parametrize("path", sorted(SCRIPTS.iterdir()), ids=lambda path: path.name)
    def test_begins_with_what_it_is_for(self, path):
        if path.is_file():
            lines = path.read_text().splitlines()
            assert (
                lines[0].startswith('"""') if path.suffix == ".py" else lines[0] in ("#!/bin/sh", "#!/usr/bin/env bash")
            )
            assert path.suffix == ".py" or (lines[1].startswith("# ") and os.access(path, os.X_OK))

    @pytest.mark.parametrize("name", [*BENCHES, "measure_configs.py", "measure_transfer.py"])
    def test_help_of_a_measurement(self, name, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", [name, "--help"])
        with pytest.raises(SystemExit, match=r"^0$"):
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        assert f"python scripts/{name}" in capsys.readouterr().out

    def test_help_of_the_grid_search(self):
        done = run(GRID, "--help")
        assert done.returncode == 0
        assert "scripts/grid_search.sh" in done.stdout
        assert "set -u" not in done.stdout


@pytest.fixture(scope="module")
def bench():
    return runpy.run_path(str(SCRIPTS / BENCHES[0]))


class TestBenchOverhead:
    def test_bare_and_dlassign_do_the_same_work(self, bench):
        work = replace(bench["WORKLOADS"][1], samples=500, steps=30)
        x, y = work.tensors()
        before = bench["loss_of"](work.model(), x, y)
        losses = [bench["loss_of"](bench[f"train_{name}"](work, x, y), x, y) for name in ("bare", "dlassign")]
        assert losses[0] == pytest.approx(losses[1], abs=0.02)
        assert max(losses) < before - 0.1

    def test_both_begin_with_the_same_weights(self, bench):
        work = replace(bench["WORKLOADS"][1], samples=500, steps=1)
        x, y = work.tensors()
        models = [bench[f"train_{name}"](replace(work, batch_size=500), x, y) for name in ("bare", "dlassign")]
        bare, own = (list(model.parameters()) for model in models)
        assert all(a.shape == b.shape and (a - b).abs().max() < 1e-5 for a, b in zip(bare, own, strict=True))

    def test_ratio_and_added_time_go_round_by_round(self, bench):
        result = bench["Result"]
        results = {"bare": result([1.0, 2.0, 4.0], 0.5), "dlassign": result([2.0, 2.0, 5.0], 0.5)}
        assert bench["ratios"](results, "dlassign") == [0.5, 1.0, 0.8]
        assert bench["added"](results, "dlassign", 1000) == pytest.approx(1000)

    def test_a_missing_peer_is_reported_and_judged_by_nobody(self, bench):
        works = bench["WORKLOADS"]
        results = {name: bench["Result"]([1.0], 0.5) for name in ("bare", "dlassign")}
        assert "| skorch | not installed |" in bench["table"](works[0], results)
        assert [holds for holds, _ in bench["verdicts"](works, [results, results])] == [True, True]

    def test_bounds(self, bench):
        result, works = bench["Result"], bench["WORKLOADS"]
        slow = {"bare": result([1.0], 0.5), "dlassign": result([1.2], 0.5), "skorch": result([1.1], 0.5)}
        assert [holds for holds, _ in bench["verdicts"](works, [slow, slow])] == [False, False, False, False]

    @pytest.mark.slow
    def test_runs(self, tmp_path):
        done = run(sys.executable, SCRIPTS / BENCHES[0], "--quick", "--output", tmp_path / "new" / "table.md")
        assert done.returncode == 0, done.stderr
        written = (tmp_path / "new" / "table.md").read_text()
        assert done.stdout.strip() == written.strip()
        assert written.count("| dlassign | ") == 2
        noise = [line for line in done.stderr.splitlines() if "steps/s" not in line]
        assert noise == [], "the peers' hints are silenced"


@pytest.mark.slow
def test_bench_startup_runs(tmp_path):
    done = run(sys.executable, SCRIPTS / BENCHES[1], "--quick", "--output", tmp_path / "table.md")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "table.md").read_text()
    assert done.stdout.strip() == written.strip()
    assert written.count("| `dlassign --help` | ") == 1


@pytest.fixture(scope="module")
def numpy_bench():
    return runpy.run_path(str(SCRIPTS / BENCHES[2]))


class TestBenchNumpy:
    def test_all_loops_learn_the_same(self, numpy_bench):
        x, y = numpy_bench["arrays"]()
        losses = [loop(x[:2000], y[:2000], 3) for loop in numpy_bench["LOOPS"].values()]
        before = numpy_bench["loss_of"](numpy_bench["first_weights"](), x[:2000], y[:2000])
        assert losses[0] == pytest.approx(losses[1], abs=0.01)
        assert losses[0] == pytest.approx(losses[2], abs=0.1)
        assert max(losses) < before - 0.1

    def test_both_convolutions_compute_the_same(self, numpy_bench):
        conv = numpy_bench["Conv"]((3, 2, 9, 9), 4, 3, 1)
        conv.dlassign()
        x, w, b = (tensor.requires_grad_() for tensor in conv.tensors)
        torch.nn.functional.conv2d(x, w, b, padding=1).backward(conv.torch_dy)
        for ours, theirs in zip(conv.layer.grads.values(), (w.grad, b.grad), strict=True):
            assert abs(ours - theirs.numpy()).max() < 1e-3
        assert conv.columns == 3 * 81 * 2 * 9 * 4
        assert conv.peak() > conv.results / 2

    @pytest.mark.slow
    def test_runs(self, tmp_path):
        done = run(sys.executable, SCRIPTS / BENCHES[2], "--quick", "--output", tmp_path / "table.md")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == (tmp_path / "table.md").read_text().strip()
        assert done.stdout.count("| dlassign | ") == len({1, os.cpu_count()})


class TestGridSearchAlone:
    """The loop, with a stub in place of dlassign."""

    @pytest.fixture
    def grid(self, tmp_path):
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

    def test_every_pair_is_trained_and_the_table_printed(self, grid):
        done, calls = grid("--set", "train.epochs=1", SEEDS="0 7", OUT="out/here", CONFIG="a b.yaml")
        assert (done.returncode, done.stdout) == (0, "table\n")
        assert len(calls) == 9
        expected = "train --config a b.yaml --set optimizer.lr=1e-3 --set train.batch_size=8 --seed 7 --out out/here"
        assert calls[1] == f"{expected} --set train.epochs=1"
        assert calls[-1].startswith("runs out/here --sort=-val --columns optimizer.lr,train.batch_size")

    def test_it_finds_its_config_from_anywhere(self, grid):
        _, calls = grid()
        assert Path(calls[0].split()[2]).resolve() == ROOT / "configs" / "quickstart.yaml"

    @pytest.mark.parametrize("code", [1, 3])
    def test_a_failed_trial_does_not_end_it(self, grid, code):
        done, calls = grid(BAD="lr=1e-3 --set train.batch_size=16", CODE=code)
        assert (done.returncode, done.stdout, len(calls)) == (1, "table\n", 5)
        assert done.stderr.endswith(f"failed:\noptimizer.lr=1e-3 train.batch_size=16 seed=0 (exit {code})\n")

    @pytest.mark.parametrize("code", [2, 127, 130])
    def test_a_wrong_config_and_ctrl_c_end_it(self, grid, code):
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

    def test_the_second_time_trains_nothing(self, tmp_path):
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

    def test_a_diverging_learning_rate_does_not_end_it(self, tmp_path):
        search = self.search(tmp_path, LRS="1e35 1e-2", BATCHES="32")
        table, progress = search.communicate()
        assert search.returncode == 1
        assert self.statuses(tmp_path) == ["diverged", "finished"]
        assert progress.endswith("failed:\noptimizer.lr=1e35 train.batch_size=32 seed=0 (exit 3)\n")
        assert len(table.splitlines()) == 3

    def test_ctrl_c_ends_it_and_the_same_command_goes_on(self, tmp_path):
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
