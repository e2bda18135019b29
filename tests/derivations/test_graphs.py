"""Each page of derivations has the picture of its graph, and scripts/draw_graphs.py draws it again."""

from __future__ import annotations

import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest

import draw_graphs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "derivations"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")

GRAPHS = draw_graphs.graphs()


def test_each_page_has_a_graph() -> None:
    assert sorted(GRAPHS) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_the_page_shows_the_picture_that_the_script_draws(page: str) -> None:
    spec = GRAPHS[page]
    assert f"![{spec['title']}]({page}.svg)" in (FOLDER / f"{page}.md").read_text()
    text = (FOLDER / f"{page}.svg").read_text()
    assert text == draw_graphs.svg(spec), "run scripts/draw_graphs.py"
    shown = [element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    labels = [edge.get(key) for edge in spec["edges"] for key in ("shape", "back") if edge.get(key)]
    assert set(labels) <= set(shown)


@pytest.mark.parametrize("page", PAGES)
def test_no_text_covers_another(page: str) -> None:
    boxes = draw_graphs.draw(GRAPHS[page]).boxes
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"{one!r} covers {other!r}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "optimizers"])
def test_gradients_come_from_the_loss(page: str) -> None:
    """Whatever is learnt, and the input, gets its gradient along edges from the loss."""
    edges = GRAPHS[page]["edges"]
    ends = {edge["to"] for edge in edges} - {edge["from"] for edge in edges}
    reached = set(ends)
    for edge in reversed(edges * 3):
        if edge.get("back") and edge["to"] in reached:
            reached.add(edge["from"])
    assert all(edge["to"] in reached for edge in edges if edge.get("back"))
