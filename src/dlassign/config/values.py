"""A config value as text: for tables and legends, for messages about what is wrong, and as YAML."""

from __future__ import annotations

import json
import math
from typing import Any


def value_text(value: Any, *, digits: int = 6) -> str:
    """Return a config value as tables, legends and messages show it: `0.001`, `[50, 50]`, `true`, `sgd(lr=0.1)`.

    Args:
        value: plain data.
        digits: significant digits of a float.
    """
    match value:
        case str():
            return value
        case float():
            return f"{value:.{digits}g}"
        case list() | tuple():
            return f"[{', '.join(value_text(item, digits=digits) for item in value)}]"
        case dict():
            inner = (f"{key}={value_text(item, digits=digits)}" for key, item in value.items() if key != "name")
            return f"{value.get('name', '')}({', '.join(inner)})"
        case _:
            return json.dumps(value)


def show(value: Any) -> str:
    """Return a value as a message shows it."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value) if math.isfinite(value) else f"{value}, which is not a finite number"
        case str():
            return f"the text {short(value)!r}" if value else "an empty text"
        case list():
            return f"a list of {len(value)} item{'s' * (len(value) != 1)}" if value else "an empty list"
        case _:
            return "a mapping"


def short(text: str) -> str:
    """Return `text`, cut if it is long."""
    return text if len(text) <= 40 else f"{text[:37]}..."


def flow(value: Any) -> str:
    """Return plain data as one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)
