"""A run whose network predicts one class says so, whatever computes, and no other run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import load_config
from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.errors import Interrupted
from dlassign.stacked.keys import stack_key
from dlassign.stacked.together import run_together
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords, read_records
from dlassign.train.cache import DataCache
from dlassign.train.experiment import run_experiment
from helpers.records import drop_times

DIGITS = """
name: faint
backend: {backend}
data: {{name: digits, preprocess: [{{name: scale, divisor: 16}}]}}
model: {{name: mlp, hidden: [16, 16, 16, 16]}}
init: {init}
optimizer: {{name: adam, lr: 0.01, weight_decay: {decay}}}
train: {{epochs: 6, batch_size: 120, keep: last, checkpoint_seconds: 0}}
seed: 3
"""
FAINT = {"init": "{name: normal, std: 1e-6}", "decay": "0.5"}


def config(folder: Path, backend: str, *, seed: int = 3, **values: str) -> RunConfig:
    file = folder / "config.yaml"
    file.write_text(DIGITS.format(backend=backend, **(FAINT | values)))
    return load_config(file, seed=seed)


def notes_of(records: RunRecords) -> list[Record]:
    return drop_times(records.notes.values())


@pytest.mark.parametrize("backend", ["torch", "numpy"])
class TestOneRun:
    def test_says_so_once_and_its_log_at_the_end_too(self, backend: str, tmp_path: Path) -> None:
        said: list[str] = []
        written: list[Record] = []
        cfg = config(tmp_path, backend)
        records = run_experiment(cfg, RunPaths(tmp_path / "run"), say=said.append, on_record=written.append)
        notes = [record for record in written if record["kind"] == "note"]
        evaluated = [record["step"] for record in records.evaluations("val")]
        assert [(note["step"], note["final"]) for note in notes] == [(evaluated[1], False), (evaluated[-1], True)]
        assert records.notes == {"one_class": notes[-1]}
        confusion = records.finals["val"]["confusion"]
        predicted = [k for k in range(10) if any(row[k] for row in confusion)]
        assert [records.start["data"]["classes"][k] for k in predicted] == [notes[-1]["predicted"]]
        assert [text for text in said if "predicts one class" in text] == [notes[0]["text"]]
        assert f"all {records.finals['val']['n']} val samples" in notes[0]["text"]

    def test_with_better_weights_there_is_nothing_to_say(self, backend: str, tmp_path: Path) -> None:
        said: list[str] = []
        cfg = config(tmp_path, backend, init="{name: he}", decay="0.0")
        records = run_experiment(cfg, RunPaths(tmp_path / "run"), say=said.append)
        assert records.finals["val"]["accuracy"] > 0.5
        assert records.notes == {}
        assert not any("one class" in text for text in said)


def test_members_of_a_stack_note_what_runs_alone_do(tmp_path: Path) -> None:
    cfgs = [config(tmp_path, "torch", seed=seed) for seed in (3, 4)]
    digest = fingerprint(cfgs[0].data)
    alone = [run_experiment(cfg, RunPaths(tmp_path / "alone" / str(cfg.seed))) for cfg in cfgs]
    said: dict[int, list[str]] = {3: [], 4: []}
    paths = [RunPaths.of(tmp_path / "out", cfg.model_dump(mode="json"), digest) for cfg in cfgs]
    assert stack_key(cfgs[0]) == stack_key(cfgs[1])
    ends = run_together(
        cfgs,
        paths,
        say=lambda place, text: said[cfgs[place].seed].append(text),
        on_record=lambda place, record: None,
        cache=DataCache(),
    )
    assert [error for _, error in ends] == [None, None]
    for cfg, own, records in zip(cfgs, paths, alone, strict=True):
        assert notes_of(read_records(own.log)) == notes_of(records) != []
        assert sum("predicts one class" in text for text in said[cfg.seed]) == 1


@pytest.mark.parametrize("evaluation", [1, 2, 4])
def test_an_interrupted_run_notes_what_an_unbroken_one_does(
    evaluation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config(tmp_path, "torch")
    whole, said = run_experiment(cfg, RunPaths(tmp_path / "whole")), list[str]()
    seen: list[Any] = []

    def interrupt(record: Record) -> None:
        seen.append(record)
        if record["kind"] == "eval" and sum(r["kind"] == "eval" for r in seen) == evaluation:
            monkeypatch.setattr("dlassign.train.stopping.StopRequest.__call__", lambda self: True)

    with pytest.raises(Interrupted):
        run_experiment(cfg, RunPaths(tmp_path / "broken"), on_record=interrupt, say=said.append)
    monkeypatch.undo()
    records = run_experiment(cfg, RunPaths(tmp_path / "broken"), say=said.append)
    assert notes_of(records) == notes_of(whole) != []
    assert sum("predicts one class" in text for text in said) == 1
