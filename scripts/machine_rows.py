"""Where, with what and when a benchmark was run, as rows of a Markdown table; the benchmarks' pages begin with it."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version

import torch

from dlassign.errors import counted
from dlassign.train.device import cpu_name


def machine_rows(command: str, *, rounds: int, load: float) -> str:
    """Return the rows; load: average of the minute before it began."""
    cores, threads = counted(os.cpu_count() or 1, "core"), counted(torch.get_num_threads(), "torch thread")
    rows = {
        "Processor": f"{cpu_name()}, {cores}, {threads}",
        "System": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Versions": f"Python {platform.python_version()}, dlassign {version('dlassign')}, torch {version('torch')}",
        "Load when it began": f"{load:.1f}",
        "Rounds": str(rounds),
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        "Command": f"`{command}`",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])
