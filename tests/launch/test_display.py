"""How a run goes in a notebook: one line that is drawn anew, also in a real kernel, whose stop button interrupts."""

from __future__ import annotations

import queue
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlassign.launch import display
from dlassign.launch.display import make_display

CELL = """
import dlassign as dl
config = {
    "name": "stopped",
    "data": {"name": "digits", "preprocess": [{"name": "scale", "divisor": 16}], "split": {"val": 0.15, "test": 0.2}},
    "model": {"name": "mlp", "hidden": [32], "dropout": 0.1},
    "optimizer": {"name": "adam", "lr": 0.003},
    "train": {"steps": STEPS, "batch_size": 50, "eval_every": {"steps": 500}, "checkpoint_seconds": 0},
    "device": "cpu",
}
run = dl.train(config, out="OUT")
"""


class Shown:
    """Stands for IPython: keeps what is displayed, and what takes its place."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.updates: list[dict[str, str]] = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        self.shown.append(content)
        return SimpleNamespace(update=lambda content, raw: self.updates.append(content))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """A kernel that runs this process."""
    shown = Shown()
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "IPython.display", shown)  # type: ignore[arg-type]
    return shown


def record(step: int) -> dict[str, Any]:
    return {"kind": "train", "step": step, "loss": 0.5, "accuracy": 0.75, "seconds": step / 1000}


def test_a_notebook_has_one_line_that_is_drawn_twice_a_second(kernel: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(display, "time", SimpleNamespace(monotonic=lambda: now))
    said: list[str] = []
    with make_display(1000, 100, 5000, say=said.append) as line:
        for step in range(1, 1001):
            now = step / 100
            line.on_record(record(step))
        line.say("a note")
    assert said == ["a note"]
    assert len(kernel.shown) == 1
    assert len(kernel.updates) == 20 + 1  # in ten seconds, and the last one
    assert kernel.updates[-1]["text/plain"].startswith("step 1,000 of 1,000  loss 0.5000  acc 0.7500")
    assert '<progress value="1000" max="1000">' in kernel.updates[-1]["text/html"]


def test_without_a_kernel_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # type: ignore[arg-type]
    with make_display(10, 5, 50, say=lambda text: None) as line:
        assert isinstance(line, display.PlainLines)


@pytest.mark.extra  # starts kernels, which import torch
def test_the_stop_button_gives_the_run_and_the_same_cell_goes_on(tmp_path: Path) -> None:
    from jupyter_client.manager import start_new_kernel

    cell = CELL.replace("OUT", str(tmp_path)).replace("STEPS", "4000")
    manager, client = start_new_kernel()
    try:
        client.execute(cell.replace(str(tmp_path), str(tmp_path / "unbroken")), reply=True, timeout=120)
        client.execute(cell)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("stopped/*/checkpoints/last.pt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        manager.interrupt_kernel()
        assert told(client, "run.status") == "'interrupted'"
        assert told(client, "run.summary.steps < 4000") == "True"
        client.execute(cell, reply=True, timeout=120)
        assert told(client, "run.status") == "'finished'"
        unbroken = str(tmp_path / "unbroken" / "stopped" / "latest")
        digests = [told(client, f"{one}.summary.weights_sha256") for one in ("run", f"dl.open({unbroken!r})")]
        assert digests[0] == digests[1]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def told(client: Any, expression: str) -> str:
    """Return what a kernel says of an expression, once it is done with what came before."""
    reply = client.execute("", user_expressions={"value": expression}, reply=True, timeout=120)
    try:
        while True:
            client.get_iopub_msg(timeout=0.05)
    except queue.Empty:
        pass
    found = reply["content"]["user_expressions"]["value"]
    assert found["status"] == "ok", found
    return str(found["data"]["text/plain"])
