"""A sweep's table, written and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlassign.store.sweep_table import SweepTable, read_table
from helpers.sweep_tables import write


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def make(rows: list[dict], **changes: Any) -> SweepTable:
        return read_table(write(tmp_path / "out" / "grid", rows, **changes))

    return make
