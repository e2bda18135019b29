"""The JSON Schemas of a run's config and of a sweep file, and what they say about one key, for error messages."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import cache
from itertools import pairwise
from typing import Any, TypeAlias

from dlassign.config.base import COUNTS_END, Config
from dlassign.config.own_part import KEYWORD
from dlassign.config.places import KeyPath, at
from dlassign.config.run import RunConfig
from dlassign.config.values import flow

Node: TypeAlias = dict[str, Any]
"""One piece of a JSON Schema."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_DEFS = "#/$defs/"
_EXTENDS = (
    "A config that this one builds on, relative to this file. Mappings are merged; lists and single values "
    "here replace those there. The other file must not have `extends` itself."
)
SHORT = (("executor",), ("strategy",), ("strategy", "pruning"))
"""Keys of a sweep file whose sections may be given as their name alone."""


@cache
def run_schema() -> Node:
    """Return the JSON Schema of a run's config file; a shared object, not to be changed."""
    raw = described(RunConfig)
    extends = {"type": "string", "description": _EXTENDS, "examples": ["base.yaml"]}
    required = [key for key in raw.pop("required") if key != "name"]
    raw["properties"] = {"extends": extends, **raw["properties"]}
    only_without_extends = {"if": {"not": {"required": ["extends"]}}, "then": {"required": required}}
    return {"$schema": _DRAFT, "title": "dlassign config", **raw, **only_without_extends}


def schema_text(schema: Node | None = None) -> str:
    """Return the JSON Schema of a run's config file as the text of configs/schema.json.

    schema: in place of `run_schema()`, one with parts of the user's own.
    """
    return json.dumps(_without_kinds(schema or run_schema()), indent=2, ensure_ascii=False) + "\n"


def _without_kinds(node: Any) -> Any:
    """Return a schema without what it says of kinds of own parts, which editors do not know."""
    if isinstance(node, dict):
        return {key: _without_kinds(inner) for key, inner in node.items() if key != KEYWORD}
    return [_without_kinds(item) for item in node] if isinstance(node, list) else node


@cache
def sweep_schema() -> Node:
    """Return the JSON Schema of a sweep file without short forms; a shared object, not to be changed."""
    from dlassign.config.sweep import SweepConfig  # which the config of a run does not need

    raw = described(SweepConfig)
    raw["required"].remove("name")
    return {"$schema": _DRAFT, "title": "dlassign sweep file", **raw}


def sweep_schema_text() -> str:
    """Return the JSON Schema of a sweep file for editors: there a name alone is short for a section."""
    schema = deepcopy(sweep_schema())
    for properties, key in (
        (schema["properties"], "executor"),
        (schema["properties"], "strategy"),
        (at(schema, "$defs", "TPE", "properties"), "pruning"),
    ):
        union = properties[key]
        kept = {name: union.pop(name) for name in ("description", "default") if name in union}
        properties[key] = {**kept, "anyOf": [{"enum": choices(union)}, union]}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def described(config: type[Config]) -> Node:
    """Return the JSON Schema of a config class with a description for every key."""
    raw = config.model_json_schema()
    kinds = {kind.__name__: kind for kind in _kinds(Config)}
    for name, definition in {config.__name__: raw, **raw["$defs"]}.items():
        properties = definition["properties"]
        for key, text in _texts(kinds[name]).items():
            properties[key] = dict(sorted({**properties[key], "description": text}.items()))
        _tidy(definition, raw)
    return raw


def _kinds(base: type[Config]) -> Iterator[type[Config]]:
    """Yield all classes that are derived from one."""
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _texts(kind: type[Config]) -> dict[str, str]:
    """Return the text that stands below a key of a class, by key as a file has it.

    pydantic could find it, too, but does so when the class is made: half of the time that importing it takes.
    """
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__[: kind.__mro__.index(Config)]):
        for key, below in pairwise(_class_body(base.__module__, base.__name__)):
            match key, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[name] = text
    return {field.alias or name: texts[name] for name, field in kind.model_fields.items() if name in texts}


