"""Runs to forge, and what a forger does to a run's folder: each forgery with the name under which it must be found."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from dlassign.config.run import RunConfig
from dlassign.errors import Interrupted
from dlassign.store.paths import RunPaths, config_hash
from dlassign.store.records import CHAIN
from dlassign.train.checkpoint import load_checkpoint, sealed
from dlassign.train.experiment import run_experiment
from helpers.runs import Stop, paths_of, with_changes

Record = dict[str, Any]
Lines = list[Record]

CONFIG = {
    "name": "honest",
    "data": {"name": "digits", "split": {"train": 60, "val": 20, "test": 20}},
    "model": {"name": "mlp", "hidden": [4]},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine"},
    "train": {"steps": 12, "batch_size": 20, "checkpoint_seconds": 0.0, "keep_checkpoints": "all"},
    "device": "cpu",
}


def honest_run(out: Path, changes: dict[str, Any] | None = None) -> RunPaths:
    """Train a tiny net on a few digits in the folder that its config names, and return that."""
    cfg = RunConfig.model_validate(with_changes(CONFIG, changes))
    paths = paths_of(cfg, out)
    run_experiment(cfg, paths)
    return paths


def stopped_run(out: Path, changes: dict[str, Any] | None = None, *, steps: list[int]) -> RunPaths:
    """Do the same in sessions that end after so many steps in all; `stop_after_steps` must be in place."""
    cfg = RunConfig.model_validate(with_changes(CONFIG, changes))
    paths = paths_of(cfg, out)
    for Stop.after in [*steps, 10**9]:
        with suppress(Interrupted):
            run_experiment(cfg, paths)
            break  # it stopped early, before the next interruption
    return paths


def read_lines(paths: RunPaths) -> Lines:
    return [json.loads(line) for line in paths.log.read_text().splitlines()]


def write_lines(paths: RunPaths, lines: Lines) -> None:
    paths.log.write_bytes(b"".join(_bytes(line) for line in lines))


def rewrite_chain(paths: RunPaths, *, first: int = 0) -> None:
    """Make the chain right again from a line on, counted from 0, and in the manifest: what a careful forger does."""
    digest, lines = hashlib.sha256(), []
    for number, line in enumerate(read_lines(paths)):
        if number >= first:
            line["chain"] = digest.hexdigest()[:CHAIN]
        digest.update(_bytes(line))
        lines.append(line)
    write_lines(paths, lines)
    manifest = json.loads(paths.manifest.read_text())
    paths.manifest.write_text(json.dumps({**manifest, "chain": digest.hexdigest()[:CHAIN]}))


def _bytes(line: Record) -> bytes:
    return (json.dumps(line, separators=(",", ":")) + "\n").encode()


def set_manifest(paths: RunPaths, **values: Any) -> None:
    """Change keys of the manifest; None removes one."""
    manifest = {**json.loads(paths.manifest.read_text()), **values}
    paths.manifest.write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


# Where in a log something stands


def of(lines: Lines, kind: str, number: int = 0, **values: Any) -> Record:
    """Return the record of this kind and number that has these values; `final` is False of one that has none."""
    found = [
        line
        for line in lines
        if line["kind"] == kind and all(line.get(key, False) == value for key, value in values.items())
    ]
    return found[number]


def final(lines: Lines, split: str = "test") -> Record:
    return of(lines, "eval", split=split, final=True)


def end(lines: Lines) -> Record:
    return of(lines, "end", -1)


@dataclass(frozen=True)
class Forgery:
    """What is done to a run, and what must be found.

    Attributes:
        name: of the forgery.
        found: names of judgements, one of which must be there.
        edit: changes the records of the log, in place.
        files: changes files; the second folder is another run, of seed 1.
        chain: whether the forger makes the chain right again, so that only the rest can give him away.
        resumed: whether the run was interrupted and went on.
    """

    name: str
    found: set[str]
    edit: Callable[[Lines], object] | None = None
    files: Callable[[RunPaths, RunPaths], object] | None = None
    chain: bool = True
    resumed: bool = False

    def commit(self, paths: RunPaths, other: RunPaths) -> None:
        """Forge a run."""
        if self.edit is not None:
            lines = read_lines(paths)
            self.edit(lines)
            write_lines(paths, lines)
            if self.chain:
                rewrite_chain(paths)
        if self.files is not None:
            self.files(paths, other)


# Edits of a log


def _set(record: Record, **values: Any) -> None:
    record.update(values)


def _flatter(lines: Lines) -> None:
    """Let the test accuracy be what the confusion counts say, both better than they were."""
    record = final(lines)
    counts = [list(row) for row in record["confusion"]]
    for k, row in enumerate(counts):
        counts[k] = [sum(row) if column == k else 0 for column in range(len(row))]
    _set(record, confusion=counts, accuracy=1.0)


def _two_more(lines: Lines) -> None:
    """Let two samples of test be right that were wrong: as few as another machine might round otherwise."""
    record = final(lines)
    counts, moved = [list(row) for row in record["confusion"]], 0
    for k, row in enumerate(counts):
        for column in range(len(row)):
            while column != k and row[column] and moved < 2:
                row[column], row[k], moved = row[column] - 1, row[k] + 1, moved + 1
    assert moved == 2
    _set(record, confusion=counts, accuracy=record["accuracy"] + 2 / record["n"])


def _all_seconds(lines: Lines, factor: float) -> None:
    for record in lines:
        if isinstance(record.get("seconds"), float):
            record["seconds"] *= factor
    spent = end(lines)["seconds"]
    more = spent["train"] * (factor - 1)
    spent.update(train=spent["train"] * factor, total=spent["total"] + more)
    end(lines)["images_per_second"] /= factor


def _swap(lines: Lines, one: int, other: int) -> None:
    lines[one], lines[other] = lines[other], lines[one]


def _insert(lines: Lines, record: Record, *, before: Record) -> None:
    lines.insert(next(place for place, line in enumerate(lines) if line is before), record)


def _peek(lines: Lines, split: str) -> None:
    seen = {**of(lines, "eval", 1, split="val", final=False), "split": split}
    if split == "train":
        seen["n"] = 60
    _insert(lines, seen, before=of(lines, "train", 2))


def _short(lines: Lines) -> None:
    """Leave the last epoch out: the run ends a few steps early."""
    lines[:] = [line for line in lines if line.get("step") != 12]
    seen = [line["n"] for line in lines if line["kind"] == "train"]
    seconds = of(lines, "train", -1)["seconds"]
    spent = end(lines)["seconds"]
    spent.update(other=spent["other"] + spent["train"] - seconds, train=seconds)
    _set(end(lines), steps=9, images_per_second=sum(seen) / seconds)
    for record in lines:
        if record.get("final"):
            record["seconds"] = seconds


def _without(lines: Lines, record: Record) -> None:
    lines[:] = [line for line in lines if line is not record]


def _bend_config(lines: Lines) -> None:
    lines[0]["config"]["optimizer"]["eps"] = 1e-4


EDITS: list[Forgery] = [
    # numbers
    Forgery("test accuracy", {"confusion"}, lambda x: _set(final(x), accuracy=0.95)),
    Forgery("val accuracy at the end", {"confusion"}, lambda x: _set(final(x, "val"), accuracy=0.95)),
    Forgery("test accuracy with its counts", {"result"}, _flatter),
    Forgery("two more of test right", {"result"}, _two_more),
    Forgery("a step in the distant future", {"extra"}, lambda x: _set(of(x, "train", -1), step=2**62)),
    Forgery("accuracy above 1", {"accuracy"}, lambda x: _set(of(x, "train"), accuracy=1.2)),
    Forgery("accuracy below 0", {"accuracy"}, lambda x: _set(of(x, "train", 1), accuracy=-0.1)),
    Forgery("accuracy of part of a sample", {"accuracy"}, lambda x: _set(of(x, "eval", 0), accuracy=0.123)),
    Forgery("val accuracy of the best step", {"final"}, lambda x: _best_eval(x, accuracy=0.95)),
    Forgery("val loss of the best step", {"final"}, lambda x: _best_eval(x, loss=0.001)),
    Forgery("a better evaluation than the best", {"choice"}, lambda x: _other_eval(x, accuracy=0.95)),
    Forgery("loss of the result", {"result"}, lambda x: _set(final(x), loss=0.01)),
    Forgery("loss removed", {"nonfinite"}, lambda x: _set(of(x, "train", 1), loss=None)),
    Forgery("counts no square", {"confusion"}, lambda x: final(x)["confusion"].pop()),
    Forgery("counts of more samples", {"confusion"}, lambda x: _add_counts(final(x))),
    Forgery("samples of an evaluation", {"counts"}, lambda x: _set(of(x, "eval"), n=40)),
    Forgery("samples of training", {"counts"}, lambda x: _set(of(x, "train"), n=600)),
    Forgery("samples left out", {"speed"}, lambda x: _set(of(x, "train", 1), n=40)),
    Forgery("epoch", {"epoch"}, lambda x: _set(of(x, "train", 2), epoch=7.0)),
    Forgery("learning rate", {"lr"}, lambda x: _set(of(x, "train", 2), lr=0.02)),
    Forgery("digest of the last weights", {"weights"}, lambda x: _set(end(x), weights_sha256="0" * 64)),
    # what was chosen
    Forgery("value of the best", {"choice"}, lambda x: end(x)["best"].update(value=0.99)),
    Forgery("step of the best", {"choice"}, lambda x: end(x)["best"].update(step=6 if _best(x) != 6 else 9)),
    Forgery("step that was chosen", {"choice"}, lambda x: end(x)["chosen"].update(step=6 if _best(x) != 6 else 9)),
    Forgery(
        "last called best", {"choice", "checkpoint"}, lambda x: _set(end(x), chosen={"weights": "last", "step": 12})
    ),
    Forgery("step of the result", {"choice"}, lambda x: _set(final(x), step=12, epoch=4.0)),
    # clocks
    Forgery("seconds go back", {"clock"}, lambda x: _set(of(x, "train", 2), seconds=0.0)),
    Forgery("wall goes back", {"clock"}, lambda x: _set(of(x, "eval", 1), wall=1e-6)),
    Forgery("seconds of training", {"clock"}, lambda x: end(x)["seconds"].update(train=1e-4)),
    Forgery("seconds in all", {"clock"}, lambda x: end(x)["seconds"].update(total=1e-3)),
    Forgery("seconds below nothing", {"clock"}, lambda x: end(x)["seconds"].update(eval=-5.0)),
    Forgery("speed", {"speed"}, lambda x: _set(end(x), images_per_second=2 * end(x)["images_per_second"])),
    Forgery("hours in a second", {"date"}, lambda x: _all_seconds(x, 1e6)),
    Forgery("end before the start", {"date"}, lambda x: _set(end(x), time="2020-01-01T00:00:00Z")),
    # test peeking
    Forgery("test looked at", {"peeking"}, lambda x: _peek(x, "test")),
    Forgery("train evaluated", {"evaluate"}, lambda x: _peek(x, "train")),
    Forgery("number of looks at test", {"peeking"}, lambda x: _set(end(x), test_evaluations=3)),
    # order
    Forgery("a second last record", {"second_end"}, lambda x: x.append({**end(x), "images_per_second": 1e9})),
    Forgery("a second start", {"second_start"}, lambda x: x.insert(5, dict(x[0]))),
    Forgery("a second result", {"second_final"}, lambda x: _insert(x, {**final(x), "accuracy": 0.95}, before=end(x))),
    Forgery("records after the end", {"after_end"}, lambda x: x.append(dict(of(x, "train", -1)))),
    Forgery("records swapped", {"order"}, lambda x: _swap(x, 1, 4)),
    Forgery("a record twice", {"order"}, lambda x: x.insert(2, dict(x[1]))),
    Forgery("training after the result", {"order"}, lambda x: _insert(x, dict(of(x, "train", -1)), before=end(x))),
    Forgery("a resume left out", {"after_end"}, lambda x: _without(x, of(x, "resume")), resumed=True),
    Forgery("a resume from nowhere", {"resume"}, lambda x: _set(of(x, "resume"), from_step=5), resumed=True),
    # what is missing
    Forgery("a record of training removed", {"missing"}, lambda x: _without(x, of(x, "train", 1))),
    Forgery("an evaluation removed", {"missing"}, lambda x: _without(x, _other(x))),
    Forgery("the result removed", {"missing"}, lambda x: _without(x, final(x))),
    Forgery("the end removed", {"manifest"}, lambda x: x.pop()),
    Forgery(
        "a checkpoint's record removed",
        {"checkpoint"},
        lambda x: _without(x, of(x, "checkpoint", file="last", step=12)),
    ),
    Forgery(
        "a checkpoint's digest",
        {"checkpoint"},
        lambda x: _set(of(x, "checkpoint", file="best"), weights_sha256="0" * 64),
    ),
    Forgery("ended early", {"plan"}, _short),
    # plan, config, name
    Forgery("planned steps", {"plan"}, lambda x: _set(x[0], steps=24)),
    Forgery("more steps than planned", {"plan"}, lambda x: _set(of(x, "train", 3), step=15, epoch=5.0)),
    Forgery("config of the log", {"config"}, _bend_config),
    Forgery("seed of the log", {"folder", "config"}, lambda x: _set(x[0], seed=7)),
    Forgery("name of the log", {"config", "manifest"}, lambda x: _set(x[0], name="other")),
    Forgery("data of the log", {"hash"}, lambda x: x[0]["data"].update(sha256="0" * 64)),
    Forgery("finished called diverged", {"status"}, lambda x: _set(end(x), status="diverged")),
    Forgery(
        "not finite called finished", {"status"}, lambda x: _set(of(x, "train", -1), loss=None, nonfinite=["loss"])
    ),
    # the chain, which a hurried forger leaves or mends in part
    Forgery("a number, the chain left", {"chain"}, lambda x: _set(of(x, "train"), loss=0.5), chain=False),
    Forgery("a line removed, the chain left", {"chain"}, lambda x: x.pop(3), chain=False),
    Forgery(
        "the last line, the chain left", {"manifest"}, lambda x: _set(end(x), time=x[0]["time"], note=1), chain=False
    ),
    Forgery("the chain removed from half", {"chain"}, lambda x: [line.pop("chain") for line in x[6:]], chain=False),
]


def _best(lines: Lines) -> int:
    step: int = end(lines)["best"]["step"]
    return step


def _other(lines: Lines) -> Record:
    """Return an evaluation that is not the best one, nor the last."""
    return next(r for r in lines if r["kind"] == "eval" and "final" not in r and r["step"] not in (_best(lines), 12))


def _best_eval(lines: Lines, **values: Any) -> None:
    _set(of(lines, "eval", step=_best(lines), final=False), **values)
    if "accuracy" in values:
        end(lines)["best"].update(value=values["accuracy"])


def _other_eval(lines: Lines, **values: Any) -> None:
    _set(_other(lines), **values)


def _add_counts(record: Record) -> None:
    record["confusion"][0][0] += 100


# Changes of files


def _edit_yaml(paths: RunPaths, other: RunPaths) -> None:
    config = yaml.safe_load(paths.config.read_text())
    config["optimizer"]["lr"] = 0.02
    paths.config.write_text(yaml.safe_dump(config))


def _both_configs(paths: RunPaths, other: RunPaths) -> None:
    _edit_yaml(paths, other)
    lines = read_lines(paths)
    lines[0]["config"]["optimizer"]["lr"] = 0.02
    for record in lines:
        if "lr" in record:
            record["lr"] *= 2
    write_lines(paths, lines)
    rewrite_chain(paths)


def _rename(paths: RunPaths, other: RunPaths) -> None:
    """The forger calls a run of seed 0 one of seed 5."""
    paths.root.rename(paths.root.with_name(paths.root.name.replace("-s0", "-s5")))


def _bend_weights(paths: RunPaths, other: RunPaths, *, file: str = "best") -> None:
    path = getattr(paths, file)
    state = load_checkpoint(path)
    weights = state["weights"] if file == "best" else state["learner"]["model"]
    for tensor in weights.values():
        tensor += torch.ones_like(tensor)
    path.write_bytes(sealed(state))


def _bend_step(paths: RunPaths, other: RunPaths) -> None:
    state = load_checkpoint(paths.best)
    paths.best.write_bytes(sealed({**state, "step": 1}))


def _cut(paths: RunPaths, other: RunPaths) -> None:
    paths.best.write_bytes(paths.best.read_bytes()[:-200])


def _partly(paths: RunPaths, other: RunPaths) -> None:
    lines = read_lines(paths)
    lines[1]["loss"] = 0.5
    write_lines(paths, lines)
    rewrite_chain(paths, first=6)


def _copy(*names: str) -> Callable[[RunPaths, RunPaths], None]:
    def copy(paths: RunPaths, other: RunPaths) -> None:
        for name in names:
            shutil.copy(getattr(other, name), getattr(paths, name))

    return copy


FILES: list[Forgery] = [
    Forgery("config.yaml", {"config"}, files=_edit_yaml),
    Forgery("config.yaml and log", {"hash"}, files=_both_configs),
    Forgery("seed of the folder", {"folder"}, files=_rename),
    Forgery("log of another seed", {"folder"}, files=_copy("log")),
    Forgery("log, config and manifest of another seed", {"folder"}, files=_copy("log", "config", "manifest")),
    Forgery("weights of best.pt", {"checkpoint"}, files=_bend_weights),
    Forgery("weights of last.pt", {"checkpoint"}, files=lambda run, other: _bend_weights(run, other, file="last")),
    Forgery("step of best.pt", {"checkpoint"}, files=_bend_step),
    Forgery("best.pt of another seed", {"checkpoint"}, files=_copy("best")),
    Forgery("last.pt of another seed", {"checkpoint"}, files=_copy("last")),
    Forgery("best.pt cut off", {"checkpoint"}, files=_cut),
    Forgery("the chain mended in part", {"chain"}, files=_partly),
    Forgery("status of the manifest", {"manifest"}, files=lambda run, other: set_manifest(run, status="diverged")),
    Forgery("seed of the manifest", {"manifest"}, files=lambda run, other: set_manifest(run, seed=9)),
]


# The chain, taken away, and what the log says of data and model


def _unchained(paths: RunPaths, other: RunPaths, *, manifest: bool = False, saved: bool = False) -> None:
    """Take the chain out of the log and, if asked to, out of the manifest, and with it the records of checkpoints."""
    lines = [line for line in read_lines(paths) if not (saved and line["kind"] == "checkpoint")]
    for line in lines:
        line.pop("chain")
    write_lines(paths, lines)
    if manifest:
        set_manifest(paths, chain=None)


def _no_first_chain(paths: RunPaths, other: RunPaths) -> None:
    """Let the first session of a resumed run be one of an earlier version, with a right chain after it."""
    lines = read_lines(paths)
    resumed = lines.index(of(lines, "resume"))
    for line in lines[:resumed]:
        line.pop("chain")
    write_lines(paths, [line for line in lines[:resumed] if line["kind"] != "checkpoint"] + lines[resumed:])
    rewrite_chain(paths, first=sum(line["kind"] != "checkpoint" for line in lines[:resumed]))
    for file in (paths.last, paths.previous):  # they say which log they belong to
        file.unlink()


def _only_result(paths: RunPaths, other: RunPaths) -> None:
    """Remove all but log, config and best.pt."""
    _unchained(paths, other, saved=True)
    for file in (paths.manifest, paths.last, paths.previous):
        file.unlink()


def _rename_classes(paths: RunPaths, other: RunPaths) -> None:
    """Let log and checkpoints call the classes otherwise."""
    lines, names = read_lines(paths), [f"class {k}" for k in range(10)]
    lines[0]["data"]["classes"] = names
    write_lines(paths, lines)
    rewrite_chain(paths)
    paths.best.write_bytes(sealed({**load_checkpoint(paths.best), "classes": names}))


def _rename_data(paths: RunPaths, other: RunPaths) -> None:
    lines = read_lines(paths)
    lines[0]["data"]["label"] = "mnist"
    write_lines(paths, lines)
    rewrite_chain(paths)
    set_manifest(paths, data=lines[0]["data"] | {"label": "mnist"})


def _wider(paths: RunPaths, other: RunPaths) -> None:
    """Let log, config, number of parameters and the folder's name be those of a net that is twice as wide."""
    lines = read_lines(paths)
    lines[0]["config"]["model"]["hidden"] = [8]
    lines[0]["n_params"] = 64 * 8 + 8 + 80 + 10
    write_lines(paths, lines)
    rewrite_chain(paths)
    config = yaml.safe_load(paths.config.read_text())
    config["model"]["hidden"] = [8]
    paths.config.write_text(yaml.safe_dump(config))
    name = config_hash(lines[0]["config"], lines[0]["data"]["sha256"])
    paths.root.rename(paths.root.with_name(f"{name}-s0"))


