"""docs/examples/tour.ipynb: every cell runs in a kernel, with little output; the file itself holds none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlassign.report.card import MOST_BYTES

TOUR = Path(__file__).parents[2] / "docs" / "examples" / "tour.ipynb"
MOST_OUTPUTS = 11
"""A place and a line of progress for each of the five trainings of a cell, and its value."""
MOST_BYTES_OF_A_CELL = 200_000
"""A picture is the largest output."""


def test_the_file_holds_no_outputs() -> None:
    cells = json.loads(TOUR.read_text())["cells"]
    assert len(cells) >= 15
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code")


@pytest.mark.extra  # starts a kernel and trains eight nets
def test_every_cell_runs_and_says_little(tmp_path: Path) -> None:
    import nbclient
    import nbformat

    notebook = nbformat.read(TOUR, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        assert len(cell.outputs) <= MOST_OUTPUTS, cell.source
        assert len(json.dumps(cell.outputs)) <= MOST_BYTES_OF_A_CELL, cell.source
    [card] = [html for html in map(html_of, cells[0].outputs) if "dlassign-card" in html]
    assert len(card.encode()) <= MOST_BYTES
    shown = json.dumps([cell.outputs for cell in cells])
    assert "image/png" in shown
    assert "optimizer.lrr: unknown key. Did you mean 'lr'?" in shown


def html_of(output: Any) -> str:
    """Return what an output shows as HTML, or ""."""
    return str(output.get("data", {}).get("text/html", ""))
