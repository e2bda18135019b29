"""The logs of runs as one table with typed columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlassign.errors import UserError
from dlassign.store.files import make_folder, replacing
from dlassign.trackers.clients import require_package
from dlassign.trackers.csv_file import COLUMNS, FORMER, table_rows
from dlassign.trackers.run_log import RunLog

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = {"run", "name", "kind", "split"}
_WHOLE = {"seed", "step", "n", "unseen_n"}


class ParquetFile:
    """Writes a Parquet file.

    Args:
        path: of the file.

    Raises:
        UserError: pyarrow is not installed.
    """

    hint = ""

    def __init__(self, path: Path) -> None:
        require_package("pyarrow", tracker="parquet")
        self._path = path

    def write(self, logs: Sequence[RunLog]) -> list[str]:
        """Write the file, all or nothing in place of the former one.

        A value that the log does not have is null, and one that was not finite is NaN.

        Raises:
            UserError: there is a file that is no such table, or the file cannot be written.
        """
        from pyarrow import parquet

        if self._path.exists() and not self._is_ours():
            raise UserError(f"--out {self._path}: there is a file that no export has written; give another name")
        table = _table(logs)
        make_folder(self._path.parent, cure="choose another with --out")
        with replacing(self._path) as file:
            parquet.write_table(table, file)
        return [str(self._path)]

    def _is_ours(self) -> bool:
        import pyarrow as pa
        from pyarrow import parquet

        if not self._path.is_file():
            return False
        try:
            return tuple(parquet.read_schema(self._path).names) in (COLUMNS, FORMER)
        except (pa.ArrowException, OSError):
            return False


def _table(logs: Sequence[RunLog]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema([(column, _type(column)) for column in COLUMNS])
    columns = list(zip(*table_rows(logs), strict=True)) or [()] * len(COLUMNS)
    # NaN stays NaN here; read as pandas' values, it would become null.
    return pa.table([pa.array(*one, from_pandas=False) for one in zip(columns, schema.types, strict=True)], schema)


def _type(column: str) -> pa.DataType:
    import pyarrow as pa

    return pa.string() if column in _TEXTS else pa.int64() if column in _WHOLE else pa.float64()
