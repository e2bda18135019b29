"""No honest run is ever called a forgery: of every kind, killed and gone on with, of earlier versions, damaged."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dlassign.config.load import dump_plain, load_config
from dlassign.config.run import RunConfig
from dlassign.errors import DataError, Diverged, Interrupted
from dlassign.parts.code import Code
from dlassign.store.files import hold_lock
from dlassign.store.paths import RunPaths, find_runs
from dlassign.store.records import EVALUATION_VARIES, RunRecords, chain_of, read_records
from dlassign.store.summary import opened_records, summarise
from dlassign.train import saved
from dlassign.train.checkpoint import load_checkpoint, sealed
from dlassign.train.experiment import run_experiment
from dlassign.verify import one_run
from dlassign.verify.judgement import Verified
from dlassign.verify.one_run import verify_run
from helpers.forging import CONFIG, honest_run, of, read_lines, rewrite_chain, set_manifest, stopped_run, write_lines
from helpers.images import folder_with_a_leak
from helpers.runs import Stop, paths_of, stop_after_steps, with_changes

OLD = sorted(find_runs(Path(__file__).parents[1] / "old_runs" / "out"), key=str)
CHANGES: list[dict[str, Any]] = [
    {},
    {"backend": "numpy"},
    {"train.steps": None, "train.epochs": 2.5, "train.batch_size": 7},
    {"train.batch_size": 7, "train.drop_last": True, "train.log_every": {"steps": 4}},
    {"train.order": "with_replacement", "train.eval_every": {"steps": 5}, "train.eval_offset": 1},
    {"train.order": "full", "train.evaluate": ["val", "test"]},
    {"train.order": "window", "train.evaluate": ["train", "val"]},
    {"train.order": "uva", "train.batch_size": 16, "train.keep": "last"},
    {"train.metric": "loss", "train.early_stop": {"patience": 1}, "optimizer.lr": 1.0},
    {"train.early_stop": {"patience": 1, "on": "train"}, "optimizer.lr": 2.0},
    {"train.average": {"name": "ema"}, "schedule": {"name": "one_cycle"}},
    {"schedule": {"name": "cosine", "warmup": {"steps": 3}}, "optimizer": {"name": "sgd", "lr": 0.1}},
    {"schedule": {"name": "multistep", "milestones": [{"epochs": 1}], "gamma": 0.1}, "train.accumulate": 2},
    {"optimizer": {"name": "sgd", "lr": 0.1, "parametrization": "decoupled"}, "train.keep_checkpoints": "best"},
    {"model.norm": "batch", "model.dropout": 0.3, "train.clip": {"norm": 1.0}},
    {"data.split.val": None, "train.keep_checkpoints": "best"},
    {"data.balance": "oversample"},
    {"loss.name": "cross_entropy", "loss.label_smoothing": 0.1, "loss.penalty": [{"name": "l2", "coefficient": 0.01}]},
]


def broken(found: Verified) -> list[str]:
    return [str(one) for one in found.judgements if one.verdict == "contradicted"]


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> type[Stop]:
    return stop_after_steps(monkeypatch)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_run_of_any_config_is_proven(changes: dict[str, Any], tmp_path: Path) -> None:
    found = verify_run(honest_run(tmp_path, changes))
    assert broken(found) == []
    assert found.verdict == "proven"


@pytest.mark.usefixtures("stops")
@pytest.mark.parametrize("changes", CHANGES[:8], ids=str)
def test_a_run_that_was_interrupted_twice_is_proven(changes: dict[str, Any], tmp_path: Path) -> None:
    paths = stopped_run(tmp_path, changes, steps=[4, 7])
    found = verify_run(paths)
    assert sum(line["kind"] == "resume" for line in read_lines(paths)) == 2
    assert broken(found) == []
    assert found.verdict == "proven"


def killed_copies(paths: RunPaths, out: Path, *, number: int, seed: int) -> Iterator[RunPaths]:
    """Copies of an unbroken run's folder as kills leave it: the log cut at a byte, without what came later."""
    content, draw = paths.log.read_bytes(), random.Random(seed)
    first = content.index(b"\n") + 1
    for copy in range(number):
        cut = RunPaths(out / f"cut{copy}" / paths.root.name)
        shutil.copytree(paths.root, cut.root)
        cut.log.write_bytes(content[: draw.randrange(first, len(content) - 1)])
        set_manifest(cut, status="running", chain=chain_of(b""))
        shutil.rmtree(cut.checkpoints)  # they are newer than the log
        yield cut


