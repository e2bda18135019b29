"""Cluster: a Ray cluster, joined or started here, and the actors on it."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dlassign.data.image_decode import usable_cores
from dlassign.errors import ConfigError, UserError
from dlassign.sweep.ray.worker import RayWorker
from dlassign.sweep.worker import THREADS

CONNECT_SECONDS = 10.0
"""How long the machine of an address may take to answer."""
CLOSE_SECONDS = 20.0
"""How long all actors together may take to end their processes."""
HARDLY = 1e-6
"""Ray counts fractions of cores and GPUs in steps of 1e-4; quotients may come out this much too small."""


class Cluster:
    """A Ray cluster whose trials have so many CPU cores and GPUs each; see RayExecutor."""

    def __init__(self, address: str, *, cpus: float, gpus: float) -> None:
        for key, value in (("cpus_per_trial", cpus), ("gpus_per_trial", gpus)):
            if value > 1 and not float(value).is_integer():
                raise ConfigError(f"executor.{key}: Ray takes whole numbers above 1, got {value:g}")
        self._ray = import_ray()
        self._address = address
        self._cpus = cpus
        self._gpus = gpus
        self._joined = False
        self._mine = False

    def join(self) -> None:
        """Start or join the cluster, if that was not done yet; a UserError says that none is large enough, or none."""
        if self._joined:
            return
        self._mine = not self._ray.is_initialized()
        if self._mine:
            with _own_signals():
                self._connect()
        self._joined = True
        if self._address == "local" and not self.holds():
            self.leave()
            raise UserError(f"this machine does not have {self.wish()}; lower executor.cpus_per_trial, gpus_per_trial")

    def _connect(self) -> None:
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
        if self._address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            quiet |= {"num_cpus": usable_cores(), "include_dashboard": False}
        elif self._address != "auto":
            _knock(self._address)
        try:
            self._ray.init(address=self._address, **quiet)
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            raise UserError(f"{_none_at(self._address)} ({_short(error)})") from error

    def leave(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._joined and self._mine:
            with _own_signals():
                self._ray.shutdown()
        self._joined = False

    def holds(self) -> int:
        """Return how many trials the machines that are there now can hold at a time."""
        wished = {"CPU": self._cpus, "GPU": self._gpus}
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        counts = [[there.get(kind, 0.0) / each for kind, each in wished.items() if each] for there in machines]
        return sum(math.floor(min(count) + HARDLY) for count in counts)

    def wish(self) -> str:
        """Return in words what a trial needs."""
        gpus = f" and {self._gpus:g} GPU{'s' * (self._gpus > 1)}" if self._gpus else ""
        return f"{self._cpus:g} CPU core{'s' * (self._cpus != 1)}{gpus} for a trial"

    def hire(self) -> Any:
        """Start a RayWorker, as soon as a machine has room, and return its handle."""
        own = set(THREADS).isdisjoint(os.environ)
        actor = self._ray.remote(RayWorker).options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )
        threads = max(1, int(self._cpus)) if own else None
        return actor.remote(threads, str(Path.cwd()), gpu=self._gpus > 0)

    def ready(self, references: list[Any], seconds: float) -> list[Any]:
        """Wait for the first answers; return the references of all that are there."""
        if not references:
            return []
        self._ray.wait(references, num_returns=1, timeout=seconds)
        found: list[Any] = self._ray.wait(references, num_returns=len(references), timeout=0)[0]
        return found

    def get(self, reference: Any) -> Any:
        """Return an answer, or raise ActorLost."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise ActorLost(_loss(error)) from error

    def dismiss(self, actors: Sequence[Any]) -> None:
        """End actors and their processes."""
        closing = [actor.close.remote() for actor in actors]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS)
        for actor in actors:
            self.kill(actor)

    def kill(self, actor: Any) -> None:
        """End an actor at once; what is left of its process writes a checkpoint and ends."""
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)


class ActorLost(Exception):
    """An actor, its process or its machine is gone; the message says which."""


def _none_at(address: str) -> str:
    if address == "local":
        return "Ray could not be started here"
    if address == "auto":
        return "this machine belongs to no Ray cluster; start one with `ray start --head`, or use `address: local`"
    return f"there is no Ray cluster at {address} that can be joined; `ray status` on its head says its address"


def import_ray() -> Any:
    """Return the module ray; a UserError says how to install it."""
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # or it would print to stdout that a machine was lost
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError("the executor ray needs Ray: pip install 'dlassign[ray]'") from error
    return ray


def _knock(address: str) -> None:
    """Find out in seconds that nobody is there, for which Ray takes minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{_none_at(address)} ({_short(error)})") from error


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _loss(error: Exception) -> str:
    """Return in words what an error of Ray says is lost."""
    text, cause = str(error), getattr(error, "cause", None)
    if "node has died" in text or type(error).__name__ == "NodeDiedError":
        return "its machine was lost"
    if getattr(error, "actor_init_failed", False):
        return f"it could not start ({text.strip().splitlines()[-1]})"
    if type(error).__name__ in ("ActorDiedError", "ActorUnavailableError", "WorkerCrashedError"):
        return "its worker or machine was lost"  # Ray does not wait until it knows which
    return f"{type(cause or error).__name__}: {_short(cause or error)}"


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handlers of signals, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
