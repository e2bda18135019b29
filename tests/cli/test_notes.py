"""Lines of commands that fit a terminal."""

from __future__ import annotations

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
