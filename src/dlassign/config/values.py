"""A config value as text: one form for tables, legends and messages."""

from __future__ import annotations

import json
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
