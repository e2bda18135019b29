"""The pictures of tables: drawn from the logs of their runs, and shown on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from dlassign.config.load_table import LocatedTable
from dlassign.config.picture import PictureConfig
from dlassign.config.table import TableConfig
from dlassign.errors import UserError
from dlassign.plots.curves import build_figure, metrics_of
from dlassign.plots.groups import Group
from dlassign.plots.panel import CurveOptions
from dlassign.plots.series import Metric, Run
from dlassign.plots.style import save_figure
from dlassign.plots.weights import build_weights
from dlassign.store.files import SIGNATURE, make_folder, write_text
from dlassign.store.paths import RunPaths
from dlassign.tables.plan import PlannedRow, problem_of, records_of
from dlassign.tables.targets import PICTURE, PICTURES_PAGE, check_file, check_folder

PAGE = "README.md"
_PANEL_WIDTH = 4.6
"""Inches: two panels beside each other are as wide as a page."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A picture of a table.

    Attributes:
        table: that it belongs to.
        name: of the file, without its ending; the table's name is part of it.
        config: what it shows.
        file: None if it could not be drawn.
        seeds: of each row that is drawn, by its label.
        missing: what is not drawn, and why.
    """

    table: TableConfig
    name: str
    config: PictureConfig
    file: Path | None
    seeds: dict[str, tuple[int, ...]]
    missing: tuple[str, ...] = ()


def check_pictures_folder(folder: Path, planned: Sequence[PlannedRow], tables: Path) -> None:
    """Refuse a folder in which pictures or their page would take the place of something else.

    Args:
        folder: where they go.
        planned: every row of their tables.
        tables: the folder of the tables themselves.

    Raises:
        UserError: they would.
    """
    option = f"--figures {folder}"
    check_folder(option, folder)
    if RunPaths(folder).log.exists():
        raise UserError(f"{option}: this folder holds a run; give another folder")
    if folder.resolve() == tables.resolve():
        raise UserError(f"{option}: this folder holds the tables themselves; give another folder")
    check_file(option, folder / PAGE, PICTURES_PAGE)
    for table in {plan.table.name: plan.table for plan in planned}.values():
        for name in table.config.pictures:
            check_file(option, folder / _file_name(table, name), PICTURE)


def _file_name(table: LocatedTable, picture: str) -> str:
    return f"{table.name}_{picture}.png"


def draw_pictures(planned: Sequence[PlannedRow], folder: Path, *, say: Callable[[str], None]) -> list[Drawn]:
    """Draw the pictures that have a row which was asked for, and write the page that shows them.

    Args:
        planned: every row of some tables.
        folder: where pictures and page go.
        say: told what cannot be drawn.

    Raises:
        UserError: a picture cannot be written.
    """
    drawn = []
    for _, found in groupby(planned, key=lambda plan: plan.table.path):
        plans = list(found)
        asked = {plan.name for plan in plans if plan.asked}
        table = plans[0].table
        for name, picture in table.config.pictures.items():
            if picture.rows and not asked & set(picture.rows):
                continue
            chosen = [plan for row in picture.rows for plan in plans if plan.name == row]
            drawn.append(_draw(_file_name(table, name), picture, chosen, folder, table.config, say=say))
    for one in drawn:
        for text in one.missing:
            say(f"{one.name}: {text}")
    make_folder(folder)
    write_text(folder / PAGE, pictures_page(drawn))
    return drawn


def _draw(
    name: str,
    picture: PictureConfig,
    plans: Sequence[PlannedRow],
    folder: Path,
    table: TableConfig,
    *,
    say: Callable[[str], None],
) -> Drawn:
    groups = [_group(plan, place) for place, plan in enumerate(plans)]
    missing = tuple(_absence(plan) for plan, group in zip(plans, groups, strict=True) if group is None)
    there = [group for group in groups if group is not None]
    seeds = {group.label: tuple(run.records.start["seed"] for run in group.runs) for group in there}
    file = folder / name
    result = Drawn(table=table, name=file.stem, config=picture, file=file, seeds=seeds, missing=missing)
    if not there:
        return replace(result, file=None)
    if picture.shows == "weights":
        return _draw_weights(result, there[0], say=say)
    runs = [run for group in there for run in group.runs]
    metrics: tuple[Metric, ...] = metrics_of(runs) if picture.shows == "curves" else (picture.shows,)
    width = _PANEL_WIDTH * max(len(metrics), 1.3)
    options = CurveOptions(group="seed", x=picture.x, log_y=picture.log_y, title=picture.title, width=width)
    save_figure(build_figure(runs, metrics=metrics, options=options, groups=there), file, say=say, colors=64)
    return result


def _group(plan: PlannedRow, place: int) -> Group | None:
    """Return the finished runs of a row; None if there are none."""
    found = [(trial.paths, records_of(trial.paths)) for trial in plan.trials]
    runs = tuple(Run(paths, records) for paths, records in found if records is not None)
    return Group(plan.row.label, runs, place) if runs else None


def _absence(plan: PlannedRow) -> str:
    """Return why a row is not drawn."""
    wrong = next((text for trial in plan.trials if (text := problem_of(trial))), "")
    return f"{plan.full_name} is not drawn: {plan.why or wrong or 'it has no finished run; leave out --no-train'}"


def _draw_weights(result: Drawn, group: Group, *, say: Callable[[str], None]) -> Drawn:
    """Draw the first layer of the first run that has its checkpoint."""
    from dlassign.train.first_layer import first_layer  # imports torch, which curves do not need

    why = ""
    for run in group.runs:
        try:
            layer = first_layer(run.paths)
        except UserError as error:
            why = why or f"its weights are not drawn: {str(error).splitlines()[0]}"
            continue
        figure = build_weights(
            layer.array,
            sample_shape=layer.sample_shape,
            name=layer.name,
            title=result.config.title,
            components=layer.components,
        )
        assert result.file is not None
        save_figure(figure, result.file, say=say, colors=256)
        return replace(result, seeds={group.label: (run.records.start["seed"],)})
    return replace(result, file=None, seeds={}, missing=(*result.missing, why))


def pictures_page(drawn: Sequence[Drawn]) -> str:
    """Return the Markdown page that shows the pictures, table by table."""
    parts = [_HEAD]
    for title, found in groupby(drawn, key=lambda one: one.table.title):
        parts.append(f"## {title}")
        parts += [_section(one) for one in found]
    return "\n\n".join(parts) + "\n"


def _section(one: Drawn) -> str:
    heading = f"### {one.config.of}: {one.config.title}" if one.config.of else f"### {one.config.title}"
    lines = [heading, ""]
    if one.file is not None:
        lines += [f"![{one.config.title}]({one.file.name})", ""]
    lines += [f"* {label}: seed{'s' * (len(seeds) > 1)} {_listed(seeds)}" for label, seeds in one.seeds.items()]
    lines += [f"* Not here: {text}" for text in one.missing]
    lines += [f"* {one.config.note}"] if one.config.note else []
    return "\n".join(lines)


def _listed(seeds: Sequence[int]) -> str:
    """Return "0 to 4", or "0, 2, 5"."""
    whole = len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


_HEAD = f"""\
<!-- {SIGNATURE} -->
# Figures of the reports, drawn from our runs

Written by `dlassign reproduce --figures` from the logs of the tables' runs; do not edit. A line is the mean over the
seeds, and its band reaches from the smallest to the largest. Training curves are means over the steps since the point
before, each batch counted just before its step; they begin at the first step. Losses are without their penalty, which
has a panel of its own if there is one. Test and validation curves are evaluations with the weights as they are then."""
