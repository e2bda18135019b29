"""The long part of bench_doctor.py: probes of all cases, one JSON line each, which a later start goes on with."""

from __future__ import annotations

import hashlib
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import doctor_cases
from dlassign.api.given import locate_config
from dlassign.config.load import Located
from dlassign.data.arrays import raw_of_arrays
from dlassign.data.bundle import Raw
from dlassign.doctor.probe import probe
from dlassign.doctor.probe_numbers import LayerStats, Probe, Trial, WeightStats
from dlassign.errors import DlassignError
from dlassign.train.cache import DataCache
from doctor_cases import DEAD, KEPT, NETS, ROOT, Case, faults, samples
from doctor_healthy import shipped, variations

SEEDS = (0, 1, 2)
DONE = KEPT / "probes.jsonl"
SOURCES = (
    *(f"probe{part}.py" for part in ("", "_clock", "_nets", "_numbers", "_samples", "_steps")),
    *("constant_answer.py", "decay.py"),
)
"""Files of doctor/ that say what a probe measures: after a change of one, every case is measured anew."""


def cases() -> list[Case]:
    """Return every case, faults first."""
    return [*faults(), *variations(), *shipped()]


def chosen_on(case: Case) -> bool:
    """Return whether a case belongs to the half that thresholds are chosen on; the other half judges."""
    return zlib.crc32(case.key.encode()) % 2 == 0


def opened(case: Case, seed: int) -> tuple[Located, Raw | None]:
    """Return the config of a case with a seed, and its samples if they are arrays."""
    code = KEPT / "dead_net.py"
    code.write_text(DEAD)
    if case.named:
        return locate_config(dict(case.config), seed=seed), None
    given = samples(NETS[case.net].data if case.net in NETS else "cifar", seed)
    if case.change is not None:
        given = case.change(given, np.random.default_rng(seed + 100))
    test = (given.test_x, given.test_y)
    raw = raw_of_arrays(given.x, given.y, test=test, classes=[f"class {k}" for k in range(10)])
    located = locate_config(dict(case.config), seed=seed, data={"train": (given.x, given.y), "test": test}, code=[code])
    return located, raw


@cache
def probe_digest() -> str:
    """Return the digest of all that says what a probe measures, with the samples of the cases."""
    files = [*(ROOT / "src" / "dlassign" / "doctor" / name for name in SOURCES), Path(doctor_cases.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def key_of(case: Case, seed: int) -> str:
    """Return what a line is found by: case, seed, and a digest of the config and of all that measures it."""
    config = json.dumps(case.config, sort_keys=True, default=str)
    return f"{case.key}#{seed}#{hashlib.sha256((probe_digest() + config).encode()).hexdigest()[:12]}"


def done() -> dict[str, dict[str, Any]]:
    """Return the lines of earlier starts by key; of one that was measured twice the last."""
    lines = DONE.read_text().splitlines() if DONE.exists() else []
    return {line["key"]: line for line in map(json.loads, lines)}


def left() -> Iterator[tuple[Case, int]]:
    """Yield cases and seeds that are still to be measured: all cases with the first seed, then with the next."""
    before = done()
    for seed in SEEDS:
        for case in cases():
            if key_of(case, seed) not in before:
                yield case, seed


def measure() -> None:
    """Probe the cases that are left, and write a line for each."""
    KEPT.mkdir(parents=True, exist_ok=True)
    for case, seed in left():
        began = time.process_time()
        line: dict[str, Any] = {"key": key_of(case, seed)}
        try:
            located, raw = opened(case, seed)
            line["probe"] = probe(located.config, cache=DataCache(raw)).plain()
        except DlassignError as error:
            line["error"] = str(error)
        line["cpu_seconds"] = time.process_time() - began
        with DONE.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{case.key}#{seed}", f"{line['cpu_seconds']:.1f} s", line.get("error", ""), flush=True)


def probe_of(line: Mapping[str, Any]) -> Probe:
    """Return the probe of a line."""
    values = {key: _numbers(value) for key, value in line["probe"].items()}
    for key, kind in (("layers", LayerStats), ("layers_end", LayerStats), ("weights", WeightStats), ("trials", Trial)):
        values[key] = tuple(kind(**one) for one in values[key])
    return Probe(**values)


def _numbers(value: Any) -> Any:
    """Return a value as it was before JSON: lists become tuples, and texts of numbers that are not finite numbers."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(map(_numbers, value))
    return float(value) if value in ("inf", "-inf", "nan") else value
