"""A log as a run of Weights & Biases: a file as its client writes offline, which is then uploaded."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlassign.config.neutral_keys import NEUTRAL, PLACES, without
from dlassign.errors import UserError
from dlassign.store.files import make_folder, replacing
from dlassign.trackers.clients import Failures, first_line, require_package
from dlassign.trackers.run_log import RunLog

_SILENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_X_GRAPHQL_RETRY_MAX": "3"}
"""Settings of the client that count where the user has set none: else it reports its use, and tries for hours."""
_SECONDS, _SECONDS_OF_RUN = 60, 30
"""How long an upload may take, and for each run more."""
_PROJECT = 128
"""Letters of a project's name."""


@dataclass(frozen=True)
class _Folder:
    """One export of a run, as the client keeps it: `offline-run-TIME-IDENTITY-CONTENT`, and `-2` if tried anew."""

    path: Path

    @property
    def id(self) -> str:
        """The id of the run in W&B."""
        return self.path.name.split("-", 3)[3]

    @property
    def file(self) -> Path:
        """What the client has written."""
        return self.path / f"run-{self.id}.wandb"

    @property
    def is_uploaded(self) -> bool:
        """Whether the client says so."""
        return Path(f"{self.file}.synced").exists()

    @property
    def was_tried(self) -> bool:
        """Whether an upload was begun, so that some of it may be there."""
        return self.is_uploaded or Path(f"{self.file}.syncstate").exists()


@dataclass(frozen=True)
class _Export:
    """A log and its place, whether it is still to be written there, and the former exports, to be removed."""

    log: RunLog
    place: _Folder
    is_new: bool
    former: Sequence[_Folder]


class WandB:
    """Writes a folder of runs as `wandb sync` takes them, and uploads them unless WANDB_MODE is offline.

    The client adds to a run that is there, and W&B lets nothing be taken back. So each upload is a run of its own, and
    the former one is deleted when the new one is whole.

    Args:
        folder: where.

    Raises:
        UserError: the client is not installed.
    """

    def __init__(self, folder: Path) -> None:
        require_package("wandb", tracker="wandb")
        self._folder = folder
        self._uploads = os.environ.get("WANDB_MODE", "online") not in ("offline", "dryrun", "disabled")

    @property
    def hint(self) -> str:
        """What a user may do next."""
        return "" if self._uploads else f"upload it: wandb sync {self._folder}"

    def write(self, logs: Sequence[RunLog]) -> list[str]:
        """Write and upload what has changed since the last time, then delete the former exports of these runs.

        Raises:
            UserError: a run cannot be written or uploaded; the others are.
        """
        for name, value in _SILENT.items():
            os.environ.setdefault(name, value)
        make_folder(self._folder, cure="choose another with --out")
        failures = Failures("wandb", len(logs))
        exports = [self._export(log) for log in logs]
        new = list({one.place: one for one in exports if one.is_new}.values())  # a copy of a run is the same run
        _write(new, failures)
        reasons = _upload([one.place for one in new if one.log not in failures]) if self._uploads else {}
        for one in exports:
            with failures.of(one.log):
                if reason := reasons.get(one.place.path):
                    raise UserError(reason)
                if one.log not in failures:
                    self._remove(one.former, _project(one.log))
        failures.tell()
        return [str(self._folder)]

    def _export(self, log: RunLog) -> _Export:
        """Return where a log is, or is to be."""
        there = [_Folder(path) for path in sorted(self._folder.glob(f"offline-run-*-{log.identity}-*"))]
        equal = [one for one in there if one.id.startswith(_id(log)) and one.file.exists()]
        done = next((one for one in equal if one.is_uploaded or not self._uploads), None)
        # An upload that failed may have left some of the run under its id; then the next has another.
        tried = sum(one.was_tried for one in equal)
        began = datetime.fromtimestamp(log.began, UTC)
        retry = f"-{tried + 1}" if tried else ""
        place = done or _Folder(self._folder / f"offline-run-{began:%Y%m%d_%H%M%S}-{_id(log)}{retry}")
        return _Export(log, place, is_new=done is None, former=[one for one in there if one != place])

    def _remove(self, former: Sequence[_Folder], project: str) -> None:
        """Remove exports that another has taken the place of, also from W&B."""
        for one in former:
            if one.was_tried:
                if not self._uploads:
                    continue  # it stays, so that it is not forgotten when there is a network
                _delete(f"{project}/{one.id}")
            shutil.rmtree(one.path, ignore_errors=True)


