"""What manifest.json says beside the log of its run: it knows the chain of the log as that was when it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.values import flow
from dlassign.store.json_lines import read_json
from dlassign.store.log_order import Contradiction
from dlassign.store.paths import RunPaths
from dlassign.store.records import CHAIN, RunRecords


def read_manifest(paths: RunPaths) -> Any:
    """Return what manifest.json holds.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read.
    """
    return read_json(read_ordinary(paths.manifest).decode())


def manifest_contradictions(
    manifest: Mapping[str, Any], records: RunRecords, paths: RunPaths
) -> Iterator[Contradiction]:
    """Yield what a manifest says otherwise than the log of its run.

    Args:
        manifest: what `read_manifest` returns, if that is an object.
        records: of the log.
        paths: the run.
    """
    wrong = list(_differences(manifest, records, paths))
    yield from (Contradiction("manifest", what, str(paths.manifest)) for what in wrong)
    if "chain" in manifest and not any("chain" in record for _, record in records.lines):
        what = "no record of the log has a chain, and manifest.json has the last one"
        yield Contradiction("chain", what, str(paths.log))


def _differences(manifest: Mapping[str, Any], records: RunRecords, paths: RunPaths) -> Iterator[str]:
    start, end = records.start, records.end
    data = manifest.get("data")
    said = {"name": manifest.get("name"), "seed": manifest.get("seed")}
    logged = {"name": start["name"], "seed": start["seed"]}
    for key in ("label", "sha256"):
        logged[f"data {key}"] = start["data"][key]
        said[f"data {key}"] = data.get(key) if isinstance(data, dict) else None
    for key, value in said.items():
        if value != logged[key]:
            yield f"{key} is {flow(value)}, the log says {flow(logged[key])}"
    status = manifest.get("status")
    sessions = [record for _, record in records.lines if record["kind"] in ("start", "resume")]
    # One that still runs may be of a session that was killed before its first record.
    if "chain" in manifest and status != "running" and manifest.get("environment") != sessions[-1].get("environment"):
        yield "its environment is not that of the newest session in the log"
    # It is written after the last record, so a kill between the two leaves "running", and never more than the log says.
    if status != "running" and status != (end or {}).get("status"):
        ended = "has no end" if end is None else f"ended as {end['status']}"
        yield f"the run is called {status}; by its log it {ended}"
    chain = manifest.get("chain")
    if chain is not None and chain not in list(_known_heads(records, paths, running=status == "running")):
        what = "was written" if status == "running" else "ended"
        yield f"the log is not the one that was there when it {what}: a line of it was changed, removed or added"


def _known_heads(records: RunRecords, paths: RunPaths, *, running: bool) -> set[str]:
    """Return what the chain in a manifest may be: it is written when a session begins, and when it ends."""
    heads = log_heads(paths)
    if not records.is_over:
        # After an interruption `evaluate` may have said that it opened the test set; and a session that was killed at
        # once has written no record.
        return set(heads)
    if not running:
        return set(heads[-1:])
    begins = [int(place.rpartition(":")[2]) for place, record in records.lines if record["kind"] in ("start", "resume")]
    return set(heads[begins[-1] - 1 : begins[-1]])


def log_heads(paths: RunPaths) -> list[str]:
    """Return what the chain is before the first line of a log, and after each; [] if it cannot be read."""
    try:
        content = read_ordinary(paths.log)
    except OSError:
        return []
    digest = hashlib.sha256()
    heads = [digest.hexdigest()[:CHAIN]]
    for line in content.splitlines(keepends=True):
        digest.update(line)
        heads.append(digest.hexdigest()[:CHAIN])
    return heads
