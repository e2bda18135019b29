"""Safe YAML as plain data, with the place of every key and value.

Scalars are those of YAML 1.2's core schema, so `1e-3` is a number, `on` and `no` are text and `010` is ten.
Only what a config needs is read: anchors, aliases, merge keys and tags are refused, which also shuts out code
and alias bombs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from dlassign.config.places import Document, KeyPath, Place
from dlassign.errors import ConfigError, Problem

MAX_DEPTH = 50
_LINE_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?[0-9]{1,100}")
_PREFIXED_INT = re.compile(r"0x[0-9a-fA-F]{1,100}|0o[0-7]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

EXPECTED = "expected lines such as `key: value`"
_SYNTAX = {
    "could not find expected ':'": "`: ` is missing after this key; expected `key: value`",
    "mapping values are not allowed": "a second `: ` in one line; give each key a line of its own, or use "
    "braces around `{key: value}`, or quotes around a text",
    "expected ',' or ']'": "the bracket `[` is not closed; expected `,` or `]`",
    "expected ',' or '}'": "the brace `{` is not closed; expected `,` or `}`",
    "but found ']'": "this bracket closes nothing; remove it",
    "but found '}'": "this brace closes nothing; remove it",
    "but found ','": "a comma is not expected here; use brackets around a list: [1, 2]",
    "<block end>, but found '<scalar>'": "text after the end of a value; remove it, or put all in quotes",
    "expected <block end>": "the indentation fits no key above; use the same one for all keys of a section",
    "unexpected end of stream": "the quote is not closed; expected a second quote of the same kind",
    "unexpected document separator": "the quote is not closed; expected a second quote of the same kind",
    "unknown escape character": "unknown escape after `\\`; use single quotes, which keep `\\` as it is",
    "cannot start any token": "a value cannot begin with this character; use quotes around the value",
    "undefined tag handle": "tags (a word after `!`) are not allowed; remove it, or use quotes around a text",
    "expected the node content": f"a value is missing or stands in the wrong place; {EXPECTED}",
}


def plain_value(text: str) -> bool | int | float | str | None:
    """Return what an unquoted scalar means in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _PREFIXED_INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def parse_yaml(text: str, file: str, *, lines: list[str] | None = None, first_line: int = 1) -> Document:
    """Parse one YAML document.

    Args:
        text: the YAML.
        file: name to show in problems.
        lines: what to show as the text's lines, if not its own.
        first_line: number of the first line.

    Raises:
        ConfigError: the text is not one YAML document.
    """
    lines = _LINE_BREAK.split(text) if lines is None else lines
    builder = _Builder(Document(file), lines, first_line)
    try:
        builder.build(yaml.parse(text, Loader=yaml.BaseLoader))
    except yaml.reader.ReaderError as error:
        before = _LINE_BREAK.split(text[: error.position])
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML; remove it"
        raise ConfigError([builder.place(len(before) - 1, len(before[-1])).problem(message)]) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, builder)]) from None
    except (ValueError, OverflowError):  # PyYAML lets chr() and int() fail on odd escapes
        message = "an escape or a % line cannot be read as YAML; remove it"
        raise ConfigError([builder.place(0, 0).problem(message)]) from None
    return builder.document


def _syntax_problem(error: yaml.MarkedYAMLError, builder: _Builder) -> Problem:
    text = str(error.problem)
    unknown = f"cannot be read as YAML: {text}; {EXPECTED}"
    message = next((ours for theirs, ours in _SYNTAX.items() if theirs in text), unknown)
    opened = text.startswith(("expected ',' or", "could not find", "found unexpected"))
    mark = error.context_mark if opened and error.context_mark else error.problem_mark
    place = builder.place(mark.line, mark.column) if mark else builder.place(0, 0)
    tab = re.match(r" *\t", place.source)
    if tab:
        return replace(place, column=tab.end()).problem("a tab is used for indentation; use spaces")
    key = re.match(r" *", place.source)
    if "mapping values" in text and key and ": " not in place.source[: place.column - 1]:
        message = "the key above has its value already; use the same indentation for all keys of a section"
        place = replace(place, column=key.end() + 1, width=place.column - 1 - key.end())
    if place.source[place.column - 1 :].startswith(":") and "block end" in text:
        message = f"a key is missing before the colon; {EXPECTED}"
    return place.problem("a tab stands here; use spaces" if "'\\t'" in text else message)


