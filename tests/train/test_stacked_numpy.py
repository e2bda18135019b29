"""NumpyLearners in a stack do what each would do alone, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

import dlassign.optim.stacked_numpy_rules as stacked_numpy_rules
import dlassign.train.stacked_numpy as stacked_numpy
from dlassign.config.run import RunConfig
from dlassign.data.batches import Order, make_order
from dlassign.data.bundle import Split
from dlassign.numpy_nets.losses import softmax_cross_entropy
from dlassign.train.build import build_numpy_learner
from dlassign.train.learner import Evaluation
from dlassign.train.numpy_learner import NumpyLearner, numpy_batches
from dlassign.train.plan import make_plan
from dlassign.train.stacked_learner import StackStats
from dlassign.train.stacked_numpy import NumpyMember, StackedNumpyLearner, build_numpy_stack
from dlassign.train.stacked_numpy_objective import stacked_cross_entropy

CLASSES, N, STEPS = 4, 96, 200
RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((CLASSES, 3, 4))
Y = RNG.integers(CLASSES, size=N)
DATA = Split(CENTRES[Y] + RNG.standard_normal((N, 3, 4)), Y)
TEST = Split(CENTRES[Y[:50]] + RNG.standard_normal((50, 3, 4)), Y[:50])


def config(seed: int = 0, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "a",
        "backend": "numpy",
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [8, 6]},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "seed": seed,
    }
    train = {"steps": STEPS, "precision": "fp64", "batch_size": 20, "eval_batch_size": 32, **changes.pop("train", {})}
    return RunConfig.model_validate({**values, **changes, "train": train})


def classes_of(cfg: RunConfig) -> int:
    return 2 if cfg.loss.name in ("logistic", "hinge") else CLASSES


def data_for(cfg: RunConfig, split: Split) -> Split:
    return Split(split.x, split.y % classes_of(cfg))


def learner(cfg: RunConfig) -> NumpyLearner:
    return build_numpy_learner(cfg, (3, 4), classes_of(cfg))


def order(cfg: RunConfig) -> Order:
    train = cfg.train
    return make_order(train.order, N, batch_size=train.batch_size, seed=cfg.seed, drop_last=train.drop_last)


def stack(cfgs: Sequence[RunConfig], lanes: int = 1) -> tuple[StackedNumpyLearner, list[NumpyMember]]:
    members = [NumpyMember(learner(cfg), order(cfg)) for cfg in cfgs]
    return join(cfgs, members, lanes), members


def join(cfgs: Sequence[RunConfig], members: Sequence[NumpyMember], lanes: int = 1) -> StackedNumpyLearner:
    plans = [
        make_plan(cfg.train, cfg.schedule, steps_per_epoch=m.order.steps_per_epoch, samples_a_step=20)
        for cfg, m in zip(cfgs, members, strict=True)
    ]
    return build_numpy_stack(cfgs, members, data_for(cfgs[0], DATA), plans=plans, lanes=lanes)


def alone(cfg: RunConfig, one: NumpyLearner, start: int, stop: int) -> StackStats:
    plan = make_plan(cfg.train, cfg.schedule, steps_per_epoch=order(cfg).steps_per_epoch, samples_a_step=20)
    found = StackStats([], [], [], [])
    for step, (x, y) in enumerate(numpy_batches(data_for(cfg, DATA), order(cfg)).between(start, stop), start):
        stats = one.step(x, y, plan.lr_factor(step))
        found.losses.append(float(stats.loss))
        found.corrects.append(float(stats.correct))
        found.counts.append(stats.n)
        if stats.penalty is not None:
            found.penalties.append(float(stats.penalty))
    return found


def same(ours: StackStats, theirs: StackStats) -> None:
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-9)
    np.testing.assert_allclose(ours.penalties, theirs.penalties, rtol=1e-9)
    assert ours.corrects == theirs.corrects
    assert ours.counts == theirs.counts


def same_evaluation(ours: Evaluation, theirs: Evaluation) -> None:
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-9)
    assert (ours.accuracy, ours.n, ours.confusion) == (theirs.accuracy, theirs.n, theirs.confusion)


def same_state(ours: Any, theirs: Any) -> None:
    """Assert that two checkpoints are equal but for 1e-9."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            same_state(ours[key], theirs[key])
    elif isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-8, atol=1e-10)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=1e-12)
    else:
        assert ours == theirs


