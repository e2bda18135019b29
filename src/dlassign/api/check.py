"""check: what a config amounts to, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlassign.api.given import Arrays, Config, locate_config, raw_of
from dlassign.api.messages import telling_python
from dlassign.launch.checking import check_config
from dlassign.parts.gathered import Part


@dataclass(frozen=True, kw_only=True, repr=False)
class Check:
    """What `check` found out of a config that is right.

    Attributes:
        config: the config with every default written out.
        n_params: parameters of the net; None if only the data can tell.
        n_train: training samples.
        n_val: validation samples.
        n_test: test samples.
        steps: optimizer steps of the whole run.
        steps_per_epoch: of them in an epoch.
        notes: what is to be known of the data.
        lacks: why it cannot be trained yet, such as data that is not there; "" if it can.
        line: all this in a line.
    """

    config: dict[str, Any]
    n_params: int | None
    n_train: int
    n_val: int
    n_test: int
    steps: int
    steps_per_epoch: int
    notes: tuple[str, ...]
    lacks: str
    line: str

    def __repr__(self) -> str:
        lacks = [f"it cannot be trained yet: {self.lacks}"] if self.lacks else []
        return "\n".join([self.line, *self.notes, *lacks])


def check(
    config: Config,
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 (as on the command line)
    seed: int | None = None,
    device: str | None = None,
    data: Arrays | None = None,
    code: Sequence[str | Path] = (),
    parts: Mapping[str, Part] | None = None,
) -> Check:
    """Check a config and its fit to the data, and say what it amounts to; nothing is trained or written.

    Args:
        config: the path of a YAML file, its text, or a dict with its keys.
        set: values that replace the config's, by dotted key.
        seed: replaces the config's.
        device: replaces the config's.
        data: samples in memory in place of the config's data; see `dlassign.train`.
        code: Python files of your own whose parts the config may name; they run.
        parts: classes and functions by the names that the config has for them; see `dlassign.train`.

    Raises:
        ConfigError: the config is wrong or does not fit its data; every problem is told with its place.
        UserError: a file of code fails, or the source of a part is not known.
        DataError: not even the headers of the data can be read.
    """
    raw = raw_of(data)
    located = locate_config(config, set, seed=seed, device=device, data=data, code=code, parts=parts)
    with telling_python():
        found = check_config(located, raw=raw)
    info, plan = found.fit.info, found.fit.plan
    return Check(
        config=found.cfg.model_dump(mode="json"),
        n_params=found.fit.n_params,
        n_train=info.n_train,
        n_val=info.n_val,
        n_test=info.n_test,
        steps=plan.steps,
        steps_per_epoch=plan.steps_per_epoch,
        notes=found.fit.notes,
        lacks="" if found.lacks is None else str(found.lacks),
        line=found.line,
    )
