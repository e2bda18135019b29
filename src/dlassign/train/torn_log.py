"""The last line of a log that was torn by a power cut, completed where a checkpoint proves what it was."""

from __future__ import annotations

import json
from pathlib import Path

from dlassign.config.ordinary_file import read_ordinary
from dlassign.errors import UserError
from dlassign.store.files import reason
from dlassign.store.records import chain_of
from dlassign.train.checkpoint import weights_sha256
from dlassign.train.learner import State


def complete_torn(log: Path, state: State) -> bool:
    """Append what is missing of the record of a checkpoint, if that was the last line of a log.

    A checkpoint holds the chain of the log as it was when it was written. So nothing is appended but the very bytes
    that were there: whoever changed or removed another line finds his log as it is.

    Args:
        log: the log, which nobody else writes meanwhile.
        state: the newest checkpoint.

    Returns:
        Whether something was missing.

    Raises:
        UserError: the log cannot be read or written.
    """
    if "chain" not in state:
        return False
    try:
        content = read_ordinary(log)
        # The record is there if another follows it, or nothing does; weights need not be hashed to know that.
        if state["chain"].encode() in content or chain_of(content) == state["chain"]:
            return False
        # Of a log that ends with a whole line the record may be missing with all its bytes.
        whole, torn = content[: content.rfind(b"\n") + 1], content[content.rfind(b"\n") + 1 :]
        record = {
            "kind": "checkpoint",
            "step": state["step"],
            "file": "last",
            "weights_sha256": weights_sha256(state["learner"]["model"]),
            "chain": chain_of(whole),
        }
        line = (json.dumps(record, separators=(",", ":")) + "\n").encode()
        if not line.startswith(torn) or chain_of(whole + line) != state["chain"]:
            return False
        with log.open("ab") as file:
            file.write(line[len(torn) :])
    except OSError as error:
        raise UserError(f"cannot complete the log {log}: {reason(error)}") from error
    return True
