"""What a sweep searches: lists, ranges and conditions, and when two values of them are equal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Finite, Many, Several, broken_rule
from dlassign.config.places import KeyPath, at


class Range(Config):
    """Numbers from `low` to `high`, both included."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"low": 0.001, "high": 0.1, "log": True}]})

    low: Finite
    """The smallest value."""
    high: Finite
    """The largest value."""
    log: bool = False
    """Even on a logarithmic scale: as many values from 0.01 to 0.1 as from 0.1 to 1."""
    integer: bool = False
    """Whole numbers only."""
    steps: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """So many values from low to high, at even distances, in place of all between them. A grid needs it."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.low >= self.high:
            message = f"low is {self.low:g} and high {self.high:g}; give a high above low, or a list of one value"
            yield broken_rule("high", message)
        if self.log and self.low <= 0:
            yield broken_rule("low", f"a logarithmic range needs a low above 0, got {self.low:g}; or remove log")
        for key, value in (("low", self.low), ("high", self.high)):
            if self.integer and not value.is_integer():
                yield broken_rule(key, f"expected a whole number because of `integer: true`, got {value:g}")


Values = Annotated[Several[Any], Field(examples=[[0.01, 0.1]])]
Domain: TypeAlias = Values | Range
"""The values that a key may have."""


def _not_empty(space: dict[str, Domain]) -> dict[str, Domain]:
    if not space:
        raise broken_rule("", "the space is empty; give keys of the base with values, `optimizer.lr: [0.01, 0.1]`")
    return space


Space = Annotated[dict[str, Domain], AfterValidator(_not_empty), Field(examples=[{"optimizer.lr": [0.01, 0.1]}])]


class Condition(Config):
    """Keys that are searched only where others have certain values."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"if": {"optimizer.name": "sgd"}, "space": {"optimizer.momentum": [0.0, 0.9]}}]}
    )

    conditions: Annotated[dict[str, Any], Field(alias="if", min_length=1, examples=[{"optimizer.name": "sgd"}])]
    """Dotted keys of the space and the value that each must have; of a list, one of them."""
    space: Space
    """Dotted keys and their values where all of this holds."""
    when: Many[Condition] = ()
    """Parts of this part."""


def domains(
    space: Mapping[str, Domain], when: Sequence[Condition], path: KeyPath = ()
) -> Iterator[tuple[KeyPath, str, Domain]]:
    """Yield the place in the sweep file, the key and the values of all that is searched, conditional or not."""
    for key, domain in space.items():
        yield (*path, "space", key), key, domain
    for number, condition in enumerate(when):
        yield from domains(condition.space, condition.when, (*path, "when", number))


def value_of(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key in a point, also where only a section above it is given; None without any."""
    found: Any = None
    for other, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        if key == other:
            found = value
        elif key.startswith(f"{other}."):
            rest = key.removeprefix(f"{other}.").split(".")
            found = at(value, *(int(part) if part.isascii() and part.isdigit() else part for part in rest))
    return found


def is_one_of(value: Any, wanted: Any) -> bool:
    """Return whether a value is the wanted one, or one of a list of them."""
    options = [wanted, *wanted] if isinstance(wanted, list) else [wanted]
    return identity(value) in map(identity, options)


def identity(value: Any) -> str:
    """Return a text that equal plain values share; 1 and 1.0 are equal, 1 and true are not."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
