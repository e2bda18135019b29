"""The text of docs/reference/config.md: each key of a config, its type, its default and one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator

from dlassign.config.own_part import KEYWORD
from dlassign.config.schema import Node, choices, expected, resolve, run_schema

_HEAD = """# Config reference

Made by `dlassign schema --markdown` from the classes that check configs; do not edit. `extends: FILE` builds on another
file: mappings are merged, lists and single values replace those of the other file. A key without a default is required.
"""


def reference_text() -> str:
    """Return the reference as Markdown."""
    schema = run_schema()
    lines = [_HEAD, "## Top level\n", *_table(schema, schema)]
    for key, node in schema["properties"].items():
        if key != "extends":
            lines += _section(key, node, schema)
    return "\n".join(lines) + "\n"


def _section(path: str, node: Node, root: Node) -> Iterator[str]:
    """Yield a heading and a table for a mapping, or for each member of a union, and for what lies in them."""
    items = [resolve(option, root) for option in _alternatives(resolve(node, root), root)]
    mappings = [item for item in items if "properties" in item]
    for item in mappings:
        name = item["properties"].get("name", {}).get("const")
        yield f"\n## `{path}`" + (f": `{name}`" if name else "") + f"\n\n{item['description']}\n"
        yield from _table(item, root)
    seen: set[tuple[str, ...]] = set()  # a key, and the keys in it: those of `split` are not the same for all data
    for item in reversed(mappings):
        for key, inner in item["properties"].items():
            keys = (key, *sorted(resolve(inner, root).get("properties", ())))
            if keys not in seen and not _is_duration(inner, root):
                seen.add(keys)
                yield from _section(f"{path}.{key}", inner, root)


def _alternatives(node: Node, root: Node) -> list[Node]:
    """Return the members of a union, of a list's items, or the node itself."""
    if node.get("type") == "array" and "items" in node:
        return _alternatives(resolve(node["items"], root), root)
    options: list[Node] = node.get("oneOf") or node.get("anyOf") or [node]
    return options


def _table(item: Node, root: Node) -> Iterator[str]:
    required = item.get("required", ())
    yield "| key | type | default | |"
    yield "|---|---|---|---|"
    for key, node in item["properties"].items():
        if key == "name" and "const" in node:
            continue
        default = "" if key in required or "default" not in node else f"`{json.dumps(node['default'])}`"
        yield f"| `{key}` | {_type(node, root)} | {default} | {node['description']} |".replace("||", "\\|\\|")


def _type(node: Node, root: Node) -> str:
    """Return in words what a key holds, as messages say it; of a section, the names of its kinds."""
    node = resolve(node, root)
    own = ", or a part of your own, `FILE.py:NAME`" if KEYWORD in node else ""
    null = own + (", or null" if node.get("nullable") else "")
    if _is_duration(node, root):
        return f"`{{steps: N}}` or `{{epochs: X}}`{null}"
    if "oneOf" in node:
        return " or ".join(f"`{name}`" for name in choices(node)) + null
    items = resolve(node.get("items", {}), root)
    return f"a list of {_type(items, root)}{null}" if "oneOf" in items else expected(node, root) + own


def _is_duration(node: Node, root: Node) -> bool:
    node = resolve(node, root)
    return node.get("type") == "object" and set(node.get("properties", ())) == {"steps", "epochs"}
