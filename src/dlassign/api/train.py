"""train: a run from Python, as `dlassign train` makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlassign.api.given import Arrays, Config, locate_config, raw_of
from dlassign.api.messages import say, telling_python
from dlassign.api.run import Run
from dlassign.config.ordinary_file import given_path
from dlassign.errors import Diverged, Interrupted
from dlassign.launch.display import shown
from dlassign.launch.training import FoundRun, find_run, train_run
from dlassign.parts.gathered import Part
from dlassign.store.clock import WallClock


def train(
    config: Config,
    *,
    set: Mapping[str, Any] | None = None,  # noqa: A002 (as on the command line)
    seed: int | None = None,
    device: str | None = None,
    data: Arrays | None = None,
    code: Sequence[str | Path] = (),
    parts: Mapping[str, Part] | None = None,
    out: str | Path = "out",
    again: bool = False,
) -> Run:
    """Train what a config says, or go on where it was stopped; a run that is over is returned at once.

    It is the run that `dlassign train` makes of the same config, in the same folder, with the same weights. Generators,
    threads, number types and signal handlers of the process are as before when it returns.

    Args:
        config: the path of a YAML file, its text, or a dict with its keys.
        set: values that replace the config's, by dotted key: `{"optimizer.lr": 0.01, "model.hidden": [100, 50]}`.
        seed: replaces the config's.
        device: auto, cpu, cuda or cuda:N; replaces the config's.
        data: samples in memory in place of the config's data, (x, y) by split: `{"train": (x, y), "test": (x, y)}`. x
            are (N, D) numbers or (N, C, H, W) images; y, (N,), tells the classes apart. What is not given is taken from
            the training samples, as `data.split` says. The arrays must stay as they are until training is over.
        code: Python files of your own whose parts the config may name, as in `{"model": {"name": "net.py:Net"}}`.
            They run, and the run keeps a copy.
        parts: classes and functions, by the names that the config has for them: `parts={"net": Net}` with
            `{"model": {"name": "net"}}`. Their source, and that of what they use, is taken into the run as a file.
        out: the folder below which the run has its own.
        again: move an earlier run of this config aside and train anew.

    Returns:
        The run. Its `status` is finished; diverged, if the loss is not finite; or interrupted, after Ctrl-C or a
        notebook's stop button: the same call goes on. A KeyboardInterrupt comes through if nothing was begun yet.

    Raises:
        ConfigError: the config is wrong or does not fit its data; every problem is told with its place.
        UserError: code or data cannot be read, the source of a part is not known, the folder cannot be written, or
            another process trains the run.
    """
    raw = raw_of(data)
    located = locate_config(config, set, seed=seed, device=device, data=data, code=code, parts=parts)
    with telling_python():
        found = find_run(located, given_path(out, "out"), again=again, say=say, raw=raw)
        if found.records is None:
            _train(found)
    return Run(found.paths, trust=bool(code or parts))


def _train(found: FoundRun) -> None:
    try:
        train_run(found, display=lambda fit, paths: shown(fit, paths, say=say), wall=WallClock())
    except (Interrupted, Diverged) as error:
        say(str(error))
    except KeyboardInterrupt:  # while the data was read, or pressed twice
        if not found.paths.log.exists():
            raise
        say("interrupted; the same call goes on from the last checkpoint")
