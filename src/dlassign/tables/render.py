"""Tables as Markdown, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dlassign.store.files import make_folder, write_text
from dlassign.tables import table_format
from dlassign.tables.table_format import comment, formatted

_OF_FIGURES = ("figure", "reported", "measured", "95 % interval", "allowed", "verdict", "runs")
_OF_RUNS = ("precision", "parameters", "seconds", "machine")
_HEAD = ("row", "experiment", *_OF_FIGURES, *_OF_RUNS)
_LEFT = ("row", "experiment", "figure", "95 % interval", "allowed", "verdict", "precision", "machine")
_OF_ROW = ("row", "label", "config", "data", "parameters", "precision", "seconds", "machine", "status")
_OF_FIGURE = (
    *("figure", "step", "evaluations", "reported", "mean", "low", "high", "allowed_low", "allowed_high"),
    *("difference", "difference_low", "difference_high", "verdict", "why", "more_seeds"),
)


def write_table(content: Mapping[str, Any], folder: Path) -> Path:
    """Write `NAME.json`, `NAME.csv` and `NAME.md`, each all or nothing; return the last.

    Raises:
        UserError: they cannot be written.
    """
    make_folder(folder)
    name = content["table"]
    write_text(folder / f"{name}.json", json.dumps(content, indent=1) + "\n")
    write_text(folder / f"{name}.csv", csv_text(content))
    write_text(folder / f"{name}.md", markdown(content) + "\n")
    return folder / f"{name}.md"


def markdown(content: Mapping[str, Any]) -> str:
    """Return a table with its heading; accuracies in percent."""
    lines = [f"## {content['title']}", ""]
    if content["source"]:
        lines += [f"Reported figures: {content['source']}.", ""]
    lines.append(formatted(_columns(content["rows"]), "markdown", left=_LEFT))
    notes = [f"- {text}" for text in _notes(content["rows"])]
    return "\n".join([*lines, "", *notes] if notes else lines)


def latex(content: Mapping[str, Any]) -> str:
    """Return a table for LaTeX with booktabs, which fits on a page; heading and notes are comments."""
    columns = _columns(content["rows"])
    figures = [figure for row in content["rows"] for figure in row["figures"]]
    narrow = {head: columns[head] for head in _HEAD if head not in ("row", "verdict", *_OF_RUNS)}
    narrow["verdict"] = [figure["verdict"] for figure in figures]
    lines = [content["title"], *([f"Reported figures: {content['source']}."] if content["source"] else [])]
    whys = [
        f"{row['label']}, {figure_name(figure)}: {text}"
        for row in content["rows"]
        for figure in row["figures"]
        if (text := verdict_text(figure)) not in ("", figure["verdict"])
    ]
    after = [*_notes(content["rows"]), *whys]
    table = formatted(narrow, "latex", left=_LEFT)
    return "\n".join([*map(comment, lines), table, *map(comment, after)])


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return a column for each head, a line a figure."""
    cells = [_cells(row, figure, first=place == 0) for row in rows for place, figure in enumerate(row["figures"])]
    return {head: [line[place] for line in cells] for place, head in enumerate(_HEAD)}


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [*(f"{row['label']}: {text}" for row in rows if (text := _remark(row))), *obstacles(rows)]


def _remark(row: Mapping[str, Any]) -> str:
    """Return what is to be known of a row beside its cells."""
    said = row["status"] in ("cannot run", "missing") and row["why"] != ""
    return "; ".join(text for text in (row["note"], "" if said and _in_cells(row) else row["why"]) if text)


def _in_cells(row: Mapping[str, Any]) -> bool:
    return all(figure["why"] and row["why"].startswith(figure["why"]) for figure in row["figures"])


