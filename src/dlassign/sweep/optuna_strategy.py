"""TPE, and pruning by successive halving and Hyperband, through Optuna's ask and tell."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dlassign.config.places import KeyPath, dotted
from dlassign.config.space import Condition, Domain, Range, identity
from dlassign.config.sweep import TPE, Hyperband, Pruning, SuccessiveHalving, SweepConfig
from dlassign.errors import UserError
from dlassign.sweep.space import Point, holds, listed

if TYPE_CHECKING:
    import optuna

INSTALL = "Optuna is not installed, and `strategy: tpe` searches with it: pip install 'dlassign[search]'"
# So many proposals in a row that were there before end the search: a small space is used up.
_PATIENCE = 100
# After so many, points are drawn at random, for the estimator may propose the same again and again.
_STUBBORN = 10


class OptunaStrategy:
    """Chooses points where earlier ones did well, and gives runs up that do badly.

    The same calls, in the same order, give the same answers in every process: each proposal is drawn with a generator
    of its own, seeded by the sweep's seed and the proposal's number. Nothing is stored but in memory.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, config: SweepConfig) -> None:
        assert isinstance(config.strategy, TPE)
        self._config = config
        self._settings = config.strategy
        with _quiet():
            self._study = _make_study(config, self._settings.pruning)
        self._asked: list[_Asked] = []
        self._known: dict[str, _Asked] = {}

    def ask(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number and the values of the next point; None after the last, or if the space is used up."""
        if len(self._asked) == self._settings.trials:
            return None
        with _quiet():
            for repeats in range(_PATIENCE):
                trial, values = self._propose(at_random=repeats >= _STUBBORN)
                known = self._known.get(identity(values))
                if known is None:
                    asked = self._known[identity(values)] = _Asked(trial)
                    self._asked.append(asked)
                    return len(self._asked) - 1, values
                self._study.tell(trial, known.value)  # None: it failed
        return None

    def _propose(self, *, at_random: bool) -> tuple[optuna.trial.Trial, Point]:
        number = len(self._study.get_trials(deepcopy=False))
        self._study.sampler = self._sampler(number, at_random=at_random)
        trial = self._study.ask()
        values: Point = {}
        _suggest(trial, values, self._config.space, self._config.when, ())
        return trial, values

    def _sampler(self, number: int, *, at_random: bool) -> optuna.samplers.BaseSampler:
        from optuna.samplers import RandomSampler, TPESampler

        digest = hashlib.sha256(f"{self._config.seed}/{number}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        if at_random:
            return RandomSampler(seed=seed)
        return TPESampler(seed=seed, n_startup_trials=self._settings.startup, group=bool(self._config.when))

    def report(self, number: int, step: int, value: float | None) -> bool:
        """Take in an evaluation of a point; True if it should be given up. Of equal steps only the first counts.

        Rungs are counted in evaluations, so that runs with batches of different size are compared after the same number
        of epochs if they are evaluated once an epoch.
        """
        asked = self._asked[number]
        if self._settings.pruning.name != "none" and not asked.told and step not in asked.steps:
            asked.steps.add(step)
            with _quiet():
                asked.trial.report(math.nan if value is None else value, len(asked.steps))
                asked.given_up = asked.given_up or asked.trial.should_prune()
        return asked.given_up

    def tell(self, number: int, value: float | None) -> None:
        """Take in the objective of a point, once; of one that was given up, its last evaluation counts instead."""
        asked = self._asked[number]
        if asked.told:
            return
        asked.told = True
        asked.value = value if value is not None and math.isfinite(value) else None
        with _quiet():
            from optuna.trial import TrialState

            if asked.given_up:
                self._study.tell(asked.trial, state=TrialState.PRUNED)
            else:
                self._study.tell(asked.trial, asked.value)  # None: it failed


@dataclass
class _Asked:
    """A point that was asked for, and what is known of it."""

    trial: optuna.trial.Trial
    steps: set[int] = field(default_factory=set)
    given_up: bool = False
    told: bool = False
    value: float | None = None


def _make_study(config: SweepConfig, pruning: Pruning) -> optuna.study.Study:
    try:
        import optuna
    except ImportError:
        raise UserError(INSTALL) from None
    # Hyperband puts trials into brackets by the study's name, so a name that Optuna makes up would not do.
    return optuna.create_study(
        study_name="dlassign",
        direction="maximize" if config.objective.higher_is_better else "minimize",
        pruner=_make_pruner(pruning),
    )


def _make_pruner(pruning: Pruning) -> optuna.pruners.BasePruner:
    from optuna.pruners import HyperbandPruner, NopPruner, SuccessiveHalvingPruner

    match pruning:
        case SuccessiveHalving():
            return SuccessiveHalvingPruner(pruning.min_evaluations, reduction_factor=pruning.factor)
        case Hyperband():
            most = pruning.max_evaluations or "auto"
            return HyperbandPruner(pruning.min_evaluations, max_resource=most, reduction_factor=pruning.factor)
    return NopPruner()


def _suggest(
    trial: optuna.trial.Trial, point: Point, space: Mapping[str, Domain], when: Sequence[Condition], path: KeyPath
) -> None:
    """Let a trial choose a value for all keys of a space, and of its parts that hold then."""
    for key, domain in space.items():
        # The place tells apart keys that stand in two parts, with other values in each.
        point[key] = _choose(trial, dotted((*path, key)), domain)
    for number, condition in enumerate(when):
        if holds(condition, point):
            _suggest(trial, point, condition.space, condition.when, (*path, "when", number))


def _choose(trial: optuna.trial.Trial, name: str, domain: Domain) -> Any:
    values = listed(domain)
    if values is not None:  # by number, for lists and mappings are no categories
        return values[trial.suggest_categorical(name, range(len(values)))]
    assert isinstance(domain, Range)
    if domain.integer:
        return trial.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep from the user what Optuna says to programmers: experimental options, every trial that ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from optuna import logging
        except ImportError:
            yield
            return
        level = logging.get_verbosity()
        logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(level)