def _id(log: RunLog) -> str:
    said = json.dumps([log.records.end and log.records.end["status"], [astuple(row) for row in log.rows]])
    return f"{log.identity}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"


def _delete(path: str) -> None:
    """Delete a run of W&B, if it is there.

    Raises:
        UserError: that failed.
    """
    import wandb
    from wandb.errors import CommError

    try:
        with _told():
            wandb.Api(timeout=_SECONDS).run(path).delete()
    except UserError as error:
        if isinstance(error.__cause__, CommError | ValueError) and "ould not find" in str(error):
            return
        raise UserError(f"it is there, but its former upload {path} could not be deleted: {error}") from error


def _write(new: Sequence[_Export], failures: Failures) -> None:
    """Write each run into its place, all or nothing."""
    import wandb

    with tempfile.TemporaryDirectory(prefix="dlassign-") as folder:
        for one in new:
            with failures.of(one.log), _told():
                _log_offline(one.log, one.place.id, Path(folder))
        if new:
            wandb.teardown()  # the client goes on to write a file when it says that it has finished it
        for one in new:
            if one.log not in failures:
                with failures.of(one.log), _told():
                    [whole] = Path(folder).glob(f"wandb/offline-run-*/{one.place.file.name}")
                    make_folder(one.place.path, cure="choose another with --out")
                    with replacing(one.place.file) as file:
                        file.write(whole.read_bytes())


@contextmanager
def _told() -> Iterator[None]:
    """Raise UserError for what the client or the disk raises."""
    from wandb.errors import Error

    try:
        yield
    except (Error, OSError, ValueError) as error:
        raise UserError(first_line(error)) from error


def _log_offline(log: RunLog, identity: str, folder: Path) -> None:
    import wandb

    settings = wandb.Settings(
        mode="offline",
        root_dir=str(folder),
        console="off",
        silent=True,
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    run = wandb.init(
        project=_project(log),
        id=identity,
        name=log.paths.root.name.encode(errors="replace").decode(),
        group=log.group,
        config=without(log.start["config"], NEUTRAL | PLACES),
        reinit="create_new",
        settings=settings,
    )
    try:
        for step, values in _history(log):
            run.log(values, step=step)
        for row in log.rows:
            if row.kind in ("final", "final_tta"):
                run.summary.update(dict(row.figures()))
    finally:
        over = log.records.end
        run.finish(exit_code=0 if over is None or over["status"] == "finished" else 1)


def _history(log: RunLog) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each step with all that was measured at it; the final evaluations are no part of the curves."""
    found: dict[int, dict[str, Any]] = {}
    for row in log.rows:
        if row.kind in ("train", "eval"):
            values = found.setdefault(row.step, {})
            values |= {"epoch": row.epoch} if row.epoch is not None else {}
            values |= {"_timestamp": row.time, **dict(row.figures())}
    yield from found.items()


def _project(log: RunLog) -> str:
    return os.environ.get("WANDB_PROJECT") or re.sub(r"[/\\#?%:]", "_", log.start["name"])[:_PROJECT]


def _upload(folders: Sequence[_Folder]) -> dict[Path, str]:
    """Upload runs, and return why those that failed did."""
    if not folders:
        return {}
    # In a process of its own: it waits for the network as long as it likes, and may be ended.
    line = [sys.executable, "-m", "wandb", "sync", *(str(one.path.absolute()) for one in folders)]
    limit = _SECONDS + _SECONDS_OF_RUN * len(folders)
    with tempfile.TemporaryDirectory(prefix="dlassign-") as here:
        try:
            done = subprocess.run(
                line, cwd=here, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit, check=False
            )
            said = done.stderr + done.stdout
        except subprocess.TimeoutExpired:
            said = f"Error: no answer within {limit} s"
    return {one.path: _reason(said, one.id) for one in folders if not one.is_uploaded}


def _reason(said: str, identity: str) -> str:
    """Return what the client said of a run that it could not upload."""
    lines = [line for line in said.splitlines() if re.search("error", line, re.IGNORECASE) and "logs at" not in line]
    own = [line for line in lines if identity in line]
    found = (own or lines or said.strip().splitlines()[-1:] or ["no reason is known"])[0]
    return first_line(Exception(re.sub(r"^(wandb: )?(error:?\s*)", "", found, flags=re.IGNORECASE)))