def obstacles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why rows cannot run, and the cure, each once."""
    return list(dict.fromkeys(row["why"] for row in rows if row["status"] == "cannot run"))


def figure_name(figure: Mapping[str, Any]) -> str:
    """Return what a figure is, with the number of looks that it is the best of."""
    looks = figure["evaluations"] or 1
    at = "" if figure["step"] is None else f" at step {figure['step']:,}"
    return (f"{figure['figure']} of {looks}" if looks > 1 else str(figure["figure"])) + at


def interval_text(figure: Mapping[str, Any]) -> str:
    """Return the interval of a figure, or why several runs have none."""
    if figure["low"] is None:
        return "all equal" if len(figure["values"]) > 1 else ""
    return f"{shown(figure, 'low')} to {shown(figure, 'high')}"


def _cells(row: Mapping[str, Any], figure: Mapping[str, Any], *, first: bool) -> list[str]:
    parameters = f"{row['parameters']:,}" if row["parameters"] else ""
    own = [row["precision"] or "", parameters, seconds_text(row["seconds"]), row["machine"]]
    return [
        row["row"] if first else "",
        row["label"] if first else "",
        figure_name(figure),
        shown(figure, "reported"),
        shown(figure, "mean"),
        interval_text(figure),
        allowed_text(figure),
        verdict_text(figure),
        str(len(figure["values"]) or ""),
        *(own if first else [""] * len(own)),
    ]


def allowed_text(figure: Mapping[str, Any]) -> str:
    """Return which differences do not matter, in points or units of the loss; "" if nothing is compared."""
    low, high = (figure[f"allowed_{end}"] for end in ("low", "high"))
    if low is None:
        return ""
    scale = 1 if _is_loss(figure) else 100
    if math.isclose(-low, high):
        return f"±{scale * high:.4g}"
    return f"{scale * low:+.4g} to {scale * high:+.4g}"


def verdict_text(figure: Mapping[str, Any]) -> str:
    """Return the verdict on a figure: the word, the difference with its interval, and why."""
    word, why = figure["verdict"], figure["why"]
    if figure["difference"] is None:
        return ": ".join(text for text in (word, why) if text)
    by = _difference(figure, "difference")
    if figure["difference_low"] is not None and figure["difference_low"] < figure["difference_high"]:
        by += f" ({_difference(figure, 'difference_low')} to {_difference(figure, 'difference_high')})"
    said = f"differs by {by}" if word == "differs" else f"{word}: {by}"
    return f"{said}; {why}" if why else said


def _difference(figure: Mapping[str, Any], key: str) -> str:
    return f"{figure[key]:+.2g}" if _is_loss(figure) else f"{100 * figure[key]:+.1f}"


def _is_loss(figure: Mapping[str, Any]) -> bool:
    return str(figure["figure"]).startswith("loss")


def shown(figure: Mapping[str, Any], key: str) -> str:
    """Return an accuracy in percent, or a loss; "" if there is none."""
    value = figure[key]
    if value is None:
        return ""
    return f"{value:.5g}" if _is_loss(figure) else f"{100 * value:.2f}"


def seconds_text(seconds: float | None) -> str:
    """Return a time in whole seconds, and in tenths below ten."""
    if seconds is None:
        return ""
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:,.0f}"


def csv_text(content: Mapping[str, Any]) -> str:
    """Return a table as comma-separated values, one line a figure; accuracies from 0 to 1."""
    columns = figure_columns([content])
    del columns["table"]
    return table_format.csv_text(columns) + "\n"


def figure_columns(contents: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return all that is known of each figure of some tables, a column for each thing."""
    lines = [
        {
            "table": content["table"],
            **{key: row[key] for key in _OF_ROW},
            **{key: figure[key] for key in _OF_FIGURE},
            "values": " ".join(map(repr, figure["values"])),
            "runs": " ".join(row["runs"]),
        }
        for content in contents
        for row in content["rows"]
        for figure in row["figures"]
    ]
    return {key: [line[key] for line in lines] for key in ("table", *_OF_ROW, *_OF_FIGURE, "values", "runs")}


def page(contents: Sequence[Mapping[str, Any]], command: str, values: str) -> str:
    """Return all tables as one page.

    command: that wrote it. values: name of the folder beside it that has the values of each run.
    """
    dates = sorted(row["measured"][:10] for content in contents for row in content["rows"] if row["measured"])
    when = f"Runs of {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. " if dates else ""
    head = _PAGE.format(command=command, machines=_machines(contents), when=when, values=values, link=quote(values))
    return "\n\n".join([head, *map(markdown, contents)]) + "\n"


def _machines(contents: Sequence[Mapping[str, Any]]) -> str:
    """Return every machine of the runs, those with the same versions together."""
    found: dict[str, dict[str, None]] = {}
    for content in contents:
        for machine, versions in content["machines"]:
            found.setdefault(versions, {})[machine] = None
    texts = [f"{' and '.join(machines)}; {versions}" for versions, machines in found.items()]
    word = "Machines" if sum(map(len, found.values())) > 1 else "Machine"
    return f"{word}: {'. '.join(texts) or 'no runs yet'}."


_PAGE = """\
# Reported and measured

Written by `{command}` from the logs of real runs; do not edit. {when}{machines}

The values of each run are in [{values}/]({link}). `dlassign reproduce --check` computes this page from them again.

Accuracies are in percent: the mean over seeds, and where that mean lies with 95 % confidence (t interval). `test` and
`val` are evaluated once, at the end, with the weights that the config keeps; `last` and `best` are of the evaluations
during training, `best` with the number of looks at the set; `train last` is the running accuracy of the last epoch's
batches. Seconds are the median over seeds of whole runs on the machine beside them, which others used too.
`dlassign reproduce TABLE:ROW` makes a row again.

The verdict is about the difference, measured minus reported, in points or units of the loss, with its 95 % interval.
Chance is in our seeds. It is in the one run that was reported. With fewer than 10,000 samples it is in both test sets
too. The figure **agrees** if the whole interval is allowed: within the margin that the table states, and on the low
side what a lossy copy of the data may cost more. Else it **differs** if the whole interval is on one side of zero, and
beyond what the copy may cost. Else it is **undecided**, and beside it stands whether more seeds may decide. **Different
in kind**: the reported net collapses, stays at a floor or over-fits, and most of our runs do not. `cifar10-jpeg` is a
lossy JPEG copy of CIFAR-10 in another order; no result on it is to be taken for one on CIFAR-10 itself."""
