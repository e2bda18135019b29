"""TableConfig: which runs make up a table of a report, and what the report has for them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from dlassign.config.base import Config, Finite, PathText, Positive, Several, broken_rule
from dlassign.config.picture import PictureConfig
from dlassign.config.run import NAME_PATTERN
from dlassign.config.suggestion import did_you_mean

_LETTERS = "letters, digits, `_`, `-` and `.`"

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

_REPORTED: dict[str, Any] = {"figure": "test last", "value": 0.4611}


class Reported(Config):
    """One figure of a report."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REPORTED]})

    figure: Figure
    """What the figure is: of which split, and whether of the last evaluation, the best one, or the kept weights."""
    value: Finite | None = None
    """The reported number; an accuracy as a fraction from 0 to 1. null: the report has none."""
    within: Positive | None = None
    """Largest difference at which the two agree, where the figure has no spread over seeds. null: by the spread."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.value is not None and not self.figure.startswith("loss") and not 0 <= self.value <= 1:
            yield broken_rule("value", f"expected an accuracy from 0 to 1, got {self.value:g}; 96.5 % is 0.965")
        if self.within is not None and not self.figure.startswith("loss") and self.within >= 1:
            yield broken_rule("within", f"expected a part of an accuracy, below 1, got {self.within:g}")


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
    note: str = ""
    """What a reader has to know beside the figures."""
    seeds: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Number of seeds of an experiment that takes long. null: as for all others."""
    seconds: Positive | None = None
    """Time of one run on two CPU cores, for `--list` and `--quick`. null: not known."""


def _named(rows: dict[str, TableRow]) -> dict[str, TableRow]:
    if not rows:
        raise broken_rule("", "the table has no rows; give names with label, config and reported")
    for name in rows:
        if not re.fullmatch(NAME_PATTERN, name):
            raise broken_rule((name,), f"a row's name has {_LETTERS} only", at_key=True)
    return rows


def _files(pictures: dict[str, PictureConfig]) -> dict[str, PictureConfig]:
    for name in pictures:
        if not re.fullmatch(NAME_PATTERN, name):
            raise broken_rule((name,), f"a picture's name has {_LETTERS} only", at_key=True)
    return pictures


class TableConfig(Config):
    """A table: what a report says beside what is measured."""

    title: Annotated[str, Field(min_length=1)]
    """Heading of the table."""
    source: str = ""
    """Where the reported figures are from."""
    rows: Annotated[dict[str, TableRow], AfterValidator(_named)]
    """Experiments by name, in the order in which they are shown."""
    pictures: Annotated[dict[str, PictureConfig], Field(default_factory=dict), AfterValidator(_files)]
    """What `reproduce --figures` draws, by the names of the files."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        yield from unknown_rows({"rows": self.rows, "pictures": self.pictures})


def unknown_rows(sections: Mapping[str, Any]) -> Iterator[PydanticCustomError]:
    """Yield what pictures name that is no row of their table.

    Args:
        sections: those parts of a table that are valid by themselves, by their keys.
    """
    rows: Mapping[str, TableRow] = sections.get("rows", {})
    pictures: Mapping[str, PictureConfig] = sections.get("pictures", {}) if rows else {}
    for name, picture in pictures.items():
        for row in picture.rows:
            if row not in rows:
                message = f"this table has no row {row!r}.{did_you_mean(row, rows)} Known: {', '.join(rows)}"
                yield broken_rule(("pictures", name, "rows"), message)
