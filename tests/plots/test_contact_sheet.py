"""What stands on a sheet of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlassign.plots.contact_sheet import COLUMNS, Tile, build_contact_sheet, file_line
from dlassign.plots.style import save_figure


def test_each_picture_with_its_lines_in_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = [
        Tile(rng.integers(0, 256, (3, 4, 6)), (f"$cat_{i}$ 0.5", "is dog"), wrong=i % 2 == 0)
        for i in range(COLUMNS + 1)
    ]
    figure = build_contact_sheet(tiles, title="the most doubtful")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in shown] == [f"$cat_{i}$ 0.5\nis dog" for i in range(COLUMNS + 1)]
    assert shown[0].xaxis.label.get_color() != shown[1].xaxis.label.get_color() == "black"
    save_figure(figure, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_gray_pictures_of_another_range_and_long_names() -> None:
    picture = np.full((1, 2, 2), 16)
    figure = build_contact_sheet([Tile(picture, ("a name that is much too long 0.9",), white=16)], title="one")
    [axes] = figure.axes
    np.testing.assert_array_equal(axes.images[0].get_array(), np.ones((2, 2)))
    assert axes.get_xlabel() == "a name that is m…"


def test_the_end_of_a_long_file_name_is_kept() -> None:
    assert file_line("photos/train/cat/a.png") == "a.png"
    assert file_line("a/one_of_many_pictures_0017.png") == "…ictures_0017.png"
