"""Child processes that start quickly and can be killed."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

TESTS = Path(__file__).parents[1]


def environment(**values: object) -> dict[str, str]:
    """Return the environment for a child that imports what the tests share and finds the commands of this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": path, "PYTHONPATH": modules} | {key: str(value) for key, value in values.items()}


def fork_server(module: str) -> ForkServerContext:
    """Return a context whose children begin with a module of the tests, torch and the digits imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module, "sklearn.datasets"])
    os.environ["PYTHONPATH"] = environment()["PYTHONPATH"]
    return context
