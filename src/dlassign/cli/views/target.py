"""Whether a result may go into a file that is there already."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from dlassign.errors import UserError
from dlassign.store.files import SIGNATURE, reason

_BEGINS = (
    b"path,label,probability",
    b"split,path,true_label",
    b"split,path,label",
    b"path ",
    b'{"path": ',
    b'[{"path": ',
    b"[]",
)
"""How the files begin that `predict`, `evaluate --predictions` and `data list` write, or wrote in earlier versions."""
_PICTURES = (b"\x89PNG", b"<?xml", b"%PDF")
_PAGE = b'<script type="application/json" id="data">'
"""Stands in the pages that `report` writes."""


def check_target(target: Path, *, option: str) -> None:
    """Refuse to write over a file that no earlier command has written: a photo, a table or a log would be lost.

    Raises:
        click.UsageError: there is such a file, a folder, a link, a pipe or a device.
        UserError: its folder cannot be written, which would else be known only when the work is done.
    """
    _check_folder(target.parent, option=option, target=target)
    if target.is_dir():
        raise click.UsageError(f"{option} {target} is a folder; give the name of a file")
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise click.UsageError(f"{option} {target} is a link, a pipe or a device; give the name of an ordinary file")
    if not target.exists():
        return
    with target.open("rb") as file:
        begin = file.read(32)
        marks = ((_PICTURES, SIGNATURE.encode()), (b"<!doctype html>", _PAGE))
        ours = any(begin.startswith(head) and mark in file.read() for head, mark in marks)
    if begin and not ours and not begin.startswith(_BEGINS):
        raise click.UsageError(
            f"{option} {target} is there already, and dlassign did not write it; give another name, or move it away"
        )


def _check_folder(folder: Path, *, option: str, target: Path) -> None:
    """Refuse a folder in which no file can be made; one that is not there yet is made in the nearest that is."""
    there = folder
    try:
        there = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), folder)
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"{option} {target}: cannot write in {there}: {reason(error)}; or give another name") from error
