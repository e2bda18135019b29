"""bench_conv: the plain networks compute what ours do, and its table and verdicts follow from the rates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import bench_conv as bench
from dlassign.config.run import RunConfig
from dlassign.nets.build import build_model

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_conv.py"


def job(model: dict[str, Any]) -> bench.Job:
    adam: dict[str, Any] = {"name": "adam", "lr": 1e-4}
    values: dict[str, Any] = {"batch_size": 4, "steps": 1, "samples": 16, "threads": 1}
    return bench.Job(title="a title", model=model, optimizer=adam, **values)


def turns(**rates: list[float]) -> dict[str, list[bench.Turn]]:
    names = {"own": "dlassign", "half": "bare bf16", "full": "bare fp32", "peer": "lightning, 0 workers"}
    make = lambda rate: bench.Turn(rate, {"optimizer": 2.0}, 7, "fp32")  # noqa: E731
    return {names[key]: [make(rate) for rate in values] for key, values in rates.items()}


SMALL: dict[str, Any] = {
    "name": "whitened_cnn",
    "widths": (8, 12),
    "depths": (1, 2),
    "patch": 4,
    "stride": 2,
    "filters": 6,
}


class TestNetworks:
    @pytest.mark.parametrize("model", [{"name": "vgg"}, {"name": "whitened_cnn"}, SMALL], ids=["vgg", "fast", "small"])
    def test_the_plain_one_computes_what_ours_does(self, model: dict[str, Any]) -> None:
        cfg: RunConfig = job(model).config()
        ours = build_model(cfg.model, bench.SHAPE, bench.CLASSES)
        plain = bench.PLAIN[cfg.model.name](**cfg.model.model_dump())
        plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
        pairs = list(zip(plain.parameters(), ours.parameters(), strict=True))
        assert all(a.requires_grad == b.requires_grad for a, b in pairs)
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
        torch.testing.assert_close(plain.double()(x), ours.double()(x), rtol=1e-9, atol=1e-9)


class TestResults:
    def test_ratios_go_round_by_round(self) -> None:
        assert bench.ratios(turns(own=[2.0, 6.0], half=[4.0, 3.0]), "bare bf16") == [0.5, 2.0]

    def test_bounds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = turns(own=[9.6], half=[10.0], full=[5.0], peer=[3.0])
        for flags, expected in (({"amx_bf16"}, [True, False, True]), (set(), [None, False, True])):
            monkeypatch.setattr(bench, "cpu_flags", lambda flags=flags: flags)
            assert [holds for holds, _ in bench.verdicts(job(SMALL), found)] == expected

    def test_table(self) -> None:
        text = bench.table(job(SMALL), turns(own=[9.0, 11.0], half=[10.0, 10.0], full=[5.0, 5.0]))
        assert "| bare bf16 | fp32 | 10 [10, 10] | 1.000 [0.900, 1.100] |" in text
        assert "| lightning, 2 workers | not installed | | |" in text
        assert "| optimizer | 2.00 | 2.00 | 2.00 |" in text

    def test_only_what_happens_while_the_clock_runs_counts(self) -> None:
        clock = bench.Clock()
        clock.switch("too early")
        clock.start()
        clock.timed("outer", clock.timed("inner", sum))([1])
        clock.stop()
        clock.switch("too late")
        assert set(clock.seconds) == {"all else", "outer", "inner"}
        assert min(clock.seconds.values()) >= 0


@pytest.mark.slow
class TestTurns:
    @pytest.mark.parametrize("name", ["dlassign", "bare bf16", "bare fp32"])
    def test_in_a_process_of_its_own(self, name: str) -> None:
        one = bench.turn(name, job(SMALL))
        assert one.rate > 0
        assert one.rate == pytest.approx(4 / (sum(one.phases.values()) / 1e3))
        assert {"optimizer", "forward and backward"} <= set(one.phases)
        assert ("augmentation" in one.phases) == (name == "dlassign")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a dozen processes that import torch and compile; six minutes on a busy machine
def test_runs(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--quick", "--threads", "1", "--output", tmp_path / "new" / "table.md"]
    done = subprocess.run(list(map(str, command)), env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "new" / "table.md").read_text()
    assert done.stdout.strip() == written.strip()
    assert written.count("\n| dlassign | bf16 | ") + written.count("\n| dlassign | fp32 | ") == 2  # one row a network
