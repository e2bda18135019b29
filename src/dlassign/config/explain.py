"""What is wrong with a config, in our own words: pydantic's errors as problems with place and cure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from dlassign.config.base import COUNTS_END
from dlassign.config.places import Document, KeyPath, Place, at, dotted
from dlassign.config.schema import Node, child, choices, example, expected, follow, member, members
from dlassign.config.suggestion import did_you_mean
from dlassign.config.values import flow, short, show
from dlassign.config.yamlpos import plain_value
from dlassign.errors import Problem

FOREIGN = {
    "amp": "Mixed precision is train.precision",
    "augmentation": "That is data.augment",
    "augmentations": "That is data.augment",
    "ema": "That is train.average: {name: ema}",
    "ema_decay": "That is decay in train.average: {name: ema}",
    "fp16": "That is train.precision: fp16",
    "gradient_accumulation": "That is train.accumulate",
    "gradient_accumulation_steps": "That is train.accumulate",
    "mixup": "That is {name: mixup} in data.augment",
    "cutmix": "That is {name: cutmix} in data.augment",
    "num_classes": "The data says how many classes there are",
    "num_workers": "Data that fits in memory needs no workers; remove it",
    "pretrained": "That is init: {name: pretrained, weights: imagenet}, or a file or run folder",
    "tta": "That is train.test_time_augmentation",
    "warmup_epochs": "That is schedule.warmup: {epochs: 1}",
    "warmup_steps": "That is schedule.warmup: {steps: 100}",
    "weights": "That is init: {name: pretrained, weights: imagenet}, or a file or run folder",
}
"""What keys of other frameworks are called here."""
MOST = 100
"""Problems that are told at once."""
_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def explain(error: ValidationError, document: Document, root: Node) -> list[Problem]:
    """Return a problem for every place that a validation error names, except rules between sections.

    Args:
        error: what `model_validate(document.data)` raised.
        document: the data, and where each key stands.
        root: the JSON Schema of the whole file.
    """
    explainer = _Explainer(document, root)
    found: dict[KeyPath, Problem] = {}
    errors = [details for details in error.errors(include_url=False) if details["loc"]]
    for details in errors[:MOST]:
        path, problem = explainer.problem(details)
        found.setdefault(path, problem)
    inner = {path[:length] for path in found for length in range(len(path))}
    problems = [problem for path, problem in found.items() if path not in inner]
    return problems + _others(len(errors) - MOST, document)


def first(problems: list[Problem], document: Document) -> list[Problem]:
    """Return as many problems as are told at once, and how many more there are."""
    return problems[:MOST] + _others(len(problems) - MOST, document)


def _others(number: int, document: Document) -> list[Problem]:
    message = f"{number:,} more problems; mend the first {MOST}, then give the command again"
    return [Place(document.file, line=0, column=0).problem(message)] if number > 0 else []


def explain_rule(rule: PydanticCustomError, document: Document) -> Problem:
    """Return the problem for a broken rule between sections."""
    context = rule.context or {}
    return document.problem(_parts(context["key"]), str(context["message"]), at_key=context["at_key"])


def _parts(key: str | KeyPath) -> KeyPath:
    """Return the parts of a dotted key, places in lists as numbers."""
    if isinstance(key, tuple):
        return key
    return tuple(int(part) if part.isdigit() else part for part in key.split(".") if part)


class _Explainer:
    """Puts one validation error after the other into words."""

    def __init__(self, document: Document, root: Node) -> None:
        self.document = document
        self.root = root

    def problem(self, details: ErrorDetails) -> tuple[KeyPath, Problem]:
        """Return the path that an error is about, and the error in our words."""
        loc = details["loc"]
        item_is_missing = details["type"] == "missing" and isinstance(loc[-1], int)
        path, node, value = follow(loc[:-1] if item_is_missing else loc, self.document.data, self.root)
        match details["type"]:
            case "extra_forbidden":
                return path, self.document.problem(path, self.unknown_key(path), at_key=True)
            case "missing" if not item_is_missing:
                return path, self.missing(path, node)
            case "union_tag_not_found":
                return self.missing_name(path, node, value)
            case "union_tag_invalid":
                path, value = (*path, "name"), at(value, "name")
                node = {"enum": choices(node)}
            case "broken_rule":
                context = details["ctx"]
                path = (*path, *_parts(context["key"]))
                return path, self.document.problem(path, context["message"])
        return path, self.document.problem(path, self.wrong_value(node, value))

    def wrong_value(self, node: Node, value: Any) -> str:
        """Say what a key accepts and what it got."""
        words = choices(node) if "discriminator" not in node else []
        if isinstance(value, str) and "discriminator" in node:
            node = member(node, {"name": value}, self.root)
        if isinstance(value, str) and words:
            # As Python names things: a class, a module's attribute, a file.
            own = (
                ". A part of your own is FILE.py:NAME, such as net.py:Net"
                if value.endswith(".py") or ":" in value
                else ""
            )
            return f"{value!r} is not known.{did_you_mean(value, words)} Known: {', '.join(words)}{own}"
        return f"expected {expected(node, self.root)}, got {show(value)}{_hint(node, value)}"

    def missing(self, path: KeyPath, node: Node) -> Problem:
        """Say what a missing key should hold; points at the key above it."""
        wanted = expected(node, self.root)
        kind = "a mapping" if wanted.startswith("a mapping such as") else wanted
        wanted = f"{kind}, e.g. `{path[-1]}: {flow(example(node, self.root))}`"
        return self.document.key_place(path[:-1]).problem(f"missing; expected {wanted}", path)

    def missing_name(self, path: KeyPath, node: Node, value: Any) -> tuple[KeyPath, Problem]:
        """Say that a section has no name; points at a key that looks like a misspelt one."""
        known = choices(node)
        for key in value if isinstance(value, dict) else ():
            if did_you_mean(key, ["name"]):
                message = f"unknown key. Did you mean 'name'? It is missing; expected one of {', '.join(known)}"
                return (*path, key), self.document.problem((*path, key), message, at_key=True)
        message = f"missing; expected one of {', '.join(known)}, e.g. `name: {known[0]}`"
        return (*path, "name"), self.document.key_place(path).problem(message, (*path, "name"))

    def unknown_key(self, path: KeyPath) -> str:
        """Say which keys are known, and which one was meant or where the key belongs."""
        key = str(path[-1])
        if path == ("extends",) and "extends" in self.root["properties"]:
            return "a key of the config file only; give it there"
        around, section = self.around(path[:-1])
        known = list(section.get("properties", ()))
        hint = self.other_members(key, around, at(self.document.data, *path[:-1])) or self.elsewhere(key)
        if not hint and key.lower() in FOREIGN:
            hint = f" {FOREIGN[key.lower()]}."
        return f"unknown key.{hint or did_you_mean(key, known)} Known: {', '.join(known)}"

    def around(self, path: KeyPath) -> tuple[Node, Node]:
        """Return what the schema says about a section: the union, and the member that its data picks."""
        union, data = self.root, self.document.data
        section = member(union, data, self.root)
        for key in path:
            union, data = child(section, key), at(data, key)
            section = member(union, data, self.root)
        return union, section

    def other_members(self, key: str, union: Node, data: Any) -> str:
        """Return a hint if other members of a union have this key."""
        having = [name for m in members(union, self.root) if _has(m, key) for name in choices(m["properties"]["name"])]
        name = at(data, "name")
        return f" It is a key of {', '.join(having)}, not of {name}." if having and isinstance(name, str) else ""

    def elsewhere(self, key: str) -> str:
        """Return a hint if another section of this config has this key."""
        found = [where for where, node in self.sections() if key in node.get("properties", {})]
        places = [dotted(where) for where in found if len(where) == min(map(len, found))]
        if key == "name" or not places:
            return ""
        return f" It belongs {'under ' + ' or '.join(places) if all(places) else 'at the top level'}."

    def sections(self) -> Iterator[tuple[KeyPath, Node]]:
        """Yield the path and schema of the top level, its sections and theirs, as this config names them."""
        yield (), self.root
        for key in self.root["properties"]:
            data = at(self.document.data, key)
            section = member(child(self.root, key), data, self.root)
            yield (key,), section
            for inner in section.get("properties", ()):
                yield (key, inner), member(child(section, inner), at(data, inner), self.root)


def _has(node: Node, key: str) -> bool:
    return key in node.get("properties", {}) and bool(choices(node["properties"].get("name", {})))


def _hint(node: Node, value: Any) -> str:
    """Return a cure for values that miss by their spelling only, with a leading `; `."""
    options = [node, *node.get("anyOf", ())]
    kinds = {option.get("type") for option in options}
    for option in options:
        if isinstance(value, list) and 2 < option.get("maxItems", 0) < len(value):
            return f"; use at most {option['maxItems']}"
        if isinstance(value, int) and value >= COUNTS_END and option.get("minimum") == 1:  # a count
            return "; use less than 2^31"
    if isinstance(value, bool) and "on" in node.get("enum", ()):
        return f"; write {'on' if value else 'off'}"
    if isinstance(value, str):
        return _text_hint(kinds, value)
    whole = isinstance(value, float) and value.is_integer() and value >= 1
    if whole and "integer" in kinds and "number" not in kinds:
        return f"; write {int(value)}"
    free = not any("enum" in option or "const" in option for option in options)
    if isinstance(value, int | float) and free and "string" in kinds and re.match(node.get("pattern", ""), show(value)):
        return f"; use quotes: '{show(value)}'"
    return ""


def _text_hint(kinds: set[str | None], value: str) -> str:
    if kinds & {"integer", "number"} and isinstance(plain_value(value), int | float):
        return "; remove the quotes"
    if "boolean" in kinds and value.lower() in _BOOLEANS:
        return f"; write {_BOOLEANS[value.lower()]}"
    key, colon, rest = value.partition(":")
    if colon and key.isidentifier() and rest[:1] not in ("", " "):
        return f"; a space is missing after the colon: `{key}: {short(rest)}`"
    return ""
