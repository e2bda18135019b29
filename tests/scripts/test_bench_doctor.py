"""bench_doctor: enough faults and healthy configs, configs that load, and a table that counts what it says."""

from __future__ import annotations

import json

import numpy as np
import pytest

import bench_doctor as bench
import doctor_measure
from dlassign.doctor.finding import Certainty, Finding
from dlassign.doctor.probe import probe
from dlassign.doctor.rules import RULES
from dlassign.train.cache import DataCache
from doctor_cases import NETS, Case, Samples, faults
from doctor_healthy import variations


def finding(rule: str, certainty: Certainty) -> Finding:
    return Finding(rule=rule, certainty=certainty, why="why", statistic="1", null="0")


def judged(right: tuple[str, ...], *found: Finding, name: str = "a") -> bench.Judged:
    return bench.Judged(Case(name, "numpy_digits", {}, right), 0, list(found), [], 0.1, 1.0)


def test_there_are_thirty_faults_and_many_healthy_configs_each_with_a_name_of_its_own() -> None:
    planted, healthy = list(faults()), list(variations())
    assert len({case.name for case in planted}) >= 30
    assert len(healthy) >= 60
    assert all(set(case.right) <= RULES.keys() and case.right for case in planted)
    keys = [case.key for case in (*planted, *healthy)]
    assert len(keys) == len(set(keys))


def test_cases_on_the_digits_load(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_measure, "KEPT", tmp_path)
    for case in (*faults(), *variations()):
        if case.net == "numpy_digits":
            located, raw = doctor_measure.opened(case, 1)
            assert located.config.seed == 1
            assert raw is not None


def test_a_probe_comes_back_from_its_line(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_measure, "KEPT", tmp_path)
    located, raw = doctor_measure.opened(Case("as it is", "numpy_digits", NETS["numpy_digits"].config), 0)
    found = probe(located.config, cache=DataCache(raw), steps=2)
    assert doctor_measure.probe_of(json.loads(json.dumps({"probe": found.plain()}))) == found


def test_a_probe_of_other_code_or_of_another_config_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Case("as it is", "numpy_digits", NETS["numpy_digits"].config)
    key = doctor_measure.key_of(one, 0)
    assert key == doctor_measure.key_of(one, 0)
    assert key != doctor_measure.key_of(Case("as it is", "numpy_digits", {**one.config, "seed": 1}), 0)
    assert key != doctor_measure.key_of(one, 1)
    monkeypatch.setattr(doctor_measure, "probe_digest", lambda: "of other code")
    assert key != doctor_measure.key_of(one, 0)


def test_every_file_that_measures_is_in_the_digest() -> None:
    doctor = doctor_measure.ROOT / "src" / "dlassign" / "doctor"
    judging = {"probe_rules.py", "probe_labels.py", "probe_limits.py"}
    assert {path.name for path in doctor.glob("probe*.py")} - judging <= set(doctor_measure.SOURCES)


def test_faults_of_data_change_what_they_say() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 17, (400, 1, 8, 8)).astype(np.uint8), np.arange(400) % 10
    given = Samples(x, y, x[:50], y[:50])
    changed = {case.name: case.change(given, rng) for case in faults() if case.change and case.net == "numpy_digits"}
    assert 3 not in changed["a class missing in train"].y
    assert 0.1 < np.mean(changed["15 % of labels wrong"].y != y) < 0.2
    assert len(changed["a sample, two labels"].x) == 440
    assert (np.diff(changed["sorted, split by position"].y) >= 0).all()
    assert changed["a column leaks the label"].x.shape == (400, 65)


def test_named_found_and_alarmed() -> None:
    first = judged(("linear_net",), finding("linear_net", "certain"))
    second = judged(("linear_net",), finding("bottleneck", "likely"), finding("linear_net", "hint"))
    nothing = judged(("linear_net",))
    assert [(one.named, one.known) for one in (first, second, nothing)] == [(True, True), (False, True), (False, False)]
    healthy = [judged((), finding("bottleneck", "hint")), judged((), finding("bottleneck", "likely"), name="b")]
    text = bench.page([first, second, nothing, *healthy])
    assert "| a | `linear_net` | 1 of 3 | 2 | bottleneck (numpy_digits) 1, nothing (numpy_digits) 1 |" in text
    assert "| numpy_digits/b |" in text
    assert "`bottleneck` 1." in text
