"""Runs that train together end as if each had trained alone: with the same bits, and the same log."""

from __future__ import annotations

import json
import re
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dlassign.stacked.trainer as stacked_learner
from dlassign.config.load import load_config
from dlassign.config.model import MLP
from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.errors import Diverged, DlassignError, Interrupted, UserError
from dlassign.stacked.keys import stack_key
from dlassign.stacked.member import StackMember
from dlassign.stacked.together import make_stack_trainer, run_together
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record, RunRecords, read_records
from dlassign.train.cache import DataCache
from dlassign.train.checkpoint import load_checkpoint, weights_sha256
from dlassign.train.experiment import assemble, run_experiment
from dlassign.train.torch_learner import TorchLearner

ROOT = Path(__file__).parents[2]
BASE = [
    "train.epochs=null",
    "train.steps=120",
    "train.eval_every={steps: 40}",
    "train.log_every={steps: 10}",
    "model.hidden=[20, 10]",
    "train.keep_checkpoints=all",
    "device=cpu",
]
TIMES = {"seconds", "wall", "time", "images_per_second", "environment", "chain"}


@pytest.fixture(scope="module")
def digest() -> str:
    return fingerprint(config().data)


def config(*changes: str, seed: int = 0) -> RunConfig:
    return load_config(ROOT / "configs" / "quickstart.yaml", [*BASE, *changes], seed=seed)


def paths_of(out: Path, cfg: RunConfig, digest: str) -> RunPaths:
    return RunPaths.of(out, cfg.model_dump(mode="json"), digest)


def alone(cfgs: list[RunConfig], out: Path, digest: str) -> list[RunRecords]:
    cache = DataCache()
    return [run_experiment(cfg, paths_of(out, cfg, digest), cache=cache) for cfg in cfgs]


def together(
    cfgs: list[RunConfig], out: Path, digest: str, on_record: Callable[[RunConfig, Record], None] = lambda c, r: None
) -> tuple[list[RunRecords], list[DlassignError | None]]:
    if isinstance(cfgs[0].model, MLP):  # others are stacked on a GPU only; here they are computed as there
        assert len({stack_key(cfg) for cfg in cfgs}) == 1
        assert stack_key(cfgs[0])[0] is not None, stack_key(cfgs[0])
    paths = [paths_of(out, cfg, digest) for cfg in cfgs]
    run = run_together(
        cfgs,
        paths,
        say=lambda place, text: None,
        on_record=lambda place, record: on_record(cfgs[place], record),
        cache=DataCache(),
    )
    ends = dict(run)
    return [read_records(own.log) for own in paths], [ends[place] for place in range(len(cfgs))]


def quietly(cfgs: list[RunConfig], paths: list[RunPaths]) -> list[DlassignError | None]:
    """Train runs together without a word, and return how each ended."""
    ends = run_together(cfgs, paths, say=lambda k, text: None, on_record=lambda k, record: None, cache=DataCache())
    return [error for _, error in sorted(ends, key=lambda end: end[0])]


def same(ours: Any, theirs: Any, where: str, *, exact: bool) -> None:
    """Assert that two records are equal but for times; unless exact, numbers but for 1e-9, and digests not at all."""
    if isinstance(ours, float) and isinstance(theirs, float) and not exact:
        assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-12), where
    elif isinstance(ours, dict):
        left_out = TIMES if exact else TIMES | {"weights_sha256"}
        kept = {key for key in ours if key not in left_out}
        assert kept == {key for key in theirs if key not in left_out}, where
        for key in kept:
            same(ours[key], theirs[key], f"{where}.{key}", exact=exact)
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            same(*pair, f"{where}.{index}", exact=exact)
    else:
        assert ours == theirs, where


def same_logs(ours: list[RunRecords], theirs: list[RunRecords], *, exact: bool = True) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for part in ("start", "train", "evals", "augmented", "end"):
            same(getattr(one, part), getattr(other, part), part, exact=exact)