@cache
def _class_body(module: str, name: str) -> list[ast.stmt]:
    """Return the statements of a class at the top of a module."""
    body = _module_body(module)
    return next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name)


@cache
def _module_body(module: str) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(sys.modules[module])).body


def _tidy(definition: Node, root: Node) -> None:
    """Put `name` first, describe every key, join wrapped descriptions, drop made-up titles."""
    definition.pop("title", None)
    definition["description"] = " ".join(definition["description"].split())
    properties: Node = definition["properties"]
    if "name" in properties:
        properties["name"].setdefault("description", definition["description"])
        definition["properties"] = properties = {"name": properties["name"], **properties}
    for node in properties.values():
        node.pop("title", None)
        text = node.get("description") or resolve(node, root)["description"]
        node["description"] = " ".join(text.split())


def resolve(node: Node, root: Node) -> Node:
    """Return `node` with references followed and a lone alternative to null taken."""
    while True:
        options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
        if "$ref" in node:
            inner = root["$defs"][node["$ref"].removeprefix(_DEFS)]
        elif len(options) == 1:
            inner = {**options[0], "nullable": True}
        else:
            return node
        node = {**inner, **{key: node[key] for key in node if key not in ("$ref", "anyOf")}}


def member(node: Node, value: Any, root: Node) -> Node:
    """Return the alternative of a union that `value` picks by its `name` or its kind, or the union itself."""
    node = resolve(node, root)
    if "discriminator" in node:
        name = value.get("name") if isinstance(value, dict) else None
        chosen = node["discriminator"]["mapping"].get(name) if isinstance(name, str) else None
        return resolve({"$ref": chosen}, root) if chosen else node
    kind = "array" if isinstance(value, list) else "object" if isinstance(value, dict) else ""
    options = [resolve(option, root) for option in node.get("anyOf", ())]
    of_kind = [option for option in options if option.get("type") == kind]
    named = [option for option in of_kind if at(option, "properties", "name", "const") == at(value, "name")]
    # A union with own parts may be one of several alternatives, beside a list of the same.
    inner = [found for option in options if "anyOf" in option and (found := member(option, value, root)) is not option]
    return (named or of_kind or inner or [node])[0]


def child(node: Node, key: str | int) -> Node:
    """Return what a mapping says about a key or a list about its items; {} if nothing."""
    if isinstance(key, str):
        found = node.get("properties", {}).get(key) or node.get("additionalProperties")
        return found if isinstance(found, dict) else {}
    items: Sequence[Node] = node.get("prefixItems", ())
    return items[key] if key < len(items) else node.get("items", {})


def follow(loc: Sequence[str | int], data: Any, root: Node) -> tuple[KeyPath, Node, Any]:
    """Follow the place of a pydantic error, which has union tags and type descriptions between the keys.

    Returns:
        The path without them, what the schema says there, and the value there (None if there is none).
    """
    path: list[str | int] = []
    node, value = root, data
    parts = list(loc)
    while parts:
        node = resolve(node, root)
        if "discriminator" in node:
            # Pydantic tells the member's name; of an own part, which is none of its members, the key comes at once.
            if parts[0] == at(value, "name"):
                parts.pop(0)
            node = member(node, value, root)
        elif "anyOf" in node:
            if KEYWORD not in node:  # as above
                parts.pop(0)
            node = member(node, value, root) if parts else node
        else:
            key = parts.pop(0)
            path.append(key)
            node, value = child(node, key), at(value, key)
    return tuple(path), resolve(node, root), value


def choices(node: Node) -> list[str]:
    """Return the words that a key accepts: the names of a union, or the values of a literal."""
    if "discriminator" in node:
        mapping = node["discriminator"]["mapping"].items()
        return [name for option in node["oneOf"] for name, ref in mapping if ref == option["$ref"]]
    options = [node["const"]] if "const" in node else node.get("enum", [])
    return [*options, *(word for option in node.get("anyOf", ()) for word in choices(option))]


