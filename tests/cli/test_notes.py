"""Lines of commands that fit a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlassign.cli.views import notes
from dlassign.cli.views.notes import fitted


def test_lines_are_broken_between_words_and_stay_in_their_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "terminal_width", lambda: 40)
    lines = [
        "  consistent      the folder's name has the hash of the log",
        "    3 | loss: {name: a_very_long_name_of_a_loss}",
    ]
    lines.append("      cure      --set model.activation=relu --set 'init={name: he}'")
    assert list(fitted(lines)) == [
        "  consistent      the folder's name has\n                  the hash of the log",
        *lines[1:],
    ]


def test_a_pipe_gets_them_as_they_are() -> None:
    line = "word " * 50
    assert list(fitted([f"{line}\n{line}"])) == [line, line]


ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("words", [("doctor", "--no-steps"), ("data", "check"), ("train",)])
def test_a_terminal_has_a_line_at_once_and_a_pipe_none(words: tuple[str, ...], tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "quickstart.yaml")
    line = [sys.executable, "-m", "dlassign", *words, config]
    line += ["--set", "train.epochs=1"] if words == ("train",) else []
    parent, child = os.openpty()
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=child, cwd=tmp_path) as process:
        os.close(child)
        assert config in os.read(parent, 2000).decode()
        while _read(parent):
            pass
        assert process.wait() == 0
    os.close(parent)
    piped = subprocess.run([*line, "--set", "name=piped"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "reading" not in piped.stderr
    assert "looking at" not in piped.stderr


def _read(file: int) -> bytes:
    try:
        return os.read(file, 2000)
    except OSError:  # the process has ended
        return b""