FP64 = "train.precision=fp64"
SGD = "optimizer={{name: sgd, lr: {lr}, momentum: {momentum}, nesterov: {nesterov}, weight_decay: {decay}}}"
L2 = "loss={{name: cross_entropy, label_smoothing: 0.1, penalty: [{{name: l2, coefficient: {a}}}, {other}]}}"
CASES: dict[str, list[list[str]]] = {
    "sgd": [[f"optimizer={{name: sgd, lr: {lr}}}"] for lr in (0.1, 0.01)],
    "momentum and decay": [
        [SGD.format(lr=lr, momentum=m, nesterov="false", decay=d)]
        for lr, m, d in [(0.1, 0.9, 0.0), (0.05, 0.5, 1e-2), (0.2, 0.8, 1e-3), (0.02, 0.9, 0.0)]
    ],
    "nesterov": [[SGD.format(lr=lr, momentum=0.9, nesterov="true", decay=1e-4)] for lr in (0.1, 0.05, 0.02, 0.01)],
    "decoupled rates": [
        [f"optimizer={{name: sgd, lr: {lr}, momentum: 0.8, parametrization: decoupled, weight_decay: 1e-5}}"]
        for lr in (10, 5, 3, 2)
    ],
    "adam": [[f"optimizer={{name: adam, lr: {lr}, weight_decay: {lr}}}"] for lr in (1e-2, 3e-3, 1e-3, 1e-4)],
    "adamw": [[f"optimizer={{name: adamw, lr: {lr}, betas: [0.8, {b}]}}"] for lr, b in ((1e-2, 0.9), (1e-3, 0.99))] * 2,
    "rmsprop": [[f"optimizer={{name: rmsprop, lr: {lr}, momentum: 0.5}}"] for lr in (1e-2, 3e-3, 1e-3, 1e-4)],
    "different optimizers": [
        ["optimizer={name: adam}"],
        ["optimizer={name: sgd, lr: 0.1}"],
        ["optimizer={name: adamw}"],
    ],
    "schedules": [["schedule={name: cosine}"], ["schedule={name: linear, warmup: {steps: 20}}"], []],
    "dropout": [[f"model.dropout={p}"] for p in (0.1, 0.3, 0.5)],
    "dropout scaled in evaluation": [
        [f"model.dropout=[{p}, 0.2]", "model.dropout_scale=evaluation"] for p in (0.1, 0.3)
    ],
    "penalties": [
        [L2.format(a=a, other="{name: l1, coefficient: 1e-4, squared: false, on: all}")] for a in (1e-3, 1e-2)
    ],
    "plain norm": [
        [L2.format(a=a, other="{name: l2, coefficient: 1e-3, squared: false, half: true}")] for a in (0, 1e-2)
    ],
    "squared l1": [[L2.format(a=a, other="{name: l1, coefficient: 1e-5}")] for a in (1e-3, 1e-2)],
    "clip": [[f"train.clip={{norm: {norm}}}"] for norm in (0.1, 1.0)],
    "averages": [[f"train.average={{name: ema, decay: {decay}}}"] for decay in (0.9, 0.99)],
    "initial weights": [
        ["init={name: he}"],
        ["init={name: normal, std: 0.05}"],
        ["init={name: legacy_normal, std: 0.1}"],
    ],
    "batch norm": [["model.norm=batch"], ["model.norm=batch", "optimizer.lr=0.01"]],
    "batch norm, own backward": [["model.norm=batch_manual"], ["model.norm=batch_manual", "optimizer.lr=0.01"]],
    "batch norm without running": [["model.norm=batch_without_running", "model.norm_at=after_activation"]] * 2,
    "layer norm": [["model.norm=layer"], ["model.norm=layer", "optimizer.lr=0.01"]],
    "layer norm by autograd": [["model.norm=layer_autograd"], ["model.norm=layer_autograd", "optimizer.lr=0.01"]],
    "activations": [["model.activation=[gelu, tanh]"], ["model.activation=[gelu, tanh]", "optimizer.lr=0.01"]],
    "no hidden layer": [["model.hidden=[]"], ["model.hidden=[]", "optimizer.lr=0.01"]],
    "no bias": [["model.bias=false"], ["model.bias=false", "optimizer.lr=0.01"]],
    "hinge": [["loss={name: multiclass_hinge}"], ["loss={name: multiclass_hinge}", "optimizer.lr=0.01"]],
    "squared error": [["loss={name: squared_error}"], ["loss={name: squared_error}", "optimizer.lr=0.01"]],
    "class weights": [
        [
            "loss={name: cross_entropy, label_smoothing: 0.1, class_weight: {'3': 4.0, '8': 0.25}}",
            f"optimizer.lr={lr}",
        ]
        for lr in (1e-2, 1e-3)
    ],
    "balanced": [["loss={name: cross_entropy, class_weight: balanced}", f"optimizer.lr={lr}"] for lr in (1e-2, 1e-3)],
    "oversampled": [["data.balance=oversample"], ["data.balance=oversample", "optimizer.lr=0.01"]],
    "full batch": [["train.order=full"], ["train.order=full", "optimizer.lr=0.01"]],
    "convolutions": [
        ["model={name: eecs_convnet, filters: 4, kernel_size: 3, hidden: 10, norm: batch}", f"optimizer.lr={lr}", FP64]
        for lr in (1e-3, 1e-2)
    ],
    "convolutions, batch norm and averages": [
        [
            "model={name: eecs_convnet, filters: 4, kernel_size: 3, hidden: 10, norm: batch}",
            f"train.average={{name: ema, decay: {decay}}}",
            FP64,
        ]
        for decay in (0.9, 0.99)
    ],
    "fp64": [[FP64, f"optimizer.lr={lr}"] for lr in (1e-2, 1e-3)],
    "bf16": [["train.precision=bf16", "model.dropout=0.3", f"optimizer.lr={lr}"] for lr in (1e-2, 1e-3)],
    "curved activations": [
        ["model.activation=[silu, sigmoid]"],
        ["model.activation=[silu, sigmoid]", "init={name: he}"],
    ],
    "one unit": [["model.hidden=[1, 9]"], ["model.hidden=[1, 9]", "optimizer.lr=0.01"]],
    "groups": [
        [f"optimizer={{name: adamw, lr: {lr}, groups: [{{params: ['*.bias'], lr_factor: 2.0}}]}}"]
        for lr in (1e-3, 1e-2)
    ],
    "one rule for all": [[SGD.format(lr=0.1, momentum=0.9, nesterov="false", decay=1e-3)]] * 4,
    "large matrices": [["model.hidden=[1100]", f"optimizer.lr={lr}"] for lr in (1e-3, 3e-3)],
    "large matrices without bias": [
        ["model.hidden=[1100]", "model.bias=false", f"optimizer.lr={n}e-3"] for n in (1, 2)
    ],
    "window": [["train.order=window"], ["train.order=window", "optimizer.lr=0.01"]],
}