def _replace_text(name: str, old: str, new: str) -> Callable[[RunPaths, RunPaths], None]:
    def replace(paths: RunPaths, other: RunPaths) -> None:
        file: Path = getattr(paths, name)
        text = file.read_text()
        assert text.count(old) >= 1
        file.write_text(text.replace(old, new, 1))

    return replace


def _rechained_text(place: int, old: str, new: str) -> Callable[[RunPaths, RunPaths], None]:
    """Change a line of the log, or with `old` "" put one before it, and make the chain right again."""

    def edit(paths: RunPaths, other: RunPaths) -> None:
        texts = paths.log.read_text().splitlines()
        if old:
            texts[place] = texts[place].replace(old, new, 1)
        else:
            texts.insert(place, new)
        digest, done = hashlib.sha256(), []
        for text in texts:
            text = re.sub(r'"chain":"\w+"', f'"chain":"{digest.hexdigest()[:CHAIN]}"', text)
            digest.update(f"{text}\n".encode())
            done.append(text)
        paths.log.write_text("".join(f"{text}\n" for text in done))
        set_manifest(paths, chain=digest.hexdigest()[:CHAIN])

    return edit


def _odd(name: str, kind: str) -> Callable[[RunPaths, RunPaths], None]:
    def make(paths: RunPaths, other: RunPaths) -> None:
        file: Path = getattr(paths, name)
        file.unlink()
        match kind:
            case "pipe":
                os.mkfifo(file)
            case "folder":
                file.mkdir()
            case _:
                file.symlink_to("/dev/zero")

    return make