def test_a_run_that_was_killed_at_any_byte_and_goes_on_contradicts_nothing(tmp_path: Path) -> None:
    cfg = RunConfig.model_validate(CONFIG)
    paths = honest_run(tmp_path)
    for cut in killed_copies(paths, tmp_path, number=6, seed=1):
        assert broken(verify_run(cut)) == []
        assert summarise(cut).status == "interrupted"
        run_experiment(cfg, cut)
        found = verify_run(cut)
        assert broken(found) == []
        assert found.verdict == "proven"


def told(found: Verified, name: str) -> str:
    [text] = [one.what for one in found.judgements if (one.name, one.verdict) == (name, "cannot be told")]
    return text


@pytest.mark.parametrize("chain", [{"chain": chain_of(b"")}, {}], ids=["now", "earlier"])
def test_a_kill_between_the_last_record_and_the_manifest_contradicts_nothing(
    chain: dict[str, str], tmp_path: Path
) -> None:
    paths = honest_run(tmp_path)
    set_manifest(paths, status="running", chain=None)
    set_manifest(paths, **chain)
    if not chain:  # as the versions wrote it whose manifests had no chain before the end
        state = load_checkpoint(paths.best)
        paths.best.write_bytes(sealed({key: value for key, value in state.items() if key != "chained"}))
    found = verify_run(paths)
    assert broken(found) == []
    assert "does not know the end of the log" in told(found, "manifest")
    assert opened_records(paths) is not None  # which mends it
    assert "manifest.json says the same of the run" in [one.what for one in verify_run(paths).judgements]


def test_a_manifest_that_an_earlier_version_has_mended_contradicts_nothing(tmp_path: Path) -> None:
    paths = honest_run(tmp_path)
    set_manifest(paths, chain=None)
    state = load_checkpoint(paths.best)
    paths.best.write_bytes(sealed({key: value for key, value in state.items() if key != "chained"}))
    found = verify_run(paths)
    assert broken(found) == []
    assert "does not hold the chain of the log" in told(found, "manifest")


def test_a_run_of_an_earlier_version_that_goes_on_contradicts_nothing(tmp_path: Path) -> None:
    """Its log has a chain since then; and its checkpoints know that it had none."""
    old = next(paths for paths in OLD if read_records(paths.log).end["status"] == "interrupted")  # type: ignore[index]
    paths = RunPaths(tmp_path / old.root.parent.name / old.root.name)
    shutil.copytree(old.root, paths.root)
    run_experiment(load_config(paths.config), paths)
    found = verify_run(paths)
    assert broken(found) == []
    assert found.verdict == "proven"
    assert load_checkpoint(paths.best)["chained"] is False
    assert "the chain of the log is whole, since the run went on" in " ".join(one.what for one in found.judgements)


def test_a_torn_line_before_a_new_session_contradicts_nothing(tmp_path: Path) -> None:
    cfg = RunConfig.model_validate(CONFIG)
    for number, cut in enumerate(killed_copies(honest_run(tmp_path), tmp_path, number=3, seed=2)):
        for torn in (b'{"kind":"resume","fr', b"", b"\0\0\0")[: number + 1]:  # killed again while it began
            content = cut.log.read_bytes()
            cut.log.write_bytes(content + b"\n" * (not content.endswith(b"\n")) + torn)
        assert broken(verify_run(cut)) == []
        run_experiment(cfg, cut)
        assert broken(verify_run(cut)) == []


def test_a_record_that_another_version_may_write_contradicts_nothing(tmp_path: Path) -> None:
    paths = honest_run(tmp_path)
    lines = read_lines(paths)
    lines[0]["environment"]["packages"]["dlassign"] = "99.0"
    set_manifest(paths, environment=lines[0]["environment"])
    lines.insert(2, {"kind": "dream", "step": 3})
    write_lines(paths, lines)
    rewrite_chain(paths)
    for file in (paths.last, paths.previous):
        file.unlink()  # they have the chain of before
    assert broken(verify_run(paths)) == []


def test_of_a_run_without_checkpoints_the_data_is_compared(tmp_path: Path) -> None:
    [cut] = killed_copies(honest_run(tmp_path), tmp_path, number=1, seed=3)
    found = {one.name: one.verdict for one in verify_run(cut).judgements}
    assert (found["data"], found["model"]) == ("proven", "cannot be told")