def members(node: Node, root: Node) -> Iterator[Node]:
    """Yield the mappings that a key can hold: every member of a union, or the one there is."""
    node = resolve(node, root)
    for option in node.get("oneOf", [node]):
        yield resolve(option, root)


def keys_called(name: str) -> list[str]:
    """Return the dotted keys of a run's config that have this name, of those the ones nearest to the top level."""
    root = run_schema()
    level: dict[str, Node] = {"": root}
    while level:
        inner = {
            f"{path}.{key}".removeprefix("."): node
            for path, section in level.items()
            for option in members(section, root)
            for key, node in option.get("properties", {}).items()
        }
        found = [key for key in inner if key.rpartition(".")[2] == name]
        if found:
            return [f"{key}.name" if "discriminator" in resolve(inner[key], root) else key for key in found]
        level = inner
    return []


def example(node: Node, root: Node) -> Any:
    """Return a small value that the schema accepts."""
    node = resolve(node, root)
    if "examples" in node:
        return node["examples"][0]
    if "oneOf" in node or "anyOf" in node:
        return example(next(iter(node.get("oneOf") or node["anyOf"])), root)
    if words := choices(node):
        return words[0]
    if node.get("type") == "object":
        keys = node.get("required", ())
        return {key: example(node["properties"][key], root) for key in keys}
    if node.get("type") == "array":
        return [example(node.get("items", {}), root)]
    return {"integer": 10, "number": 0.1, "boolean": True}.get(node.get("type", ""), "text")


def expected(node: Node, root: Node) -> str:
    """Return in words what a key accepts."""
    node = resolve(node, root)
    if node.get("nullable"):
        return f"{expected({**node, 'nullable': False}, root)}, or null"
    if "anyOf" in node:
        return _expected_either(node["anyOf"], root)
    if words := choices(node) if "discriminator" not in node else []:
        return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    match node.get("type", "object"):
        case "object":
            return f"a mapping such as {flow(example(node, root))}"
        case "array":
            return _expected_list(node, root)
        case "integer" | "number":
            return _expected_number(node)
        case "string":
            return _expected_text(node)
        case other:
            return "true or false" if other == "boolean" else str(other)


def _expected_either(options: Sequence[Node], root: Node) -> str:
    *others, last = options
    first = " or ".join(expected(option, root) for option in others)
    if others == [last.get("items")]:
        return f"{first}, or a list of these"
    return f"{first}{', or' if last == {'type': 'null'} else ' or'} {expected(last, root)}"


def _expected_list(node: Node, root: Node) -> str:
    low, high = node.get("minItems", 0), node.get("maxItems")
    length = f"a list of {high} items" if low == high else "a list with at least one item" if low else "a list"
    return f"{length}, each {expected(child(node, 0), root)}" if child(node, 0) else length


def _expected_number(node: Node) -> str:
    whole = node["type"] == "integer"
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    below, high = node.get("exclusiveMaximum"), node.get("maximum")
    if (above, below) == (0, 1):
        return "a fraction between 0 and 1"
    if whole and low == 1 and below == COUNTS_END:
        return "a count (whole number, 1 or more)"
    if (low, below) == (0, 1):
        return "a number from 0 to less than 1"
    text = "a whole number" if whole else "a number"
    text += f", {low} or more" if low is not None else f" above {above}" if above is not None else ""
    powers = {2**31: "2^31", 2**63: "2^63"}
    limit = f"below {powers.get(below, below)}" if below is not None else f"at most {high}" if high is not None else ""
    return f"{text} and {limit}" if limit else text


def _expected_text(node: Node) -> str:
    if "patternErrorMessage" in node:
        return str(node["patternErrorMessage"]).removeprefix("expected ")
    return "one character" if node.get("maxLength") == 1 else "text"
