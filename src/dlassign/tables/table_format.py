"""Tables for other programs: CSV, Markdown, LaTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dlassign.stats.text import columns_text, csv_line, is_of_numbers, terminal_width

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}

_IN_PDFLATEX = frozenset(map(chr, range(0x20, 0x17F))) - set("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲų") | set("–—‘’“”†‡•…€")
"""Letters that pdflatex shows without any package."""


def formatted(columns: Mapping[str, Sequence[str]], how: str, *, left: Collection[str] = ()) -> str:
    """Return columns of text as a table.

    Args:
        columns: by their heads.
        how: text, folded where a terminal is too narrow for it; markdown; or latex, which needs `booktabs`.
        left: heads of columns that stand to the left though they may hold numbers.
    """
    if how == "text":
        return columns_text(columns, left=left, width=terminal_width())
    right = [name not in left and is_of_numbers(cells) for name, cells in columns.items()]
    rows = [[cell.strip() for cell in row] for row in (columns, *zip(*columns.values(), strict=True))]
    return _markdown(rows, right) if how == "markdown" else _latex(rows, right)


def csv_text(columns: Mapping[str, Iterable[Any]]) -> str:
    """Return columns of values as CSV, numbers in full precision; what is missing is an empty cell."""
    return "\n".join(map(csv_line, (columns, *zip(*columns.values(), strict=True))))


def _markdown(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    # A bar would end the cell, and a line feed the row.
    lines = ["| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("---:" if one else "---" for one in right) + "|")
    return "\n".join(lines)


def _latex(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    lines = [" & ".join(latex_text(cell) for cell in row) + r" \\" for row in rows]
    kinds = "".join("r" if one else "l" for one in right)
    begin = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", lines[0], r"\midrule"]
    foreign = "".join(sorted(set("".join(lines)) - _IN_PDFLATEX))
    note = f"pdflatex needs [T1]{{fontenc}} for some of these, the rest need XeLaTeX or LuaLaTeX and a font: {foreign}"
    return "\n".join([*([comment(note)] if foreign else []), *begin, *lines[1:], r"\bottomrule", r"\end{tabular}"])


def latex_text(text: str) -> str:
    """Return text as LaTeX shows it unchanged."""
    # An umlaut of two characters, as some systems write it in file names, is none to pdflatex.
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    shown = "".join(_LATEX.get(letter, letter) if letter.isprintable() else "?" for letter in plain)
    shown = re.sub(r"([-,])(?=\1)", r"\1{}", shown)  # else two hyphens become a dash, and two commas a quotation mark
    # In braces: at the beginning of a row, `[` and `*` would be taken for an option of the end of the row before.
    return f"{{{shown}}}" if shown.startswith(("[", "*")) else shown


def comment(text: str) -> str:
    """Return text as comments of LaTeX, line by line."""
    return "\n".join(f"% {line}" for line in text.splitlines())