def test_data_that_was_moved_may_be_called_otherwise(tmp_path: Path) -> None:
    root = folder_with_a_leak(tmp_path / "pets")
    data = {"name": "image_folder", "root": str(root), "cache": str(tmp_path / "cache"), "split": {"val": 4}}
    cfg = RunConfig.model_validate({**CONFIG, "data": data})
    paths = paths_of(cfg, tmp_path)
    run_experiment(cfg, paths)
    assert verify_run(paths).verdict == "proven"
    root.rename(tmp_path / "moved")
    root.symlink_to("moved")
    for overrides in ((), (f"data.root={tmp_path / 'moved'}",)):
        found = verify_run(paths, overrides=overrides)
        assert broken(found) == []
        assert told(found, "data") == "the log calls the data pets; where it lies now it is called moved"


def test_a_run_whose_metric_was_never_a_number_contradicts_nothing(tmp_path: Path) -> None:
    code = tmp_path / "own.py"
    code.write_text("def nothing(predicted, true):\n    return float('nan')\n")
    config = tmp_path / "a.yaml"
    config.write_text(dump_plain({**CONFIG, "train": {**CONFIG["train"], "metric": {"name": "own.py:nothing"}}}))
    cfg = load_config(config, code=Code([code]))
    paths = paths_of(cfg, tmp_path)
    run_experiment(cfg, paths)
    assert "nothing_chosen" in read_records(paths.log).notes
    found = verify_run(paths, trust=True)
    assert broken(found) == []
    assert found.verdict == "proven"
    lines = read_lines(paths)
    of(lines, "note", about="nothing_chosen").pop("step")  # as earlier versions wrote it
    write_lines(paths, lines)
    rewrite_chain(paths)
    assert broken(verify_run(paths, trust=True)) == []


DRAWS = """\
import torch

class Net(torch.nn.Module):
    def __init__(self, in_shape, n_classes):
        super().__init__()
        self.layer = torch.nn.Linear(64, n_classes)

    def forward(self, x):
        x = x.flatten(1)
        return self.layer(x + 3 * torch.randn_like(x))
"""


@pytest.mark.usefixtures("stops")
@pytest.mark.parametrize("steps", [[], [5]], ids=["unbroken", "resumed"])
def test_a_model_that_draws_in_evaluation_reaches_what_the_log_says(steps: list[int], tmp_path: Path) -> None:
    code, config = tmp_path / "net.py", tmp_path / "a.yaml"
    code.write_text(DRAWS)
    config.write_text(dump_plain({**CONFIG, "model": {"name": "net.py:Net"}}))
    cfg = load_config(config, code=Code([code]))
    paths = paths_of(cfg, tmp_path)
    for Stop.after in [*steps, 10**9]:
        with suppress(Interrupted):
            run_experiment(cfg, paths)
    assert summarise(paths).status == "finished"
    found = verify_run(paths, trust=True, whole=True)
    assert broken(found) == []
    assert found.verdict == "proven"


def test_the_result_of_a_model_whose_evaluation_varies_cannot_be_told(tmp_path: Path) -> None:
    code, config, said = tmp_path / "net.py", tmp_path / "a.yaml", list[str]()
    noise = "0 if self.training else 3 * torch.from_numpy(numpy.random.randn(*x.shape)).float()"
    code.write_text(f"import numpy\n{DRAWS}".replace("3 * torch.randn_like(x)", f"({noise})"))
    config.write_text(dump_plain({**CONFIG, "model": {"name": "net.py:Net"}}))
    cfg = load_config(config, code=Code([code]))
    paths = paths_of(cfg, tmp_path)
    records = run_experiment(cfg, paths, say=said.append)
    assert "not_repeatable" not in records.notes
    text = records.notes[EVALUATION_VARIES]["text"]
    assert text in said
    assert text.startswith("an evaluation with net.py:Net gives another result when repeated, ")
    found = verify_run(paths, trust=True, whole=True)
    assert broken(found) == []
    assert "cannot be repeated" in told(found, "result")
    assert found.verdict == "consistent"


def test_of_a_run_that_is_being_trained_the_data_is_not_read(tmp_path: Path) -> None:
    [cut] = killed_copies(honest_run(tmp_path), tmp_path, number=1, seed=3)
    with hold_lock(cut.lock, taken=""):
        found = verify_run(cut)
    assert broken(found) == []
    assert "being trained" in told(found, "data")


