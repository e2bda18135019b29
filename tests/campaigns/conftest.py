"""How long campaigns are: DLASSIGN_EXAMPLES says how many inputs a test draws; scripts/campaign.py raises it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from helpers.campaign_base import make_base
from helpers.guarded import TRIED

settings.register_profile(
    "campaign",
    max_examples=int(os.environ.get("DLASSIGN_EXAMPLES", "0")) or 30,
    derandomize="DLASSIGN_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with configs, data, runs, a stack, a search and a table. Tests change copies of it."""
    return make_base(tmp_path_factory.mktemp("base"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was tried, in lines that scripts/campaign.py reads."""
    for kind, number in sorted(TRIED.items()):
        terminalreporter.write_line(f"tried: {number} {kind}")
