"""`dlassign report`."""

from __future__ import annotations

import click

from dlassign.cli.options import out_option, place

EVERY = 5.0


@click.command("report")
@click.argument("places", type=place, nargs=-1, metavar="[PATH]...")
@click.option(
    "-o", "--output", type=place, default="report.html", metavar="FILE", show_default=True, help="The page to write."
)
@out_option
@click.option("--title", help="Title of the page.")
@click.option("--live", is_flag=True, help="Write the page again and again until all runs have ended, or Ctrl-C.")
@click.option("--every", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Between live pages.  [default: 5]")
def report_command(
    places: tuple[str, ...], output: str, out: str, title: str | None, live: bool, every: float | None
) -> int:
    """Write one HTML page about runs, sweeps and tables, to be opened in any browser without a server.

    PATH is a run folder, a sweep folder, a folder that holds some, a table out/tables/NAME.json, or its NAME alone.
    Without it: all runs and tables under --out.

    Example: dlassign report out/quickstart -o report.html
    """
    from pathlib import Path

    from dlassign.cli.views.page import Page, write_live
    from dlassign.cli.views.target import check_target
    from dlassign.errors import ConfigError
    from dlassign.store.files import check_output

    if every is not None and not live:
        raise ConfigError("--every says how often --live writes the page; add --live, or leave out --every")
    target = Path(output)
    check_output(target, (".html", ".htm"), option="-o")
    check_target(target, option="-o")
    page = Page(target, places, Path(out), title)
    if not live:
        page.warn(page.write(every=None))
        click.echo(output)
        return 0
    return write_live(page, every or EVERY, output)
