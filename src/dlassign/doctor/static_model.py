"""Static rules on the net: what it can represent, and what its layers do to a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dlassign.config.convnets import VGG
from dlassign.config.model import MLP, CrossEntropy, DoubleSoftmax, EECSConvNet, batch_norm
from dlassign.doctor.facts import Facts
from dlassign.doctor.finding import Certainty, Finding


def model_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what model and loss are enough to know."""
    yield from _softmax(facts)
    yield from _smoothing(facts)
    yield from _linear(facts)
    yield from _bottleneck(facts)
    yield from _dropout(facts)
    yield from _batch_norm(facts)
    yield from _frozen(facts)


def _softmax(facts: Facts) -> Iterator[Finding]:
    if isinstance(facts.cfg.loss, DoubleSoftmax):
        k = facts.n_classes or 2
        floor = math.log(1 + (k - 1) / math.e)
        yield Finding(
            rule="double_softmax",
            certainty="certain",
            key="loss.name",
            why="the loss takes a softmax of probabilities that are a softmax already, so even a perfect net has a "
            "loss, and its gradients are small",
            statistic=f"lowest loss of {k} classes: ln(1 + {k - 1} / e) = {floor:.4f}",
            null="0 with one softmax",
            cure="--set loss.name=cross_entropy",
        )


def _smoothing(facts: Facts) -> Iterator[Finding]:
    loss, k = facts.cfg.loss, facts.n_classes
    if not isinstance(loss, CrossEntropy) or k is None or loss.label_smoothing <= 0.3:
        return
    other = loss.label_smoothing / k
    true = 1 - loss.label_smoothing + other
    floor = -(true * math.log(true) + (k - 1) * other * math.log(other))
    yield Finding(
        rule="label_smoothing_high",
        certainty="likely" if loss.label_smoothing >= 0.6 else "hint",
        key="loss.label_smoothing",
        why=f"the target of the true class is {true:.3g} and that of each other class {other:.3g}, so there is "
        "little to learn",
        statistic=f"lowest loss {floor:.3f}",
        null=f"ln {k} = {math.log(k):.3f} of a net that knows nothing; .1 is usual",
        cure="--set loss.label_smoothing=0.1",
    )


def _linear(facts: Facts) -> Iterator[Finding]:
    model = facts.cfg.model
    if not isinstance(model, MLP | VGG) or (isinstance(model, MLP) and not model.hidden):
        return
    names = model.activation if isinstance(model.activation, tuple) else (model.activation,)
    if all(name == "identity" for name in names):
        layers = len(model.hidden) + 1 + (sum(map(len, model.stages)) if isinstance(model, VGG) else 0)
        # Max-pooling is not linear, so a convolutional net keeps a little of what it could learn.
        pooled = isinstance(model, VGG) and model.pool == "max"
        yield Finding(
            rule="linear_net",
            certainty="likely" if pooled else "certain",
            key="model.activation",
            why=f"there is no activation between the {layers} linear layers, so together they are one linear layer"
            + (", but for the pooling" if pooled else ""),
            statistic="every activation is identity",
            null="at least one that bends",
            cure="--set model.activation=relu",
        )


def _bottleneck(facts: Facts) -> Iterator[Finding]:
    model, k = facts.cfg.model, facts.n_classes
    widths = model.hidden if isinstance(model, MLP | VGG) else ()
    if not widths or k is None or k < 3 or min(widths) >= math.log2(k):
        return
    width = min(widths)
    wide = [max(value, 4 * k) for value in widths]
    yield Finding(
        rule="bottleneck",
        certainty="likely" if width == 1 else "hint",
        key="model.hidden",
        why=f"all that the last layers learn of a sample goes through {width} number{'s' * (width > 1)}, from which "
        f"{k} classes are to be told",
        statistic=f"narrowest hidden layer: {width}",
        null=f"log2({k}) = {math.log2(k):.1f} even if each number said yes or no",
        cure=f"--set 'model.hidden={wide}'",
    )


def _dropout(facts: Facts) -> Iterator[Finding]:
    model = facts.cfg.model
    if not isinstance(model, MLP | EECSConvNet | VGG):  # one of the user's own may call anything so
        return
    rate = max(model.dropout if isinstance(model.dropout, tuple) else (model.dropout,), default=0.0)
    if rate <= 0.5:
        return
    width = min(model.hidden) if isinstance(model, MLP | VGG) and model.hidden else None
    left = "" if width is None else f"; {max(width * (1 - rate), 0):.0f} of {width} units are left"
    kept = round(1 - rate, 10)
    yield Finding(
        rule="dropout_high",
        certainty="likely" if rate >= 0.75 else "hint",
        key="model.dropout",
        why=f"dropout is the probability to drop a unit, and each step trains with {kept:.3g} of them{left}; some "
        "courses call the probability to keep p",
        statistic=f"{rate:.3g} dropped",
        null="at most .5",
        cure=f"--set model.dropout={kept if rate >= 0.75 else 0.5:.3g}",
    )


def _batch_norm(facts: Facts) -> Iterator[Finding]:
    model, plan, train = facts.cfg.model, facts.plan, facts.cfg.train
    if batch_norm(model) is None or plan is None:
        return
    part = plan.samples_a_step // train.accumulate
    largest = 64 if facts.info is None else min(64, facts.info.n_train)
    if part >= 8:
        return
    flat = isinstance(model, MLP)
    certainty: Certainty = "likely" if part <= (4 if flat else 2) else "hint"
    key = "train.accumulate" if train.accumulate > 1 else "train.batch_size"
    yield Finding(
        rule="batch_norm_small_batch",
        certainty=certainty,
        key=key,
        why=f"batch normalisation measures mean and variance on {part} samples in training, and evaluates with "
        "averages of them: these are two different nets",
        statistic=f"error of the variance of {part} values: {math.sqrt(2 / max(part - 1, 1)):.0%}",
        null="18 % of 64 values",
        cure="--set train.accumulate=1" if train.accumulate > 1 else f"--set train.batch_size={largest}",
    )


def _frozen(facts: Facts) -> Iterator[Finding]:
    cfg = facts.cfg
    ever = cfg.train.freeze_at is not None or cfg.train.unfreeze_at is not None
    if cfg.train.freeze == "body" and not ever and cfg.init.name != "pretrained":
        yield Finding(
            rule="frozen",
            certainty="certain",
            key="train.freeze",
            why="all but the last layer keep the random weights of the start, for nothing pretrained is loaded",
            statistic="0 steps train them",
            null=f"init.name: pretrained, not {cfg.init.name}",
            cure="--set 'train.freeze=[]'",
        )
    for place, group in enumerate(getattr(cfg.optimizer, "groups", ())):
        lr = getattr(cfg.optimizer, "lr", 1.0) * group.lr_factor
        if group.lr_factor < 1e-4 and lr < 1e-7:
            yield Finding(
                rule="frozen",
                certainty="likely",
                key=f"optimizer.groups.{place}.lr_factor",
                why=f"the parameters {', '.join(group.params)} have a learning rate of {lr:.3g}, so they stay as "
                "they are",
                statistic=f"lr_factor {group.lr_factor:.3g}",
                null="1 is the optimizer's own rate",
                cure=f"--set optimizer.groups.{place}.lr_factor=1",
            )


def is_normalised(facts: Facts) -> bool:
    """Return whether the first layers are normalised, so that the size of inputs and weights does not count."""
    model = facts.cfg.model
    if batch_norm(model) is not None:
        return True
    return isinstance(model, MLP | EECSConvNet | VGG) and model.norm != "none"
