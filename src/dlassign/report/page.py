"""Renders a report page: one HTML file with its style, its script and its data inside."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import Any

from dlassign.report.data import ReportData

_LONG = 1e12
"""From here on a number is written with an exponent, so that one of a diverged run does not widen a table."""
_SCRIPTS = ("store.js", "table.js", "chart.js", "curves.js", "details.js", "page.js")


def render_report(report: ReportData) -> str:
    """Return the HTML of a page. It asks nothing of any server and can be opened from a disk.

    All text is escaped, by Jinja2 in HTML and by `embedded` in JSON. The policy in its head lets only its own script
    and style run, which it names by their digests.
    """
    from markupsafe import Markup

    style, theme = _template("report.css"), _template("theme.js")
    script = '"use strict";\n(() => {\n' + "\n".join(map(_template, _SCRIPTS)) + "\n})();\n"
    data = {"runs": report.runs, "every": report.every, **report.details}
    return rendered(
        "report.html",
        report=report,
        wbr=Markup("<wbr>"),
        style=Markup(style),
        theme=Markup(theme),
        script=Markup(script),
        data=Markup(embedded(data)),
        style_hash=_digest(style),
        script_hashes=[_digest(theme), _digest(script)],
    )


def rendered(template: str, **values: Any) -> str:
    """Return the HTML that a template makes of values; all text in them is escaped."""
    import jinja2

    loader = jinja2.PackageLoader("dlassign.report", "templates")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "number": _number,
        "count": _count,
        "duration": duration_text,
        "signed": _signed,
    }
    html = environment.get_template(template).render(**values)
    return html.encode("utf-8", "replace").decode()  # a path may hold bytes that are no text


def embedded(data: Any) -> str:
    """Return JSON that can stand inside a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _template(name: str) -> str:
    return (resources.files("dlassign.report") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _number(value: Any, digits: int = 2, *, sign: str = "") -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:{sign}.{digits}f}" if abs(value) < _LONG else f"{value:{sign}.3g}"


def _signed(value: Any, digits: int = 2) -> str:
    return _number(value, digits, sign="+").replace("-", "−")


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else "–"


def duration_text(seconds: Any) -> str:
    """Return seconds as people say them: `0.35 s`, `12.3 s`, `3 min 20 s`, `1 h 05 min`."""
    if not isinstance(seconds, int | float):
        return "–"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"
