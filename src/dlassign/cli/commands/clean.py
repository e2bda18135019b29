"""`dlassign clean`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import json_option, place

if TYPE_CHECKING:
    from pathlib import Path

    from dlassign.store.leftovers import Leftover


@click.command("clean")
@click.argument("path", type=place, required=False, metavar="[PATH]")
@click.option("--yes", is_flag=True, help="Remove it; without this nothing is touched.")
@json_option
def clean_command(path: str | None, yes: bool, as_json: bool) -> int:
    """Say what no result needs under PATH, or under out/ and in the cache of decoded images; --yes removes it.

    That is: checkpoints of finished runs but best.pt, runs that --again set aside and that have been trained anew,
    decoded images, dangling links, and files of processes that were killed.

    Example: dlassign clean out/quickstart --yes
    """
    import json

    from dlassign.errors import UserError
    from dlassign.store.leftovers import remove

    for text in _not_judged(path):
        click.echo(text, err=True)
    found = _find(path)
    failed = {}
    for leftover in found if yes else []:
        try:
            remove(leftover)
        except UserError as error:
            failed[leftover.path] = str(error)
            click.echo(f"error: {error}", err=True)
    gone = [leftover for leftover in found if leftover.path not in failed]
    if as_json:
        rows = [{"path": str(one.path), "what": one.what, "bytes": one.size} for one in gone]
        click.echo(json.dumps({"removed": yes, "bytes": sum(one.size for one in gone), "leftovers": rows}))
    else:
        click.echo("\n".join(_lines(gone, removed=yes, shared=None if path else _shared())))
    return 1 if failed else 0


def _not_judged(path: str | None) -> list[str]:
    """Return a line for each run that is left alone since it has no log that can be read."""
    from pathlib import Path

    from dlassign.config.ordinary_file import open_ordinary
    from dlassign.store.files import reason
    from dlassign.store.paths import find_runs

    lines = []
    for run in find_runs(Path(path or "out")):
        try:
            open_ordinary(run.log).close()
        except OSError as error:
            lines.append(f"note: {run.root} is left alone: its log cannot be read ({reason(error)})")
    return lines


def _find(path: str | None) -> list[Leftover]:
    """Return what may go, each once."""
    from pathlib import Path

    from dlassign.data.image_cache import cached_files, default_cache
    from dlassign.errors import UserError
    from dlassign.store.leftovers import Leftover, find_leftovers, size_of

    if path is not None and not Path(path).is_dir():
        raise UserError(f"{path} is no folder; give the folder of a run or of runs, such as out")
    folders = [folder for folder in (Path("out"), default_cache()) if folder] if path is None else [Path(path)]
    found: dict[Path, Leftover] = {}
    for folder in folders:
        for one in find_leftovers(folder):
            found.setdefault(one.path, one)
        for file in cached_files(folder):
            found.setdefault(file, Leftover(path=file, what="decoded images", size=size_of(file)))
    return list(found.values())


def _shared() -> Path | None:
    """Return the cache that all folders share, if it does not lie in this one."""
    from pathlib import Path

    from dlassign.data.image_cache import default_cache

    cache = default_cache()
    return None if cache is None or cache.resolve().is_relative_to(Path.cwd()) else cache


def _lines(found: list[Leftover], *, removed: bool, shared: Path | None) -> list[str]:
    """Return what is removed, and what of it other folders use, too.

    shared: the cache of decoded images of all folders, told as one row; None if only one folder was asked for.
    """
    from dlassign.stats.text import columns_text

    if not found:
        return ["nothing was removed" if removed else "there is nothing to remove"]
    outside = [one for one in found if shared is not None and one.path.is_relative_to(shared)]
    rows: list[tuple[str, str, str]] = [
        (_size(one.size), one.what, str(one.path)) for one in found if one not in outside
    ]
    if outside:
        rows.append((_size(sum(one.size for one in outside)), f"{len(outside)} decoded images, shared", str(shared)))
    wide = max(len(size) for size, _, _ in rows)
    columns = {
        "size": [size.rjust(wide) for size, _, _ in rows],
        "what": [what for _, what, _ in rows],
        "path": [path for _, _, path in rows],
    }
    total, away = _size(sum(one.size for one in found)), _size(sum(one.size for one in outside))
    lines = [columns_text(columns, left=tuple(columns))]
    if outside:
        what = f"{away} of it lie outside this folder, and serve the others, too"
        lines.append(f"{what}: images that are decoded anew where they are needed")
    if removed:
        return [*lines, f"removed {total}"]
    if not outside:
        return [*lines, f"{total} could be removed; --yes removes it"]
    if len(rows) == 1:
        return [
            *lines,
            f"nothing of this folder, and {away} that all folders share, could be removed; --yes removes it",
        ]
    here = _size(sum(one.size for one in found if one not in outside))
    both = f"{here} of this folder and {away} that all folders share could be removed; --yes removes both"
    return [*lines, f"{both}, `dlassign clean out --yes` the first alone"]


def _size(size: int) -> str:
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= 0.1 * factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size} B"
