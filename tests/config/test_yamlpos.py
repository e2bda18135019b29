"""YAML as plain data: scalars, places, and one clear problem for what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dlassign.config.yamlpos import parse_yaml
from dlassign.errors import ConfigError


def value(text: str) -> Any:
    document = parse_yaml(f"x: {text}", "a.yaml")
    assert document.problems == []
    return document.data["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1e+3", 1000.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("+7", 7),
        ("-0", 0),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("TRUE", True),
        ("tRue", "tRue"),
        ("null", None),
        ("~", None),
        ("", None),
        ("Null", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("2018-12-10", "2018-12-10"),
        ("1:30:00", "1:30:00"),
        ("1_000", "1_000"),
        ("1.2.3", "1.2.3"),
        ("e3", "e3"),
        (".", "."),
        ("'1'", "1"),
        ('"true"', "true"),
        ("[1, a, 1e3]", [1, "a", 1000.0]),
        ("{a: {b: [~]}}", {"a": {"b": [None]}}),
        ("[]", []),
        ("{}", {}),
    ],
)
def test_scalars(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


def test_nan_and_long_numbers() -> None:
    assert math.isnan(value(".nan"))
    assert value("9" * 5000) == math.inf
    assert value("0x" + "f" * 5000) == "0x" + "f" * 5000
    assert value("1e999") == math.inf


def test_places_of_keys_and_values() -> None:
    document = parse_yaml("a:\n  b: [1, two]\nc: 'x y'  # note\n", "f")
    spot = {path: (p.line, p.column, p.width) for path, p in document.values.items()}
    assert spot[("a", "b")] == (2, 6, 8)
    assert spot[("a", "b", 1)] == (2, 10, 3)
    assert spot[("c",)] == (3, 4, 5)
    assert spot[("a",)] == (2, 3, 11)
    assert document.keys["a", "b"].column == 3
    assert document.keys["c",].source == "c: 'x y'  # note"
    assert document.data == {"a": {"b": [1, "two"]}, "c": "x y"}


def test_an_empty_value_stands_where_its_key_stands() -> None:
    document = parse_yaml("a:\nb: 1\n", "f")
    assert document.values["a",] == document.keys["a",]


def test_keys_are_text() -> None:
    assert parse_yaml("1: a\ntrue: b\n~: c\n", "f").data == {"1": "a", "true": "b", "~": "c"}


def test_every_duplicate_is_reported_and_the_first_kept() -> None:
    document = parse_yaml("a: 1\na: 2\nb: {c: 1, c: {d: 2}}\n", "f")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert [(p.path, p.line, p.column) for p in document.problems] == [("a", 2, 1), ("b.c", 3, 11)]


def test_windows_line_ends_and_other_scripts() -> None:
    document = parse_yaml("a: 1\r\nname: größe\r\n", "f")
    assert document.data == {"a": 1, "name": "größe"}
    assert document.values["name",].source == "name: größe"
    assert document.values["name",].width == 5


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1]\nb: [*x, *x]\n",
        "a: !!python/object:os.system x\n",
        "a: ! x\n",
        "<<: {a: 1}\n",
    ],
)
def test_refused_features(text: str) -> None:
    assert parse_yaml(text, "f").problems


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "{a: " * 200,
        "a: 1\n---\nb: 2\n",
        'a: "\\UFFFFFFFF"\n',
        "a: \x00\n",
        "%YAML 9.9\n---\na: 1\n",
        "a: *nowhere\nb: [\n",
        "? [a]\n: b\n",
        "a: 'x\n---\n",
        "!<%zz> a: 1",
    ],
)
def test_one_clear_problem(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    (problem,) = caught.value.problems
    assert problem.line >= 1
    assert "\n" not in problem.message


def test_a_character_in_two_halves_is_one() -> None:
    assert value('"\\uD83D\\uDE00"') == "\U0001f600"
