"""One panel of a picture: the lines, bands and marks of one metric, its frame and its legend."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, StrMethodFormatter

from dlassign.plots.groups import Group, diverged_at, title
from dlassign.plots.series import (
    CURVES,
    Curve,
    Mean,
    Metric,
    Run,
    Series,
    SplitName,
    XAxis,
    average,
    from_first_step,
    series,
    smooth,
    steps_per_epoch,
    thin,
    value,
    x_of_step,
)
from dlassign.plots.style import percent_text

WIDTH, HEIGHT = 7.5, 4.4  # of one panel, in inches, without its legend
DASHES: dict[Curve, str] = {"train": "-", "train, evaluated": "-.", "val": "--", "test": ":"}
Handle = Line2D | Patch

_X_LABELS: dict[XAxis, str] = {
    "step": "optimizer step",
    "epoch": "epoch (passes over the training split)",
    "seconds": "training time (seconds)",
    "wall": "time since the run was started (seconds)",
}
_Y_LABELS: dict[Metric, str] = {
    "loss": "loss (mean per sample)",
    "accuracy": "accuracy (%)",
    "penalty": "penalty (part of the training loss)",
}
_SPLIT_WORDS: dict[SplitName, str] = {"train": "training", "val": "validation", "test": "test"}
_FEW_POINTS = 40
_LONG = 1e5
"""Numbers from which a tick of a loss is written as a power of ten."""


@dataclass(frozen=True, kw_only=True)
class CurveOptions:
    """How curves are drawn.

    Attributes:
        splits: what to draw; () is all of one run or group, and of many the validation (or test, or train)
            and the final test.
        group: config key; runs that share its value are averaged. See group_runs.
        smooth: strength of the exponential moving average, 0 (none) to below 1, of the training means, or of
            the evaluations if only they are drawn; the raw curve stays, faint.
        x: what the x axis counts.
        log_x, log_y: logarithmic axes.
        title: None makes one of names and data.
        width: of the whole picture in inches, which then has small letters, for a report; None: as on a screen.
    """

    splits: tuple[SplitName, ...] = ()
    group: str | None = None
    smooth: float = 0.0
    x: XAxis = "step"
    log_x: bool = False
    log_y: bool = False
    title: str | None = None
    width: float | None = None


@dataclass(frozen=True)
class Panel:
    """The axes of one metric and how to draw in them.

    Attributes:
        axes: of matplotlib.
        metric: what they show.
        options: how it is drawn.
        size: width and height in inches, without the legend.
    """

    axes: Axes
    metric: Metric
    options: CurveOptions
    size: tuple[float, float] = (WIDTH, HEIGHT)

    @property
    def curves(self) -> list[Curve]:
        """What may be drawn of a run."""
        if self.metric == "penalty":
            return ["train"]
        return [curve for split in self.options.splits for curve in CURVES[split]]

    def label(self, runs: Sequence[Run], curve: Curve) -> str:
        """Return what the legend calls a curve, with what was done to its values."""
        remarks = []
        name = "penalty" if self.metric == "penalty" else curve
        penalised = any("penalty" in record for run in runs for record in run.records.train)
        if self.metric == "loss" and curve == "train" and penalised:
            remarks.append("without penalty")
        if strength := self._strength(curve):
            remarks.append(f"smoothed {strength:g}, raw faint")
        return f"{name} ({'; '.join(remarks)})" if remarks else name

    def _strength(self, curve: Curve) -> float:
        """Return how much a curve is smoothed: beside training means, evaluations are too few for it."""
        return self.options.smooth if curve == "train" or "train" not in self.options.splits else 0.0

    def draw_curve(
        self, group: Group, curve: Curve, *, look: tuple[str, str], shift: int = 0, thin_line: bool = False
    ) -> bool:
        """Draw one curve of a group with its spread, in a colour and marker; return whether there was one.

        `shift` moves the markers of long curves along, so that those of several runs do not coincide.
        """
        found = [series(run.records, curve, metric=self.metric, x=self.options.x) for run in group.runs]
        raw = [points for points in found if len(points)]
        single = all(len(points) == 1 for points in raw)
        if curve == "train":
            raw = [
                from_first_step(points, run.records, self.options.x)
                for points, run in zip(found, group.runs, strict=True)
                if len(points)
            ]
        if not any(np.isfinite(points.y).any() for points in raw):
            return False
        color, marker = look
        if strength := self._strength(curve):
            self._line(average(raw), band=False, color=color, lw=0.8, alpha=0.25)
        mean = average([smooth(points, strength) for points in raw])
        if thin_line:
            self._line(mean, band=False, color=color, ls=DASHES[curve], lw=0.8, zorder=1)
            return len(mean) > 0
        marker = marker or ("o" if single else "")
        self._line(mean, color=color, ls=DASHES[curve], lw=1.4, ms=4, marker=marker, shift=shift)
        return len(mean) > 0

    def shortened(self, group: Group) -> str:
        """Return where the mean of a group ends though some of its runs go on, or ""."""
        for curve in self.curves:
            found = [series(run.records, curve, metric=self.metric, x="step") for run in group.runs]
            ends = sorted(points.x[-1] for points in found if len(points))
            if ends and ends[0] < ends[-1]:
                return f"mean ends at step {ends[0]:g}, with the shortest run; the longest goes on to {ends[-1]:g}"
        return ""

    def _line(self, points: Mean, *, band: bool = True, shift: int = 0, **look: Any) -> None:
        shown = (points.x > 0) | (not self.options.log_x)
        x = points.x[shown]
        curves = [array[shown] for array in (points.mean, points.low, points.high)]
        mean, low, high = [np.where(y > 0, y, np.nan) for y in curves] if self.options.log_y else curves
        thinned = [thin(x, array, log_x=self.options.log_x) for array in (mean, low, high)]
        keep = np.unique(np.concatenate(thinned))
        every = 1 if len(keep) <= _FEW_POINTS * self.size[0] / WIDTH else len(keep) // 8
        start = shift * every // 5 % every
        self.axes.plot(x[keep], mean[keep], markevery=(start, every), **look)
        if band and points.n > 1:
            color = look["color"]
            self.axes.fill_between(x[keep], low[keep], high[keep], color=color, alpha=0.18, lw=0)

    def _finite(self, run: Run, curve: Curve) -> Series:
        found = series(run.records, curve, metric=self.metric, x=self.options.x)
        kept = np.isfinite(found.y)
        return Series(found.x[kept], found.y[kept])

    def mark_final(self, group: Group, color: str) -> str:
        """Draw a star at the final test of each run; return the value for the legend, or ""."""
        if "test" not in self.options.splits or self.metric == "penalty":
            return ""
        points = [
            (x_of_step(run.records, ((run.records.end or {}).get("chosen") or final)["step"], self.options.x), y)
            for run in group.runs
            if (final := run.records.finals.get("test")) is not None
            for y in [value(final, self.metric)]
        ]
        values = self._scatter(points, color=color, marker="*", ms=12, mec="white", mew=0.6)
        finals = [final for run in group.runs if (final := run.records.finals.get("test")) is not None]
        if len(values) == len(finals) == 1 and self.metric == "accuracy":
            return f"test {percent_text(values[0] / 100, finals[0].get('n'))}"
        return f"test {self._spread(values)}" if values else ""

    def mark_maximum(self, group: Group, color: str) -> str:
        """Draw a ring at the best test accuracy seen in training; return the text for the legend, or ""."""
        if self.metric != "accuracy" or "test" not in self.options.splits:
            return ""
        tests = [found for run in group.runs if len(found := self._finite(run, "test"))]
        if not tests:
            return ""
        points = [(found.x[best], found.y[best]) for found in tests for best in [found.y.argmax()]]
        values = self._scatter(points, color=color, marker="o", ms=10, mfc="none", mew=1.4)
        counts = sorted({len(found) for found in tests})
        count = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        return f"max of {count} test evaluation{'s' * (counts[-1] > 1)}: {self._spread(values)}"

    def mark_divergence(self, group: Group, color: str) -> None:
        """Draw a cross at the last finite value of each curve of a run that diverged."""
        diverged = [run for run in group.runs if diverged_at(run.records) is not None]
        found = [self._finite(run, curve) for run in diverged for curve in self.curves]
        self._scatter([(one.x[-1], one.y[-1]) for one in found if len(one)], color=color, marker="x", ms=8, mew=2)

    def _scatter(self, points: Sequence[tuple[float, float]], **look: Any) -> list[float]:
        """Draw the points that the axes can show, above all lines; return the y of all that are finite."""
        log_x, log_y = self.options.log_x, self.options.log_y
        finite = [(x, y) for x, y in points if np.isfinite(x) and np.isfinite(y)]
        shown = [(x, y) for x, y in finite if (x > 0 or not log_x) and (y > 0 or not log_y)]
        if shown:
            self.axes.plot([x for x, _ in shown], [y for _, y in shown], ls="", zorder=5, **look)
        return [y for _, y in finite]

    def _spread(self, values: Sequence[float]) -> str:
        unit, digits = (" %", ".2f") if self.metric == "accuracy" else ("", ".4g")
        mean = f"{sum(values) / len(values):{digits}}{unit}"
        if len(values) == 1:
            return mean
        return f"{mean} (mean of {len(values)}; {min(values):{digits}} to {max(values):{digits}})"

    def frame(self, runs: Sequence[Run]) -> None:
        """Set scales, labels, grid and title, and an epoch axis on top if all runs have equal epochs."""
        axes, options = self.axes, self.options
        axes.set_xlabel(_X_LABELS[options.x])
        axes.set_ylabel(_Y_LABELS[self.metric])
        self._title(runs)
        axes.grid(visible=True, color="0.9", lw=0.6)
        axes.set_axisbelow(True)
        if options.log_y:
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        elif max(map(abs, axes.get_ylim())) >= _LONG:  # else its power of ten stands on the axis of epochs
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        if options.log_x:
            axes.set_xscale("log")
            _plain_ticks(axes.xaxis)
        elif options.x == "step":
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        if options.x == "step":
            self._epoch_axis([steps_per_epoch(run.records) for run in runs])
        if not axes.lines:
            axes.text(0.5, 0.5, "nothing to draw yet", transform=axes.transAxes, ha="center", color="0.4")

    def _title(self, runs: Sequence[Run]) -> None:
        """Write what is shown, of what; a title of the user's own stands above the first of several panels."""
        own = self.options.title
        if own is not None:
            panels = self.axes.figure.axes
            if len(panels) == 1:
                self.axes.set_title(own, parse_math=False)
            elif self.axes is panels[0]:
                self.axes.set_title(own, loc="left", parse_math=False)
            return
        words = [_SPLIT_WORDS[split] for split in self.options.splits if self.metric != "penalty"]
        listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
        shown = f"{listed} {self.metric}".strip()
        letter = 0.095 if self.options.width is None else 0.073  # inches
        text = f"{shown[:1].upper()}{shown[1:]}: {title(runs)}"
        self.axes.set_title(textwrap.fill(text, max(24, int(self.size[0] / letter))), parse_math=False)

    def _epoch_axis(self, lengths: Sequence[float | None]) -> None:
        length = lengths[0]
        if not length or any(other is None or abs(other / length - 1) > 1e-3 for other in lengths):
            return
        scale = length
        top = self.axes.secondary_xaxis(
            "top", functions=(lambda x: np.asarray(x) / scale, lambda x: np.asarray(x) * scale)
        )
        top.set_xlabel("epoch")
        if self.options.log_x:
            _plain_ticks(top.xaxis)

    def legend(self, handles: Sequence[Handle]) -> None:
        """Put the legend below the axes, where it covers nothing, in as many columns as its texts allow."""
        if not handles:
            return
        width, height = self.size
        letter = 0.07 if self.options.width is None else 0.058
        if self.options.width is not None:
            for handle in handles:
                handle.set_label(textwrap.fill(str(handle.get_label()), max(20, int((width * 0.85 - 0.4) / letter))))
        longest = max(len(line) for handle in handles for line in str(handle.get_label()).splitlines() or [""])
        columns = max(1, min(3, -(-len(handles) // 4), int(width * 0.78 / (letter * longest + 0.6))))
        legend = self.axes.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=(0.0, -0.15 * max(1.0, 0.75 * HEIGHT / height)),
            borderaxespad=0.0,
            ncols=columns,
            frameon=False,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)


def _plain_ticks(axis: Axis) -> None:
    """Write 0.5 and 2,000 on a logarithmic axis; of a wide one only 1, 2, 5 or only 1 of each decade."""

    def text(tick: float, _: int | None = None) -> str:
        low, high = sorted(axis.get_view_interval())
        if tick <= 0 or low <= 0:
            return ""
        lead = tick / 10 ** math.floor(math.log10(tick) + 1e-9)
        decades = math.log10(high / low)
        leads = (1, 2, 5) if decades < 4 else (1,)
        if decades >= 1 and min(abs(lead - shown) for shown in leads) > 1e-6:
            return ""
        return f"{tick:,.0f}" if 10 <= tick < _LONG else f"{tick:g}"

    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(FuncFormatter(text))
