"""What the log of a run gives away, of any version; no torch. Each rule is held against noise of the same samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise
from statistics import fmean, median, stdev

from dlassign.config.load import dump_line
from dlassign.doctor.finding import Finding
from dlassign.doctor.log_statistics import statistics_findings
from dlassign.doctor.probe_limits import THRESHOLDS
from dlassign.doctor.probe_numbers import last_quarter
from dlassign.doctor.validation_size import MORE, larger_validation
from dlassign.stats.confusion import only_prediction
from dlassign.store.records import Record, RunRecords

Counts = Sequence[Sequence[int]]
_STEPS = 100
"""Steps below which no run is judged by what it has learnt."""
_FALL = 0.05
"""Of an accuracy between two evaluations that counts as a swing, however many samples there are."""
_ENOUGH = 50
"""Samples of a split below which chance alone moves an accuracy by 7 points."""
_ENTROPIES = ("cross_entropy", "cross_entropy_on_probabilities")
_PIXELS = ("mnist", "cifar10", "image_folder")
"""Sources of pixels of 0 to 255."""
_SIZE_STAYS = ("flatten", "mean_image")
"""Preprocessing that leaves values as large as they were."""
_LOG_LOSSES = (*_ENTROPIES, "double_softmax")


def log_findings(records: RunRecords) -> list[Finding]:
    """Return what a log is enough to know; the run may still be training."""
    return [
        *_diverged(records),
        *_one_class(records),
        *_no_learning(records),
        *_inputs(records),
        *_loss_at_start(records),
        *_swings(records),
        *_swapped(records),
        *_overfitting(records),
        *_slow(records),
        *_luck(records),
        *_test_watched(records),
        *statistics_findings(records, learns=_learns(records)),
    ]


def _learns(records: RunRecords) -> bool:
    """Return whether the loss of the last records is clearly below that of guessing, or that of the first one."""
    losses = [record["loss"] - (record.get("penalty") or 0) for record in records.train if record["loss"] is not None]
    k = len(_classes(records, 0))
    name = records.start["config"].get("loss", {}).get("name")
    if not losses:
        return False
    null = math.log(k) if k >= 2 and name in _LOG_LOSSES[:2] else losses[0]
    return fmean(last_quarter(losses)) < THRESHOLDS.learns * null


def _diverged(records: RunRecords) -> Iterator[Finding]:
    bad = next((record for record in records.train if record["loss"] is None), None)
    if bad is None and (records.end or {}).get("status") != "diverged":
        return
    step = bad["step"] if bad else (records.end or {}).get("steps", 0)
    losses = [record["loss"] for record in records.train if record["loss"] is not None]
    last = f"{losses[-1]:.4g}" if losses else "none"
    yield Finding(
        rule="diverged",
        certainty="certain",
        key="optimizer.lr",
        why=f"the loss stopped being a finite number at step {step:,}",
        statistic=f"last finite mean of the loss: {last}",
        null="finite",
        cure=_tenth(records),
    )


def _tenth(records: RunRecords) -> str:
    lr = records.start["config"].get("optimizer", {}).get("lr")
    return f"--set optimizer.lr={lr / 10:.3g}" if isinstance(lr, int | float) else ""


def _one_class(records: RunRecords) -> Iterator[Finding]:
    for split, counts in records.confusions.items():
        only = only_prediction(counts)
        if only is not None:
            n, right = sum(map(sum, counts)), counts[only][only]
            name = _classes(records, len(counts))[only]
            why = f"the net predicts one class, {name}, for all {n:,} {split} samples"
            yield _one_class_finding(why, f"{n - right:,} of {n:,} predictions are wrong")
            return
    note = records.notes.get("one_class")
    if note is not None and not records.finals:
        why = f"at step {note['step']:,} the net predicts one class for all samples of {note.get('split', 'a split')}"
        yield _one_class_finding(why, "two evaluations in a row with one prediction")


def _one_class_finding(why: str, statistic: str) -> Finding:
    return Finding(
        rule="one_class",
        certainty="certain",
        key="init",
        why=why,
        statistic=statistic,
        null="fewer than 10 wrong, which may be chance",
        cure="--set 'init={name: he}'",
    )


def _no_learning(records: RunRecords) -> Iterator[Finding]:
    judged = _judged(records)
    if judged is None or _steps(records) < _STEPS:
        return
    split, accuracy, n, guess = judged
    trained = [record["accuracy"] for record in records.train[-5:] if record.get("accuracy") is not None]
    error = math.sqrt(guess * (1 - guess) / n)
    # Both must be at chance: a net that has learnt train by heart has another fault.
    if accuracy > guess + 3 * error or (trained and fmean(trained) > guess + max(3 * error, 0.05)):
        return
    yield Finding(
        rule="no_learning",
        certainty="likely",
        why=f"after {_steps(records):,} steps the net is right as often as guessing is",
        statistic=f"accuracy on {split} {accuracy:.4f}",
        null=f"{guess:.4f} +- {3 * error:.4f} by saying one class for {n:,} samples",
        advice="look at the data first (dlassign data check), then train with other learning rates",
    )


def _inputs(records: RunRecords) -> Iterator[Finding]:
    """Yield that pixels went in as they are, where the first loss says so: it takes no data, which may be gone."""
    config = records.start["config"]
    data = config.get("data", {})
    steps = data.get("preprocess") or []
    if data.get("name") not in _PIXELS or any(step.get("name") not in _SIZE_STAYS for step in steps):
        return
    for finding in _loss_at_start(records):
        if finding.certainty == "likely":
            mended = [{"name": "scale", "divisor": 255}, *steps]
            yield replace(
                finding,
                rule="inputs_not_scaled",
                key="data.preprocess",
                why=f"{finding.why}, and pixels of 0 to 255 went in as they are, though "
                "initial weights and learning rates are made for inputs of about 1",
                cure=f"--set 'data.preprocess={dump_line(mended)}'",
            )


def _loss_at_start(records: RunRecords) -> Iterator[Finding]:
    k = len(_classes(records, 0))
    config = records.start["config"]
    if not records.train or k < 2 or config.get("loss", {}).get("name") not in _LOG_LOSSES:
        return
    record = records.train[0]
    loss, expected = record["loss"], math.log(k)
    if loss is None:
        return
    loss -= record.get("penalty") or 0.0
    if loss > 5 * expected:
        yield Finding(
            rule="loss_at_start",
            certainty="likely" if loss > 20 * expected else "hint",
            key="init",
            why=f"the mean loss of the first {record['step']:,} steps is far above that of a net that knows nothing",
            statistic=f"{loss:.3g}",
            null=f"ln {k} = {expected:.3f}",
            cure="--set 'init={name: he}'",
        )


def _swings(records: RunRecords) -> Iterator[Finding]:
    series = _series(records)
    half = series[len(series) // 2 :]
    if len(half) < 6 or _size(half) < _ENOUGH:
        return
    falls = [
        (before["accuracy"] - after["accuracy"]) / max(_error(before), _FALL / 4) for before, after in pairwise(half)
    ]
    large = [fall for fall in falls if fall > 4]
    if len(large) >= 3 and len(large) >= 0.2 * len(falls):
        yield Finding(
            rule="swings",
            certainty="likely",
            key="optimizer.lr",
            why="the accuracy falls again and again by more than the error of its samples, in the second half of the "
            "training",
            statistic=f"{len(large)} of {len(falls)} steps between evaluations are falls of more than "
            f"{100 * _FALL:.0f} points and four standard errors of an accuracy",
            null="fewer than 3 such falls; each evaluation sees the same samples, so chance alone moves it less",
            cure=_tenth(records),
        )


def _swapped(records: RunRecords) -> Iterator[Finding]:
    for split, counts in records.confusions.items():
        n = sum(map(sum, counts))
        right = sum(row[k] for k, row in enumerate(counts))
        for i, j in combinations(range(len(counts)), 2):
            own, other = counts[i][i] + counts[j][j], counts[i][j] + counts[j][i]
            crossed = all(counts[a][b] > 0.5 * sum(counts[a]) for a, b in ((i, j), (j, i)))
            rest = n - sum(counts[i]) - sum(counts[j])
            learnt = rest > 0 and right - own > 0.5 * rest
            z = (other - own) / math.sqrt(max(other + own, 1))
            if crossed and learnt and z > 5:
                yield _swapped_finding(records, split, (i, j), (own, other), z)
                return


def _swapped_finding(
    records: RunRecords, split: str, pair: tuple[int, int], counts: tuple[int, int], z: float
) -> Finding:
    names = _classes(records, max(pair) + 1)
    return Finding(
        rule="classes_swapped",
        certainty="certain" if z > 8 else "likely",
        key="data",
        why=f"on {split}, {names[pair[0]]} is taken for {names[pair[1]]} and the other way round, while other classes "
        "are told: the labels of the two are swapped there",
        statistic=f"{counts[1]:,} predictions of the two are crossed, {counts[0]:,} straight",
        null=f"no more crossed than straight; {z:.0f} standard errors beyond",
        advice=f"look at samples of the two in {split}, and mend their labels or the names of their folders",
    )


def _overfitting(records: RunRecords) -> Iterator[Finding]:
    series = [record for record in records.evaluations("val") if record["loss"] is not None]
    if len(series) < 6 or not records.train:
        return
    losses = [record["loss"] for record in series]
    best = min(range(len(losses)), key=losses.__getitem__)
    later = losses[best + 1 :]
    # What two evaluations in a row differ by, without trend: the noise that a rise is held against.
    noise = stdev([b - a for a, b in pairwise(losses)]) / math.sqrt(2)
    trained = [record["loss"] for record in records.train if record["loss"] is not None]
    fell = len(trained) > 3 and fmean(trained[-3:]) < 0.8 * fmean(trained[: max(3, len(trained) // 4)])
    # The lowest of all is the luckiest, too; beyond that the mean of three must have risen.
    luck = noise * (math.sqrt(2 * math.log(len(losses))) + 4 / math.sqrt(3))
    if len(later) >= 3 and fell and fmean(later[-3:]) - losses[best] > max(luck, 0.1 * losses[best]):
        yield Finding(
            rule="overfitting",
            certainty="hint",
            key="train.early_stop",
            why=f"the loss on val was lowest at step {series[best]['step']:,} and has risen since, while that on train "
            "has fallen",
            statistic=f"{losses[best]:.4f} then, {fmean(later[-3:]):.4f} now",
            null=f"at most {luck:.4f} more by chance, with a noise of {noise:.4f}",
            cure="--set 'train.early_stop={patience: 5}'",
        )


def _slow(records: RunRecords) -> Iterator[Finding]:
    losses = [record["loss"] - (record.get("penalty") or 0) for record in records.train if record["loss"] is not None]
    k = len(_classes(records, 0))
    name = records.start["config"].get("loss", {}).get("name")
    if len(losses) < 40 or k < 2 or name not in _ENTROPIES or _steps(records) < _STEPS:
        return
    eighth = len(losses) // 8
    before, last = losses[-2 * eighth : -eighth], losses[-eighth:]
    # A difference of neighbours has the variance of two, and so has that of two means. Half of the losses tell it well.
    noise = stdev([b - a for a, b in pairwise(losses[-4 * eighth :])]) / math.sqrt(eighth) + 1e-9
    fall = fmean(before) - fmean(last)
    if fmean(last) > 0.6 * math.log(k) and fmean(last) < 1.1 * math.log(k) and fall > 4 * noise:
        yield Finding(
            rule="slow_learning",
            certainty="hint",
            key="optimizer.lr",
            why="the loss is high and still falling at the end, so the training is too short or its steps too small",
            statistic=f"{fmean(last):.4f}, {fall:.4f} lower than an eighth of the training before",
            null=f"ln {k} = {math.log(k):.3f} knows nothing; noise {noise:.4f}",
            advice="train for more epochs, or with a larger learning rate",
        )


def _luck(records: RunRecords) -> Iterator[Finding]:
    series = [record for record in records.evaluations("val") if record["accuracy"] is not None]
    chosen = (records.end or {}).get("chosen") or {}
    if len(series) < 8 or chosen.get("weights") != "best" or not 0 < _size(series) <= 200:
        return
    half = [record["accuracy"] for record in series[len(series) // 2 :]]
    best = max(record["accuracy"] for record in series)
    n, level, n_train = _size(series), median(half), int(records.start["data"].get("n_train") or 0)
    luck = _error(series[-1]) * math.sqrt(2 * math.log(len(series)))
    if best - level < luck:
        yield Finding(
            rule="validation_small",
            certainty="hint",
            key="data.split.val",
            why=f"the weights were chosen as the best of {len(series)} evaluations on {n} samples, and gained no more "
            "than the luckiest of so many does",
            statistic=f"best {best:.4f}, median of the second half {level:.4f}",
            null=f"the largest of {len(series)} errors is {luck:.4f} on average, or less: they share their samples",
            cure=larger_validation(records.start["config"].get("data", {}).get("split", {}), n_train=n_train, n_val=n),
            advice=MORE,
        )


def _test_watched(records: RunRecords) -> Iterator[Finding]:
    seen = [record for record in records.evaluations("test") if record["accuracy"] is not None]
    final = records.finals.get("test")
    if len(seen) < 2:
        return
    best = max(record["accuracy"] for record in seen)
    told = "" if final is None or final["accuracy"] is None else f", the last {final['accuracy']:.4f}"
    luck = _error(seen[-1]) * math.sqrt(2 * math.log(len(seen)))
    yield Finding(
        rule="test_watched",
        certainty="hint",
        key="train.evaluate",
        why=f"the test set was evaluated {len(seen)} times during training, and the largest accuracy is no test result",
        statistic=f"largest {best:.4f}{told}",
        null=f"the largest of {len(seen)} is {luck:.4f} too high on average, or less: they share their samples",
        cure="--set train.evaluate=null",
    )


def _series(records: RunRecords) -> list[Record]:
    """Return the evaluations of val, or of test where there is no val, that have an accuracy."""
    found = records.evaluations("val") or records.evaluations("test")
    return [record for record in found if record["accuracy"] is not None]


def _judged(records: RunRecords) -> tuple[str, float, int, float] | None:
    """Return split, accuracy and size of the newest evaluation, and how often one class is right if always said.

    The most frequent one, where confusion counts tell which that is; else any, as if all were equally frequent.
    """
    for split in ("val", "test", "train"):
        newest = records.finals.get(split) or next(reversed(records.evaluations(split)), None)
        if newest is None or newest["accuracy"] is None or (newest.get("n") or 0) < _ENOUGH:
            continue
        n = int(newest["n"])
        counts: Counts | None = newest.get("confusion")
        k = len(_classes(records, 0))
        guess = max(map(sum, counts)) / n if counts else 1 / k if k else None
        if guess is not None and guess < 1:
            return split, newest["accuracy"], n, guess
    return None


def _classes(records: RunRecords, k: int) -> list[str]:
    known = list(records.start["data"].get("classes") or [])
    counts = next(iter(records.confusions.values()), [])
    return known or [str(number) for number in range(max(k, len(counts)))]


def _steps(records: RunRecords) -> int:
    return int(records.train[-1]["step"]) if records.train else 0


def _size(series: Sequence[Record]) -> int:
    return int(series[-1].get("n") or 0)


def _error(record: Record) -> float:
    """Return the standard error of an accuracy; a perfect one has that of one error."""
    n = max(int(record.get("n") or 1), 1)
    share = min(max(record["accuracy"], 1 / (n + 1)), n / (n + 1))
    return math.sqrt(share * (1 - share) / n)