SGD = [
    {"name": "sgd", "lr": lr, "momentum": m, "weight_decay": d} for lr, m, d in [(0.1, 0.9, 0), (0.02, 0.5, 1e-2)] * 2
]
RMS = [{"name": "rmsprop", "lr": lr, "alpha": a, "momentum": 0.5} for lr, a in ((1e-2, 0.9), (1e-3, 0.99))]
PENALTY = [{"name": name, "squared": squared} for name in ("l1", "l2") for squared in (True, False)]
MLP = {"name": "mlp", "hidden": [8, 6]}
CASES: dict[str, list[RunConfig]] = {
    "sgd": [config(optimizer={"name": "sgd", "lr": lr}) for lr in (0.2, 0.1, 0.05)],
    "momentum and decay": [config(optimizer=each) for each in SGD],
    "nesterov": [
        config(optimizer={"name": "sgd", "lr": lr, "momentum": 0.9, "nesterov": True}) for lr in (0.1, 0.05, 0.01)
    ],
    "adam": [config(optimizer={"name": "adam", "lr": lr, "weight_decay": lr}) for lr in (1e-2, 3e-3, 1e-3)],
    "adamw": [config(optimizer={"name": "adamw", "lr": 1e-3, "betas": (0.8, b)}) for b in (0.9, 0.99, 0.999)],
    "rmsprop": [config(optimizer={**each, "weight_decay": 1e-3}) for each in RMS],
    "rmsprop without momentum": [config(optimizer={**each, "momentum": 0}) for each in RMS],
    "different optimizers": [
        config(optimizer=each) for each in ({"name": "adam"}, {"name": "sgd", "lr": 0.1}, {"name": "adam"}, SGD[0])
    ],
    "schedules": [config(schedule=each) for each in ({"name": "cosine"}, {"name": "constant"})],
    "dropout": [config(model={**MLP, "dropout": p}) for p in (0.1, 0.3, 0.5)],
    "dropout with seeds": [config(seed, model={**MLP, "dropout": 0.3}) for seed in range(3)],
    "batch norm": [config(seed, model={**MLP, "norm": "batch"}) for seed in range(3)],
    "batch norm without running": [config(seed, model={**MLP, "norm": "batch_without_running"}) for seed in range(2)],
    "layer norm": [config(seed, model={**MLP, "norm": "layer"}) for seed in range(3)],
    "penalties": [
        config(loss={"name": "cross_entropy", "penalty": [{**each, "coefficient": a, "on": "all"} for each in PENALTY]})
        for a in (1e-3, 1e-4, 1e-5)
    ],
    "l2 on weights": [
        config(loss={"name": "cross_entropy", "penalty": [{"name": "l2", "coefficient": a, "half": True}]})
        for a in (0.1, 0.01, 0.001)
    ],
    "clip": [config(train={"clip": each}) for each in ({"norm": 0.3}, None, {"value": 0.02}, {"norm": 0.01})],
    "seeds": [config(seed) for seed in range(5)],
    "learning rates and seeds": [
        config(seed, optimizer={"name": "sgd", "lr": lr}) for lr in (0.1, 0.05) for seed in (0, 1)
    ],
    "drop last": [config(seed, train={"drop_last": True}) for seed in range(2)],
    "uva order": [config(seed, train={"order": "uva"}) for seed in range(2)],
    "full": [config(seed, train={"order": "full"}) for seed in range(2)],
    "label smoothing": [config(seed, loss={"name": "cross_entropy", "label_smoothing": 0.1}) for seed in range(2)],
    **{
        name: [config(seed, loss={"name": name}) for seed in range(2)]
        for name in ("double_softmax", "logistic", "hinge", "multiclass_hinge", "squared_error")
    },
    "no hidden layer": [config(seed, model={"name": "mlp", "hidden": []}) for seed in range(2)],
    "one member": [config()],
}


