"""RayExecutor: trials on the machines of a Ray cluster."""

from __future__ import annotations

import time
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dlassign.errors import DlassignError, Interrupted, UserError
from dlassign.store.files import make_folder, write_text
from dlassign.store.paths import RunPaths
from dlassign.store.records import Record
from dlassign.store.sweep_paths import SweepPaths
from dlassign.store.sweep_table import Status
from dlassign.sweep import worker as messages
from dlassign.sweep.ray.cluster import ActorLost, Cluster
from dlassign.sweep.ray.shipping import pack, unpack
from dlassign.sweep.ray.worker import DIED, STOP, Place, Token, ended
from dlassign.sweep.serial import is_full_disk, one_line
from dlassign.sweep.trial import Trial, TrialListener, TrialResult
from dlassign.train.experiment import only_writer
from dlassign.train.stopping import StopRequest

POLL_SECONDS = 0.2
"""How often the driver looks whether a signal has come."""
GRACE_SECONDS = 60.0
"""How long workers may take to write their checkpoints when the sweep ends early."""
LOOK_SECONDS = 5.0
"""How often to look whether machines have joined the cluster."""
FALSE_STARTS = 5
"""So many workers in a row that do not start mean that more would not either."""


class RayExecutor:
    """Trains trials on a Ray cluster: an actor for each that runs, with a warm process of its own.

    A run folder is written in place by a worker that sees the driver's file system, and else sent there and back.

    Args:
        address: `local` (a cluster is started here), `auto` (the one that this machine belongs to) or host:port.
        cpus_per_trial: CPU cores of a trial.
        gpus_per_trial: GPUs of a trial, also a fraction of one.
        retries: how often a trial is tried again whose worker or machine was lost.

    Raises:
        ConfigError: Ray does not know such a fraction.
        UserError: Ray is not installed.
    """

    def __init__(self, *, address: str, cpus_per_trial: float, gpus_per_trial: float, retries: int) -> None:
        self._cluster = Cluster(address, cpus=cpus_per_trial, gpus=gpus_per_trial)
        self._retries = retries
        where = {"local": "a Ray cluster started here", "auto": "the Ray cluster that this machine belongs to"}
        no_gpu = "" if gpus_per_trial else ", no GPU (gpus_per_trial is 0)"
        self._why = f"{where.get(address, f'the Ray cluster at {address}')}, {self._cluster.wish()}{no_gpu}"

    @property
    def slots(self) -> int:
        """How many trials the cluster can hold now, at least 1; it is joined for that.

        Raises:
            UserError: there is no such cluster.
        """
        self._cluster.join()
        return max(1, self._cluster.holds())

    @property
    def why(self) -> str:
        """What it is."""
        return self._why

    def run(self, trials: Iterable[Trial], listener: TrialListener) -> Iterator[TrialResult]:
        """Train trials; see Executor. A trial that lost its worker is tried again, from its checkpoint if that is here.

        Raises:
            UserError: there is no such cluster, no worker can be started on it, or a disk is full.
        """
        try:
            self._cluster.join()
            with StopRequest() as stop:
                drive = _Drive(self._cluster, iter(trials), listener, stop=stop, retries=self._retries)
                try:
                    yield from drive.results()
                finally:
                    drive.close()
        finally:
            self._cluster.leave()


@dataclass(eq=False)
class _Helper:
    """An actor and what it is doing.

    Attributes:
        actor: its handle.
        call: reference of the answer that it owes; None if it is idle.
        place: where it is; None until it has started.
        trial: what it trains.
        orders: what is sent to it with the next call.
        told_to_stop: whether one of them was to stop.
    """

    actor: Any
    call: Any
    place: Place | None = None
    trial: Trial | None = None
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    told_to_stop: bool = False


class _Silent:
    """A listener that takes in nothing more."""

    def started(self, trial: Trial) -> None:
        """Do nothing."""

    def record(self, trial: Trial, record: Record) -> bool:
        """Do nothing."""
        return False

    def say(self, trial: Trial, text: str) -> None:
        """Do nothing."""


