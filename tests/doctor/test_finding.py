"""Which findings are shown: the surest first, and no sign of a cause that was found."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import dlassign.doctor
from dlassign.doctor.checked_data import _RULES
from dlassign.doctor.finding import Finding, ranked
from dlassign.doctor.rules import RULES


def finding(rule: str, certainty: Any = "certain", **more: Any) -> Finding:
    return Finding(rule=rule, certainty=certainty, why="why", statistic="1", null="0", **more)


def test_a_cause_explains_its_signs() -> None:
    [found] = ranked([finding("no_learning"), finding("double_softmax")])
    assert (found.rule, found.swallowed) == ("double_softmax", ("no_learning",))


def test_a_hint_of_a_cause_becomes_likely_where_its_sign_was_measured() -> None:
    [found] = ranked([finding("double_softmax", "hint"), finding("no_learning")])
    assert (found.rule, found.certainty) == ("double_softmax", "likely")
    [alone] = ranked([finding("double_softmax", "hint")])
    assert alone.certainty == "hint"


def test_the_surest_comes_first_and_each_rule_once() -> None:
    found = ranked([finding("linear_net", "hint"), finding("one_class"), finding("linear_net", "likely")])
    assert [(one.rule, one.certainty) for one in found] == [("one_class", "certain"), ("linear_net", "likely")]


def test_a_hint_of_a_cause_does_not_explain_another_cause_that_is_surer() -> None:
    assert "init_too_large" in RULES["inputs_not_scaled"].explains
    both = [finding("inputs_not_scaled", "hint"), finding("init_too_large")]
    assert [(one.rule, one.swallowed) for one in ranked(both)] == [("init_too_large", ()), ("inputs_not_scaled", ())]
    [first] = ranked([finding("inputs_not_scaled", "likely"), finding("init_too_large", "likely")])
    assert first.swallowed == ("init_too_large",)


def test_nothing_found_is_nothing_shown() -> None:
    assert ranked([]) == []


def test_a_finding_names_a_rule_of_the_table() -> None:
    with pytest.raises(ValueError, match="no rule is called 'nonsense'"):
        finding("nonsense")


STAGES = {"static": ("static", "checked_data"), "probe": ("probe",), "log": ("log",)}


def test_each_rule_is_of_the_stages_whose_code_yields_it() -> None:
    folder = Path(dlassign.doctor.__file__).parent
    yielded: dict[str, set[str]] = {stage: set() for stage in STAGES}
    for stage, begins in STAGES.items():
        for file in sorted(folder.glob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())) if file.name.startswith(begins) else ():
                if isinstance(node, ast.keyword) and node.arg == "rule" and isinstance(node.value, ast.Constant):
                    yielded[stage].add(str(node.value.value))
    yielded["static"] |= {rule for rule, _ in _RULES.values()}
    assert yielded == {stage: {name for name, rule in RULES.items() if stage in rule.stages} for stage in STAGES}


def test_signs_are_rules_and_no_rule_explains_itself() -> None:
    def below(name: str, above: tuple[str, ...] = ()) -> None:
        assert name not in above, f"{name} explains itself"
        for sign in RULES[name].explains:
            assert sign in RULES
            below(sign, (*above, name))

    for name, rule in RULES.items():
        below(name)
        assert len(rule.text) > 100
        assert rule.stages
