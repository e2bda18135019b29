"""The JSON Schema of a sweep file, for editors and for error messages."""

from __future__ import annotations

import json
from functools import cache

from dlassign.config.schema import Node, at, choices, described
from dlassign.config.sweep import SweepConfig

SHORT = (("executor",), ("strategy",), ("strategy", "pruning"))
"""Keys whose sections may be given as their name alone."""


def sweep_schema() -> Node:
    """Return the JSON Schema (draft 2020-12) of a sweep file without short forms, with a description for every key."""
    schema: Node = json.loads(_text())
    return schema


@cache
def _text() -> str:
    raw = described(SweepConfig)
    raw["required"].remove("name")
    draft = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps({"$schema": draft, "title": "dlassign sweep file", **raw})


def sweep_schema_text() -> str:
    """Return the JSON Schema for editors, which also know that a name alone is short for a section."""
    schema = sweep_schema()
    for properties, key in (
        (schema["properties"], "executor"),
        (schema["properties"], "strategy"),
        (at(schema, "$defs", "TPE", "properties"), "pruning"),
    ):
        union = properties[key]
        kept = {name: union.pop(name) for name in ("description", "default") if name in union}
        properties[key] = {**kept, "anyOf": [{"enum": choices(union)}, union]}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