def test_without_its_data_nothing_is_told_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = honest_run(tmp_path)

    def gone(*arguments: object, **options: object) -> None:
        raise DataError("there is no data")

    monkeypatch.setattr(saved, "load_dataset", gone)
    found = verify_run(paths)
    assert broken(found) == []
    assert found.verdict == "consistent"
    assert told(found, "data") == told(found, "result") == "there is no data"


@pytest.mark.usefixtures("stops")
def test_a_run_that_has_not_ended_is_consistent(tmp_path: Path) -> None:
    cfg = RunConfig.model_validate(CONFIG)
    paths = paths_of(cfg, tmp_path)
    Stop.after = 7
    with pytest.raises(Interrupted):
        run_experiment(cfg, paths)
    found = verify_run(paths)
    assert broken(found) == []
    assert found.verdict == "consistent"
    assert "the run has not come to its end" in list(map(str, found.judgements))


def test_a_run_that_goes_on_while_it_is_looked_at_is_not_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log is read before it ends; its manifest and checkpoints are from after that."""
    paths = honest_run(tmp_path)
    whole = paths.log.read_bytes()
    lines = whole.splitlines(keepends=True)
    early = next(i for i, line in enumerate(lines) if b'"kind":"checkpoint"' in line)
    paths.log.write_bytes(b"".join(lines[:early]))
    looks = []

    def read_and_go_on(path: Path) -> RunRecords:
        records = read_records(path)
        looks.append(len(records.lines))
        paths.log.write_bytes(whole)
        return records

    monkeypatch.setattr(one_run, "read_records", read_and_go_on)
    found = verify_run(paths)
    assert broken(found) == []
    assert found.verdict == "proven"
    assert looks == [early, len(lines)]


def test_a_run_that_diverges_is_consistent(tmp_path: Path) -> None:
    changes = {"optimizer": {"name": "sgd", "lr": 1e30}, "data.preprocess": []}
    cfg = RunConfig.model_validate(with_changes(CONFIG, changes))
    paths = paths_of(cfg, tmp_path)
    with pytest.raises(Diverged):
        run_experiment(cfg, paths)
    found = verify_run(paths)
    assert broken(found) == []
    assert found.verdict == "consistent"


@pytest.mark.parametrize("old", OLD, ids=lambda paths: paths.root.name)
def test_runs_of_earlier_versions_are_never_contradicted(
    old: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(old.root, tmp_path / old.root.parent.name / old.root.name)
    found = verify_run(RunPaths(tmp_path / old.root.parent.name / old.root.name))
    assert broken(found) == []
    assert any(one.name == "chain" and one.verdict == "cannot be told" for one in found.judgements)


def test_a_run_set_aside_is_proven(tmp_path: Path) -> None:
    paths = honest_run(tmp_path)
    assert verify_run(RunPaths(paths.set_aside())).verdict == "proven"


def test_a_renamed_copy_is_proven_with_its_checkpoints_and_those_of_another_run_show(tmp_path: Path) -> None:
    paths, other = honest_run(tmp_path), honest_run(tmp_path, {"seed": 1})
    copy = RunPaths(tmp_path / "backup")
    shutil.copytree(paths.root, copy.root)
    assert copy.last.is_file()
    found = verify_run(copy)
    assert broken(found) == []
    assert found.verdict == "proven"
    shutil.copy(other.last, copy.last)
    assert any(f"it is one of the run {other.root.name}" in text for text in broken(verify_run(copy)))


@pytest.mark.slow  # a hundred trainings
@pytest.mark.usefixtures("stops")
def test_a_hundred_honest_runs(tmp_path: Path) -> None:
    draw = random.Random(0)
    for number in range(100):
        changes = {**draw.choice(CHANGES), "seed": number}
        stops = sorted(draw.sample(range(1, 12), draw.choice([0, 0, 1, 2, 3])))
        Stop.steps = 0
        paths = stopped_run(tmp_path, changes, steps=stops)
        assert broken(verify_run(paths)) == [], (changes, stops)
        Stop.after = 10**9
        for cut in killed_copies(paths, tmp_path / str(number), number=1, seed=number):
            run_experiment(RunConfig.model_validate(with_changes(CONFIG, changes)), cut)
            assert broken(verify_run(cut)) == [], (changes, stops)
