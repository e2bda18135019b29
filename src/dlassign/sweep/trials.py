"""From points of a space to trials: whole configs and run folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlassign.config.load_sweep import LocatedSweep
from dlassign.config.run import RunConfig
from dlassign.data.load import fingerprint
from dlassign.store.paths import RunPaths
from dlassign.sweep.check_points import Checked
from dlassign.sweep.space import point_config
from dlassign.sweep.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A point of the space that a strategy has chosen, and its trials, one a seed.

    Attributes:
        number: counted from 0, as the strategy counts.
        values: by dotted key.
        trials: one for each seed, in the order of the seeds.
    """

    number: int
    values: dict[str, Any]
    trials: tuple[Trial, ...]

    @property
    def hash(self) -> str:
        """The hash that its trials share."""
        return self.trials[0].point


class TrialMaker:
    """Makes trials; the data of each data section is identified once.

    Args:
        located: the sweep.
        checked: points whose configs are known.
        out: folder of all runs.
    """

    def __init__(self, located: LocatedSweep, checked: Checked, out: Path) -> None:
        self._located, self._out = located, out
        self._configs = {_key(values): config for values, config in zip(checked.probes, checked.configs, strict=True)}
        self._fingerprints: dict[str, str] = {}

    def point(self, number: int, values: dict[str, Any]) -> Candidate:
        """Return a point with a trial for each seed.

        Raises:
            ConfigError: the values make no valid config.
        """
        config = self._config(values)
        seeds = self._located.config.seeds or (config.seed,)
        first = number * len(seeds)
        trials = tuple(self._trial(first + i, values, config, seed=seed) for i, seed in enumerate(seeds))
        return Candidate(number=number, values=values, trials=trials)

    def confirming(self, point: Candidate, seeds: Sequence[int], *, first: int) -> list[Trial]:
        """Return trials of a point on other seeds, numbered from `first`."""
        config = self._config(point.values)
        return [self._trial(first + i, point.values, config, seed=seed, confirms=True) for i, seed in enumerate(seeds)]

    def _config(self, values: dict[str, Any]) -> RunConfig:
        key = _key(values)
        if key not in self._configs:
            self._configs[key] = point_config(self._located, values).config
        return self._configs[key]

    def _trial(
        self, number: int, values: dict[str, Any], config: RunConfig, *, seed: int, confirms: bool = False
    ) -> Trial:
        config = config.model_copy(update={"seed": seed})
        paths = RunPaths.of(self._out, config.model_dump(mode="json"), self.fingerprint(config))
        return Trial(number=number, values=values, config=config, paths=paths, confirms=confirms)

    def fingerprint(self, config: RunConfig) -> str:
        """Return the digest of the data that a config names; each data section is looked at once."""
        section = config.data.model_dump_json()
        if section not in self._fingerprints:
            self._fingerprints[section] = fingerprint(config.data)
        return self._fingerprints[section]


def _key(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