@pytest.mark.parametrize("case", CASES)
def test_together_as_alone(case: str) -> None:
    cfgs = CASES[case]
    stacked, members = stack(cfgs)
    first, second = stacked.train(0, 30), stacked.train(30, STEPS)
    found = stacked.evaluate(data_for(cfgs[0], TEST))
    for k, cfg in enumerate(cfgs):
        one = learner(cfg)
        same(first[k], alone(cfg, one, 0, 30))
        same(second[k], alone(cfg, one, 30, STEPS))
        same_evaluation(found[k], one.evaluate(data_for(cfg, TEST)))
        same_evaluation(members[k].evaluate(data_for(cfg, TEST)), one.evaluate(data_for(cfg, TEST)))
        same_state(members[k].state_dict(), one.state_dict())
    stacked.close()


def test_the_cases_train() -> None:
    losses = alone(config(), learner(config()), 0, STEPS).losses
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("seeds", [(0, 0, 0, 0, 0, 0, 0), (0, 1, 0, 2, 1, 0, 3)])
def test_lanes_chunks_and_blocks_change_nothing(seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    cfgs = [
        config(seed, model={**MLP, "dropout": 0.2}, optimizer={"name": "adam", "lr": 1e-3 * (1 + k)})
        for k, seed in enumerate(seeds)
    ]
    whole, _ = stack(cfgs)
    monkeypatch.setattr(stacked_numpy, "CACHE_BYTES", 20_000)
    monkeypatch.setattr(stacked_numpy_rules, "BLOCK_BYTES", 700)
    parts, members = stack(cfgs, lanes=2)
    before = threadpool_info()
    for ours, theirs in zip(parts.train(0, 40), whole.train(0, 40), strict=True):
        same(ours, theirs)
    for ours, theirs in zip(parts.evaluate(TEST), whole.evaluate(TEST), strict=True):
        same_evaluation(ours, theirs)
    assert threadpool_info() == before
    assert len({id(member._chunk) for member in members}) > 2
    parts.close()


def test_members_with_one_order_share_a_chunk() -> None:
    cfgs = [config(seed) for seed in (0, 1, 0, 1)]
    _, members = stack(cfgs, lanes=2)
    chunks = [id(member._chunk) for member in members]
    assert chunks[0] == chunks[2] != chunks[1] == chunks[3]


@pytest.mark.parametrize("lanes", [1, 2])
def test_members_leave_in_mid_training(lanes: int) -> None:
    cfgs = [config(seed, optimizer={"name": "adam", "lr": 1e-3 * (1 + seed)}) for seed in range(4)]
    stacked, members = stack(cfgs, lanes)
    stacked.train(0, 37)
    stacked.keep([0, 3])
    gone = members[1].state_dict()
    found = stacked.train(37, 80)
    same_state(members[1].state_dict(), gone)
    stacked.keep([1])
    last = stacked.train(80, 120)
    for k, own in ((0, found[0]), (3, found[1])):
        one = learner(cfgs[k])
        alone(cfgs[k], one, 0, 37)
        same(own, alone(cfgs[k], one, 37, 80))
        if k == 3:
            same(last[0], alone(cfgs[k], one, 80, 120))
            same_state(members[3].state_dict(), one.state_dict())
    one = learner(cfgs[1])
    alone(cfgs[1], one, 0, 37)
    same_state(gone, one.state_dict())
    stacked.keep([])
    assert stacked.train(120, 121) == []
    stacked.close()


@pytest.mark.parametrize("optimizer", [SGD[0], {"name": "adam", "lr": 3e-3}])
def test_a_member_goes_on_alone_and_back_in_a_stack(optimizer: dict[str, Any]) -> None:
    cfgs = [config(seed, optimizer=optimizer, model={**MLP, "dropout": 0.3, "norm": "batch"}) for seed in range(3)]
    stacked, members = stack(cfgs)
    stacked.train(0, 50)
    states = [member.state_dict() for member in members]
    found = stacked.train(50, 90)
    resumed = [NumpyMember(learner(cfg), order(cfg)) for cfg in cfgs]
    for k, cfg in enumerate(cfgs):
        one = learner(cfg)
        one.load_state_dict(states[k])
        same(found[k], alone(cfg, one, 50, 90))
        resumed[k].load_state_dict(states[k])
    for ours, theirs in zip(join(cfgs, resumed).train(50, 90), found, strict=True):
        same(ours, theirs)


def test_a_member_goes_back_while_it_is_in_the_stack() -> None:
    cfgs = [config(seed, optimizer=SGD[0]) for seed in range(3)]
    stacked, members = stack(cfgs)
    stacked.train(0, 5)
    state = members[1].state_dict()
    first = stacked.train(5, 10)
    members[1].load_state_dict(state)
    again = stacked.train(5, 10)
    same(again[1], first[1])
    assert again[0].losses != first[0].losses


def test_weights_of_a_member_are_copies() -> None:
    stacked, members = stack([config(0), config(1)])
    stacked.train(0, 3)
    kept, state = members[0].weights(), members[0].state_dict()
    before = {name: tensor.clone() for name, tensor in kept.items()}
    stacked.train(3, 6)
    assert not torch.equal(members[0].weights()["head.weight"], kept["head.weight"])
    for name, tensor in before.items():
        assert torch.equal(kept[name], tensor)
        assert torch.equal(state["model"][name], tensor)
    members[0].load_weights(before)
    same_evaluation(stacked.evaluate(TEST)[0], members[0].evaluate(TEST))
    assert torch.equal(members[0].weights()["head.weight"], before["head.weight"])


def test_a_member_after_the_end() -> None:
    stacked, members = stack([config(0), config(1)])
    stacked.train(0, 10)
    stacked.close()
    one = learner(config(1))
    alone(config(1), one, 0, 10)
    same_evaluation(members[1].learner.evaluate(TEST), one.evaluate(TEST))
    best = {name: torch.zeros_like(tensor) for name, tensor in one.weights().items()}
    members[1].load_weights(best)
    assert members[1].evaluate(TEST).loss == pytest.approx(np.log(CLASSES))


def test_one_that_diverges_leaves_the_others_alone() -> None:
    cfgs = [config(optimizer={"name": "sgd", "lr": lr}, loss={"name": "squared_error"}) for lr in (0.1, 1e4, 0.05)]
    stacked, _ = stack(cfgs)
    found = stacked.train(0, 60)
    assert not np.isfinite(found[1].losses[-1])
    for k in (0, 2):
        same(found[k], alone(cfgs[k], learner(cfgs[k]), 0, 60))


def test_a_member_takes_no_step_of_its_own() -> None:
    with pytest.raises(RuntimeError, match="trained by the stack"):
        NumpyMember(learner(config()), order(config())).step(DATA.x, DATA.y, 1.0)


def test_members_that_cannot_be_stacked() -> None:
    with pytest.raises(ValueError, match="layer 'linear1'"):
        stack([config(), config(model={"name": "mlp", "hidden": [9, 6]})])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cross_entropy_of_scores_of_any_size(dtype: str) -> None:
    scores = (1000 * np.random.default_rng(1).standard_normal((3, 4, 9))).astype(dtype)
    y = np.random.default_rng(2).integers(4, size=(3, 9))
    values, dscores = stacked_cross_entropy(scores, y, label_smoothing=0.2)
    assert dscores.dtype == dtype
    for k in range(3):
        value, gradient = softmax_cross_entropy(scores[k].T, y[k], label_smoothing=0.2)
        assert values[k] == pytest.approx(value, rel=1e-6 if dtype == "float32" else 1e-12)
        np.testing.assert_allclose(dscores[k].T, gradient, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-8)


@pytest.mark.parametrize("y", [np.full(9, 4), np.full(9, -1), np.zeros((2, 9), np.int64)])
def test_labels_that_do_not_fit(y: Any) -> None:
    with pytest.raises(ValueError, match=r"expected y in 0..3, \(9,\) or \(3, 9\); got"):
        stacked_cross_entropy(np.zeros((3, 4, 9)), y)
