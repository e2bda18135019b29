"""Draw the computational graphs of docs/derivations/ from graphs.yaml: forward with shapes, backward with gradients.

scripts/draw_graphs.py [FOLDER]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml

PAGES = Path(__file__).parents[1] / "docs" / "derivations"
COLUMN, ROW, MARGIN = 170.0, 92.0, 24.0
LETTER, LINE = 7.4, 17.0  # of the font's 13 pixels
APART = 5.0  # the forward and the backward line of an edge
BACK = "#b8442e"

Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass
class Graph:
    """What is drawn: elements of SVG, and the room that each text takes.

    Attributes:
        lines: elements of SVG.
        boxes: left, top, right, bottom of each text or node, by what it says.
    """

    lines: list[str] = field(default_factory=list)
    boxes: list[tuple[str, Box]] = field(default_factory=list)

    def text(self, at: Point, label: str, *, color: str = "#000", anchor: str = "middle") -> None:
        """Write a line of text around a point, on white."""
        width = LETTER * len(label)
        left = at[0] - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        self.boxes.append((label, (left, at[1] - LINE / 2, left + width, at[1] + LINE / 2)))
        self.lines.append(
            f'<text x="{at[0]:.1f}" y="{at[1] + 4.5:.1f}" text-anchor="{anchor}" fill="{color}">{escape(label)}</text>'
        )

    def line(self, points: list[Point], *, back: bool) -> None:
        """Draw an arrow along points."""
        look = f'stroke="{BACK}" stroke-dasharray="5 3"' if back else 'stroke="#333"'
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        mark = "back" if back else "forward"
        self.lines.append(
            f'<polyline points="{path}" fill="none" {look} stroke-width="1.3" marker-end="url(#{mark})"/>'
        )


def draw(spec: dict[str, Any]) -> Graph:
    """Return the graph that a description stands for."""
    graph = Graph()
    places = {name: node_box(node) for name, node in spec["nodes"].items()}
    for edge in spec["edges"]:
        _edge(graph, places, edge)
    for name, (_, _, label) in spec["nodes"].items():
        left, top, right, bottom = places[name]
        width, height = right - left, bottom - top
        variable = not label.startswith("[")
        shape = f'rx="{height / 2 if variable else 3:.1f}" fill="{"#eef3f8" if variable else "#fff"}"'
        graph.lines.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" {shape} stroke="#333"/>'
        )
        graph.text(((left + right) / 2, (top + bottom) / 2), label.strip("[] "))
        graph.boxes[-1] = (label, places[name])
    return graph


def node_box(node: list[Any]) -> Box:
    """Return the room of a node [column, row, label]."""
    x, y, half = node[0] * COLUMN, node[1] * ROW, LETTER * len(node[2].strip("[] ")) / 2 + 12
    return x - half, y - 15, x + half, y + 15


def _edge(graph: Graph, places: dict[str, Box], edge: dict[str, Any]) -> None:
    """Draw an edge forward, and backward if a gradient flows along it, each with its label beside its line."""
    source, target = (places[edge[key]] for key in ("from", "to"))
    via = [(x * COLUMN, y * ROW) for x, y in edge.get("via", ())]
    middle = [_center(source), *via, _center(target)]
    points = [_leave(source, middle[1]), *via, _leave(target, middle[-2])]
    longest = max(pairwise(points), key=lambda part: _length(*part))
    (x0, y0), (x1, y1) = longest
    steep = abs(y1 - y0) > 0.8 * abs(x1 - x0)
    shift = (APART, 0.0) if steep and not via else (0.0, APART) if not via else (APART, APART)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    gradient = edge.get("back", "")
    if not gradient:
        shift = (0.0, 0.0)
    graph.line([(px - shift[0], py - shift[1]) for px, py in points], back=False)
    if gradient:
        graph.line([(px + shift[0], py + shift[1]) for px, py in reversed(points)], back=True)
    away = 9.0 + APART
    slope = 0.0 if steep else abs(y1 - y0) / max(abs(x1 - x0), 1.0) * LETTER * 4
    forward = (x - away, y) if steep else (x, y - away - slope)
    backward = (x + away, y) if steep else (x, y + away + slope)
    if edge.get("shape"):
        graph.text(forward, edge["shape"], anchor="end" if steep else "middle")
    if gradient:
        graph.text(backward, gradient, color=BACK, anchor="start" if steep else "middle")


def _center(box: Box) -> Point:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _length(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _leave(box: Box, toward: Point) -> Point:
    """Return where the way from the middle of a box to a point crosses its border."""
    x, y = _center(box)
    dx, dy = toward[0] - x, toward[1] - y
    half_x, half_y = (box[2] - box[0]) / 2 + 2, (box[3] - box[1]) / 2 + 2
    share = min(half_x / abs(dx) if dx else 9e9, half_y / abs(dy) if dy else 9e9)
    return x + share * dx, y + share * dy


def svg(spec: dict[str, Any]) -> str:
    """Return a description as an SVG file."""
    graph = draw(spec)
    key = max(box[3] for _, box in graph.boxes) + 30
    left = min(box[0] for _, box in graph.boxes)
    graph.text((left, key), "black: forward, with shapes", anchor="start")
    graph.text((left + 230, key), "red: backward, with gradients", anchor="start", color=BACK)
    low = [min(box[i] for _, box in graph.boxes) - MARGIN for i in (0, 1)]
    high = [max(box[i] for _, box in graph.boxes) + MARGIN for i in (2, 3)]
    for edge in spec["edges"]:
        for x, y in edge.get("via", ()):
            low = [min(low[0], x * COLUMN - MARGIN), min(low[1], y * ROW - MARGIN)]
            high = [max(high[0], x * COLUMN + MARGIN), max(high[1], y * ROW + MARGIN)]
    width, height = high[0] - low[0], high[1] - low[1]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{low[0]:.1f} {low[1]:.1f} {width:.1f} {height:.1f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="DejaVu Sans, Verdana, sans-serif" font-size="13">',
            f"<title>{escape(spec['title'])}</title>",
            f"<defs>{_arrow('forward', '#333')}{_arrow('back', BACK)}</defs>",
            f'<rect x="{low[0]:.1f}" y="{low[1]:.1f}" width="{width:.1f}" height="{height:.1f}" fill="#fff"/>',
            *graph.lines,
            "</svg>\n",
        ]
    )


def _arrow(name: str, color: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{color}"/></marker>'
    )


def graphs() -> dict[str, dict[str, Any]]:
    """Return the descriptions, by the names of their pages."""
    found: dict[str, dict[str, Any]] = yaml.safe_load((PAGES / "graphs.yaml").read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PAGES
    folder.mkdir(parents=True, exist_ok=True)
    for page, described in graphs().items():
        (folder / f"{page}.svg").write_text(svg(described), encoding="utf-8")
