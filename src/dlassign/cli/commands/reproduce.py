"""`dlassign reproduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dlassign.cli.options import EXECUTORS, device_option, given, out_option, place, table_options, workers_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dlassign.config.load_table import LocatedTable
    from dlassign.tables.content import RowRuns
    from dlassign.tables.plan import PlannedRow
    from dlassign.tables.reproduce import ExecutorName

    ReadTable = tuple[LocatedTable, list[RowRuns]]

FOLDER = "tables"


@click.command("reproduce")
@click.argument("tables", nargs=-1)
@out_option
@click.option(
    "--data",
    multiple=True,
    metavar="NAME=PATH",
    help="Where data lies: cifar10=DIR (its own files, or train/ and test/ with a folder a class), mnist=DIR, "
    "csv_table=FILE. Repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of every row; else 3, or what the table says.")
@click.option("--quick", is_flag=True, help="One run of the rows that take at most a minute.")
@click.option("--list", "list_only", is_flag=True, help="Print rows, what is there and what the rest costs, no more.")
@click.option("--no-train", is_flag=True, help="Write the tables from the runs that are there.")
@click.option(
    "--executor",
    type=click.Choice(EXECUTORS),
    default="auto",
    show_default=True,
    help="What trains.",
)
@workers_option
@device_option
@click.option("--page", "page_file", type=place, metavar="FILE", help="Write all tables as one Markdown page too.")
@click.option(
    "--figures", type=place, metavar="DIR", help="Draw the pictures of the tables too, and a page that shows them."
)
@click.option(
    "--check",
    "checked",
    type=place,
    metavar="PAGE",
    help="Compute a page again from the values beside it, and say which lines differ; no more.",
)
@table_options
def reproduce_command(
    tables: tuple[str, ...],
    out: str,
    data: tuple[str, ...],
    seeds: int | None,
    quick: bool,
    list_only: bool,
    no_train: bool,
    executor: ExecutorName,
    workers: int | None,
    device: str | None,
    page_file: str | None,
    figures: str | None,
    checked: str | None,
    how: str,
) -> int:
    """Train what the tables of the reports lack, and print reported numbers beside measured ones.

    TABLE is a name in configs/tables, such as uva2020, a file, or one row, such as uva2020:numpy_mlp; none are all.

    Example: dlassign reproduce uva2020 --seeds 3 --data cifar10=data
    """
    from pathlib import Path

    from dlassign.cli.views.tables import tables_text
    from dlassign.config.load_table import find_tables
    from dlassign.tables.places import parse_places
    from dlassign.tables.plan import Choice, changed_rows, plan_rows

    if checked is not None:
        return _check(checked)
    if list_only and (wrong := given("no_train", "page_file", "figures")):
        raise click.UsageError(f"--list neither trains nor writes; leave out {wrong}")
    choice = Choice(seeds=seeds, quick=quick, places=parse_places(data), device=device)
    planned = plan_rows(find_tables(tables), choice, out=Path(out))
    folder = Path(out) / FOLDER
    if not list_only:
        _check_targets(page_file, figures, planned, folder, train=not no_train)
    for text in changed_rows(planned, folder):
        click.echo(text, err=True)
    if list_only:
        _list(planned, how)
        return 0
    if not any(plan.asked for plan in planned):
        click.echo("no row of these tables is quick, or says how long it takes; leave out --quick", err=True)
        return 0
    failed = {} if no_train else _train(planned, executor, workers=workers, folder=folder)
    read = _read(planned, failed, folder)
    contents = _write(read, folder)
    asked = {(plan.table.name, plan.name) for plan in planned if plan.asked}
    click.echo(tables_text(contents, folder, how, asked=asked))
    if page_file is not None:
        _write_page(Path(page_file), read, contents, _command(tables, seeds, quick=quick))
        click.echo(f"page   {page_file}", err=how != "text")
    _draw(planned, figures, how)
    return 1 if failed else 0


def _check(page_file: str) -> int:
    """Print what is wrong with a page, or that nothing is."""
    from pathlib import Path

    from dlassign.errors import counted
    from dlassign.tables.page_check import check_page

    context = click.get_current_context()
    others = [name for parameter in context.command.params if (name := parameter.name) and name != "checked"]
    if wrong := given(*others):
        raise click.UsageError(f"--check takes the tables from the page and writes nothing; leave out {wrong}")
    found = check_page(Path(page_file))
    for text in found.faults:
        click.echo(text)
    if not found.faults:
        rows = f"{counted(found.rows, 'row')} in {counted(found.tables, 'table')}"
        click.echo(f"{page_file}: agrees with the values of {counted(found.runs, 'run')} of {rows}")
    return 1 if found.faults else 0


def _draw(planned: Sequence[PlannedRow], figures: str | None, how: str) -> None:
    """Draw the pictures of the tables into the folder `figures`, if there is one, and say what is not drawn."""
    if figures is None:
        return
    from pathlib import Path

    from dlassign.tables.pictures import PAGE, draw_pictures

    folder = Path(figures)
    drawn = draw_pictures(planned, folder, say=lambda text: click.echo(text, err=True))
    drawn = [one for one in drawn if one.config.rows]
    missing = sum(one.file is None for one in drawn)
    left = f", {missing} not drawn" if missing else ""
    click.echo(f"figures {folder / PAGE}: {len(drawn) - missing} drawn{left}", err=how != "text")


def _check_targets(
    page_file: str | None, figures: str | None, planned: Sequence[PlannedRow], folder: Path, *, train: bool
) -> None:
    """Raise UserError if what is to be written would cost something that is there; folder: of the tables."""
    from pathlib import Path

    from dlassign.tables.targets import check_page, check_tables

    check_tables(folder, planned)
    if figures is not None:
        from dlassign.tables.pictures import check_pictures_folder

        check_pictures_folder(Path(figures), planned, folder)
    if page_file is not None:
        check_page(Path(page_file), planned, folder, train=train)


def _list(planned: Sequence[PlannedRow], how: str) -> None:
    """Print rows, what is there, and what the rest costs."""
    from dlassign.cli.views.tables import planned_cost, planned_json, planned_table

    rows = planned_json(planned)
    click.echo(planned_table(rows, how))
    if how != "json":
        click.echo(planned_cost(rows), err=True)


def _command(tables: Sequence[str], seeds: int | None, *, quick: bool) -> str:
    import shlex

    options = [*([f"--seeds {seeds}"] if seeds else []), *["--quick"] * quick]
    names = [shlex.quote(name) for name in tables]
    taken_for_options = any(name.startswith("-") for name in tables)
    words = [*options, "--", *names] if taken_for_options else [*names, *options]
    return " ".join(["dlassign reproduce", *words])


def _train(
    planned: Sequence[PlannedRow], executor: ExecutorName, *, workers: int | None, folder: Path
) -> dict[str, str]:
    """Train the missing runs, and return the folders of those that failed, with what went wrong.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; the tables are written as far as they go.
    """
    from dlassign.cli.views.tables import TrialLines
    from dlassign.errors import Interrupted
    from dlassign.tables.reproduce import executor_of, missing_trials

    trials = missing_trials(planned)
    listener = TrialLines(trials)
    if not trials:
        return {}
    try:
        chosen = executor_of(executor, trials, workers=workers)
        click.echo(f"{len(trials)} run{'s' * (len(trials) != 1)} to train, {chosen.why}", err=True)
        results = chosen.run(trials, listener)
        try:
            for result in results:
                listener.ended(result)
        finally:
            if hasattr(results, "close"):
                results.close()  # now, so that running trials write their checkpoints
    except (Interrupted, KeyboardInterrupt):
        _write(_read(planned, listener.failed, folder), folder)
        left = len(missing_trials(planned))
        raise Interrupted(f"interrupted: {left} runs are left; the same command goes on from there") from None
    return listener.failed


def _read(planned: Sequence[PlannedRow], failed: dict[str, str], folder: Path) -> list[ReadTable]:
    """Return each table with what the logs say of its rows."""
    from itertools import groupby

    from dlassign.tables.logged_rows import logged_row

    tables = [list(plans) for _, plans in groupby(planned, key=lambda plan: plan.table.path)]
    return [(plans[0].table, [logged_row(plan, failed, folder=folder) for plan in plans]) for plans in tables]


def _write(read: Sequence[ReadTable], folder: Path) -> list[dict[str, Any]]:
    from dlassign.tables.content import table_content
    from dlassign.tables.render import write_table

    contents = [table_content(table, rows) for table, rows in read]
    for content in contents:
        write_table(content, folder)
    return contents


def _write_page(page_file: Path, read: Sequence[ReadTable], contents: list[dict[str, Any]], command: str) -> None:
    """Write the values of each run, and beside them the page; say which rows stay empty."""
    from dlassign.cli.views.tables import lacking_text
    from dlassign.store.files import make_folder, write_text
    from dlassign.tables.render import page
    from dlassign.tables.targets import check_kept
    from dlassign.tables.values_file import values_folder, write_values

    seeds = {
        table.name: {one.name: len({run.seed for run in one.runs.values()}) for one in rows} for table, rows in read
    }
    check_kept(page_file, seeds)  # again, as runs may have failed
    make_folder(page_file.parent)
    for table, rows in read:
        write_values(table, rows, command, page_file)
    write_text(page_file, page(contents, command, values_folder(page_file).name))
    if text := lacking_text(contents):
        click.echo(f"{page_file}: {text}", err=True)