SHORT = "train.steps=30", "train.eval_every={steps: 12}"
SHARING = (
    "convolutions",
    "momentum and decay",
    "adam",
    "dropout",
    "penalties",
    "batch norm",
    "layer norm",
    "no hidden layer",
)
"""Cases that are also run with one seed for all, and so with one batch for all."""
QUICKLY = {
    *("momentum and decay", "adam", "rmsprop", "different optimizers", "schedules", "dropout", "penalties"),
    *("averages", "batch norm", "layer norm", "activations", "convolutions", "bf16", "groups", "one rule for all"),
}
"""Cases of plain pytest, one of each kind; each builds, trains and saves its runs twice."""


def marked(case: str, seeds: str) -> Any:
    quick = case in QUICKLY and (seeds == "a seed each" or case == "batch norm")
    return pytest.param(case, seeds, marks=() if quick else pytest.mark.slow, id=f"{case}-{seeds}")


@pytest.mark.parametrize(
    ("case", "seeds"),
    [marked(case, "a seed each") for case in CASES] + [marked(case, "one seed") for case in SHARING],
)
def test_logs_are_those_of_runs_alone(case: str, seeds: str, tmp_path: Path, digest: str) -> None:
    cfgs = [
        config(*SHORT, *changes, seed=number if seeds == "a seed each" else 0)
        for number, changes in enumerate(CASES[case])
    ]
    cfgs = list({cfg.model_dump_json(): cfg for cfg in cfgs}.values())
    ours, errors = together(cfgs, tmp_path / "together", digest)
    assert errors == [None] * len(cfgs)
    same_logs(ours, alone(cfgs, tmp_path / "alone", digest), exact=isinstance(cfgs[0].model, MLP))


