"""The report page that `dlassign report` writes once, or again and again while runs go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlassign.errors import Interrupted, UserError
from dlassign.report.data import Report, ReportData
from dlassign.report.page import render_report
from dlassign.report.weights import WeightPictures
from dlassign.store.files import make_folder, write_text
from dlassign.store.paths import RunPaths
from dlassign.store.select import find_sources

if TYPE_CHECKING:
    from dlassign.train.first_layer import FirstLayerWeights


@dataclass(frozen=True)
class Page:
    """A page that can be written again and again."""

    target: Path
    places: Sequence[str]
    out: Path
    title: str | None
    report: Report = field(default_factory=lambda: Report(WeightPictures(_first_layer)))

    def write(self, *, every: float | None) -> ReportData:
        """Write the page as things are now, and return its content."""
        report = self.report.collect(find_sources(self.places, out=self.out), title=self.title, every=every)
        make_folder(self.target.parent)
        write_text(self.target, render_report(report))
        return report

    def wait(self, every: float) -> None:
        """Wait until there is something to show at every place.

        Raises:
            UserError: nothing will come: a place is a file of another kind.
        """
        told = False
        while True:
            try:
                find_sources(self.places, out=self.out)
                return
            except UserError as error:
                if any(Path(place).is_file() for place in self.places):
                    raise
                if not told:
                    click.echo(f"waiting: {error}; Ctrl-C ends", err=True)
            told = True
            time.sleep(every)

    def warn(self, report: ReportData) -> None:
        """Say on standard error what could not be read."""
        for run in report.runs:
            if run["reason"]:
                click.echo(f"warning: {run['path']}: {run['reason']}", err=True)
            for warning in run["warnings"]:
                click.echo(f"warning: {warning}", err=True)
        for file in report.unread:
            click.echo(f"warning: {file.path}: {file.why}", err=True)


def write_live(page: Page, every: float, output: str) -> int:
    """Write the page every so often until no run goes on; the last one no longer loads itself again."""
    try:
        page.wait(every)
    except KeyboardInterrupt:
        click.echo("interrupted; there is no page", err=True)
        return Interrupted.exit_code
    try:
        report = page.write(every=every)
        page.warn(report)
        click.echo(output)
        told = ""
        while report.running:
            now = f"{len(report.runs)} runs, {report.running} running; Ctrl-C ends"
            if now != told:
                click.echo(now, err=True)
            told = now
            time.sleep(every)
            report = page.write(every=every)
        page.write(every=None)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not cost the page that stands still
            signal.signal(number, signal.SIG_IGN)
        page.write(every=None)
        click.echo("interrupted; the page stays as it is now", err=True)
        return Interrupted.exit_code
    click.echo(f"all runs have ended: {len(report.runs)}", err=True)
    return 0


def _first_layer(paths: RunPaths) -> FirstLayerWeights:
    from dlassign.train.first_layer import first_layer  # imports torch, which a page without checkpoints does not need

    return first_layer(paths)
