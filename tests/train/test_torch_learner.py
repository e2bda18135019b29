"""TorchLearner against training loops written out by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlassign.config.model import CrossEntropy, Penalty
from dlassign.config.optim import EMA, SGD, Adam, Lookahead
from dlassign.data.augment import Mixed
from dlassign.data.batches import Full, Shuffled
from dlassign.data.sources import toy
from dlassign.data.torch_batches import TensorSplit, to_device, torch_batches
from dlassign.nets.mlp import mlp
from dlassign.nets.objective import LossOf, make_loss, make_penalty
from dlassign.optim.averaging import make_average
from dlassign.optim.schedules import exponential
from dlassign.optim.torch_optim import make_optimizer
from dlassign.train.arithmetic import Arithmetic
from dlassign.train.learner import EvalOptions
from dlassign.train.torch_learner import StepOptions, TorchLearner

CPU = torch.device("cpu")
K = 3


def net(dropout: float = 0.0, norm: str = "none", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return mlp(4, [6], n_outputs=K, activation=["tanh"], dropout=[dropout], norm=norm).double()


def learner(model: nn.Module, optimizer: Any = None, **options: Any) -> TorchLearner:
    cfg = optimizer or SGD(name="sgd", lr=0.1)
    own = {key: options.pop(key) for key in ("loss", "penalty", "arithmetic") if key in options}
    return TorchLearner(
        model,
        make_optimizer(cfg, model),
        **{"loss": make_loss(CrossEntropy(name="cross_entropy")), **own},
        evaluation=EvalOptions(n_classes=options.pop("n_classes", K), batch_size=options.pop("eval_batch_size", 7)),
        options=StepOptions(**options),
    )


def samples(n: int = 30, seed: int = 5) -> TensorSplit:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return TensorSplit(x, torch.randint(K, (n,), generator=generator))


def test_steps_are_gradient_descent_on_loss_and_penalty() -> None:
    model, data = net(), samples()
    by_hand = copy.deepcopy(model)
    penalty = make_penalty([Penalty(name="l2", coefficient=0.01)], model)
    ours = learner(model, penalty=penalty)
    for lr_factor in (1.0, 0.5, 2.0):
        stats = ours.step(data.x, data.y, lr_factor)
        scores = by_hand(data.x)
        extra = 0.01 * (by_hand.linear1.weight.square().sum() + by_hand.head.weight.square().sum())
        loss = F.cross_entropy(scores, data.y) + extra
        grads = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for p, grad in zip(by_hand.parameters(), grads, strict=True):
                p -= 0.1 * lr_factor * grad
        read = ours.read([stats])
        assert read.losses == pytest.approx([loss.item()], rel=1e-12)
        assert read.penalties == pytest.approx([extra.item()], rel=1e-12)
        assert read.corrects == [int((scores.argmax(1) == data.y).sum())]
        assert stats.n == 30
        assert not stats.loss.requires_grad
    for a, b in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_clipping_comes_between_backward_and_step() -> None:
    model, data = net(), samples()
    before = [p.detach().clone() for p in model.parameters()]
    loss = F.cross_entropy(model(data.x), data.y)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    total = sum(grad.square().sum() for grad in grads).sqrt()
    clip = 0.5 * total.item()
    learner(model, clip=lambda params: nn.utils.clip_grad_norm_(params, clip)).step(data.x, data.y, 1.0)
    for p, old, grad in zip(model.parameters(), before, grads, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * grad * 0.5, rtol=1e-5, atol=1e-9)


def test_toy_training_of_the_hlcv_exercise() -> None:
    """Source: experiments.md 4.2 and 4.3: given weights, full batch, lr 0.1 decaying from the first step, reg 5e-6."""
    draw = np.random.RandomState(0)
    w1, w2 = 0.1 * draw.randn(4, 10), 0.1 * draw.randn(10, 3)
    model = mlp(4, [10], n_outputs=3, activation=["relu"], dropout=[0.0]).double()
    with torch.no_grad():
        model.linear1.weight.copy_(torch.from_numpy(w1.T))
        model.head.weight.copy_(torch.from_numpy(w2.T))
        model.linear1.bias.zero_()
        model.head.bias.zero_()
    data = to_device(toy().train, CPU, dtype=torch.float64)
    expected_scores = torch.tensor(
        [
            [0.36446210, 0.22911264, 0.40642526],
            [0.47590629, 0.17217039, 0.35192332],
            [0.43035767, 0.26164229, 0.30800004],
            [0.41583127, 0.29832280, 0.28584593],
            [0.36328815, 0.32279939, 0.31391246],
        ],
        dtype=torch.float64,
    )
    assert (model(data.x).softmax(1) - expected_scores).abs().sum().item() == pytest.approx(2.917e-8, abs=1e-10)
    strong = make_penalty([Penalty(name="l2", coefficient=0.05)], model)
    assert strong is not None
    start = F.cross_entropy(model(data.x), data.y) + strong()
    assert start.item() == pytest.approx(1.3037878913298202, abs=1e-12)

    ours = learner(model, penalty=make_penalty([Penalty(name="l2", coefficient=5e-6)], model))
    factor = exponential(1, 0.95, after_first_step=True)
    losses = []
    for step, (x, y) in enumerate(torch_batches(data, Full(5)).between(0, 100)):
        losses.append(ours.step(x, y, factor(step)).loss.item())
    found = [losses[i] for i in (0, 1, 2, 5, 10, 20, 50, 99)]
    reported = [1.265861, 0.892763, 0.714596, 0.313848, 0.093978, 0.034493, 0.017722, 0.015635]
    assert found == pytest.approx(reported, abs=6e-7)
    assert ours.evaluate(data).accuracy == 1.0


@pytest.mark.parametrize("eval_batch_size", [1, 7, 30, 1000])
def test_evaluation_does_not_depend_on_the_batch_size(eval_batch_size: int) -> None:
    model, data = net(), samples()
    found = learner(model, eval_batch_size=eval_batch_size).evaluate(data)
    scores = model(data.x).detach()
    assert found.loss == pytest.approx(F.cross_entropy(scores, data.y).item(), rel=1e-12)
    predicted = scores.argmax(1)
    confusion = np.zeros((K, K), dtype=int)
    for true, guess in zip(data.y.tolist(), predicted.tolist(), strict=True):
        confusion[true, guess] += 1
    assert found.confusion == tuple(map(tuple, confusion.tolist()))
    assert (found.n, found.accuracy) == (30, np.trace(confusion) / 30)


def test_evaluation_excludes_the_penalty() -> None:
    model, data = net(), samples()
    penalty = make_penalty([Penalty(name="l2", coefficient=100.0)], model)
    assert learner(model, penalty=penalty).evaluate(data) == learner(model).evaluate(data)


def test_evaluation_turns_dropout_off_uses_running_statistics_and_changes_nothing() -> None:
    model, data = net(dropout=0.5, norm="batch"), samples()
    ours = learner(model)
    for _ in range(3):
        ours.step(data.x, data.y, 1.0)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, second = ours.evaluate(data), ours.evaluate(data)
    assert first == second
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    alone = ours.evaluate(TensorSplit(data.x[:1], data.y[:1]))  # impossible with batch statistics
    assert alone.n == 1
    ours.step(data.x, data.y, 1.0)  # the model is not left in inference mode


def test_two_class_losses_have_a_two_by_two_confusion() -> None:
    torch.manual_seed(0)
    model = mlp(4, [], n_outputs=1, activation=[], dropout=[]).double()
    data = samples()
    data = TensorSplit(data.x, (data.y > 0).long())
    found = learner(model, n_classes=2, loss=LossOf(lambda scores, y, how: scores.sum() * 0)).evaluate(data)
    guess = (model(data.x)[:, 0] > 0).long()
    expected = [[int(((data.y == i) & (guess == j)).sum()) for j in range(2)] for i in range(2)]
    assert found.confusion == tuple(map(tuple, expected))


def train(ours: TorchLearner, batches: list[tuple[Tensor, Tensor]]) -> list[float]:
    return [ours.step(x, y, 1.0).loss.item() for x, y in batches]


def test_a_state_holds_weights_optimizer_and_random_numbers() -> None:
    data = samples(40)
    batches = list(torch_batches(data, Shuffled(40, 8, 0)).between(0, 20))
    first = learner(net(dropout=0.5, norm="batch"), Adam(name="adam", lr=0.01))
    train(first, batches[:10])
    state = copy.deepcopy(first.state_dict())
    losses = train(first, batches[10:])
    second = learner(net(dropout=0.5, norm="batch", seed=99), Adam(name="adam", lr=0.01))
    torch.manual_seed(12345)
    second.load_state_dict(state)
    assert train(second, batches[10:]) == losses
    assert all(torch.equal(a, b) for a, b in zip(first.weights().values(), second.weights().values(), strict=True))


def test_weights_can_be_put_back() -> None:
    ours, data = learner(net(norm="batch")), samples()
    kept = copy.deepcopy(ours.weights())
    before = ours.evaluate(data)
    train(ours, [(data.x, data.y)] * 5)
    assert ours.evaluate(data) != before
    ours.load_weights(kept)
    assert ours.evaluate(data) == before
    assert set(kept) >= {"norm1.running_mean", "linear1.weight"}


def test_number_of_parameters() -> None:
    assert learner(net()).n_params == 4 * 6 + 6 + 6 * 3 + 3


def after_a_step(x: Tensor, y: Tensor | Mixed, **options: Any) -> tuple[list[Tensor], list[float]]:
    """Return the parameters of a net after one step, and the loss, penalty and right predictions it told."""
    model = net()
    penalty = make_penalty([Penalty(name="l2", coefficient=0.01)], model)
    stats = learner(model, penalty=penalty, **options).step(x, y, 1.0)
    told = [stats.loss.item(), stats.penalty.item(), float(stats.correct), float(stats.n)]
    return [p.detach() for p in model.parameters()], told


@pytest.mark.parametrize(("n", "parts"), [(6, 2), (7, 3), (6, 4), (7, 7), (3, 5), (1, 2)])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_batch_in_parts_gives_the_step_of_the_whole(n: int, parts: int, *, mixed: bool) -> None:
    """7 samples in 3 parts, and 6 in 4, are not dealt evenly; 3 in 5 leave parts empty."""
    data, other = samples(n), samples(n, seed=6).y
    y = Mixed(data.y, other, torch.tensor(0.3)) if mixed else data.y
    whole, told = after_a_step(data.x, y)
    pieces, told_of_pieces = after_a_step(data.x, y, accumulate=parts)
    for a, b in zip(pieces, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    assert told_of_pieces == pytest.approx(told, rel=1e-12)


def test_a_batch_in_parts_is_clipped_as_a_whole() -> None:
    data = samples(7)
    clip = {"clip": lambda params: nn.utils.clip_grad_norm_(params, 0.01)}
    whole, _ = after_a_step(data.x, data.y, **clip)
    pieces, _ = after_a_step(data.x, data.y, accumulate=3, **clip)
    for a, b in zip(pieces, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_no_part_holds_fewer_samples_than_it_must() -> None:
    """Batch normalisation wants 2: 8 samples in 3 parts are 3, 3 and 2, and 9 in 4 parts are 3, 2, 2 and 2."""
    sizes: list[int] = []
    model = net()
    model.register_forward_hook(lambda module, inputs, scores: sizes.append(len(scores)))
    for n, parts in ((8, 3), (9, 4)):
        data = samples(n)
        learner(model, accumulate=parts).step(data.x, data.y, 1.0)
    assert sizes == [3, 3, 2, 3, 2, 2, 2]


def test_mixed_labels_weigh_two_losses() -> None:
    model, data, other = net(), samples(), samples(seed=7).y
    scores = model(data.x)
    expected = 0.3 * F.cross_entropy(scores, data.y) + 0.7 * F.cross_entropy(scores, other)
    grads = torch.autograd.grad(expected, list(model.parameters()))
    before = [p.detach().clone() for p in model.parameters()]
    stats = learner(model).step(data.x, Mixed(data.y, other, torch.tensor(0.3, dtype=torch.float64)), 1.0)
    assert stats.loss.item() == pytest.approx(expected.item(), rel=1e-12)
    right = [int((scores.argmax(1) == y).sum()) for y in (data.y, other)]
    assert right[0] != right[1]
    assert float(stats.correct) == pytest.approx(0.3 * right[0] + 0.7 * right[1], rel=1e-12)
    for p, old, grad in zip(model.parameters(), before, grads, strict=True):
        torch.testing.assert_close(p.detach(), old - 0.1 * grad, rtol=1e-12, atol=1e-14)


def test_a_net_that_is_right_about_every_mixed_image_has_all_right() -> None:
    """Mixed with images of their own class: what is logged is not the share of the first image."""
    data = samples()
    labels = net()(data.x).argmax(1)
    for share in (0.1, 0.3, 0.5, 0.7):
        assert float(learner(net()).step(data.x, Mixed(labels, labels, torch.tensor(share)), 1.0).correct) == len(data)
    stats = learner(net()).step(data.x, Mixed((labels + 1) % 3, labels, torch.tensor(0.25)), 1.0)
    assert float(stats.correct) == 0.75 * len(data)


def averaged(cfg: EMA | Lookahead, total: int = 100) -> TorchLearner:
    model = net(norm="batch")
    return learner(model, average=make_average(cfg, model, total=total))


def test_the_exponential_average_is_evaluated_and_the_model_keeps_its_bits() -> None:
    ours, data = averaged(EMA(name="ema", decay=0.5, ramp=False)), samples()
    average = {name: tensor.clone() for name, tensor in ours.model.state_dict().items()}
    for _ in range(4):
        ours.step(data.x, data.y, 1.0)
        for name, tensor in ours.model.state_dict().items():
            average[name] = (average[name] + tensor) / 2 if tensor.is_floating_point() else tensor.clone()
    own = copy.deepcopy(ours.model.state_dict())
    found = ours.evaluate(data)
    assert all(torch.equal(tensor, own[name]) for name, tensor in ours.model.state_dict().items())
    by_hand = net(norm="batch", seed=9)
    by_hand.load_state_dict(average)
    expected, raw = learner(by_hand).evaluate(data), learner(copy.deepcopy(ours.model)).evaluate(data)
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert abs(found.loss - raw.loss) > 1e-4
    for name, tensor in ours.weights().items():
        torch.testing.assert_close(tensor, average[name], rtol=1e-12, atol=1e-14)
    state = ours.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in state["model"].items())
    assert all(torch.equal(tensor, ours.weights()[name]) for name, tensor in state["evaluated"].items())
    assert ours.model.training


def test_loaded_weights_are_evaluated_as_they_are_until_a_state_is_loaded() -> None:
    ours, data = averaged(EMA(name="ema", decay=0.9)), samples()
    train(ours, [(data.x, data.y)] * 3)
    state, kept = copy.deepcopy(ours.state_dict()), copy.deepcopy(ours.weights())
    best = ours.evaluate(data)
    train(ours, [(data.x, data.y)] * 5)
    later = ours.evaluate(data)
    assert later != best
    ours.load_weights(kept)
    assert ours.evaluate(data) == best
    assert all(torch.equal(tensor, kept[name]) for name, tensor in ours.weights().items())
    ours.load_state_dict(state)
    assert ours.evaluate(data) == best
    train(ours, [(data.x, data.y)] * 5)
    assert ours.evaluate(data) == later


def test_lookahead_goes_on_from_the_average_and_ends_with_it() -> None:
    ours, data = averaged(Lookahead(name="lookahead", every=2, decay=0.7, power=0.0), total=5), samples()
    plain = learner(net(norm="batch"))
    slow = {name: tensor.clone() for name, tensor in plain.model.state_dict().items()}
    for step in range(1, 6):
        for one in (ours, plain):
            one.step(data.x, data.y, 1.0)
        own = plain.model.state_dict()
        if step % 2 == 0:
            slow = {k: 0.7 * slow[k] + 0.3 * p if p.is_floating_point() else p.clone() for k, p in own.items()}
        if step in (2, 4, 5):  # 5 is the last step, which ends with the slow weights of step 4
            with torch.no_grad():
                for name, tensor in own.items():
                    if tensor.is_floating_point():
                        tensor.copy_(slow[name])
        for name, tensor in ours.model.state_dict().items():
            torch.testing.assert_close(tensor, own[name], rtol=1e-12, atol=1e-14)
    assert ours.evaluate(data).loss == pytest.approx(plain.evaluate(data).loss, rel=1e-12)
    assert all(torch.equal(tensor, ours.model.state_dict()[name]) for name, tensor in ours.weights().items())


def test_kernels_of_a_compiled_model_are_chosen_by_rules_not_by_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch, "compile", lambda model, **options: asked.update(options) or model)
    learner(net(), arithmetic=Arithmetic(precision="fp64", channels_last=False, compile=True, why=""))
    assert asked == {"dynamic": False, "options": {"deterministic": True}}


def test_compiling_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    arithmetic = Arithmetic(precision="fp64", channels_last=False, compile=True, why="")
    data, found = samples(), []
    for warm in (False, True):
        ours = learner(net(dropout=0.5, norm="batch"), arithmetic=arithmetic)
        if warm:
            assert ours.compile_for(data.x, data.y) > 0
        found.append((train(ours, [(data.x, data.y)] * 3), ours.state_dict()["model"]))
    (losses, state), (warm_losses, warm_state) = found
    assert warm_losses == losses
    assert all(torch.equal(tensor, state[name]) for name, tensor in warm_state.items())
    assert learner(net()).compile_for(data.x, data.y) == 0.0