class _Drive:
    """One call of run: hands out trials, takes in messages."""

    def __init__(
        self, cluster: Cluster, trials: Iterator[Trial], listener: TrialListener, *, stop: StopRequest, retries: int
    ) -> None:
        self._cluster, self._trials, self._listener, self._stop = cluster, trials, listener, stop
        self._retries = retries
        self._helpers: list[_Helper] = []
        self._waiting: deque[Trial] = deque()
        self._losses: Counter[str] = Counter()
        self._given_up: set[str] = set()
        self._token: Token | None = None
        self._false_starts, self._warned = 0, False
        self._slots, self._looked = 1, float("-inf")
        self._stopped_at: float | None = None

    def results(self) -> Iterator[TrialResult]:
        """Yield results until there are no more trials, or a signal has come.

        Raises:
            Interrupted: a signal came.
            UserError: no worker can be started, or a disk is full.
        """
        while True:
            if self._stop():
                self._ask_to_stop()
            else:
                yield from self._pull()
                self._hand_out()
            if not (self._busy() or self._waiting) or self._late():
                break
            for result in map(self._take, self._ready()):
                if result is not None:
                    yield result
        if self._stop():
            yield from (TrialResult(trial=trial, status="interrupted") for trial in self._busy())
            raise Interrupted("interrupted; every running trial has written a checkpoint")

    def _busy(self) -> list[Trial]:
        return [helper.trial for helper in self._helpers if helper.trial is not None]

    def _pull(self) -> Iterator[TrialResult]:
        """Take trials from the iterable for the slots that are free; yield those whose runs are over already."""
        while not self._stop() and len(self._waiting) + len(self._busy()) < self._count_slots():
            trial = next(self._trials, None)
            if trial is None:
                return
            status = ended(trial.paths)
            if status is None:
                self._waiting.append(trial)
            else:
                yield TrialResult(trial=trial, status=status)

    def _count_slots(self) -> int:
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._slots, self._looked = max(1, self._cluster.holds()), time.monotonic()
        return self._slots

    def _hand_out(self) -> None:
        """Give waiting trials to idle workers, and start more of these."""
        idle = [helper for helper in self._helpers if helper.place is not None and helper.trial is None]
        while idle and self._waiting:
            trial = self._waiting.popleft()
            self._listener.started(trial)
            self._give(idle.pop(), trial)
        starting = sum(helper.place is None for helper in self._helpers)
        for _ in range(len(self._waiting) - starting):
            self._hire()

    def _give(self, helper: _Helper, trial: Trial) -> None:
        assert helper.place is not None
        shipped = not helper.place.shared
        there = replace(trial, paths=RunPaths(trial.paths.root.absolute()))
        helper.trial = trial
        helper.orders.append((messages.TRIAL, there, shipped, pack(trial.paths.root) if shipped else None))
        self._call(helper)

    def _call(self, helper: _Helper) -> None:
        orders, helper.orders = helper.orders, []
        helper.call = self._cluster.exchange(helper.actor, orders)

    def _hire(self) -> None:
        """Start a worker, unless those before did not start.

        Raises:
            UserError: no worker is left, and none can be started.
        """
        trial = self._waiting[0]
        if self._token is None:
            self._token = write_token(trial.paths.root.parent)
        if not self._warned and not self._cluster.holds():
            self._warned = True
            self._listener.say(trial, f"no machine of the cluster has {self._cluster.wish()}; waiting for one")
        if self._false_starts < FALSE_STARTS:
            actor = self._cluster.hire()
            self._helpers.append(_Helper(actor, self._cluster.greet(actor, self._token)))

    def _ready(self) -> list[_Helper]:
        """Wait a moment; return the workers that have answered."""
        calls = {helper.call: helper for helper in self._helpers if helper.call is not None}
        return [calls[call] for call in self._cluster.ready(list(calls), POLL_SECONDS)]

    def _take(self, helper: _Helper) -> TrialResult | None:
        """Take in the answer of a worker; return the result that it makes, if any.

        Raises:
            UserError: a disk is full, or no worker can be started.
        """
        try:
            answer = self._cluster.get(helper.call)
        except ActorLost as loss:
            return self._lost(helper, str(loss))
        helper.call = None
        if isinstance(answer, Place):
            helper.place, self._false_starts = answer, 0
            return None
        result = None
        for kind, *content in answer:
            result = self._message(helper, kind, *content)
        if helper.trial is not None:
            self._call(helper)
        return result

    def _message(self, helper: _Helper, kind: str, *content: Any) -> TrialResult | None:
        trial = helper.trial
        if kind == DIED:
            why, archive = content
            if archive is not None and trial is not None:
                _receive(archive, trial.paths)
            return self._lost(helper, why)
        if trial is None or helper.place is None:
            return None
        if kind == messages.FULL_DISK:
            raise UserError(f"{content[0]} (on {helper.place.machine})")
        if kind == messages.RESULT:
            return self._ended(helper, trial, *content)
        if kind == messages.SAY:
            self._listener.say(trial, *content)
        elif kind in (messages.RECORD, messages.QUESTION):
            answer = self._listener.record(trial, *content)
            if kind == messages.QUESTION:
                helper.orders.append((messages.ANSWER, answer))
                self._given_up |= {trial.run} if answer else set()
        return None

    def _ended(
        self, helper: _Helper, trial: Trial, status: Status, message: str, archive: bytes | None
    ) -> TrialResult | None:
        if archive is not None:
            try:
                _receive(archive, trial.paths)
            except UserError as error:
                if is_full_disk(error):
                    raise
                status, message = "failed", one_line(error)
        if status == "interrupted":  # the process ends after this
            if not self._stop() and not helper.told_to_stop:
                return self._lost(helper, "its process was told to end")
            self._remove(helper)
        helper.trial = None
        return TrialResult(trial=trial, status=status, message=message)

    def _lost(self, helper: _Helper, why: str) -> TrialResult | None:
        """Let the trial of a lost worker wait for another, or give it up.

        Raises:
            UserError: no worker can be started.
        """
        self._remove(helper)
        trial, helper.trial = helper.trial, None
        if trial is None:
            if helper.place is None:
                self._did_not_start(why)
            return None
        if self._stop():
            return TrialResult(trial=trial, status="interrupted", message=why)
        name = trial.run
        status = ended(trial.paths, pruned=name in self._given_up)
        if status is not None:
            return TrialResult(trial=trial, status=status)
        self._losses[name] += 1
        if self._losses[name] > self._retries:
            return TrialResult(trial=trial, status="failed", message=f"{why}, {_times(self._losses[name])}")
        self._waiting.appendleft(trial)
        where = f" ({helper.place.machine})" if helper.place else ""
        self._listener.say(trial, f"{why}{where}; trying again ({self._losses[name]} of {self._retries})")
        return None

    def _did_not_start(self, why: str) -> None:
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS and not self._helpers:
            raise UserError(f"no worker starts on the Ray cluster: {why}; is dlassign installed on its machines?")

    def _remove(self, helper: _Helper) -> None:
        helper.call = None
        self._helpers = [known for known in self._helpers if known is not helper]
        self._cluster.kill(helper.actor)

    def _ask_to_stop(self) -> None:
        """Ask every worker that trains to write a checkpoint and end; nothing more is begun."""
        self._waiting.clear()
        self._stopped_at = self._stopped_at or time.monotonic()
        for helper in self._helpers:
            if helper.trial is not None and not helper.told_to_stop:
                helper.told_to_stop = True
                helper.orders.append((STOP,))

    def _late(self) -> bool:
        return self._stopped_at is not None and time.monotonic() - self._stopped_at > GRACE_SECONDS

    def close(self) -> None:
        """End all workers; those that train write a checkpoint first."""
        self._listener = _Silent()
        self._ask_to_stop()
        while self._busy() and not self._late():
            for helper in self._ready():
                with suppress(DlassignError):  # the error that ends the sweep, if there is one, is on its way
                    self._take(helper)
        self._cluster.dismiss([helper.actor for helper in self._helpers if helper.place is not None])
        for helper in self._helpers:
            self._cluster.kill(helper.actor)
        if self._token is not None:
            Path(self._token.path).unlink(missing_ok=True)


def _receive(archive: bytes, paths: RunPaths) -> None:
    """Put a run folder that was sent back in its place.

    Raises:
        UserError: it cannot be written, or another process is training it.
    """
    with only_writer(paths):
        unpack(archive, paths.root)
    paths.point_latest()


def write_token(folder: Path) -> Token:
    """Write a file that tells workers whether they see this folder."""
    make_folder(folder)
    token = Token(path=str(SweepPaths(folder).token.absolute()), text=uuid.uuid4().hex)
    write_text(Path(token.path), token.text)
    return token


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
