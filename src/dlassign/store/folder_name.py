"""The name of a run's folder, `HASH-sSEED`, beside the log in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from dlassign.store.log_order import Contradiction
from dlassign.store.paths import config_hash
from dlassign.store.records import Record

RUN_NAME = re.compile(r"(?P<hash>[0-9a-f]{8})-s(?P<seed>[0-9]+)(\.old-[0-9]+)?")
"""How the folder of a run is called, also one that --again has set aside."""


def run_of(start: Record) -> str:
    """Return the name that the folder of a run has, `HASH-sSEED`, by the first record of its log.

    Raises:
        UserError, DAMAGE: the hash cannot be computed.
    """
    weights = (start.get("pretrained") or {}).get("weights")
    return f"{config_hash(start['config'], start['data']['sha256'], weights=weights)}-s{start['seed']}"


def other_seed(start: Record, root: Path) -> Iterator[Contradiction]:
    """Yield that a folder has the name of a run with another seed than its log: a copy is no second result."""
    found = RUN_NAME.fullmatch(root.resolve().name)
    if found is not None and int(found["seed"]) != start["seed"]:
        what = f"the folder is one of seed {found['seed']}, the log has seed {start['seed']}"
        yield Contradiction("folder", what, str(root))


def other_run(start: Record, root: Path) -> Iterator[Contradiction]:
    """Yield that a folder has the name of another run than its log: its seed, or the hash of its config and data.

    Raises:
        UserError, DAMAGE: whether the hash is right cannot be computed; that of another seed is told before.
    """
    yield from other_seed(start, root)
    found = RUN_NAME.fullmatch(root.resolve().name)
    if found is not None and (expected := run_of(start).partition("-")[0]) != found["hash"]:
        what = f"the hash in the folder's name is {found['hash']}, that of the log's config and data is {expected}"
        yield Contradiction("hash", what, str(root))
