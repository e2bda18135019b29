"""Signals: one request inside another."""

from __future__ import annotations

import os
import signal

import pytest

from dlassign.train.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_kept_and_the_former_handler_comes_back(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
    assert signal.getsignal(number) is before


def test_what_the_inner_one_hears_the_outer_one_knows() -> None:
    with StopRequest() as outer:
        with StopRequest() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert inner()
            assert not outer(), "it takes over"
        assert outer()


def test_what_came_before_the_inner_one_began_it_knows() -> None:
    with StopRequest() as outer:
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer()
        with StopRequest() as inner:
            assert inner()


def test_a_second_interrupt_interrupts_at_once() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
