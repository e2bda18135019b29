"""The clock of a probe: it stands still while other work runs."""

from __future__ import annotations

import time

import torch

from dlassign.doctor.probe_clock import clock_of


def test_what_waits_costs_nothing_on_a_cpu() -> None:
    clock = clock_of(torch.device("cpu"))
    before = clock()
    time.sleep(0.2)
    assert clock() - before < 0.1


def test_a_gpu_is_waited_for() -> None:
    assert clock_of(torch.device("cuda")) is time.perf_counter
