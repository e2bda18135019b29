"""Cells of a notebook, run as IPython runs them."""

from __future__ import annotations

import linecache
from typing import Any


def run_cell(names: dict[str, Any], text: str) -> None:
    """Run a cell in the names of a notebook; its source is known under the name of a file that is not there."""
    names.setdefault("__name__", "__main__")
    file = f"/ipykernel/{len(linecache.cache)}.py"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    exec(compile(text, file, "exec", dont_inherit=True), names)
