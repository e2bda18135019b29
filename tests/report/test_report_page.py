"""The page is one HTML file that needs nothing else and that no text can break."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlassign.report.data import Report
from dlassign.report.page import duration_text, embedded, render_report
from dlassign.store.select import find_sources
from helpers import report_folder as folder

EVIL = "</script><script>alert(1)</script><!--<script>&amp;'\"\u2028"


class Reader(HTMLParser):
    """Collects elements with their attributes, and what scripts and styles hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.held: list[tuple[str, dict, str]] = []
        self.text: list[str] = []
        self.inside = False
        self.feed(html)

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag in ("script", "style")

    def handle_endtag(self, tag: Any) -> None:
        self.inside = False

    def handle_data(self, data: Any) -> None:
        if self.inside:
            self.held.append((*self.elements[-1], data))
        else:
            self.text.append(data)


def page(out: Path, **options: Any) -> tuple[str, Reader]:
    html = render_report(Report().collect(find_sources([], out=out), **options))
    return html, Reader(html)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("page") / "out"
    runs = folder.fill(out)
    folder.write_sweep(out / "slow", runs["slow"])
    equal = folder.figure("val", 0.1, values=[0.5] * 3, mean=0.5, low=None, high=None, verdict="")
    table = [str(runs["fast"][0].root), "out/gone/0c0c0c0c-s4"]
    folder.write_table(out, "mine", table, [folder.figure(), equal], status="partly", why="data lost: run `this`")
    return page(out)


def test_it_asks_for_nothing(filled: SimpleNamespace) -> None:
    html, reader = filled
    policy = next(a["content"] for tag, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for tag, attributes in reader.elements:
        assert tag != "link" or attributes["href"] == "data:,"
        assert not attributes.get("src", "data:").startswith("http")
        assert not [name for name in attributes if name.startswith("on")]
        assert "style" not in attributes  # the policy would not let it work
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_the_policy_names_every_script_and_style(filled: SimpleNamespace) -> None:
    _, reader = filled
    policy = next(a["content"] for tag, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy")
    own = [text for tag, attributes, text in reader.held if attributes.get("type") != "application/json"]
    assert len(own) == 3
    for text in own:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_tables_are_there_without_a_script(filled: SimpleNamespace) -> None:
    html, reader = filled
    text = " ".join(" ".join(reader.text).split())
    for said in (
        "Reported beside measured",
        "✓ 1 agrees",
        "49.00 [47.00, 51.00]",
        "−1.00",
        "1 min 01 s",
        "308,310",
        "3 seeds, all equal",
    ):
        assert said in text
    assert "s4 (gone)" in text
    assert "data lost: run `this` (The first row)" in text
    assert "An arrow marks what lies beyond" in text
    assert "Sweep slow" in text
    assert "no complete record" in text
    assert html.count('class="run-link"') == 3 + 1


def test_landmarks_and_headings(filled: SimpleNamespace) -> None:
    _, reader = filled
    tags = [tag for tag, _ in reader.elements]
    assert [tags.count(tag) for tag in ("main", "header", "footer", "nav", "h1")] == [1, 1, 1, 1, 1]
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= set(ids), (tag, attributes)
        if tag == "section":
            assert "aria-labelledby" in attributes
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_names_from_users_do_no_harm(tmp_path: Path) -> None:
    run = folder.make_run(tmp_path, label=EVIL)
    start, *rest = run.log.read_text().splitlines()
    record = json.loads(start)
    record["name"] = record["config"]["name"] = record["config"]["notes"] = EVIL
    record["data"]["classes"] = [EVIL] * 10
    record["environment"] = {"command": [EVIL], "packages": {EVIL: EVIL}}
    run.log.write_text("\n".join([json.dumps(record), *rest]) + "\n")
    folder.write_table(tmp_path, "t", [EVIL], [folder.figure(EVIL, why=EVIL)], label=EVIL, note=EVIL, config=EVIL)
    html, reader = page(tmp_path, title=EVIL)
    scripts = [tag for tag, _ in reader.elements if tag == "script"]
    assert len(scripts) == 3
    assert "alert(1)</script>" not in html
    [held] = [text for _, attributes, text in reader.held if attributes.get("type") == "application/json"]
    assert json.loads(held)["runs"][0]["name"] == EVIL


def test_a_path_that_is_no_text_can_be_written(tmp_path: Path) -> None:
    report = Report().collect(find_sources([str(folder.make_run(tmp_path).root)], out=tmp_path), title="a\udcff")
    assert "a?" in render_report(report).encode().decode()


def test_embedded_data_reads_back() -> None:
    data = {"a": [EVIL, 1.5, None], "\ud800": "x"}
    text = embedded(data)
    assert "<" not in text
    assert json.loads(text) == data


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.354, "0.35 s"),
        (12.34, "12.3 s"),
        (59.97, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3930, "1 h 06 min"),
        (None, "–"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


STYLE = (resources.files("dlassign.report") / "templates" / "report.css").read_text()
THEMES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root[^{]*\{([^}]*--shade[^}]*)\}", STYLE.partition("@media print")[0])
]


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark, system", "dark, chosen"])
def test_contrast_is_that_of_wcag_aa(theme: Any) -> None:
    for text in ("text", "muted", "link", "good", "bad"):
        for ground in ("ground", "soft", "mark"):
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
    assert contrast(theme["text"], theme["shade"]) >= 4.5
    for drawn in (*(f"c{i}" for i in range(8)), "strong-line", "focus"):
        assert contrast(theme[drawn], theme["ground"]) >= 3, drawn


def test_both_dark_themes_are_the_same() -> None:
    assert len(THEMES) == 3
    assert THEMES[1] == THEMES[2]


def test_templates_are_short() -> None:
    for path in (resources.files("dlassign.report") / "templates").iterdir():
        assert len(path.read_text().splitlines()) <= 400, path.name
