"""Columns: a table as NumPy arrays, which pandas and polars can take over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlassign.config.values import value_text
from dlassign.errors import UserError, first_few
from dlassign.stats.text import columns_text

_MOST_SHOWN = 10


@dataclass(frozen=True, eq=False)
class Columns:
    """A table by columns: `columns["loss"]` is an array, `dict(columns)` all of them, `len(columns)` the rows.

    Attributes:
        arrays: the columns by name, all of one length. Numbers that are missing or not finite are NaN.
    """

    arrays: Mapping[str, NDArray[Any]]

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self.arrays:
            raise KeyError(f"there is no column {name!r}; there are {', '.join(self.arrays)}")
        return self.arrays[name]

    def __len__(self) -> int:
        return max(map(len, self.arrays.values()), default=0)

    def keys(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.arrays)

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame.

        Raises:
            UserError: pandas is not installed.
        """
        return _package("pandas").DataFrame(dict(self.arrays))

    def to_polars(self) -> Any:
        """Return a polars.DataFrame.

        Raises:
            UserError: polars is not installed.
        """
        return _package("polars").DataFrame({name: column.tolist() for name, column in self.arrays.items()})

    def __repr__(self) -> str:
        if not len(self):
            return f"no rows of {first_few(self.keys(), 12)}"
        shown = {name: [value_text(value) for value in column[:_MOST_SHOWN].tolist()] for name, column in self._items()}
        more = len(self) - _MOST_SHOWN
        return columns_text(shown) + (f"\nand {more:,} more rows" if more > 0 else "")

    def _items(self) -> Iterable[tuple[str, NDArray[Any]]]:
        return self.arrays.items()


def columns_of(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Columns:
    """Return the values of rows by column; whole numbers stay whole where each row has one."""
    return Columns({name: _array([row.get(name) for row in rows]) for name in names})


def _array(values: Sequence[Any]) -> NDArray[Any]:
    kinds = {type(value) for value in values}
    if kinds <= {int} or kinds == {bool}:
        return np.array(values, dtype=np.int64 if kinds != {bool} else np.bool_)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    return np.array(values, dtype=object)


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(f"this needs {name}, which cannot be imported ({error}): pip install {name}") from None
