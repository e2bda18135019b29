"""Where a config names parts of the user's own, which of them may run, and what the JSON Schema then says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from dlassign.config.augment import OwnAugment
from dlassign.config.data import OwnData, OwnPreprocess
from dlassign.config.model import OwnActivation, OwnLayer, OwnLoss, OwnModel, OwnNorm, OwnPenalty
from dlassign.config.optim import OwnOptimizer, OwnSchedule
from dlassign.config.own_part import KEYWORD, Allowed, OwnCode, OwnPart, file_and_name, split_name
from dlassign.config.places import Document, KeyPath, at
from dlassign.config.schema import run_schema, schema_text
from dlassign.config.train import OwnMetric
from dlassign.errors import UserError

BASES: Mapping[str, type[OwnPart]] = {
    base.own_kind: base
    for base in (
        OwnActivation,
        OwnAugment,
        OwnData,
        OwnLoss,
        OwnMetric,
        OwnModel,
        OwnNorm,
        OwnOptimizer,
        OwnPenalty,
        OwnPreprocess,
        OwnSchedule,
    )
}
"""The base of each family that takes own parts, by the kind of these."""


BY_TEXT: Sequence[KeyPath] = (("model", "activation"), ("model", "norm"))
"""Where a text alone may name an own part, as words name ours: `activation: "acts.py:Swish"`."""


def settle_names(document: Document, code: OwnCode | None) -> Allowed:
    """Take the folders out of the names of own parts, and return which of them may run.

    Args:
        document: changed in place: `blocks/net.py:Net` becomes `net.py:Net`.
        code: what the user has allowed to run; None: nothing.
    """
    is_mlp = at(document.data, "model", "name") == "mlp"  # other models have words of ours alone
    lists = [(*path, number) for path in BY_TEXT for number in range(_length(at(document.data, *path)))]
    for path in (*BY_TEXT, *lists):
        text = at(document.data, *path)
        if is_mlp and isinstance(text, str) and split_name(text):
            at(document.data, *path[:-1])[path[-1]] = {"name": text}
            document.values[(*path, "name")] = document.value_place(path)
    refused: dict[str, str] = {}
    for path, name in list(own_names(document.data)):
        file, inner = file_and_name(name)
        short = f"{Path(file).name}:{inner}"
        at(document.data, *path)["name"] = short
        beside = Path(document.value_place((*path, "name")).file).parent / file
        if why := _why_not(file, beside, code):
            refused[short] = why
    return Allowed(code, refused)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def own_names(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path of every section that is an own part, and its name."""
    if isinstance(data, dict) and path and split_name(data.get("name")):
        yield path, data["name"]
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from own_names(value, (*path, key))


def _why_not(file: str, beside: Path, code: OwnCode | None) -> str:
    """Return why a file may not run, or "".

    Args:
        file: as the config names it.
        beside: the path, seen from the config.
        code: what the user has allowed to run.
    """
    allowed = code.files.get(beside.name) if code is not None else None
    if allowed is None and not beside.is_file():
        return f"there is no file {beside}; give its path as seen from this config, and allow the file with --code"
    if allowed is None:
        return f"{file} is code of your own, and a config alone runs no code; allow it with --code {beside}"
    if beside.is_file() and beside.resolve() != allowed.resolve():
        return f"{beside} has the name of {allowed}, which is allowed, and is another file; give --code {beside}"
    return ""


def with_own_parts(root: dict[str, Any], document: Document, allowed: Allowed) -> dict[str, Any]:
    """Return the JSON Schema of a config with the own parts that a document names; without any it is `root` itself."""
    names = sorted({name for _, name in own_names(document.data)} - set(allowed.refused))
    if not names or allowed.code is None:
        return root
    return extended(root, allowed.code, names)


def extended(root: dict[str, Any], code: OwnCode, names: list[str]) -> dict[str, Any]:
    """Return a JSON Schema in which own parts stand beside ours wherever one of their kind may stand."""
    root = deepcopy(root)
    definitions = root["$defs"]
    for node in [node for node in _nodes(root) if KEYWORD in node]:
        for name in names:
            try:
                own = code.class_of(name, BASES[node[KEYWORD]])
            except UserError:  # of another kind; where it is named, validation says so
                continue
            key = f"{node[KEYWORD]} {name}"
            definitions[key] = _description(own)
            _add_member(node, definitions, name, f"#/$defs/{key}")
            if issubclass(BASES[node[KEYWORD]], OwnLayer):
                node["anyOf"][0]["enum"].append(name)
    return root


def own_schema_text(code: OwnCode) -> str:
    """Return the JSON Schema of a run's config with all parts that files define, wherever they could stand.

    Raises:
        UserError: a file fails when it runs.
    """
    return schema_text(extended(run_schema(), code, list(code.names())))


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _nodes(inner)


def _description(own: type[OwnPart]) -> dict[str, Any]:
    """Return the JSON Schema of a part as our own classes have it; the digest is no key that a user gives."""
    schema = own.model_json_schema()
    properties = schema["properties"]
    del schema["title"], properties["code"]
    schema.pop("$defs", None)  # those of ours, which the root has
    for node in properties.values():
        node.pop("title", None)
    return schema


def _add_member(node: dict[str, Any], definitions: dict[str, Any], name: str, ref: str) -> None:
    """Make a union of a node, if it is none, and add a member to it."""
    if "enum" in node:  # words, not mappings
        node["anyOf"] = [{key: node.pop(key) for key in ("enum", "type") if key in node}]
    if "anyOf" in node:
        node["anyOf"].append({"$ref": ref})
        return
    if "discriminator" not in node:
        ours = node.pop("$ref")
        names = definitions[ours.removeprefix("#/$defs/")]["properties"]["name"]
        words = names.get("enum") or [names["const"]]
        node["oneOf"] = [{"$ref": ours}]
        node["discriminator"] = {"propertyName": "name", "mapping": dict.fromkeys(words, ours)}
    node["oneOf"].append({"$ref": ref})
    node["discriminator"]["mapping"][name] = ref
