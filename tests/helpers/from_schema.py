"""Values that the schema of configs accepts, drawn by Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from dlassign.config.schema import resolve, run_schema

SCHEMA = run_schema()
ODD = ["1e3", "no", "010", "~", "null", "0x1f", "a: b", "- x", "#", ".nan", "1_0", "="]


def values(node: Any, *, span: float = 2.0**53) -> st.SearchStrategy[Any]:
    """Return a strategy for what a part of the schema accepts.

    Args:
        node: the part.
        span: numbers are at most this much above their smallest; a small span gives nets that train at once.
    """
    node = resolve(node, SCHEMA)
    if node.get("nullable"):
        return st.none() | values({**node, "nullable": False}, span=span)
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum") or [node["const"]])
    if "oneOf" in node or "anyOf" in node:
        return st.one_of([values(option, span=span) for option in node.get("oneOf") or node["anyOf"]])
    match node["type"]:
        case "object":
            return _mapping(node, span)
        case "array":
            low, high = node.get("minItems", 0), node.get("maxItems", 3)
            inner = values(node.get("items") or node["prefixItems"][0], span=span)
            return st.lists(inner, min_size=low, max_size=high)
        case "string":
            return _texts(node)
        case "integer":
            largest = min(node.get("exclusiveMaximum", 2**63) - 1, node.get("maximum", 2**63 - 1), 2**63 - 1)
            low = node.get("minimum")
            return st.integers(low, min(largest, int(span) + (low or 0)))
        case "number":
            return _numbers(node, span)
        case "boolean":
            return st.booleans()
        case _:
            return st.none()


def _mapping(node: Any, span: float) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in node:  # any keys
        keys = (_texts({"minLength": 1}) | st.sampled_from("0123456789")).filter(lambda key: key != "<<")
        inner = values(node["additionalProperties"], span=span)
        return st.dictionaries(keys, inner, min_size=node.get("minProperties", 0), max_size=3)
    known = {key: values(option, span=span) for key, option in node["properties"].items() if key != "extends"}
    required = {key: known.pop(key) for key in node.get("required", ())}
    return st.fixed_dictionaries(required, optional=known)


def _texts(node: Any) -> st.SearchStrategy[str]:
    if pattern := node.get("pattern"):
        return st.from_regex(pattern, fullmatch=True)
    size = node.get("maxLength", 12)
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=size, min_size=node.get("minLength", 0))
    return text if size < 5 else text | st.sampled_from(ODD)


def _numbers(node: Any, span: float) -> st.SearchStrategy[float]:
    low = node.get("minimum", node.get("exclusiveMinimum"))
    high = node.get("maximum", node.get("exclusiveMaximum"))
    kept = {"exclude_min": "exclusiveMinimum" in node, "exclude_max": "exclusiveMaximum" in node}
    if span < 2**53:
        high = min(span + (low or 0.0), float("inf") if high is None else high)
    return st.floats(low, high, allow_nan=False, allow_infinity=False, **kept)