class _Builder:
    """Builds a document from PyYAML's events, which neither construct objects nor resolve scalars."""

    def __init__(self, document: Document, lines: list[str], first_line: int) -> None:
        self.document = document
        self.lines = lines
        self.first_line = first_line
        self.events: Iterator[yaml.Event] = iter(())

    def place(self, line: int, column: int, end: int = 0) -> Place:
        """Return the place of columns `column` to `end` of a line, all counted from 0."""
        source = self.lines[line] if line < len(self.lines) else ""
        width = max(1, end - column)
        return Place(self.document.file, line + self.first_line, column + 1, width, source)

    def around(self, first: yaml.Event, last: yaml.Event | None = None) -> Place:
        """Return the place from the start of an event to the end of another, cut at the end of the line."""
        start, end = first.start_mark, (last or first).end_mark
        assert start is not None
        assert end is not None
        place = self.place(start.line, start.column, end.column)
        if end.line == start.line:
            return place
        return self.place(start.line, start.column, len(re.sub(r"\s+(#.*)?$", "", place.source)))

    def build(self, events: Iterator[yaml.Event]) -> None:
        """Fill the document; a second document in the stream is a problem."""
        self.events = events
        starts = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                starts += 1
                if starts == 2:
                    message = "a second document begins here; a config is one document: remove what follows"
                    raise ConfigError([self.around(event).problem(message)])
                self.document.data = self.node(next(events), ())

    def node(self, event: yaml.Event, path: KeyPath) -> Any:
        """Return the value that begins with `event`, and note the places in it."""
        assert isinstance(event, yaml.NodeEvent)
        place = self.around(event)
        if len(path) > MAX_DEPTH:
            raise ConfigError([place.problem(f"nested more than {MAX_DEPTH} levels deep; remove the surplus brackets")])
        self.refuse(event, place, path)
        self.document.values[path] = place
        if isinstance(event, yaml.MappingStartEvent):
            return self.mapping(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(event, path)
        return self.scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None

    def refuse(self, event: yaml.NodeEvent, place: Place, path: KeyPath) -> None:
        """Note a problem if the node has an anchor, an alias or a tag."""
        if event.anchor is not None:
            message = "anchors (&) and aliases (*) are not allowed; remove it and write the value out"
            self.document.problems.append(place.problem(message, path))
        elif getattr(event, "tag", None) is not None:
            message = "tags (a word after `!`) are not allowed; remove it, a config holds plain values only"
            self.document.problems.append(place.problem(message, path))

    def whole(self, event: yaml.ScalarEvent, path: KeyPath) -> str:
        """Return the text of a scalar, with characters that JSON writes as two halves put together.

        Raises:
            ConfigError: one half stands alone, which no file and no terminal can hold.
        """
        try:
            return event.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            message = "half a character, \\uD800 to \\uDFFF, which cannot be stored; remove it, or add the other half"
            raise ConfigError([self.around(event).problem(message, path)]) from None

    def scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> Any:
        """Return what a scalar means; in quotes it is text."""
        value = self.whole(event, path)
        if event.style is None:
            if not value and path in self.document.keys:
                self.document.values[path] = self.document.keys[path]
            return plain_value(value)
        return value

    def sequence(self, start: yaml.Event, path: KeyPath) -> list[Any]:
        """Return a list, whose items have their numbers as the last part of their paths."""
        items: list[Any] = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                self.document.values[path] = self.around(start, event)
                break
            items.append(self.node(event, (*path, len(items))))
        return items

    def mapping(self, start: yaml.Event, path: KeyPath) -> dict[str, Any]:
        """Return a mapping; of equal keys the first is kept."""
        found: dict[str, Any] = {}
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                self.document.values[path] = self.around(start, event)
                break
            here = self.key(event, path, found)
            value = self.node(next(self.events), here)
            if isinstance(here[-1], str):
                found[here[-1]] = value
        return found

    def key(self, event: yaml.Event, path: KeyPath, found: dict[str, Any]) -> KeyPath:
        """Return the path of a key; one that ends in a number marks a value to be dropped."""
        assert isinstance(event, yaml.NodeEvent)
        place = self.around(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise ConfigError([place.problem("a key must be one word; expected `key: value`", path)])
        name = self.whole(event, path)
        here = (*path, name)
        self.refuse(event, place, here)
        message = ""
        if name in found:
            message = f"this key stands twice, first in line {self.document.keys[here].line}; remove one"
        elif name == "<<":
            message = "merge keys (<<) are not allowed; remove it and write the keys out, or use `extends`"
        elif not name:
            message = "a key is missing before the colon; expected `key: value`"
        if message:
            self.document.problems.append(place.problem(message, here))
            return (*path, -1)
        self.document.keys[here] = place
        return here
