"""A worker of a sweep trains on the GPU that it was dealt; the run's config does not say which."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from dlassign.store.records import read_records
from dlassign.sweep.serial import train_trial
from dlassign.sweep.trial import Trial
from dlassign.sweep.worker import _prepare
from dlassign.train.device import resolve_device
from helpers.pretended_gpu import AMPERE, pretended_gpu
from helpers.tiny_trials import Notes, make_trial


def test_a_dealt_gpu_is_used_and_stands_in_the_log_alone(tmp_path: Path) -> None:
    tiny = make_trial(tmp_path, steps=2)
    config = tiny.config.model_copy(update={"device": "auto"})
    trial = Trial(number=0, values={}, config=config, paths=tiny.paths)
    with pretended_gpu(AMPERE, AMPERE):
        assert resolve_device("auto") == torch.device("cuda:0")
        cache = _prepare(None, "cuda:1")
        assert resolve_device("auto") == torch.device("cuda:1")
        assert resolve_device("cuda") == torch.device("cuda:0")
        assert train_trial(trial, Notes(), cache=cache).status == "finished"
    assert read_records(trial.paths.log).start["environment"]["device"] == "cuda:1"
    assert yaml.safe_load(trial.paths.config.read_text())["device"] == "auto"
