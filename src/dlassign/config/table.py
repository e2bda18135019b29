"""TableConfig: which runs make up a table of a report, and what the report has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Count, Finite, PathText, Positive, Several, broken_rule
from dlassign.config.picture import PictureConfig
from dlassign.config.run import NAME_PATTERN
from dlassign.config.suggestion import did_you_mean

CONTENT_SCHEMA = 3
"""Version of out/tables/NAME.json, which `reproduce` writes and `report` reads."""

Figure = Literal[
    "test",
    "test last",
    "test best",
    "val",
    "val last",
    "val best",
    "train",
    "train last",
    "train mean",
    "loss last",
]
"""What is compared; each is read from a run's log.

test, val: accuracy at the end, with the weights that the config keeps.
test last, val last: accuracy at the last evaluation during training.
test best, val best: the best of all evaluations during training.
train: accuracy of the training split at its last evaluation, by configs that evaluate it.
train last: mean accuracy of the last epoch's training batches, each as it was just before its step.
train mean: the same over the whole training, from the first step on.
loss last: training loss of the last log record.
"""

Kind = Literal["collapses", "floors", "overfits"]
"""What kind of result a report has; `tables.result_kinds` says by what a run is told to have it.

collapses: one class for everything, or no more right answers than chance gives.
floors: the loss stays above ln(1 + (K - 1)/e), though most training samples are right: a softmax taken twice.
overfits: far more right answers on training samples than on others.
"""

_REPORTED: dict[str, Any] = {"figure": "test last", "value": 0.4611}


class Reported(Config):
    """One figure of a report."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REPORTED]})

    figure: Figure
    """What the figure is: of which split, and whether of the last evaluation, the best one, or the kept weights."""
    value: Finite | None = None
    """The reported number; an accuracy as a fraction from 0 to 1. null: the report has none."""
    step: Count | None = None
    """The figure as it was at this step, or at the nearest one that is logged. null: at the end."""
    best_of: Count | None = None
    """Of how many evaluations or runs the reported number is the best. null: it is of one."""
    margin: Positive | None = None
    """Smallest difference that matters, in parts of 1 or units of the loss. null: the table's."""
    exact: bool = False
    """Whether the number comes from theory, so that chance had no part in it."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.value is not None and not self.is_loss and not 0 <= self.value <= 1:
            yield broken_rule("value", f"expected an accuracy from 0 to 1, got {self.value:g}; 96.5 % is 0.965")
        if self.margin is not None and not self.is_loss and self.margin >= 1:
            yield broken_rule("margin", f"expected a part of an accuracy, below 1, got {self.margin:g}; 2 % is 0.02")
        if self.value is not None and self.best_of is None and self.figure.endswith("best"):
            what = f"{self.figure!r} is the best of several evaluations, which grows with their number"
            yield broken_rule("figure", f"{what}; say of how many the reported one is, such as best_of: 15")

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss, of which less is better; else it is an accuracy."""
        return self.figure.startswith("loss")


class TableRow(Config):
    """One experiment."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"label": "SGD", "config": "../mlp.yaml", "reported": [_REPORTED]}]}
    )

    label: Annotated[str, Field(min_length=1, max_length=80)]
    """What a reader is told of it."""
    config: PathText
    """The config, relative to this file."""
    reported: Annotated[Several[Reported], Field(examples=[[_REPORTED]])]
    """What the report has for it, and what else is to be shown."""
    kind: Kind | None = None
    """What kind of result the report has; runs that do not have it are different in kind. null: none in particular."""
    note: str = ""
    """What a reader has to know beside the figures."""
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of seeds of an experiment that takes long. null: as for all others."""
    seconds: Positive | None = None
    """Time of one run on two CPU cores, for `--list` and `--quick`. null: not known."""


def _named(rows: dict[str, TableRow]) -> dict[str, TableRow]:
    if not rows:
        raise broken_rule("", "the table has no rows; give names with label, config and reported")
    _check_names(rows, "a row's name")
    return rows


def _files(pictures: dict[str, PictureConfig]) -> dict[str, PictureConfig]:
    _check_names(pictures, "a picture's name")
    return pictures


def _check_names(names: Iterable[str], what: str) -> None:
    for name in names:
        if not re.fullmatch(NAME_PATTERN, name):
            raise broken_rule((name,), f"{what} has letters, digits, `_`, `-` and `.` only", at_key=True)


class TableConfig(Config):
    """A table: what a report says beside what is measured."""

    title: Annotated[str, Field(min_length=1)]
    """Heading of the table."""
    source: str = ""
    """Where the reported figures are from."""
    margin: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Smallest difference of two accuracies that matters; needed where a figure with a value has no `margin` itself."""
    copy_margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Accuracy that may be lost because the data is a copy, such as JPEG images in place of CIFAR-10's own files."""
    rows: Annotated[dict[str, TableRow], AfterValidator(_named)]
    """Experiments by name, in the order in which they are shown."""
    pictures: Annotated[dict[str, PictureConfig], Field(default_factory=dict), AfterValidator(_files)]
    """What `reproduce --figures` draws, by the names of the files."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from broken_table_rules(dict(self))

    def margin_of(self, reported: Reported) -> float | None:
        """Return the smallest difference that matters of a figure; None if nothing says it."""
        return _margin(reported, self.margin)


def broken_table_rules(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield every broken rule between the sections of a table.

    sections: those that are valid by themselves, by name.
    """
    yield from _unknown_rows(sections)
    yield from _missing_margins(sections)


def _missing_margins(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield each figure that is compared though no margin says which differences matter."""
    if "rows" not in sections or "margin" not in sections:
        return
    for name, row in sections["rows"].items():
        for place, reported in enumerate(row.reported):
            if reported.value is not None and _margin(reported, sections["margin"]) is None:
                what = f"{reported.figure!r} has a value to compare with, but no margin says what matters"
                cure = "add margin: in units of the loss" if reported.is_loss else "give the table one, margin: 0.02"
                yield broken_rule(("rows", name, "reported", place, "value"), f"{what}; {cure}")


def _margin(reported: Reported, of_table: float | None) -> float | None:
    return reported.margin or (None if reported.is_loss else of_table)


def _unknown_rows(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield what pictures name that is no row of their table."""
    rows: Mapping[str, TableRow] = sections.get("rows", {})
    pictures: Mapping[str, PictureConfig] = sections.get("pictures", {}) if rows else {}
    for name, picture in pictures.items():
        for row in picture.rows:
            if row not in rows:
                message = f"this table has no row {row!r}.{did_you_mean(row, rows)} Known: {', '.join(rows)}"
                yield broken_rule(("pictures", name, "rows"), message)
