"""What lies beside the log of a run: the folder's name, config.yaml and manifest.json."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dlassign.config.load import read_yaml
from dlassign.config.ordinary_file import read_ordinary
from dlassign.config.values import flow
from dlassign.errors import ConfigError, UserError
from dlassign.store.files import reason
from dlassign.store.paths import RunPaths, config_hash
from dlassign.store.records import CHAIN, Record, RunRecords
from dlassign.store.summary import DAMAGE
from dlassign.train.saved import edited_keys
from dlassign.verify.judgement import Judgement, consistent, contradicted, untold

_NAME = re.compile(r"(?P<hash>[0-9a-f]{8})-s(?P<seed>[0-9]+)(\.old-[0-9]+)?")
_SHOWN = 3


def folder_judgements(records: RunRecords, paths: RunPaths) -> Iterator[Judgement]:
    """Yield what the folder's name, config.yaml and manifest.json say beside the log."""
    yield from _name(records.start, paths)
    yield from _config(records.start, paths)
    yield from _manifest(records, paths)


def _name(start: Record, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the folder has the name of this config, data and seed."""
    found = _NAME.fullmatch(paths.root.resolve().name)
    if found is None:
        yield untold("folder", "the folder has not the name of a run, which would hold the hash of its config and data")
        return
    if int(found["seed"]) != start["seed"]:
        what = f"the folder is one of seed {found['seed']}, the log has seed {start['seed']}"
        yield contradicted("folder", what, paths.root)
    try:
        weights = (start.get("pretrained") or {}).get("weights")
        expected = config_hash(start["config"], start["data"]["sha256"], weights=weights)
    except (UserError, *DAMAGE) as error:
        yield untold("folder", f"the hash of the config cannot be computed: {' '.join(str(error).split())[:200]}")
        return
    if expected != found["hash"]:
        what = f"the hash in the folder's name is {found['hash']}, that of the log's config and data is {expected}"
        yield contradicted("hash", what, paths.root)
    elif int(found["seed"]) == start["seed"]:
        yield consistent("folder", "the folder's name has the hash of the log's config and data, and its seed")


def _config(start: Record, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether config.yaml is what the log begins with."""
    try:
        file = read_yaml(paths.config).data
    except ConfigError as error:
        yield untold("config", f"config.yaml cannot be read: {' '.join(str(error).split())[:200]}")
        return
    if not isinstance(file, Mapping):
        yield contradicted("config", "it holds no config", paths.config)
        return
    changes = edited_keys(file, logged=start["config"])
    new = sorted(set(file) - set(start["config"]))
    if changes or new:
        texts = [f"{key} is {flow(now)}, the log says {flow(then)}" for key, then, now in changes[:_SHOWN]]
        texts += [f"{key} is not in the log" for key in new[: _SHOWN - len(texts)]]
        more = f" and {len(changes) + len(new) - len(texts)} more keys" if len(changes) + len(new) > len(texts) else ""
        yield contradicted("config", f"{'; '.join(texts)}{more}", paths.config)
    else:
        yield consistent("config", "config.yaml is what the log begins with")


def _manifest(records: RunRecords, paths: RunPaths) -> Iterator[Judgement]:
    """Yield whether the manifest says the same of the run, and knows the end of this very log."""
    try:
        manifest: Any = json.loads(read_ordinary(paths.manifest))
    except OSError as error:
        yield untold("manifest", f"manifest.json cannot be read: {reason(error)}")
        return
    except (ValueError, RecursionError):
        yield untold("manifest", "manifest.json is damaged")
        return
    if not isinstance(manifest, dict):
        yield contradicted("manifest", "it holds no object", paths.manifest)
        return
    wrong = list(_manifest_differences(manifest, records, paths))
    yield from (contradicted("manifest", what, paths.manifest) for what in wrong)
    if not wrong:
        yield consistent("manifest", "manifest.json says the same of the run")


def _manifest_differences(manifest: dict[str, Any], records: RunRecords, paths: RunPaths) -> Iterator[str]:
    start, end = records.start, records.end
    data = manifest.get("data")
    said = {"name": manifest.get("name"), "seed": manifest.get("seed")}
    said["data sha256"] = data.get("sha256") if isinstance(data, dict) else None
    logged = {"name": start["name"], "seed": start["seed"], "data sha256": start["data"]["sha256"]}
    for key, value in said.items():
        if value != logged[key]:
            yield f"{key} is {flow(value)}, the log says {flow(logged[key])}"
    status = manifest.get("status")
    # It is written after the last record, so a kill between the two leaves "running", and never more than the log says.
    if status != "running" and status != (end or {}).get("status"):
        ended = "has no end" if end is None else f"ended as {end['status']}"
        yield f"the run is called {status}; by its log it {ended}"
    chain = manifest.get("chain")
    if chain is not None and status != "running" and chain not in _heads(paths, whole=records.is_over):
        yield "the log is not the one that was there when the run ended: a line of it was changed, removed or added"


def _heads(paths: RunPaths, *, whole: bool) -> set[str]:
    """Return what the chain would be at the end of the log and, unless that counts as a whole, after each line."""
    try:
        content = read_ordinary(paths.log)
    except OSError:
        return set()
    digest, heads = hashlib.sha256(), set()
    for line in content.splitlines(keepends=True):
        digest.update(line)
        # After an interruption `evaluate` may have said that it opened the test set.
        heads.add(digest.hexdigest()[:CHAIN])
    return {digest.hexdigest()[:CHAIN]} if whole else heads
