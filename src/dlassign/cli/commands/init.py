"""`dlassign init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import place

if TYPE_CHECKING:
    from pathlib import Path


@click.command("init")
@click.argument("what", type=place, required=False, metavar="[NAME|FOLDER|FILE.csv]")
@click.option("--out", type=place, metavar="FILE", help="File to write; else NAME.yaml in the working directory.")
def init_command(what: str | None, out: str | None) -> None:
    """Write a first config: a template, or one that is fitted to a folder of images or to a table.

    Without arguments it lists the templates. A folder holds one folder of images for each class, by themselves or in
    train and test. Nothing is overwritten.

    Example: dlassign init photos
    """
    from pathlib import Path

    from dlassign.drafts.template import TEMPLATES
    from dlassign.errors import ConfigError

    if what is None:
        if out is not None:
            raise ConfigError(f"--out {out}: nothing to write is given; give a template, a folder of images or a table")
        click.echo("\n".join(_list()))
        return
    file = Path(out or f"{_name(what)}.yaml")
    _check_name(file)
    if what in TEMPLATES:
        if Path(what).exists():
            click.echo(f"{what} is taken for the template; for what lies here, write ./{what}", err=True)
        _write_template(what, file)
    else:
        text, seen = _draft(what, file)
        _write(file, text)
        click.echo("\n".join(seen))
    verb = "sweep" if what == "sweep" else "train"
    click.echo(f"wrote {file}; now `dlassign {verb} {file}`")


def _list() -> list[str]:
    """Return the lines on all templates."""
    from dlassign.drafts.template import TEMPLATES, template_summary

    width = max(map(len, TEMPLATES))
    lines = [f"{name:<{width}}  {template_summary(name)}" for name in TEMPLATES]
    own = "a config for data of your own: dlassign init FOLDER (one folder of images for each class), or FILE.csv"
    return ["templates, written by `dlassign init NAME`:", *(f"  {line}" for line in lines), own]


def _name(what: str) -> str:
    """Return the name of the runs of a template, a folder or a table: of letters, digits, `.`, `_` and `-`."""
    import re
    from pathlib import Path

    from dlassign.drafts.template import TEMPLATES

    path = Path(what).resolve()
    stem = what if what in TEMPLATES else path.name if path.is_dir() else path.stem
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:100] or "runs"


def _check_name(file: Path) -> None:
    """Refuse what is there, and names that are none for a config, before anything is looked at.

    Raises:
        ConfigError: with the cure.
    """
    import re

    from dlassign.config.run import NAME_PATTERN
    from dlassign.errors import ConfigError

    if file.suffix not in (".yaml", ".yml") or not re.fullmatch(NAME_PATTERN, file.stem):
        raise ConfigError(f"{file}: expected a name of letters, digits, `.`, `_` and `-` that ends in .yaml")
    if file.is_symlink() or file.exists():
        raise ConfigError(
            f"{file} is there already and stays as it is; move it, or write elsewhere with --out FILE.yaml"
        )


def _draft(what: str, file: Path) -> tuple[str, list[str]]:
    """Return the config for a folder or a table, and lines on what was seen.

    Raises:
        ConfigError: there is no such template, folder or file.
        DataError: nothing can be learnt from it.
    """
    from pathlib import Path

    from dlassign.config.suggestion import did_you_mean
    from dlassign.drafts.images import draft_images
    from dlassign.drafts.table import draft_table
    from dlassign.drafts.template import TEMPLATES
    from dlassign.errors import ConfigError

    path = Path(what)
    if path.is_dir():
        return draft_images(what, file=str(file))
    if path.exists():
        return draft_table(what, file=str(file))
    beside = sorted(entry.name for entry in Path.cwd().iterdir() if not entry.name.startswith("."))
    meant = did_you_mean(what, [*TEMPLATES, *beside])
    raise ConfigError(f"{what!r} is no template, folder or table.{meant} Templates: {', '.join(TEMPLATES)}")


def _write_template(name: str, file: Path) -> None:
    """Write a template, and the one that it begins with beside it, if that is not there."""
    from dlassign.drafts.template import BASES, template_text

    base = BASES.get(name)
    if base is not None:
        beside = file.with_name(f"{base}.yaml")
        if beside.exists():
            click.echo(f"{beside} is there already and stays as it is; {file} begins with it", err=True)
        else:
            _write(beside, template_text(base))
            click.echo(f"wrote {beside}, which {file} begins with")
    _write(file, template_text(name))


def _write(file: Path, text: str) -> None:
    """Write a new file as a whole, or nothing.

    Raises:
        ConfigError: there is such a file by now.
        UserError: it cannot be written.
    """
    from dlassign.errors import ConfigError, UserError
    from dlassign.store.files import reason, write_new_text

    try:
        write_new_text(file, text)
    except FileExistsError:
        raise ConfigError(f"{file} has just been written by another process and stays as it is") from None
    except OSError as error:
        raise UserError(f"cannot write {file}: {reason(error)}; --out FILE.yaml writes elsewhere") from error
