"""A figure that a notebook shows by itself, without pyplot."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from dlassign.plots.style import png_bytes, save_figure

_DPI = 100  # of a notebook, which keeps each picture in its file


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn figure. A notebook shows it; elsewhere `save` writes it.

    Attributes:
        figure: matplotlib's Figure, to change or add to.
    """

    figure: Figure

    def save(self, path: str | Path) -> Path:
        """Write the picture into a file, and return its path; the same figure gives the same bytes.

        Args:
            path: its ending says the kind: .png, .svg or .pdf.

        Raises:
            ValueError: the path is no text and no Path.
            UserError: the ending names no known kind, or the file cannot be written.
        """
        if not isinstance(path, str | Path):
            raise ValueError(f"path={path!r}; expected the name of a file")
        save_figure(self.figure, Path(path), say=lambda text: print(text, file=sys.stderr))  # noqa: T201
        return Path(path)

    def _repr_png_(self) -> bytes:
        return png_bytes(self.figure, dpi=_DPI)
