"""PictureConfig: one picture of a table's runs, such as a figure of a report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Many, broken_rule


class PictureConfig(Config):
    """One picture of a table's runs."""

    title: Annotated[str, Field(min_length=1, max_length=100)]
    """What a reader is told that it shows."""
    of: str = ""
    """Which figure of the report it stands for, such as `Figure 2`."""
    rows: Many[str]
    """Names of the rows that are drawn, each in its colour. []: nothing is drawn, and the note says why."""
    shows: Literal["curves", "loss", "accuracy", "weights"] = "curves"
    """curves: loss, penalty and accuracy side by side. weights: of the first layer, from a checkpoint."""
    x: Literal["step", "epoch"] = "step"
    """Unit of the x axis."""
    log_y: bool = False
    """Whether the axis of the loss is logarithmic."""
    note: str = ""
    """What a reader has to know beside the picture."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if not self.rows and not self.note:
            yield broken_rule("rows", "nothing would be drawn; name rows of this table, or say in `note:` why not")
        if len(self.rows) > 1 and self.shows == "weights":
            yield broken_rule("rows", "weights are drawn of one row; give each a picture of its own")
