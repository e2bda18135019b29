"""RayExecutor: trials on the machines of a Ray cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlassign.errors import UserError
from dlassign.store.files import make_folder, write_text
from dlassign.store.paths import RunPaths
from dlassign.store.sweep_paths import SweepPaths
from dlassign.sweep import worker as messages
from dlassign.sweep.drive import LOST, POLL_SECONDS, Drive
from dlassign.sweep.environment import is_of_machine
from dlassign.sweep.ray.cluster import ActorLost, Cluster
from dlassign.sweep.ray.shipping import pack, unpack
from dlassign.sweep.ray.worker import DIED, STOP, Machine, Token
from dlassign.sweep.serial import one_line
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.experiment import only_writer
from dlassign.train.stopping import StopRequest

LOOK_SECONDS = 5.0
"""How often to look whether machines have joined the cluster."""
FALSE_STARTS = 5
"""So many workers in a row that do not start mean that more would not either."""


class RayExecutor:
    """Trains trials on a Ray cluster: an actor for each that runs, with a warm process of its own.

    A run folder is written in place by a worker that sees the driver's file system, and else sent there and back.

    The arguments are the keys of config.sweep.RayExecutor.

    Raises:
        ConfigError: Ray does not know such a fraction.
        UserError: Ray is not installed.
    """

    def __init__(self, *, address: str, cpus_per_trial: float, gpus_per_trial: float, retries: int) -> None:
        self._cluster = Cluster(address, cpus=cpus_per_trial, gpus=gpus_per_trial)
        self._retries = retries
        where = {"local": "a Ray cluster started here", "auto": "the Ray cluster that this machine belongs to"}
        no_gpu = "" if gpus_per_trial else ", no GPU (gpus_per_trial is 0)"
        self.why = f"{where.get(address, f'the Ray cluster at {address}')}, {self._cluster.wish()}{no_gpu}"

    @property
    def slots(self) -> int:
        """How many trials the cluster can hold now, at least 1; it is joined for that."""
        self._cluster.join()
        return max(1, self._cluster.holds())

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials; see Executor. A trial that lost its worker is tried again, from its checkpoint if that is here.

        Raises:
            UserError: there is no such cluster, no worker can be started on it, or a disk fails.
        """
        try:
            self._cluster.join()
            crew = _Crew(self._cluster, listener)
            with StopRequest() as stop:
                drive = Drive(crew, iter(trials), listener=listener, stop=stop, retries=self._retries)
                with closing(drive):
                    yield from drive.results()
        finally:
            self._cluster.leave()


@dataclass(eq=False)
class _Actor:
    """A worker on the cluster and what it is doing.

    Attributes:
        handle: Ray's handle of the actor.
        call: reference of the answer that it owes; None if it is idle.
        machine: where it runs; None until it has started.
        trial: what it trains.
        orders: what is sent to it with the next call.
    """

    handle: Any
    call: Any
    machine: Machine | None = None
    trial: Trial | None = None
    orders: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f" ({self.machine.name})" if self.machine else ""

    def train(self, trial: Trial) -> None:
        """Send it a trial, with its run folder if its machine does not see that."""
        assert self.machine is not None
        self.trial = trial
        shipped = not self.machine.shared
        there = replace(trial, paths=RunPaths(trial.paths.root.absolute()))
        self.orders.append((messages.TRIAL, there, shipped, pack(trial.paths.root) if shipped else None))
        self.send()

    def answer(self, prune: bool) -> None:
        self.orders.append((messages.ANSWER, prune))

    def stop(self) -> None:
        self.orders.append((STOP,))

    def send(self) -> None:
        """Send the orders; what it has to say comes back as the answer."""
        orders = self.orders
        self.orders = []
        self.call = self.handle.exchange.remote(orders)


class _Crew:
    """The workers on a cluster; started when there is work for them."""

    def __init__(self, cluster: Cluster, listener: TrialListener) -> None:
        self._cluster = cluster
        self._listener = listener
        self._warned = False
        self._token: Token | None = None
        self._false_starts = 0
        self._slots = 1
        self._looked = float("-inf")
        self.workers: list[_Actor] = []

    def slots(self) -> int:
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._slots = max(1, self._cluster.holds())
            self._looked = time.monotonic()
        return self._slots

    def idle(self, waiting: list[Trial]) -> list[_Actor]:
        """Return the workers that can take a trial; start more, unless those before did not start."""
        idle = [worker for worker in self.workers if worker.machine is not None and worker.trial is None]
        starting = sum(worker.machine is None for worker in self.workers)
        for _ in range(len(waiting) - len(idle) - starting):
            if self._false_starts < FALSE_STARTS:
                self._hire(waiting[0])
        return idle

    def _hire(self, trial: Trial) -> None:
        if self._token is None:
            self._token = write_token(trial.paths.root.parent)
        if not self._warned and not self._cluster.holds():
            self._warned = True
            self._listener.say(trial, f"no machine of the cluster has {self._cluster.wish()}; waiting for one")
        handle = self._cluster.hire()
        self.workers.append(_Actor(handle, handle.hello.remote(self._token)))

    def heard(self) -> Iterator[tuple[_Actor, tuple[Any, ...]]]:
        calls = {worker.call: worker for worker in self.workers if worker.call is not None}
        for call in self._cluster.ready(list(calls), POLL_SECONDS):
            worker = calls[call]
            worker.call = None
            try:
                answer = self._cluster.get(call)
            except ActorLost as loss:
                yield worker, (LOST, str(loss))
                self._false_starts += worker.machine is None
                if self._false_starts >= FALSE_STARTS and not self.workers:
                    cure = "is dlassign installed on its machines?"
                    raise UserError(f"no worker starts on the Ray cluster: {loss}; {cure}") from loss
                continue
            if isinstance(answer, Machine):
                worker.machine = answer
                self._false_starts = 0
                continue
            for message in answer:
                try:
                    received = _received(worker, *message)
                except UserError:
                    worker.trial = None  # or the end of the sweep would wait for it
                    raise
                yield worker, received
            if worker.trial is not None:
                worker.send()

    def remove(self, worker: _Actor) -> None:
        worker.call = None
        self.workers = [known for known in self.workers if known is not worker]
        self._cluster.kill(worker.handle)

    def dismiss(self) -> None:
        """End all workers, and remove the file by which they knew this machine."""
        self._cluster.dismiss([worker.handle for worker in self.workers if worker.machine is not None])
        for worker in self.workers:
            self._cluster.kill(worker.handle)
        if self._token is not None:
            Path(self._token.path).unlink(missing_ok=True)


def _received(worker: _Actor, kind: str, *content: Any) -> tuple[Any, ...]:
    """Put a run folder that was sent back with a message in its place; return the message without it."""
    if kind == DIED:
        why, archive = content
        if archive is not None and worker.trial is not None:
            _receive(archive, worker.trial.paths)
        return LOST, why
    if kind != messages.RESULT:
        return kind, *content
    status, message, archive = content
    if archive is not None and worker.trial is not None:
        try:
            _receive(archive, worker.trial.paths)
        except UserError as error:
            if is_of_machine(error):
                raise
            return messages.RESULT, "failed", one_line(error)
    return messages.RESULT, status, message


def _receive(archive: bytes, paths: RunPaths) -> None:
    with only_writer(paths):
        unpack(archive, paths.root)
    paths.point_latest()


def write_token(folder: Path) -> Token:
    """Write a file that tells workers whether they see this folder."""
    make_folder(folder)
    token = Token(path=str(SweepPaths(folder).token.absolute()), text=uuid.uuid4().hex)
    write_text(Path(token.path), token.text)
    return token
