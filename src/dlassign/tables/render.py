"""Tables as Markdown, CSV and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlassign.store.files import make_folder, write_text
from dlassign.tables import table_format
from dlassign.tables.table_format import comment, formatted

_HEAD = ("experiment", "figure", "reported", "measured", "95 % interval", "verdict", "runs", "parameters", "seconds")
_LEFT = ("experiment", "figure", "95 % interval", "verdict")
_OF_ROW = ("row", "label", "config", "data", "parameters", "precision", "seconds", "status")
_OF_FIGURE = ("figure", "evaluations", "reported", "mean", "low", "high", "verdict", "why")


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
    narrow = {head: columns[head] for head in _HEAD if head not in ("verdict", "parameters", "seconds")}
    narrow["verdict"] = [figure["verdict"] for figure in figures]
    lines = [content["title"], *([f"Reported figures: {content['source']}."] if content["source"] else [])]
    whys = [
        f"{row['label']}, {figure_name(figure)}: {figure['why']}"
        for row in content["rows"]
        for figure in row["figures"]
        if figure["why"]
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
    return f"{figure['figure']} of {looks}" if looks > 1 else str(figure["figure"])


def interval_text(figure: Mapping[str, Any]) -> str:
    """Return the interval of a figure, or why several runs have none."""
    if figure["low"] is None:
        return "all equal" if len(figure["values"]) > 1 else ""
    return f"{shown(figure, 'low')} to {shown(figure, 'high')}"


def _cells(row: Mapping[str, Any], figure: Mapping[str, Any], *, first: bool) -> list[str]:
    verdict = ": ".join(text for text in (figure["verdict"], figure["why"]) if text)
    own = [f"{row['parameters']:,}" if row["parameters"] else "", seconds_text(row["seconds"])]
    return [
        row["label"] if first else "",
        figure_name(figure),
        shown(figure, "reported"),
        shown(figure, "mean"),
        interval_text(figure),
        verdict,
        str(len(figure["values"]) or ""),
        *(own if first else ["", ""]),
    ]


def shown(figure: Mapping[str, Any], key: str) -> str:
    """Return an accuracy in percent, or a loss; "" if there is none."""
    value = figure[key]
    if value is None:
        return ""
    return f"{value:.5g}" if figure["figure"].startswith("loss") else f"{100 * value:.2f}"


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


def page(contents: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return all tables as one page, with the command that wrote it."""
    machines = {text: None for content in contents if (text := _machine(content["environment"]))}
    dates = sorted(row["measured"][:10] for content in contents for row in content["rows"] if row["measured"])
    when = f"Runs of {' to '.join(dict.fromkeys((dates[0], dates[-1])))}. " if dates else ""
    head = _PAGE.format(command=command, machines="; ".join(machines) or "no runs yet", when=when)
    return "\n\n".join([head, *map(markdown, contents)]) + "\n"


def _machine(environment: Mapping[str, Any] | None) -> str:
    """Return hardware and versions in one line."""
    if environment is None:
        return ""
    found = environment.get("packages")
    packages = ", ".join(f"{name} {version}" for name, version in found.items()) if isinstance(found, dict) else ""
    known = {key: environment.get(key, "unknown") for key in ("device_name", "cpus", "python")}
    return f"{known['device_name']}, {known['cpus']} cores; Python {known['python']}, {packages}"


_PAGE = """\
# Reported and measured

Written by `{command}` from the logs of real runs; do not edit. {when}Machine: {machines}.

Accuracies are in percent: the mean over seeds, and where that mean lies with 95 % confidence (t interval). `test` and
`val` are evaluated once, at the end, with the weights that the config keeps; `last` and `best` are of the evaluations
during training, `best` with the number of looks at the set; `train last` is the running accuracy of the last epoch's
batches. Seconds are the median over seeds of whole runs, on a machine that others used too.

A reported number comes from one run. It **agrees** if one more run of ours might well give it: if it lies within the
95 % prediction interval of a single run (mean ± t · sd · √(1 + 1/n)), or, where runs have no spread, within the
sampling error of two accuracies. `cifar10-jpeg` is a lossy JPEG copy of CIFAR-10 in another order: a result on it that
is up to 3 points below the reported one agrees too, which is said each time, and none is to be taken for a result on
CIFAR-10 itself."""
