"""Sizes and colours of image files as they lie on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dlassign.cli.main import main
from dlassign.data import image_folder
from dlassign.data.bundle import Dataset, Split
from dlassign.data.image_headers import Header
from dlassign.data_checks.files import file_facts, file_flaws
from dlassign.data_checks.flaw import Flaw

RGB, GRAY = Header(32, 32, "RGB"), Header(32, 32, "L")


def flaws(cats: list[Header | None], dogs: list[Header | None]) -> list[Flaw]:
    y = np.repeat([0, 1], [len(cats), len(dogs)])
    train = Split(np.zeros((len(y), 3, 1, 1), np.uint8), y)
    data = Dataset(train=train, classes=("cat", "dog"), sha256="0", label="photos")
    return list(file_flaws(data, {"train": [*cats, *dogs]}))


def test_facts() -> None:
    headers = [Header(100, 50, "RGB"), Header(100, 50, "CMYK"), None, Header(20, 10, "RGB"), Header(30, 90, "RGB")]
    assert file_facts({"train": headers[:2], "test": headers[2:]}) == {
        "count": 4,
        "sizes": 3,
        "smallest": [20, 10],
        "most_common": [100, 50],
        "most_common_count": 2,
        "largest": [100, 50],
        "aspect": [0.3333, 2.0],
        "modes": {"RGB": 3, "CMYK": 1},
    }
    assert file_facts({"train": [None]}) == {}


def test_a_mode_that_tells_the_class_is_a_warning() -> None:
    [found] = flaws([GRAY] * 48 + [RGB] * 2, [RGB] * 50)
    assert (found.kind, found.level) == ("file_modes", "warning")
    assert "files of cat are of mode L in 96.0 % of cases, those of other classes in 0.0 %" in found.text
    assert found.samples == ((("train", 0),),)


def test_a_mode_that_is_more_frequent_in_a_class_is_a_note() -> None:
    [found] = flaws([GRAY] * 60 + [RGB] * 140, [GRAY] * 10 + [RGB] * 190)
    assert (found.kind, found.level) == ("file_modes", "note")


@pytest.mark.parametrize("seed", range(5))
def test_modes_that_are_mixed_by_chance_are_no_flaw(seed: int) -> None:
    modes = [GRAY if gray else RGB for gray in np.random.default_rng(seed).random(400) < 0.2]
    assert not flaws(modes[:200], modes[200:])
    assert not flaws([None] * 20, [None, *modes[:20]])


def test_sizes_that_are_far_apart_are_a_note() -> None:
    [found] = flaws([RGB] * 5, [Header(64, 256, "RGB"), Header(129, 128, "RGB")])
    assert (found.kind, found.level) == ("file_sizes", "note")
    assert "from 32x32 to 129x128 (width x height), 4.0 times as long a side" in found.text
    assert found.samples == ((("train", 0),), (("train", 6),))
    assert not flaws([RGB] * 5, [Header(128, 128, "RGB")])


def photos(root: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (root / part / name).mkdir(parents=True)
            for number in range(12):
                size = (200, 100) if number == 3 else (40, 60) if part == "test" else (20, 30)
                pixels = rng.integers(0, 255, (*size[::-1], 3), np.uint8)
                image = Image.fromarray(pixels).convert("L" if name == "dog" and number < 6 else "RGB")
                image.save(root / part / name / f"{number}.png")
    gray = Image.fromarray(rng.integers(0, 2**16, (30, 20), np.uint16))
    gray.save(root / "train" / "cat" / "12.png")
    (root / "test" / "dog" / "13.png").write_bytes(b"no image")


def test_the_command_tells_sizes_and_modes_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos(tmp_path / "photos")
    cache = {"root": str(tmp_path / "photos"), "cache": str(tmp_path / "cache"), "size": [8, 8], "skip_bad": True}
    rest = {"model": {"name": "mlp", "hidden": [4]}, "optimizer": {"name": "sgd", "lr": 0.1}, "train": {"steps": 2}}
    (tmp_path / "c.yaml").write_text(json.dumps({"name": "c", "data": {"name": "image_folder", **cache}, **rest}))
    command = ["data", "check", str(tmp_path / "c.yaml")]
    result = CliRunner().invoke(main, command)
    lines = result.stdout.splitlines()
    assert (
        "files: 49 of 3 sizes (width x height), smallest 20x30, most common 20x30 (23), largest 200x100; "
        "width / height 0.667 to 2" in lines
    )
    assert "modes: RGB 36, L 12, I;16 1" in lines
    assert "note: files have sizes from 20x30 to 200x100 (width x height), 5.8 times as long a side" in result.stdout

    def refuse(_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(image_folder, "read_headers", refuse)
    again = json.loads(CliRunner().invoke(main, [*command, "--json"]).stdout)
    assert again["facts"]["files"]["modes"] == {"RGB": 36, "L": 12, "I;16": 1}
    [far] = [flaw for flaw in again["flaws"] if flaw["kind"] == "file_sizes"]
    assert [place["name"] for [place] in far["samples"]] == [
        str(tmp_path / "photos" / "train" / "cat" / name) for name in ("0.png", "3.png")
    ]
