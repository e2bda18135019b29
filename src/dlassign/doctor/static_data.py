"""Static rules on the data: inputs after preprocessing, classes, splits and what training looks at."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dlassign.config.augment import AlternatingFlip, Flip
from dlassign.config.data import MNIST, Digits, Normalize, Scale
from dlassign.config.load import dump_line
from dlassign.config.model import CrossEntropy
from dlassign.doctor.checked_data import checked_findings
from dlassign.doctor.facts import Facts, Measured
from dlassign.doctor.finding import Certainty, Finding
from dlassign.doctor.static_model import is_normalised
from dlassign.doctor.validation_size import ENOUGH, MORE, larger_validation

KNOWN = {
    "MNIST": ((0.1307, 0.3081),),
    "CIFAR-10": ((0.4914, 0.2470), (0.4914, 0.2023), (0.4914, 0.2471)),
    "CIFAR-100": ((0.5071, 0.2675),),
    "ImageNet": ((0.485, 0.229),),
    "Fashion-MNIST": ((0.2860, 0.3530),),
}
"""Mean and standard deviation of the first channel, values 0..1, as they are handed on from code to code."""


def data_findings(facts: Facts) -> Iterator[Finding]:
    """Yield what the data, its split and its preprocessing give away."""
    yield from _flips(facts)
    yield from _test_watched(facts)
    yield from _small_validation(facts)
    if facts.measured is not None:
        yield from _inputs(facts, facts.measured)
        yield from _constants(facts, facts.measured)
        yield from _classes(facts, facts.measured)
        yield from checked_findings(facts.measured, by=facts.cfg.data.split.by)


def _inputs(facts: Facts, measured: Measured) -> Iterator[Finding]:
    x = measured.x.reshape(len(measured.x), -1).astype(np.float64)
    rms, centre = math.sqrt(float((x**2).mean())), math.sqrt(float((x.mean(axis=0) ** 2).mean()))
    divisors = {at: step.divisor for at, step in enumerate(facts.cfg.data.preprocess or ()) if isinstance(step, Scale)}
    scales = list(divisors)
    # A dark set may be small, too, but not by a divisor many times its largest value.
    beyond = rms < 0.05 and math.prod(divisors.values()) > 8 * float(measured.raw.max(initial=0))
    if len(scales) > 1 or (scales and (rms < 0.02 or beyond)):
        yield _scaled_twice(facts, rms, scales[-1], twice=len(scales) > 1)
        return
    if rms > 10 and facts.cfg.init.name != "pretrained" and (centre > 0.4 * rms or not is_normalised(facts)):
        # A mean that was removed leaves inputs that are large, but not all on one side: that trains, if slowly. So does
        # a net with a norm, which takes the size away.
        ill = rms > 30 and centre > 0.4 * rms and not is_normalised(facts)
        yield _not_scaled(facts, rms, "likely" if ill else "hint")
    elif not is_normalised(facts) and measured.raw.ndim == 2:
        yield from _uneven(facts, x)


def _not_scaled(facts: Facts, rms: float, certainty: Certainty) -> Finding:
    steps = [step.model_dump(mode="json") for step in facts.cfg.data.preprocess or ()]
    raw = facts.measured.raw if facts.measured is not None else None
    # In place of the user's own divisor: two would be told as scaled_twice next.
    own = [step for step in steps if step["name"] == "scale"]
    size = rms * math.prod(step["divisor"] for step in own)
    divisor = float(raw.max()) if raw is not None and raw.dtype == np.uint8 else float(f"{size:.3g}")
    # One divisor for all columns of a table would make those near 0 that were of the right size.
    if raw is not None and raw.ndim == 2:
        mended = [*steps, {"name": "normalize"}]
    else:
        mended = [{"name": "scale", "divisor": divisor}, *(step for step in steps if step not in own)]
    return Finding(
        rule="inputs_not_scaled",
        certainty=certainty,
        key="data.preprocess",
        why=f"inputs are about {rms:.3g} in size, so the first layer's outputs and gradients are as much larger than "
        "initial weights and learning rates are made for",
        statistic=f"root mean square of the prepared samples: {rms:.3g}",
        null="about 1",
        cure=f"--set 'data.preprocess={dump_line(mended)}'",
    )


def _scaled_twice(facts: Facts, rms: float, place: int, *, twice: bool) -> Finding:
    steps = [step.model_dump(mode="json") for step in facts.cfg.data.preprocess or ()]
    measured = facts.measured
    largest = float(measured.raw.max()) if measured is not None and measured.raw.size else 1.0
    mended = [step for at, step in enumerate(steps) if at != place or not twice]
    if not twice:
        mended[place] = {"name": "scale", "divisor": largest or 1.0}
    normal = any(step["name"] == "normalize" and step.get("mean") is None for step in steps[place:])
    return Finding(
        rule="scaled_twice",
        certainty="hint" if normal or is_normalised(facts) else "likely",
        key=f"data.preprocess.{place}",
        why="values are divided twice" if twice else f"values are divided by far more than their largest, {largest:g}",
        statistic=f"root mean square of the prepared samples: {rms:.2g}",
        null="between .1 and 1",
        cure=f"--set 'data.preprocess={dump_line(mended)}'",
    )


def _uneven(facts: Facts, x: NDArray[np.float64]) -> Iterator[Finding]:
    spread = x.std(axis=0)
    spread = spread[spread > 0]
    if len(spread) < 2 or spread.max() < 100 * np.median(spread) or spread.max() < 10:
        return
    steps = [*[step.model_dump(mode="json") for step in facts.cfg.data.preprocess or ()], {"name": "normalize"}]
    yield Finding(
        rule="inputs_not_scaled",
        certainty="likely",
        key="data.preprocess",
        why="one feature is so much larger than the others that the net sees hardly anything else",
        statistic=f"largest spread of a feature {spread.max():.3g}, the median {np.median(spread):.3g}",
        null="all about 1",
        cure=f"--set 'data.preprocess={dump_line(steps)}'",
    )


def _constants(facts: Facts, measured: Measured) -> Iterator[Finding]:
    steps = facts.cfg.data.preprocess or ()
    for place, step in enumerate(steps):
        if not isinstance(step, Normalize) or step.mean is None or step.std is None or place + 1 < len(steps):
            continue
        axes = (0, *range(2, measured.x.ndim))
        mean, std = measured.x.mean(axis=axes), measured.x.std(axis=axes)
        centre, spread = float(np.abs(mean).max()), float(np.abs(np.log(np.maximum(std, 1e-9))).max())
        owner = next((name for name, pairs in KNOWN.items() if _is_of(pairs, step.mean[0], step.std[0])), None)
        certainty = _how_sure(centre, spread, owner=None if facts.cfg.init.name == "pretrained" else owner)
        if certainty is None:
            continue
        whose = f"the constants are those of {owner}" if owner else "the constants do not fit this data"
        mended = [one.model_dump(mode="json") for one in steps]
        mended[place] = {"name": "normalize"}
        yield Finding(
            rule="normalize_constants",
            certainty=certainty,
            key=f"data.preprocess.{place}.mean",
            why=f"{whose}, so what should have mean 0 and spread 1 has neither",
            statistic=f"mean {_short(mean)}, standard deviation {_short(std)} after it",
            null="0 and 1",
            cure=f"--set 'data.preprocess={dump_line(mended)}'",
        )


def _how_sure(centre: float, spread: float, *, owner: str | None) -> Certainty | None:
    """Return how sure it is that constants are wrong.

    centre: distance of the mean from 0; spread: of the logarithm of the standard deviation from 0; owner: the data set
    that the constants are known of. Half the range, mean .5 and std .5, is usual and gives up to .4 and .7.
    """
    if max(centre, spread) > 2.5 or (owner is not None and max(centre, spread) > 0.2):
        return "likely"
    return "hint" if centre > 0.5 or spread > 1.2 else None


def _is_of(pairs: tuple[tuple[float, float], ...], mean: float, std: float) -> bool:
    return any(abs(mean - known) < 6e-4 and abs(std - spread) < 6e-4 for known, spread in pairs)


def _short(values: NDArray[np.float32]) -> str:
    return ", ".join(f"{value:.3g}" for value in values[:3].tolist()) + (", ..." if len(values) > 3 else "")


def _classes(facts: Facts, measured: Measured) -> Iterator[Finding]:
    train = measured.counts["train"]
    names = measured.dataset.classes
    missing = [names[k] for k in np.flatnonzero(train == 0)]
    if missing:
        yield Finding(
            rule="class_missing",
            certainty="certain",
            key="data.split",
            why=f"no training sample is of class {', '.join(missing[:5])}, so the net never learns to say so",
            statistic=f"{len(missing)} of {len(names)} classes have no sample in train",
            null="0",
            cure="--set data.split.by=stratified" if facts.cfg.data.split.by != "stratified" else "",
        )
    present = train[train > 0]
    ratio = float(present.max() / present.min()) if len(present) > 1 else 1.0
    weighted = isinstance(facts.cfg.loss, CrossEntropy) and facts.cfg.loss.class_weight is not None
    if ratio >= 10 and not weighted and facts.cfg.data.balance is None:
        rare, share = (
            names[int(np.argmin(np.where(train > 0, train, train.max() + 1)))],
            float(train.max() / train.sum()),
        )
        yield Finding(
            rule="class_imbalance",
            certainty="likely" if ratio >= 30 else "hint",
            key="data",
            why=f"class {rare} has {present.min():,} training samples and the largest {present.max():,}, so saying the "
            f"largest is right in {share:.0%} of the cases, and accuracy hides what is missed",
            statistic=f"1 to {ratio:.0f}",
            null="below 1 to 10, or weights",
            cure="--set loss.class_weight=balanced"
            if isinstance(facts.cfg.loss, CrossEntropy)
            else "--set data.balance=oversample",
        )


def _flips(facts: Facts) -> Iterator[Finding]:
    data = facts.cfg.data
    names = facts.info.classes if facts.info is not None else ()
    signs = isinstance(data, Digits | MNIST) or (len(names) > 2 and all(len(n) == 1 and n.isalnum() for n in names))
    for place, step in enumerate(data.augment):
        if signs and isinstance(step, Flip | AlternatingFlip):
            rest = [one.model_dump(mode="json") for at, one in enumerate(data.augment) if at != place]
            yield Finding(
                rule="flipped_digits",
                certainty="likely",
                key=f"data.augment.{place}.name",
                why="mirrored digits and letters are other signs or none, so the net learns from images that no test "
                "has",
                statistic=f"{step.name} of classes {', '.join(names[:4])}, ...",
                null="no mirror image of a sign",
                cure=f"--set 'data.augment={dump_line(rest)}'",
            )


def _test_watched(facts: Facts) -> Iterator[Finding]:
    if "test" in (facts.cfg.train.evaluate or ()):
        yield Finding(
            rule="test_watched",
            certainty="hint",
            key="train.evaluate",
            why="the test set is looked at during training, so whoever stops or chooses by it has no test any more",
            statistic="evaluate names test",
            null="test is opened once, at the end",
            cure="--set train.evaluate=null",
        )


def _small_validation(facts: Facts) -> Iterator[Finding]:
    info, train = facts.info, facts.cfg.train
    if info is None or not 0 < info.n_val < ENOUGH:
        return
    chooses = train.keep != "last" or train.early_stop is not None
    error = 100 * math.sqrt(0.1 * 0.9 / info.n_val)
    yield Finding(
        rule="validation_small",
        certainty="likely" if info.n_val <= 60 and chooses and info.n_train > 300 else "hint",
        key="data.split.val",
        why=f"{info.n_val} validation samples "
        + ("choose the weights" if chooses else "judge the net")
        + f", and an accuracy of 90 % is known to {error:.1f} points only",
        statistic=f"standard error of an accuracy: {error:.1f} points",
        null=f"at most 2 points, with {ENOUGH} samples or more",
        cure=larger_validation(facts.cfg.data.split.model_dump(), n_train=info.n_train, n_val=info.n_val),
        advice=MORE,
    )
