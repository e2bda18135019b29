"""A log as a run of MLflow, in a database or on a server."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlassign.config.values import value_text
from dlassign.errors import UserError
from dlassign.store.files import is_locked, make_folder, reason, write_new_bytes
from dlassign.trackers.clients import Failures, first_line, require_package, without_secrets
from dlassign.trackers.run_log import RunLog

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

# By the first a run is found again; the second says that it is whole, and of which log.
IDENTITY, CONTENT = "dlassign.run", "dlassign.content"
_METRICS, _PARAMS = 1000, 100
"""As many of each as MLflow takes at once."""
_KEY, _VALUE = 250, 6000
"""Letters that a key and a value of a setting may have."""
_STATUS = {"finished": "FINISHED", "diverged": "FAILED"}
_SILENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings of MLflow that count where the user has set none: else it reports its use, tries for minutes, and prints."""


@dataclass(frozen=True)
class _Written:
    """What this process has written of a run: into which run of MLflow, how often resumed, how many metrics."""

    run: str
    resumes: int
    metrics: int


class MLflow:
    """Writes runs into MLflow.

    Args:
        place: a file of a database, or the address of a server.

    Raises:
        UserError: MLflow is not installed, or the file is another program's.
    """

    def __init__(self, place: Path | str) -> None:
        require_package("mlflow", tracker="mlflow")
        self._file = None if isinstance(place, str) else place
        self._uri = place if isinstance(place, str) else _database(place)
        self._shown = without_secrets(place) if isinstance(place, str) else f"sqlite:///{place}"
        self.hint = f"show it: mlflow ui --backend-store-uri {self._shown}" if isinstance(place, Path) else ""
        self._client: MlflowClient | None = None
        self._written: dict[str, _Written] = {}

    def write(self, logs: Sequence[RunLog]) -> list[str]:
        """Write a new run of MLflow for each log, then delete the former one; what has not changed stays.

        Further measurements of a run that this object has written are added to it, unless a resume has taken back some.

        Raises:
            UserError: MLflow cannot be reached, or a run cannot be written; the others are.
        """
        with _quiet():
            client = self._client = self._client or self._connected()
            failures = Failures("mlflow", len(logs))
            for log in logs:
                with failures.of(log):
                    self._write(client, log)
            failures.tell()
        return [self._shown]

    def _connected(self) -> MlflowClient:
        from mlflow import MlflowClient

        if self._file is not None and not self._file.exists():
            _create(self._file)
        # Looked at once: of a server that is not there, each run would have to wait for an answer.
        try:
            with _told():
                client = MlflowClient(self._uri)
                client.search_experiments(max_results=1)
        except UserError as error:
            cure = "see that it is there, or give another with --out or MLFLOW_TRACKING_URI"
            raise UserError(f"MLflow at {self._shown} cannot be used: {error}; {cure}") from error
        return client

    def _write(self, client: MlflowClient, log: RunLog) -> None:
        metrics, resumes = _metrics(log), len(log.records.resumes)
        known = self._written.pop(log.identity, None)  # if this fails, the next time writes all of it anew
        with _told():
            if known is None or known.resumes != resumes:
                run = _whole(client, log, metrics)
            else:
                run = known.run
                _add(client, run, metrics[known.metrics :])
                _close(client, run, log, metrics)
        self._written[log.identity] = _Written(run, resumes, len(metrics))


def _whole(client: MlflowClient, log: RunLog, metrics: Sequence[Metric]) -> str:
    """Return the run of MLflow that holds all of a log, the only one of this log."""
    name = log.start["name"]
    found = client.get_experiment_by_name(name)
    experiment = client.create_experiment(name) if found is None else found.experiment_id
    former = [run.info.run_id for run in client.search_runs([experiment], f"tags.`{IDENTITY}` = '{log.identity}'")]
    content = _content(log, metrics)
    same = client.search_runs([experiment], f"tags.`{IDENTITY}` = '{log.identity}' and tags.`{CONTENT}` = '{content}'")
    whole = same[0].info.run_id if same else _new(client, experiment, log, metrics)
    for run in former:  # also what a process has left that was killed while it wrote
        if run != whole:
            client.delete_run(run)
    return whole


