"""A run as a small piece of HTML that a notebook shows: the same bytes each time, without a script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from dlassign.config.values import value_text
from dlassign.plots.series import Curve, Metric
from dlassign.report.page import duration_text, rendered
from dlassign.report.runs import LoggedRun, RunReader, model_text
from dlassign.report.small_chart import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, ChartCurve, SmallChart, small_chart
from dlassign.stats.proportion import sampling_interval
from dlassign.store.files import is_locked
from dlassign.store.identity import config_value
from dlassign.store.paths import RunPaths

MOST_BYTES = 30_000
"""Of a card: a notebook keeps each in its file."""
_MOST_POINTS = 240
_FEWEST_POINTS = 16
_LONGEST_TEXT = 300
_LONGEST_PATH = 1000
_MOST_REMARKS = 6
_LOOKS: dict[str, str] = {"train": "train", "train, evaluated": "again", "val": "val", "test": "test"}
"""By curve, the end of the class that gives it colour and dashes."""
STATUSES = {
    "finished": ("✓", "good"),
    "running": ("▶", "on"),
    "interrupted": ("‖", "on"),
    "pruned": ("‖", "on"),
    "diverged": ("✕", "bad"),
    "failed": ("✕", "bad"),
    "unreadable": ("✕", "bad"),
    "contradicted": ("✕", "bad"),
}
"""By status, its sign and the end of the class that gives it a colour."""
_MEANINGS = {
    "running": "it goes on; this is how it stood when the card was made",
    "interrupted": "the same call goes on where it stopped",
    "pruned": "the sweep gave it up",
    "diverged": "the loss stopped being finite; try a smaller optimizer.lr, train.clip, warmup or scaled inputs",
    "not begun": "nothing has been trained yet",
}


def run_card(paths: RunPaths) -> str:
    """Return a run as HTML of at most 30 kB: result, settings, curves, folder.

    It is made from the log alone, and whatever lies in the folder there is a card. All text is escaped, all styles
    hold inside the card, and nothing in it depends on the time or on chance.
    """
    run = _read(paths)
    most = _MOST_POINTS
    while len((html := _card(run, most)).encode()) > MOST_BYTES and most > _FEWEST_POINTS:
        most = max(_FEWEST_POINTS, most * 2 // 3)
    return html


def _read(paths: RunPaths) -> LoggedRun:
    run = RunReader().read(paths)
    begun = paths.log.is_file() and paths.log.stat().st_size
    if run.summary.status == "unreadable" and not begun:
        status = "running" if is_locked(paths.lock) else "not begun"
        return replace(run, summary=replace(run.summary, status=status, reason=None))
    return run


def _card(run: LoggedRun, most: int) -> str:
    summary = run.summary
    sign, tone = STATUSES.get(summary.status, ("○", "on"))
    charts = list(_charts(run, most))
    return rendered(
        "card.html",
        name=cut(summary.name),
        status=cut(summary.status),
        sign=sign,
        tone=tone,
        about=[cut(text) for text in _about(run)],
        results=list(_results(run)),
        remarks=[cut(text) for text in _remarks(run)][:_MOST_REMARKS],
        settings=[(name, cut(text)) for name, text in _settings(run)],
        charts=charts,
        legend=[(curve, look) for curve, look in _LOOKS.items() if any(curve in _labels(chart) for chart in charts)],
        looks=_LOOKS,
        marked=any(chart.mark for chart in charts),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        bottom=BOTTOM,
        folder=cut(str(paths_text(run.paths)), _LONGEST_PATH),
    )


def _labels(chart: SmallChart) -> set[str]:
    return {curve.label for curve in chart.curves}


def paths_text(paths: RunPaths) -> str:
    """Return the folder of a run, on one line."""
    return re.sub(r"\s", " ", str(paths.root))


def cut(text: Any, longest: int = _LONGEST_TEXT) -> str:
    """Return a text of at most so many characters; of a longer one its beginning and its end."""
    text = str(text)
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def _about(run: LoggedRun) -> Iterator[str]:
    """Yield what the head of a card says beside name and status."""
    summary = run.summary
    if summary.seed is not None:
        yield f"seed {summary.seed}"
    if summary.data:
        yield summary.data


def _results(run: LoggedRun) -> Iterator[dict[str, str]]:
    """Yield accuracy and loss of each split that has been evaluated."""
    summary = run.summary
    for split, n in (("val", summary.val_n), ("test", summary.test_n)):
        accuracy, loss = getattr(summary, f"{split}_accuracy"), getattr(summary, f"{split}_loss")
        if accuracy is None and loss is None and n is None:
            continue
        yield {
            "split": split,
            "accuracy": accuracy_text(accuracy),
            "interval": interval_text(accuracy, n),
            "loss": loss_text(loss),
            "n": "" if n is None else f"{n:,} samples",
        }


def accuracy_text(share: float | None) -> str:
    """Return an accuracy in percent."""
    return "–" if share is None else f"{100 * share:.2f} %"


def interval_text(share: float | None, n: int | None) -> str:
    """Return where the accuracy on endlessly many samples may lie, as `[96.8, 99.6]`; "" where that is narrow."""
    found = sampling_interval(share, n)
    return "" if found is None else f"[{100 * found[0]:.1f}, {100 * found[1]:.1f}]"


def loss_text(loss: float | None) -> str:
    """Return a loss with four digits behind the point."""
    return "nan" if loss is None else f"{loss:.4f}" if abs(loss) < 1e4 else f"{loss:.3g}"


def _remarks(run: LoggedRun) -> Iterator[str]:
    """Yield what a reader must know beside the result."""
    summary = run.summary
    if run.chosen:
        yield f"results of the {run.chosen['weights']} weights, of step {run.chosen['step']:,}"
    elif summary.val_n is not None or summary.test_n is not None:
        yield "results so far: of the newest evaluation"
    if summary.test_max is not None:
        yield f"test: {summary.mark} {100 * summary.test_max:.2f} %, which is chosen on the test set"
    elif summary.mark:
        yield f"test: {summary.mark}"
    if summary.val_unseen:
        yield f"val: {summary.val_unseen}"
    if summary.reason:
        yield summary.reason
    elif summary.status in _MEANINGS:
        yield _MEANINGS[summary.status]
    yield from run.notes.values()
    yield from run.warnings


def _settings(run: LoggedRun) -> Iterator[tuple[str, str]]:
    """Yield the settings that a reader asks for first, as far as the log tells them."""
    summary, config = run.summary, run.summary.config
    if summary.params is not None:
        yield "model", f"{model_text(config) or '?'}, {summary.params:,} parameters"
    for name in ("loss", "optimizer", "schedule"):
        if text := _family_text(config.get(name)):
            yield name, text
    size = config_value(config, "train.batch_size", None)
    if size is not None:
        yield "batch size", value_text(size)
    if summary.steps is not None:
        yield "steps", _steps_text(run)
    if summary.seconds is not None:
        yield "time", _time_text(run)


def _steps_text(run: LoggedRun) -> str:
    steps, planned = run.summary.steps or 0, run.summary.planned
    text = f"{steps:,}" if planned in (None, steps) else f"{steps:,} of {planned:,}"
    if run.summary.status == "finished" and planned is not None and steps < planned:
        text += ", stopped early"
    epochs = f"{steps / run.spe:.4g}" if run.spe else ""
    return f"{text} ({epochs} epoch{'s' * (epochs != '1')})" if epochs else text


def _time_text(run: LoggedRun) -> str:
    phases = [(name, run.summary.seconds_by_phase.get(name)) for name in ("train", "eval")]
    told = ", ".join(f"{name} {duration_text(spent)}" for name, spent in phases if spent)
    return duration_text(run.summary.seconds) + (f" ({told})" if told else "")


def _family_text(section: Any) -> str:
    """Return a section such as optimizer in short: its name and its plain values, `adam, lr 0.001`."""
    if not isinstance(section, dict) or not isinstance(section.get("name"), str):
        return ""
    told = [
        f"{key} {value_text(value)}"
        for key, value in section.items()
        if key != "name" and value not in (None, [], {}) and not isinstance(value, dict | bool)
    ]
    return ", ".join([section["name"], *told])


def _charts(run: LoggedRun, most: int) -> Iterator[SmallChart]:
    """Yield the drawings of loss and accuracy, as far as the log has values."""
    yield from filter(
        None,
        [
            small_chart(
                "loss without penalty" if run.penalised else "loss",
                _curves(run, "loss"),
                most=most,
                mark=_final(run, run.summary.test_loss),
                may_be_log=True,
            ),
            small_chart(
                "accuracy (%)",
                _curves(run, "accuracy"),
                most=most,
                mark=_final(run, run.summary.test_accuracy, 100.0),
                highest=100.0,
            ),
        ],
    )


def _curves(run: LoggedRun, metric: Metric) -> list[ChartCurve]:
    names: list[Curve] = ["train", "train, evaluated", "val", "test"]
    return [
        ChartCurve(label=name, x=steps, y=values, dotted=name != "train")
        for name in names
        if (name, metric) in run.curves
        for steps, _, values in [run.curves[name, metric]]
    ]


def _final(run: LoggedRun, value: float | None, unit: float = 1.0) -> tuple[float, float] | None:
    """Return where the final test result lies: at the step of the chosen weights."""
    if run.chosen is None or value is None:
        return None
    return float(run.chosen["step"]), float(np.float64(unit * value))