ESCAPES: list[Forgery] = [
    Forgery("the whole chain removed", {"chain"}, files=_unchained),
    Forgery("the chain removed, from the manifest too", {"chain"}, files=partial(_unchained, manifest=True)),
    Forgery("the chain and its checkpoints removed", {"chain"}, files=partial(_unchained, manifest=True, saved=True)),
    Forgery("the chain and the manifest removed", {"chain"}, files=_only_result),
    Forgery("the chain of the first session", {"chain"}, files=_no_first_chain, resumed=True),
    Forgery("the chain of the start", {"chain"}, lambda x: x[0].pop("chain"), chain=False),
    Forgery("the chain of the manifest", {"manifest"}, files=lambda run, other: set_manifest(run, chain=None)),
    Forgery("a manifest that goes on", {"manifest"}, files=lambda run, other: set_manifest(run, status="running")),
    Forgery(
        "a manifest that goes on without a chain",
        {"manifest"},
        files=lambda run, other: set_manifest(run, status="running", chain=None),
    ),
    Forgery("label of the manifest", {"manifest"}, files=lambda run, other: set_manifest(run, data={"label": "mnist"})),
    Forgery("a log that was mended as a whole", {"checkpoint"}, lambda x: _set(of(x, "train"), loss=0.5)),
    # data and model
    Forgery("number of parameters", {"n_params"}, lambda x: _set(x[0], n_params=311)),
    Forgery("another model", {"model"}, files=_wider),
    Forgery("classes of the log", {"classes"}, lambda x: x[0]["data"]["classes"].reverse()),
    Forgery("classes of log and best.pt", {"data"}, files=_rename_classes),
    Forgery("label of the data", {"data"}, files=_rename_data),
    Forgery("samples of train", {"data"}, lambda x: _set(x[0]["data"], n_train=600)),
    Forgery("samples of val", {"data"}, lambda x: _set(x[0]["data"], n_val=200)),
    Forgery("samples of test", {"data"}, lambda x: _set(x[0]["data"], n_test=200)),
    Forgery("shape of a sample", {"data"}, lambda x: _set(x[0]["data"], raw_shape=[1, 28, 28])),
    # keys, without which there would be less to compare
    Forgery("number of samples removed", {"keys"}, lambda x: [of(x, "eval", k).pop("n") for k in range(3)]),
    Forgery("confusion counts removed", {"keys"}, lambda x: final(x).pop("confusion")),
    Forgery("learning rates removed", {"keys"}, lambda x: [r.pop("lr") for r in x if "lr" in r]),
    Forgery("digest of the end removed", {"keys"}, lambda x: end(x).pop("weights_sha256")),
    Forgery("steps of an epoch removed", {"keys"}, lambda x: x[0].pop("steps_per_epoch")),
    Forgery("threads removed", {"keys"}, lambda x: x[0]["environment"].pop("threads")),
    Forgery("samples of test removed", {"data"}, lambda x: x[0]["data"].pop("n_test")),
    Forgery("classes removed", {"keys"}, lambda x: x[0]["data"].pop("classes")),
    # lines that are no records
    Forgery("an unknown record", {"record"}, lambda x: x.insert(3, {"kind": "dream", "step": 3})),
    Forgery("a record without what it must have", {"record"}, lambda x: of(x, "train", 1).pop("loss")),
    Forgery("a torn line in the middle", {"torn"}, files=_rechained_text(4, "", '{"kind":"train","st')),
    Forgery("a torn line after the end", {"record"}, files=_rechained_text(99, "", '{"kind":"train","st')),
    Forgery("a key twice in a record", {"record"}, files=_rechained_text(1, '"loss":', '"loss":0.1,"loss":')),
    Forgery(
        "a key twice in a record of a record", {"record"}, files=_rechained_text(-1, '"total":', '"total":9,"total":')
    ),
    Forgery("a key twice in the start", {"log"}, files=_rechained_text(0, '"name":', '"name":"a","name":')),
    Forgery(
        "a key twice in the manifest", {"manifest"}, files=_replace_text("manifest", '"seed"', '"seed": 1, "seed"')
    ),
    Forgery("a key twice in the config", {"config"}, files=_replace_text("config", "seed:", "seed: 1\nseed:")),
    Forgery("a config that is none", {"config"}, files=_replace_text("config", "name:", "name: [")),
    Forgery("a manifest that is none", {"manifest"}, files=_replace_text("manifest", "{", "")),
    Forgery("a log that was emptied", {"log"}, files=lambda run, other: run.log.write_text("")),
    Forgery("machine of the manifest", {"manifest"}, files=_replace_text("manifest", '": "cpu"', '": "tpu"')),
    Forgery("a key of the config", {"config"}, files=_replace_text("config", "epochs: null", "years: null")),
    Forgery("a key of the config removed", {"config"}, files=_replace_text("config", "  clip: null\n", "")),
    Forgery("a log that begins later", {"log"}, lambda x: x.pop(0)),
    Forgery("a text for a number", {"log"}, lambda x: _set(of(x, "train"), loss="small")),
    *(
        Forgery(f"a {kind} as {file}", {found}, files=_odd(file, kind))
        for kind in ("pipe", "folder", "device")
        for file, found in (("log", "log"), ("config", "config"), ("manifest", "manifest"), ("best", "checkpoint"))
    ),
]


def many_runs(out: Path, honest: RunPaths, *, number: int, damages: list[Forgery]) -> list[str]:
    """Copy a run so many times, damage the first of them, each otherwise, and return the names of those."""
    for place in range(number):
        paths = RunPaths(out / f"run{place:03}" / honest.root.name)
        shutil.copytree(honest.root, paths.root)
        if place < len(damages):
            damages[place].commit(paths, honest)
    return [f"run{place:03}" for place in range(len(damages))]


def forgeries() -> Iterator[Forgery]:
    yield from EDITS
    yield from FILES
    yield from ESCAPES