def _new(client: MlflowClient, experiment: str, log: RunLog, metrics: Sequence[Metric]) -> str:
    """Write a run, or nothing of it."""
    tags = {IDENTITY: log.identity, "dlassign.folder": str(log.paths.root.absolute()), "dlassign.group": log.group}
    plain = {key: value.encode(errors="replace").decode() for key, value in tags.items()}
    began = _milliseconds(log.began)
    run: str = client.create_run(experiment, began, plain, log.paths.root.name).info.run_id
    try:
        params = _params(log)
        for place in range(0, len(params), _PARAMS):
            client.log_batch(run, params=params[place : place + _PARAMS])
        _add(client, run, metrics)
        _close(client, run, log, metrics)
    except BaseException:
        with suppress(Exception):
            client.delete_run(run)
        raise
    return run


def _add(client: MlflowClient, run: str, metrics: Sequence[Metric]) -> None:
    for place in range(0, len(metrics), _METRICS):
        client.log_batch(run, metrics=metrics[place : place + _METRICS])


def _close(client: MlflowClient, run: str, log: RunLog, metrics: Sequence[Metric]) -> None:
    status = _status(log)
    if status == "RUNNING":
        client.update_run(run, status=status)
    else:
        client.set_terminated(run, status, end_time=_milliseconds(log.ended))
    client.set_tag(run, CONTENT, _content(log, metrics))


def _status(log: RunLog) -> str:
    if log.records.is_over and log.records.end:
        return _STATUS[log.records.end["status"]]
    return "RUNNING" if is_locked(log.paths.lock) else "KILLED"


def _metrics(log: RunLog) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(name, value, _milliseconds(row.time), row.step) for row in log.rows for name, value in row.figures()]


def _params(log: RunLog) -> list[Param]:
    """Return the settings of a run, with keys and values as MLflow takes them."""
    from mlflow.entities import Param

    found: dict[str, str] = {}
    for key, value in log.config().items():
        # A column of a table has any name; MLflow takes few letters, and no name that is a path such as a/../b.
        name = re.sub(r"[^\w. :-]", "_", key, flags=re.ASCII)[:_KEY]
        found.setdefault(name, value_text(value)[:_VALUE])
    return [Param(name, text) for name, text in found.items()]


def _content(log: RunLog, metrics: Sequence[Metric]) -> str:
    """Return a digest of all that is written of a log."""
    values: list[Any] = [[metric.key, metric.value, metric.timestamp, metric.step] for metric in metrics]
    text = json.dumps([_status(log), str(log.paths.root.absolute()), values])
    return hashlib.sha256(text.encode()).hexdigest()


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)


@contextmanager
def _told() -> Iterator[None]:
    """Raise UserError for what MLflow, its database or the network raises."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise UserError(first_line(error)) from error
    except OSError as error:
        raise UserError(reason(error)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what MLflow tells of its tables from the terminal, and its reports at home."""
    for name, value in _SILENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 (it sets the levels of its loggers)

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _database(path: Path) -> str:
    """Return the address of a database in a file, whose folder is made.

    Raises:
        UserError: there is a file that is no database of MLflow.
    """
    if "?" in str(path):
        raise UserError(f"--out {path}: MLflow takes no name with a question mark; give another name")
    if path.exists() and not _is_ours(path):
        raise UserError(f"--out {path}: there is a file that is no database of MLflow; give another name")
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"--out {path}: may not be written; give another name")
    make_folder(path.parent, cure="choose another with --out")
    return f"sqlite:///{path.absolute()}"


def _create(path: Path) -> None:
    """Make an empty database, whole or not at all: one that is half made, MLflow neither uses nor mends.

    Raises:
        UserError: it cannot be written.
    """
    from mlflow import MlflowClient

    try:
        with tempfile.TemporaryDirectory(prefix="dlassign-") as folder, _told():
            whole = Path(folder, path.name)
            MlflowClient(f"sqlite:///{whole}").search_experiments(max_results=1)
            with suppress(FileExistsError):  # another process was faster
                write_new_bytes(path, whole.read_bytes())
    except UserError as error:
        raise UserError(f"--out {path}: cannot be written: {error}") from error


def _is_ours(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as database:
            names = {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    except sqlite3.Error:
        return False
    return {"experiments", "alembic_version"} <= names
