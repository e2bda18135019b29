"""What all config classes share: strictness, tuples, durations and rule violations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from dlassign.config.places import KeyPath

T = TypeVar("T")


class Config(BaseModel):
    """Base of every config class: unknown keys, wrong types and later changes are errors.

    The text below a key describes it, in the JSON Schema too (see `schema.described`).
    """

    # A class is built when something is checked by it: most are checked only as parts of another.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        """Yield the broken rules between the keys; a class with such rules overrides it."""
        yield from ()

    @model_validator(mode="after")
    def _refuse_broken_rules(self) -> Self:
        for rule in self._broken_rules():
            raise rule
        return self


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A YAML list, kept as a tuple so that a config cannot change."""
Several = Annotated[tuple[T, ...], Field(min_length=1), BeforeValidator(_as_tuple)]
"""A list with at least one item."""
Stages = Annotated[tuple[T, ...], Field(min_length=1, max_length=32), BeforeValidator(_as_tuple)]
"""A list with one item for each stage of a network, which halves the image."""
Layers = Annotated[tuple[T, ...], Field(max_length=1000), BeforeValidator(_as_tuple)]
"""A list with one item for each layer."""
Pair = Annotated[tuple[T, T], BeforeValidator(_as_tuple)]
"""A list of two items."""

COUNTS_END = 2**31
"""Where indices of torch and the numbers of many file formats end."""
Count = Annotated[int, Field(ge=1, lt=COUNTS_END)]
Depth = Annotated[int, Field(ge=0, le=1000)]
"""Layers or blocks in a row."""
Pixels = Annotated[int, Field(ge=0, le=2**14)]
"""A length in an image; memory ends with its square."""
Side = Annotated[int, Field(ge=1, le=2**14)]
"""A length in an image, of at least one pixel."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
"""What something counts beside others. Sums of larger ones would leave no digits of small ones in float32."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _no_null(value: str) -> str:
    if "\0" in value:
        raise broken_rule("", "a path cannot hold a null character; remove it")
    return value


def _no_unknown_home(value: str) -> str:
    try:
        Path(value).expanduser()
    except (RuntimeError, ValueError):
        raise broken_rule("", f"there is no user {value.split('/')[0]!r}; write the path of the folder out") from None
    return value


FolderName = Annotated[str, AfterValidator(_no_null)]
"""A path below another folder."""
PathText = Annotated[FolderName, AfterValidator(_no_unknown_home)]
"""A path as the user writes it; `~` is the home folder."""


def broken_rule(key: str | KeyPath, message: str, *, at_key: bool = False) -> PydanticCustomError:
    """Return the error for a rule between keys.

    Args:
        key: the key that the message should point at, relative to the class that holds the rule: with dots, or in parts
            where a part has dots itself.
        message: the rule, the values and the cure.
        at_key: point at the key itself, not at its value.
    """
    return PydanticCustomError("broken_rule", "{message}", {"message": message, "key": key, "at_key": at_key})


class Duration(Config):
    """A length of training, in steps or in epochs; one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"steps": 100}]})

    steps: Count | None = None
    """Number of optimizer steps."""
    epochs: Positive | None = None
    """Number of passes over the training split; a fraction is allowed."""

    def _broken_rules(self) -> Iterator[PydanticCustomError]:
        if self.steps is not None and self.epochs is not None:
            yield broken_rule("epochs", "steps and epochs are both given; remove one of them")
        if self.steps is None and self.epochs is None:
            yield broken_rule("", "neither steps nor epochs is given; give one: {steps: 100} or {epochs: 1}")
