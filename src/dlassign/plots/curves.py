"""Loss and accuracy curves of one or several runs, drawn from their logs alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dlassign.errors import UserError
from dlassign.plots.groups import Group, diverged_at, group_note, group_runs
from dlassign.plots.panel import DASHES, HEIGHT, WIDTH, CurveOptions, Handle, Panel
from dlassign.plots.series import CURVES, Curve, Metric, Run, SplitName, value
from dlassign.plots.style import PALETTE, fit_width, fixed_style, run_look, save_figure
from dlassign.store.paths import RunPaths
from dlassign.store.records import RunRecords, read_records

_LOOKS: dict[Curve, tuple[str, str]] = {
    "train": (PALETTE[0], ""),
    "train, evaluated": (PALETTE[5], "v"),
    "val": (PALETTE[1], "o"),
    "test": (PALETTE[2], "s"),
}
_MOST_WITH_TRAINING = len(PALETTE)
"""Of more runs than there are colours, two curves each could not be told apart."""
_MOST_NAMED = len(PALETTE)
"""Runs or groups that have a colour and a line of the legend; the others are thin and grey."""
_WIDE = 1000.0
"""Times its median that a largest loss is, from which the axis is logarithmic."""
_GREY = "0.75"


def draw_run(
    paths: RunPaths, records: RunRecords | None = None, *, say: Callable[[str], None] | None = None
) -> list[Path]:
    """Write a picture of each metric that a run has into its plots folder, and return the files.

    Raises:
        UserError: the log cannot be read, or a picture cannot be written.
    """
    records = records or read_records(paths.log)
    run = Run(paths, records)
    targets = []
    for metric in metrics_of([run]):
        targets.append(paths.plots / f"{metric}.png")
        save_figure(build_figure([run], metrics=(metric,), options=CurveOptions()), targets[-1], say=say)
    return targets


def metrics_of(runs: Sequence[Run]) -> tuple[Metric, ...]:
    """Return what can be drawn of runs: loss and accuracy, and the penalty where a log has one."""
    penalised = any("penalty" in record for run in runs for record in run.records.train)
    return ("loss", "penalty", "accuracy") if penalised else ("loss", "accuracy")


def build_figure(
    runs: Sequence[Run],
    *,
    metrics: Sequence[Metric],
    options: CurveOptions,
    groups: Sequence[Group] | None = None,
) -> Figure:
    """Return one picture of at least one run, with a panel for each metric from left to right.

    Args:
        runs: what to draw.
        metrics: loss and penalty are apart; no training loss has its penalty in it.
        options: how to draw.
        groups: the same runs, those of a group as one line; None: as the options group them.

    Raises:
        UserError: no run has the group key or the split asked for.
    """
    groups = group_runs(runs, options.group) if groups is None else groups
    asked = options.splits
    options = replace(options, splits=_splits(runs, asked, many=len(groups)))
    # Of a group a reader expects the curves that a picture of one run has.
    left_out = (
        []
        if asked or options.group is None
        else [split for split in _splits(runs, (), many=1) if split not in options.splits]
    )
    width = WIDTH if options.width is None else options.width / len(metrics)
    # A narrow panel is less flat than a wide one.
    size = (width, min(HEIGHT, 0.65 * width) if options.width is not None else HEIGHT)
    with fixed_style(small=options.width is not None):
        figure = Figure(figsize=(width * len(metrics), size[1]))
        for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
            # Beside a loss that falls by decades, an accuracy does not.
            log_y = options.log_y and (metric != "accuracy" or len(metrics) == 1)
            panel = Panel(axes, metric, replace(options, log_y=log_y or _is_wide(runs, metric)), size)
            handles = _draw_many(panel, groups) if len(groups) > 1 else _draw_alone(panel, groups[0])
            handles += [_text(f"not drawn: {', '.join(left_out)} (--split draws them)")] if left_out else []
            panel.frame(runs)
            panel.legend(handles)
        if options.width is not None:
            fit_width(figure, options.width)
    return figure


def _is_wide(runs: Sequence[Run], metric: Metric) -> bool:
    """Return whether a linear axis would show all losses but a few as 0; accuracies have their own bounds."""
    if metric == "accuracy":
        return False
    found = np.array([value(record, metric) for run in runs for record in (*run.records.train, *run.records.evals)])
    found = found[np.isfinite(found)]
    return bool(len(found) and found.min() > 0 and found.max() > _WIDE * np.median(found))


def _splits(runs: Sequence[Run], asked: tuple[SplitName, ...], *, many: int) -> tuple[SplitName, ...]:
    """Return the splits to draw: those asked for, or a choice that stays readable in a picture of so many groups."""
    trained = ["train"] if any(run.records.train for run in runs) else []
    curves = [split for split in CURVES if split in trained or any(run.records.evaluations(split) for run in runs)]
    finals = [split for split in CURVES if any(split in run.records.finals for run in runs)]
    there = [split for split in CURVES if split in curves or split in finals]
    if missing := [split for split in asked if split not in there]:
        found = ", ".join(there) or "none yet"
        raise UserError(f"no run has records of the split {', '.join(missing)}; there are: {found}")
    if asked or many == 1:
        return asked or tuple(there)
    best: list[SplitName] = [split for split in ("val", "test", "train") if split in curves][:1]
    if many <= _MOST_WITH_TRAINING and "train" in curves:
        best.append("train")
    return tuple(split for split in there if split in best or (split == "test" and split in finals))


def _draw_alone(panel: Panel, group: Group) -> list[Handle]:
    """Draw one run or one group, each split in its colour; return what the legend shows."""
    handles: list[Handle] = []
    several = f", mean of {group.size}" if len(group.runs) > 1 else ""
    for curve in panel.curves:
        color, marker = look = _LOOKS[curve]
        if panel.draw_curve(group, curve, look=look):
            label = f"{panel.label(group.runs, curve)}{several}"
            handles.append(Line2D([], [], color=color, marker=marker, ms=4, ls=DASHES[curve], label=label))
    if several and handles:
        handles.append(_band(f"band: min to max of {group.size}"))
    if text := panel.shortened(group):
        handles.append(_text(text))
    color = _LOOKS["test"][0]
    if text := panel.mark_maximum(group, color):
        handles.append(_ring(color, text))
    if text := panel.mark_final(group, color):
        handles.append(_star(color, f"final {text}{_chosen(group)}"))
    panel.mark_divergence(group, "0.2")
    if text := group_note(group):
        handles.append(_cross(text) if _diverged(group) else _text(text))
    return handles


def _draw_many(panel: Panel, groups: Sequence[Group]) -> list[Handle]:
    """Draw several runs or groups, each in its colour, splits by dashes; return what the legend shows."""
    handles: list[Handle] = []
    drawn: dict[Curve, None] = {}
    stars = rings = False
    places = sorted(group.place for group in groups)[:_MOST_NAMED]
    named = [group for group in groups if group.place in places]
    others = [group for group in groups if group.place not in places]
    for group in others:
        for curve in panel.curves:
            panel.draw_curve(group, curve, look=(_GREY, ""), thin_line=True)
    for group in named:
        color, marker = look = run_look(group.place)
        for curve in panel.curves:
            if panel.draw_curve(group, curve, look=look, shift=group.place):
                drawn[curve] = None
        maximum, final = panel.mark_maximum(group, color), panel.mark_final(group, color)
        panel.mark_divergence(group, color)
        stars, rings = stars or bool(final), rings or bool(maximum)
        size = f" (n = {group.size})" if panel.options.group else ""
        texts = (f"{group.label}{size}", final, maximum, group_note(group), panel.shortened(group))
        label = "; ".join(text for text in texts if text)
        handles.append(Line2D([], [], color=color, marker=marker, ms=4, label=label))
    if len(drawn) == 1:  # then the lines of the legend are as those that are drawn
        for handle in handles:
            handle.set(linestyle=DASHES[next(iter(drawn))])
    if others:
        text = f"{len(others)} more" + ("" if panel.options.group else " (--group seed or --group KEY averages runs)")
        handles.append(Line2D([], [], color=_GREY, lw=0.8, label=text))
    runs = [run for group in groups for run in group.runs]
    handles += [Line2D([], [], color="0.3", ls=DASHES[curve], label=panel.label(runs, curve)) for curve in drawn]
    if any(len(group.runs) > 1 for group in groups):
        handles.append(_band("line: mean, band: min to max of a group"))
    handles += [_ring("0.3", "maximum of the test evaluations")] if rings else []
    handles += [_star("0.3", "final test")] if stars else []
    handles += [_cross("last finite value")] if any(_diverged(group) for group in groups) else []
    return handles


def _diverged(group: Group) -> bool:
    return any(diverged_at(run.records) is not None for run in group.runs)


def _chosen(group: Group) -> str:
    """Return which weights the final test is of, for a single run."""
    chosen = (group.runs[0].records.end or {}).get("chosen")
    return f" ({chosen['weights']} weights, step {chosen['step']})" if chosen and len(group.runs) == 1 else ""


def _text(label: str) -> Line2D:
    """Return a line of the legend without a sign."""
    return Line2D([], [], ls="", label=label)


def _band(label: str) -> Patch:
    return Patch(color="0.5", alpha=0.25, lw=0, label=label)


def _star(color: str, label: str) -> Line2D:
    return Line2D([], [], ls="", marker="*", ms=10, color=color, mec="white", mew=0.6, label=label)


def _ring(color: str, label: str) -> Line2D:
    return Line2D([], [], ls="", marker="o", ms=8, mfc="none", mew=1.4, color=color, label=label)


def _cross(label: str) -> Line2D:
    return Line2D([], [], ls="", marker="x", ms=7, mew=2, color="0.3", label=label)
