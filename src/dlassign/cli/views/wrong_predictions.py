"""What a net got wrong of a split: as a list, as pictures, and every prediction in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from dlassign.cli.views.prediction import draw_sheet, text_lines, write_lines
from dlassign.data.load import names_of_run
from dlassign.deploy.classifier import intake_of, two_columns
from dlassign.deploy.predict import MAX_PICTURES, column_names, most_confused, predictions, row_values, worst_errors
from dlassign.deploy.sources import Chunk
from dlassign.errors import UserError
from dlassign.stats.text import columns_text
from dlassign.train.saved import SavedSplit
from dlassign.train.saved_evaluation import SavedEvaluation


class WrongPredictions:
    """The predictions of a split, and which of them are wrong.

    Args:
        opened: the split.
        found: its evaluation.
        split: its name.
    """

    def __init__(self, opened: SavedSplit, found: SavedEvaluation, *, split: str) -> None:
        assert found.scores is not None
        self._classes = found.classes
        self._x = opened.samples.x
        self._what = f"{found.name}, {split} split of {found.label}"
        self._white = intake_of(opened.saved, self._x.shape[1:]).white
        names = names_of_run(opened.saved.cfg.data, opened.dataset)[split]
        chunk = Chunk(names, self._x, opened.samples.y.tolist())
        self._rows = predictions(chunk, two_columns(found.scores))
        self._errors = worst_errors(self._rows)
        pair = most_confused(self._rows, self._errors)
        self._confused = [
            place for place in self._errors if (self._rows[place].true, self._rows[place].classes[0]) == pair
        ]

    def write(self, target: Path, how: str) -> None:
        """Write every prediction, in the order of the split."""
        widest = max(len(row.name) for row in self._rows)
        write_lines(text_lines(self._rows, how, classes=self._classes, top=1, widest=widest), target)

    def listed(self, n: int) -> list[dict[str, Any]]:
        """Return the n worst errors: path, label, probability, true_label."""
        rows = (row_values(self._rows[place], self._classes, top=1) for place in self._errors[:n])
        return [dict(zip(column_names(1)[:-1], row, strict=False)) for row in rows]  # without `error`

    def lines(self, n: int) -> Iterator[str]:
        """Yield the n worst errors as text, and the pair of classes that is confused most often."""
        rows = self.listed(n)
        if not rows:
            yield "no errors"
            return
        every = len(self._errors)
        yield (
            f"the {n} worst of {every} errors" if n < every else f"{every} error{'s' * (every != 1)}, the worst first"
        )
        texts = {name: [str(row[name]) for row in rows] for name in ("path", "true_label", "label")}
        yield columns_text(texts | {"probability": [f"{row['probability']:.4f}" for row in rows]}, left=tuple(texts))
        if self._is_confused:
            yield f"confused most: {self._confusion()}, {len(self._confused):,} times"

    @property
    def _is_confused(self) -> bool:
        # If each pair occurs once, no pair is the most frequent.
        return len(self._confused) > 1

    def _confusion(self) -> str:
        row = self._rows[self._confused[0]]
        return f"{self._classes[row.true or 0]} taken for {self._classes[row.classes[0]]}"

    def draw(self, n: int, folder: Path, *, ending: str) -> list[Path]:
        """Draw the n worst errors and the errors of the most confused pair, and return the pictures.

        Nothing is drawn of rows of values, or without errors; where nothing can be written, that is told.
        """
        if self._x.ndim != 4 or not self._errors:
            return []
        worst = self._errors[: min(n, MAX_PICTURES)]
        sheets = {
            folder / f"errors-{ending}.png": (
                worst,
                f"{self._what}: the {len(worst)} worst of {len(self._errors)} errors",
            ),
        }
        if self._is_confused:
            sheets[folder / f"confused-{ending}.png"] = (
                self._confused[:MAX_PICTURES],
                f"{self._what}: {self._confusion()}",
            )
        try:
            for target, (places, title) in sheets.items():
                pictures = [(self._rows[place], self._x[place]) for place in places]
                draw_sheet(pictures, target, classes=self._classes, white=self._white, title=title)
        except UserError as error:
            click.echo(f"note: no picture was written: {error}", err=True)
            return []
        return list(sheets)
