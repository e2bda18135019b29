"""TableRows: the cells of a table as text, in a little more memory than the file has bytes.

A Python text of five digits takes 54 bytes, and the list that it stands in 8 more; a table of ten million rows would
need more than the machine has. So the cells of a column are kept as one piece of UTF-8, with the place of each end.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, pairwise
from typing import overload

Row = tuple[int, list[str]]
"""The number of a line, and its cells."""
_BLOCK = 4096
"""Rows that are taken in at once."""


class TableRows(Sequence[Row]):
    """Rows of a table with `width` cells each, read only.

    Args:
        rows: what is taken in, in order.
        width: cells of each row.

    Attributes:
        odd: line number and length of each row that has another width; these are left out.
    """

    def __init__(self, rows: Iterable[Row], *, width: int) -> None:
        self.odd: list[tuple[int, int]] = []
        self._lines = array("q")
        self._text = [bytearray() for _ in range(width)]
        self._ends = [array("q", [0]) for _ in range(width)]
        waiting = iter(rows)
        while block := list(islice(waiting, _BLOCK)):
            self.odd += [(line, len(cells)) for line, cells in block if len(cells) != width]
            block = [row for row in block if len(row[1]) == width]
            self._lines.extend([line for line, _ in block])
            for place, cells in enumerate(zip(*(cells for _, cells in block), strict=True)):
                self._add(place, [cell.encode() for cell in cells])

    def _add(self, place: int, cells: Sequence[bytes]) -> None:
        ends = accumulate(map(len, cells), initial=len(self._text[place]))
        self._ends[place].extend(islice(ends, 1, None))
        self._text[place] += b"".join(cells)

    @property
    def lines(self) -> array[int]:
        """The number of the line of each row."""
        return self._lines

    def column(self, place: int) -> Iterator[str]:
        """Yield the cells of a column."""
        text = self._text[place]
        for start, end in pairwise(self._ends[place]):
            yield text[start:end].decode()

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Row]:
        cells = zip(*map(self.column, range(len(self._text))), strict=True)
        return ((line, list(own)) for line, own in zip(self._lines, cells, strict=True))

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = range(len(self))[place]
        cells = [
            text[ends[number] : ends[number + 1]].decode() for text, ends in zip(self._text, self._ends, strict=True)
        ]
        return self._lines[number], cells
