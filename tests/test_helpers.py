"""The helpers that no test shows to be right by itself."""

from __future__ import annotations

import warnings

import pytest
import torch

from helpers.gpu import waiting_is_an_error


class Modes:
    """Stands for torch.cuda's mode for calls that wait: the mode is set first, then PyTorch warns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, notice: str) -> None:
        self.seen = [1]
        self.notice = notice
        monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", self.set)
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: self.seen[-1])

    def set(self, mode: int | str) -> None:
        self.seen.append({"error": 2}.get(str(mode), mode))  # type: ignore[arg-type]
        warnings.warn(self.notice, stacklevel=2)


def test_the_notice_of_a_prototype_is_no_error_and_the_old_mode_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = Modes(monkeypatch, "Synchronization debug mode is a prototype feature and does not yet detect all")
    with waiting_is_an_error():
        assert modes.seen == [1, 2]
    assert modes.seen == [1, 2, 1]
    with pytest.raises(RuntimeError, match="waited"), waiting_is_an_error():
        raise RuntimeError("waited")
    assert modes.seen == [1, 2, 1, 2, 1]


def test_any_other_warning_is_an_error_and_the_old_mode_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = Modes(monkeypatch, "something else")
    with pytest.raises(UserWarning, match="something else"), waiting_is_an_error():
        pytest.fail("the block was entered")
    assert modes.seen == [1, 2, 1]