HIDDEN = st.lists(st.integers(1, 70), max_size=2)
NETS = st.fixed_dictionaries(
    {
        "model.hidden": HIDDEN,
        "model.activation": st.sampled_from(["relu", "tanh", "gelu", "silu", "sigmoid"]),
        "model.norm": st.sampled_from(["none", "none", "batch", "layer"]),
        "model.dropout": st.sampled_from([0.0, 0.3]),
        "model.bias": st.booleans(),
        "train.batch_size": st.sampled_from([64, 32, 17]),
        "train.steps": st.integers(5, 14),
        "train.eval_every": st.sampled_from([{"steps": 4}, {"steps": 5}]),
        "train.early_stop": st.sampled_from([None, None, {"patience": 1}]),
        "optimizer": st.sampled_from(
            [
                {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
                {"name": "sgd", "lr": 0.05},
                {"name": "adam", "lr": 3e-3},
                {"name": "rmsprop", "lr": 1e-3, "momentum": 0.5},
            ]
        ),
        "seed": st.integers(0, 1),
    }
)
"""Changes to a config that members of one stack may have."""


def unequal(nets: list[dict[str, Any]], *common: str) -> list[RunConfig]:
    """Return the configs of nets, each once; they differ in all that members of a stack may differ in."""
    texts = [[f"{key}={json.dumps(value)}" for key, value in net.items() if key != "seed"] for net in nets]
    cfgs = [config(*common, *text, seed=net["seed"]) for net, text in zip(nets, texts, strict=True)]
    return list({cfg.model_dump_json(): cfg for cfg in cfgs}.values())


@settings(max_examples=4, deadline=None)
@given(nets=st.lists(NETS, min_size=2, max_size=6), penalised=st.booleans(), clipped=st.booleans())
def test_nets_of_unequal_shape_have_the_logs_of_runs_alone(
    nets: list[dict[str, Any]], digest: str, *, penalised: bool, clipped: bool
) -> None:
    """Of other widths, depths, activations, norms, batch sizes, lengths, optimizers and seeds, to the last bit."""
    common = ["loss.penalty=[{name: l2, coefficient: 1e-3}]"] * penalised + ["train.clip={norm: 0.5}"] * clipped
    cfgs = unequal(nets, *common)
    with tempfile.TemporaryDirectory() as folder:
        ours, errors = together(cfgs, Path(folder) / "together", digest)
        assert errors == [None] * len(cfgs)
        same_logs(ours, alone(cfgs, Path(folder) / "alone", digest))


def test_an_interrupted_stack_of_unequal_nets_goes_on(tmp_path: Path, digest: str) -> None:
    sizes = [([20, 10], 64, "relu"), ([33], 64, "tanh"), ([], 32, "relu"), ([5], 17, "silu")]
    keys = ("model.hidden", "train.batch_size", "model.activation")
    nets = [{**dict(zip(keys, size, strict=True)), "seed": number % 2} for number, size in enumerate(sizes)]
    cfgs = unequal(nets, "train.eval_every={epochs: 1}", "model.dropout=0", "optimizer={name: adam, lr: 3e-3}")
    _, errors = together(cfgs, tmp_path / "cut", digest, interrupt_at(50))
    assert {type(error) for error in errors} == {Interrupted}
    ours, errors = together(cfgs, tmp_path / "cut", digest)
    assert errors == [None] * 4
    same_logs(ours, alone(cfgs, tmp_path / "alone", digest))


@pytest.mark.slow  # more of the same steps
def test_two_hundred_steps(tmp_path: Path, digest: str) -> None:
    changes = [
        ("train.steps=200", "model.dropout=0.3", SGD.format(lr=lr, momentum=0.9, nesterov="false", decay=1e-3))
        for lr in (0.1, 0.01)
    ]
    cfgs = [config(*change, seed=seed) for seed, change in enumerate(changes * 2)]
    ours, _ = together(cfgs, tmp_path / "together", digest)
    same_logs(ours, alone(cfgs, tmp_path / "alone", digest))


def weights_of(cfgs: list[RunConfig], at_once: int) -> list[str]:
    """Train members for some steps, so many in a stack, and return the digests of their weights."""
    found, cache = [], DataCache()
    for first in range(0, len(cfgs), at_once):
        own = cfgs[first : first + at_once]
        members, parts = [], None
        for cfg in own:
            parts = assemble(cfg, torch.device("cpu"), cache=cache)
            assert isinstance(parts.learner, TorchLearner)
            members.append(StackMember(parts.learner, parts.batches.order, lr_factor=parts.plan.lr_factor))
        assert parts is not None
        trainer = make_stack_trainer(own, members, parts.splits["train"], lanes=1)
        trainer.advance(0, 3, lambda: False)
        found += [weights_sha256(member.weights()) for member in members]
    return found


SLOW = pytest.mark.slow  # the same of other shapes: 32 nets are built six times for each


@pytest.mark.parametrize("hidden", ["[30]", pytest.param("[24, 16]", marks=SLOW), pytest.param("[1, 9]", marks=SLOW)])
def test_the_number_at_once_cannot_be_seen_in_the_weights(hidden: str, tmp_path: Path, digest: str) -> None:
    """Half of the trials share a seed, and so their batches; all have other learning rates."""
    cfgs = [
        config(f"model.hidden={hidden}", "train.steps=3", f"optimizer.lr={1e-3 * (1 + k)}", seed=max(k - 15, 0))
        for k in range(32)
    ]
    serial = [records.end["weights_sha256"] for records in alone(cfgs[14:18], tmp_path, digest) if records.end]
    one = weights_of(cfgs, 1)
    assert one[14:18] == serial
    for at_once in (4, 6, 8, 12, 32):
        assert weights_of(cfgs, at_once) == one, at_once


@pytest.mark.parametrize(
    ("threads", "cache_bytes"),
    [
        (3, 1),
        *(pytest.param(threads, size, marks=pytest.mark.slow) for threads, size in ((1, 1), (1, 2**40), (3, 2**40))),
    ],
)
def test_lanes_and_chunks_change_nothing(
    cache_bytes: int, threads: int, tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfgs = [config(*SHORT, f"optimizer.lr={1e-3 * (1 + k)}", "model.dropout=0.2", seed=k % 2) for k in range(6)]
    monkeypatch.setattr(stacked_learner, "CACHE_BYTES", cache_bytes)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours, _ = together(cfgs, tmp_path / "together", digest)
    finally:
        torch.set_num_threads(before)
    monkeypatch.undo()
    same_logs(ours, alone(cfgs, tmp_path / "alone", digest))


@pytest.mark.parametrize("backend", ["torch"])
def test_members_that_stop_early_leave_the_others_alone(backend: str, tmp_path: Path, digest: str) -> None:
    changes = (
        f"backend={backend}",
        "train.early_stop={patience: 1}",
        "train.eval_every={steps: 5}",
        "train.log_every={steps: 7}",
    )
    cfgs = [config(*changes, f"optimizer.lr={lr}", seed=k) for k, lr in enumerate((0.1, 1e-3, 1e-5, 0.03))]
    ours, _ = together(cfgs, tmp_path / "together", digest)
    theirs = alone(cfgs, tmp_path / "alone", digest)
    same_logs(ours, theirs)
    steps = {records.end["steps"] for records in theirs if records.end}
    assert len(steps) > 2, steps


def test_a_member_that_diverges_leaves_the_others_alone(tmp_path: Path, digest: str) -> None:
    changes = ("optimizer={name: sgd, lr: 1e160}", "optimizer={name: sgd, lr: 0.1}")
    cfgs = [config(*SHORT, "model.norm=none", change) for change in changes]
    ours, errors = together(cfgs, tmp_path / "together", digest)
    assert isinstance(errors[0], Diverged)
    assert errors[1] is None
    assert ours[0].end is not None
    assert ours[0].end["status"] == "diverged"
    same_logs(ours[1:], alone(cfgs[1:], tmp_path / "alone", digest))
    with pytest.raises(Diverged, match=re.escape(str(errors[0]))):
        alone(cfgs[:1], tmp_path / "alone", digest)


def interrupt_at(step: int) -> Callable[[RunConfig, Record], None]:
    """Return what sends SIGINT to this process, once, when a run logs a step."""
    sent: list[int] = []

    def on_record(cfg: RunConfig, record: Record) -> None:
        if record["kind"] == "train" and record["step"] == step and not sent:
            sent.append(step)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    return on_record


@pytest.mark.parametrize("backend", ["torch"])
@pytest.mark.parametrize("then", ["together", "alone"])
def test_an_interrupted_stack_goes_on(then: str, backend: str, tmp_path: Path, digest: str) -> None:
    changes = "model.dropout=0.3", "model.norm=batch", "optimizer={name: adam, lr: 3e-3}", f"backend={backend}"
    cfgs = [config(*changes, seed=seed) for seed in range(3)]
    cut, errors = together(cfgs, tmp_path / "cut", digest, interrupt_at(100))
    assert [type(error) for error in errors] == [Interrupted] * 3
    assert [records.end and records.end["status"] for records in cut] == ["interrupted"] * 3
    if then == "together":
        ours, errors = together(cfgs, tmp_path / "cut", digest)
        assert errors == [None] * 3
    else:
        ours = alone(cfgs, tmp_path / "cut", digest)
    same_logs(ours, alone(cfgs, tmp_path / "alone", digest))


def test_members_at_different_steps_go_on(tmp_path: Path, digest: str) -> None:
    cfgs = [config(f"optimizer.lr={lr}", seed=0) for lr in (1e-2, 1e-3, 1e-4)]
    _, cut = together(cfgs[:2], tmp_path / "cut", digest, interrupt_at(50))
    assert [type(error) for error in cut] == [Interrupted] * 2
    ours, errors = together(cfgs, tmp_path / "cut", digest)
    assert errors == [None] * 3
    same_logs(ours, alone(cfgs, tmp_path / "alone", digest))


@pytest.mark.slow  # twelve runs, trained twice; plain pytest has three, in test_an_interrupted_stack_goes_on
def test_a_stack_that_was_killed_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path, digest: str) -> None:
    """Twelve trials with early stop; when they go on some have not begun, and the others are at different steps."""
    changes = (
        "train.steps=200",
        "train.early_stop={patience: 2}",
        "train.eval_every={steps: 5}",
        "train.metric=loss",
    )
    cfgs = [config(*changes, f"optimizer.lr={lr}", seed=k) for k in range(4) for lr in (1e-2, 1e-3, 3e-4)]
    whole, _ = together(cfgs, tmp_path / "whole", digest)
    for some, step in ((cfgs[:5], 20), (cfgs[4:9], 40)):
        _, errors = together(some, tmp_path / "cut", digest, interrupt_at(step))
        assert Interrupted in map(type, errors)
    ours, errors = together(cfgs, tmp_path / "cut", digest)
    assert errors == [None] * 12
    assert [own.end and own.end["weights_sha256"] for own in ours] == [
        own.end and own.end["weights_sha256"] for own in whole
    ]
    assert len({own.end["steps"] for own in ours if own.end}) > 1, "some stop early"
    same_logs(ours, whole)


def test_members_that_had_ended_are_concluded_once(tmp_path: Path, digest: str) -> None:
    """One member has stopped early, the others are cut off at other steps; none trains past its end or ends twice."""
    changes = "train.early_stop={patience: 1}", "train.eval_every={steps: 5}", "train.checkpoint_seconds=0"
    cfgs = [config(*changes, f"optimizer.lr={lr}", seed=k) for k, lr in enumerate((1e-3, 0.1, 1e-5, 0.03))]
    whole = alone(cfgs, tmp_path / "alone", digest)
    for cfg in cfgs[1:3]:  # their training is over, the last evaluation is missing, as after a kill
        run_experiment(cfg, paths_of(tmp_path / "cut", cfg, digest))
        log = paths_of(tmp_path / "cut", cfg, digest).log
        lines = log.read_text().splitlines(keepends=True)
        log.write_text("".join(line for line in lines if '"final":true' not in line and '"kind":"end"' not in line))
    ours, errors = together(cfgs, tmp_path / "cut", digest)
    assert errors == [None] * 4
    same_logs(ours, whole)
    for cfg in cfgs:
        text = paths_of(tmp_path / "cut", cfg, digest).log.read_text()
        assert text.count('"kind":"end"') == 1
        assert text.count('"final":true') == 2


def test_members_that_another_process_has_finished_stay_as_they_are(tmp_path: Path, digest: str) -> None:
    cfgs = [config(*SHORT, seed=seed) for seed in range(3)]
    done = paths_of(tmp_path, cfgs[1], digest)
    run_experiment(cfgs[1], done)
    before = done.log.read_bytes()
    ours, errors = together(cfgs, tmp_path, digest)
    assert errors == [None] * 3
    assert [records.is_over for records in ours] == [True] * 3
    assert done.log.read_bytes() == before


def test_checkpoints_hold_one_model_each(tmp_path: Path, digest: str) -> None:
    cfgs = [config(*SHORT, seed=seed) for seed in range(4)]
    together(cfgs, tmp_path, digest)
    paths = paths_of(tmp_path, cfgs[0], digest)
    run_experiment(cfgs[0], paths_of(tmp_path / "alone", cfgs[0], digest))
    for ours, theirs in ((paths.last, "last"), (paths.best, "best")):
        size = getattr(paths_of(tmp_path / "alone", cfgs[0], digest), theirs).stat().st_size
        assert ours.stat().st_size == pytest.approx(size, rel=0.02), "the storage of the whole stack was saved"
    assert load_checkpoint(paths.last)["step"] == 30


def test_members_say_what_runs_alone_say(tmp_path: Path) -> None:
    """Such as the notes of a data set whose label column was found by itself."""
    table = tmp_path / "data.csv"
    table.write_text("x,z,label\n" + "".join(f"{i},1,{'ab'[i % 2]}\n" for i in range(120)))
    data = f"data={{name: csv_table, path: {table}, preprocess: [{{name: normalize}}]}}"
    cfg = config(data, "train.steps=2", "train.batch_size=8")
    said: dict[str, list[str]] = {"alone": [], "together": []}
    digest = fingerprint(cfg.data)
    run_experiment(cfg, paths_of(tmp_path / "alone", cfg, digest), say=said["alone"].append)
    paths = paths_of(tmp_path / "together", cfg, digest)
    ends = run_together(
        [cfg],
        [paths],
        say=lambda place, text: said["together"].append(text),
        on_record=lambda place, record: None,
        cache=DataCache(),
    )
    assert list(ends) == [(0, None)]
    assert said["together"] == said["alone"] != []


def test_a_member_for_which_there_is_no_memory_says_so(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("dlassign.stacked.together.assemble", none_left)
    cfg = config(*SHORT)
    [error] = quietly([cfg], [paths_of(tmp_path, cfg, digest)])
    assert isinstance(error, UserError)
    assert "out of memory" in str(error)


def test_a_locked_member_fails_alone(tmp_path: Path, digest: str) -> None:
    from dlassign.train.experiment import only_writer

    cfgs = [config(*SHORT, seed=seed) for seed in range(2)]
    with only_writer(paths_of(tmp_path, cfgs[0], digest)):
        ends = quietly(cfgs, [paths_of(tmp_path, cfg, digest) for cfg in cfgs])
    assert "another process is training" in str(ends[0])
    assert ends[1] is None
