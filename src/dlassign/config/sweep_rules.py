"""Rules between the sections of a sweep file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError

from dlassign.config.base import broken_rule
from dlassign.config.neutral_keys import NEUTRAL
from dlassign.config.places import KeyPath
from dlassign.config.space import Condition, Domain, Range, identity, is_one_of, value_of
from dlassign.config.suggestion import did_you_mean
from dlassign.config.values import value_text

NOT_SEARCHED = {
    **dict.fromkeys(NEUTRAL, "it changes no result, so there is nothing to search; put one value under set"),
    "seed": "every point can have several seeds; give `seeds: [0, 1, 2]` at the top level",
    "name": "all runs have the sweep's name; give `name` at the top level",
    "device": "it is no setting of a run; put one device under set, or choose an executor",
    "extends": "the runs start from one base; give sections of it as values, or write a sweep file for each base",
}
"""Keys of a config that are no part of a space, and what to do instead."""


@dataclass(frozen=True)
class _Part:
    """The space, or that of one condition: where it stands, its own conditions, and with them those around it."""

    path: KeyPath
    space: Mapping[str, Domain]
    own: Mapping[str, Any]
    conditions: Mapping[str, Any]


def broken_sweep_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield every broken rule between the sections of a sweep file.

    Args:
        sections: those that are valid by themselves, by name.
    """
    parts = list(_parts(_Part((), sections.get("space") or {}, {}, {}), sections.get("when") or ()))
    grid = getattr(sections.get("strategy"), "name", "") == "grid"
    for part in parts:
        for key, domain in part.space.items():
            path = (*part.path, "space", key)
            if key in NOT_SEARCHED:
                yield broken_rule(path, f"cannot be searched: {NOT_SEARCHED[key]}", at_key=True)
            if grid and isinstance(domain, Range) and domain.steps is None:
                message = "a grid needs values; add `steps: 5`, or give a list, or use `strategy: {name: random}`"
                yield broken_rule(path, message)
    yield from _set_rules(sections.get("set") or {}, sections.get("space") or {})
    yield from _one_place_rules(parts)
    if "space" in sections and "when" in sections:
        yield from _condition_rules(parts)
    if "strategy" in sections:
        yield from _strategy_rules(sections)


def _parts(around: _Part, when: Sequence[Condition]) -> Iterator[_Part]:
    """Yield a part and all that its conditions hold, each after those around it."""
    yield around
    for number, condition in enumerate(when):
        own = condition.conditions
        part = _Part((*around.path, "when", number), condition.space, own, {**around.conditions, **own})
        yield from _parts(part, condition.when)


def _set_rules(changes: Mapping[str, Any], space: Mapping[str, Domain]) -> Iterator[PydanticCustomError]:
    for key in changes:
        section = next((other for other in space if key.startswith(f"{other}.")), None)
        if key == "name":
            yield broken_rule(("set", key), "all runs have the sweep's name; give `name` at the top level", at_key=True)
        elif key in space:
            yield broken_rule(("set", key), "stands under space too; remove it here, or there", at_key=True)
        elif section:
            message = f"has no effect, for the space replaces all of {section}; put it into the values there"
            yield broken_rule(("set", key), message, at_key=True)


def _one_place_rules(parts: Sequence[_Part]) -> Iterator[PydanticCustomError]:
    for number, part in enumerate(parts):
        for key in part.space:
            other = next((p for p in parts[:number] if key in p.space and not _exclusive(p, part)), None)
            if other:
                where = ".".join(map(str, (*other.path, "space")))
                message = f"stands under {where} too, where it can hold at the same time; remove one"
                yield broken_rule((*part.path, "space", key), message, at_key=True)


def _exclusive(one: _Part, other: _Part) -> bool:
    """Return whether two parts never hold together."""
    return any(
        not any(is_one_of(value, other.conditions[key]) for value in (wanted if isinstance(wanted, list) else [wanted]))
        for key, wanted in one.conditions.items()
        if key in other.conditions
    )


def _condition_rules(parts: Sequence[_Part]) -> Iterator[PydanticCustomError]:
    searched = [(key, domain) for part in parts for key, domain in part.space.items()]
    for part in parts:
        for key, wanted in part.own.items():
            path = (*part.path, "if", key)
            found = [(other, domain) for other, domain in searched if key == other or key.startswith(f"{other}.")]
            if not found:
                known = list(dict.fromkeys(other for other, _ in searched))
                message = f"is not searched, so this holds always or never.{did_you_mean(key, known)}"
                yield broken_rule(path, f"{message} Use {' or '.join(known)}", at_key=True)
            elif not any(isinstance(domain, Range) for _, domain in found):  # any value of a range may come up
                lists = [(other, domain) for other, domain in found if not isinstance(domain, Range)]
                values = [value_of({other: value}, key) for other, domain in lists for value in domain]
                yield from _never_rules(path, wanted, values)


def _never_rules(path: KeyPath, wanted: Any, values: Sequence[Any]) -> Iterator[PydanticCustomError]:
    """Yield a broken rule for each wanted value that is none of those searched."""
    known = set(map(identity, values))
    # A list is a list of options, unless the space has that very list as a value.
    options = wanted if isinstance(wanted, list) and identity(wanted) not in known else [wanted]
    words = list(dict.fromkeys(map(value_text, values)))
    for option in options:
        if identity(option) not in known:
            message = f"is never {value_text(option)} in this space.{did_you_mean(value_text(option), words)}"
            yield broken_rule(path, f"{message} Use {' or '.join(words)}")


def _strategy_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    strategy = sections["strategy"]
    if strategy.name != "tpe":
        return
    if getattr(sections.get("executor"), "name", "") == "stacked":
        message = "trains runs together that are known beforehand, and tpe chooses them one by one; use "
        yield broken_rule("executor.name", message + "`executor: processes`, or strategy grid or random")
    if strategy.pruning.name == "none":
        return
    if "objective" in sections and sections["objective"].split == "test":
        message = "pruning would look at the test set again and again; use `split: val`, or `pruning: none`"
        yield broken_rule("objective.split", message)
    if len(sections.get("seeds") or ()) > 1:
        message = "pruning compares single runs; give one seed, and `confirm: {top: 3, seeds: 5}` for the best"
        yield broken_rule("seeds", message)
