"""The check of a GPU: its sections on the pretended one, its page, and what becomes of a section that dies."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

import gpu_check
import gpu_rates
import gpu_sections
from gpu_sections import FAILS, HOLDS, Row


@pytest.fixture
def options(tmp_path: Path) -> Namespace:
    return Namespace(device="cuda:0", quick=True, data=None, out=str(tmp_path), only=None, output=tmp_path / "gpu.md")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One recipe, a short one."""
    monkeypatch.setattr(gpu_sections, "QUICK", ("MLP",))
    monkeypatch.setattr(gpu_rates, "QUICK", ("MLP",))


@pytest.mark.gpu
@pytest.mark.slow
def test_nothing_waits_and_a_run_goes_on_to_the_same_bits(options: Namespace) -> None:
    rows = [*gpu_sections.steps(options), *gpu_sections.resume(options)]
    assert [row.verdict for row in rows] == [HOLDS] * 3, rows
    found = gpu_sections.torch.load(gpu_sections._file(options, "MLP"), weights_only=True)
    gpu_sections._file(options, "MLP").write_bytes(gpu_sections.sealed({**found, "digest": "0" * 64}))
    first, _ = gpu_sections.resume(options)
    assert first.verdict == FAILS
    assert first.figures.endswith("unbroken 000000000000")


@pytest.mark.gpu
def test_what_waits_fails(options: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    step = gpu_sections.take

    def reading(*arguments: object) -> object:
        taken = step(*arguments)  # type: ignore[arg-type]
        taken[0].loss.item()
        return taken

    monkeypatch.setattr(gpu_sections, "take", reading)
    [row] = gpu_sections.steps(options)
    assert row.verdict == FAILS
    assert "synchroniz" in row.figures


@pytest.mark.gpu
@pytest.mark.slow
def test_rates_are_measured(options: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_rates, "STACKS", (("MLP", ("model.dropout=0",), (4,)),) * 2)
    rows = [*gpu_rates.speed(options), *gpu_rates.stacks(options)]
    assert [row.verdict for row in rows] == ["measured"] * 2, rows
    assert "of a bare loop" in rows[0].figures
    assert "times" in rows[1].figures


def test_the_cpu_computes_what_it_computes(options: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    options.device = "cpu"
    kept = {"MLP, fp32": gpu_sections.AGAINST_CPU["MLP, fp32"]}
    monkeypatch.setattr(gpu_sections, "AGAINST_CPU", kept)
    [row] = gpu_sections.against_cpu(options)
    assert (row.verdict, row.figures) == (HOLDS, "losses differ by 0.0e+00 at most; bound 1e-05")


def test_the_page_has_facts_and_every_row(
    options: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options.device, options.only = "cpu", ["steps", "resume"]
    found = {"steps": [Row("a | b", HOLDS, "1 ms")], "resume": [Row("c", FAILS, "no end in 80 s")]}
    monkeypatch.setattr(gpu_check, "run_section", lambda name, options, seconds: found[name])
    assert gpu_check.check(options) == 1
    written = options.output.read_text()
    assert capsys.readouterr().out.strip() == written.strip()
    assert "| a \\| b | holds | 1 ms |\n| c | FAILS | no end in 80 s |" in written
    assert "| Processor | " in written
    monkeypatch.setattr(gpu_check, "BUDGET", 5.0)
    assert gpu_check.check(options) == 1
    assert "| steps | FAILS | not reached |" in options.output.read_text()


@pytest.mark.slow  # a child that runs tests
def test_tests_are_counted(options: Namespace) -> None:
    [row] = gpu_sections.tests(options)
    assert row.verdict == HOLDS
    assert " passed" in row.figures


@pytest.mark.slow  # two children that import torch
def test_a_section_is_a_process_and_is_ended_in_time(options: Namespace) -> None:
    options.device = "cpu"
    [*rows] = gpu_check.run_section("real", options, 120)
    assert rows == []  # no images were given
    [row] = gpu_check.run_section("speed", options, 1)
    assert (row.what, row.verdict) == ("section speed", FAILS)
    assert row.figures.startswith("no end in 1 s")
