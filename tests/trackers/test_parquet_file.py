"""`dlassign export --to parquet`: typed columns, whose values pandas and polars read as the log has them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from dlassign.trackers import clients
from dlassign.trackers.csv_file import COLUMNS
from helpers.logs import export, write_log

pytestmark = pytest.mark.extra


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(Path("out/a/0000000a-s0"))


def test_columns_are_typed_and_each_measurement_is_there_once() -> None:
    from pyarrow import parquet

    assert export("out", "--to", "parquet").stdout == "wrote  out/a/0000000a-s0.parquet\n"
    table = parquet.read_table("out/a/0000000a-s0.parquet")
    types = {field.name: str(field.type) for field in table.schema}
    assert tuple(types) == COLUMNS
    assert (types["run"], types["step"], types["seed"], types["loss"]) == ("string", "int64", "int64", "double")
    assert table["step"].to_pylist() == [1, 2, 2, 4, 4]
    assert table["kind"].to_pylist() == ["train", "train", "eval", "train", "final"]
    losses = table["loss"].to_pylist()
    assert losses[:3] == [2.0, 2.0, 1.5]
    assert math.isnan(losses[3]), "was not finite"
    assert table["lr"].to_pylist()[2] is None, "is not in the log"


def test_pandas_reads_it() -> None:
    import pandas

    export("out", "--to", "parquet", "--out", "t.parquet")
    frame = pandas.read_parquet("t.parquet")
    assert frame.loc[frame.kind == "final", "accuracy"].tolist() == [0.5]
    assert frame.step.dtype == "int64"


def test_polars_reads_it() -> None:
    import polars

    export("out", "--to", "parquet", "--out", "t.parquet")
    read = polars.read_parquet("t.parquet")
    assert read["lr"].null_count() == 2
    assert read["loss"].is_nan().sum() == 1


def test_an_export_is_replaced_and_a_file_of_the_users_own_is_not() -> None:
    import pyarrow as pa
    from pyarrow import parquet

    export("out", "--to", "parquet", "--out", "t.parquet")
    write_log(Path("out/b/0000000b-s1"))
    export("out", "--to", "parquet", "--out", "t.parquet")
    assert parquet.read_table("t.parquet").num_rows == 10
    parquet.write_table(pa.table({"mine": [1]}), "mine.parquet")
    Path("notes.parquet").write_text("my notes")
    for own in ("mine.parquet", "notes.parquet"):
        before = Path(own).read_bytes()
        assert "no export has written" in export("out", "--to", "parquet", "--out", own, code=1).stderr
        assert Path(own).read_bytes() == before


def test_names_that_are_no_text_and_numbers_that_do_not_fit() -> None:
    from pyarrow import parquet

    write_log(Path("out/b\udcff/0000000b-s1"))
    export("out", "--to", "parquet", "--out", "t.parquet")
    assert "out/b?/0000000b-s1" in parquet.read_table("t.parquet")["run"].to_pylist()
    export("out", "--to", "csv", "--out", "t.csv")
    assert "out/b?/0000000b-s1" in Path("t.csv").read_text()
    log = Path("out/a/0000000a-s0/log.jsonl")
    log.write_text(log.read_text().replace('"n": 10', f'"n": {2**70}'))
    for step in (f'"n": {2**70}', '"n": -1'):  # no log has such counts, so no tracker has to expect them
        log.write_text(re.sub(r'"n": -?\d+', step, log.read_text()))
        for to in ("parquet", "csv", "tensorboard"):
            told = export("out/a", "--to", to, "--out", f"alone.{to}", code=1).stderr
            assert "n: expected a count from 0 to below 2**63" in told


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "find_spec", lambda name: None)
    done = export("out", "--to", "parquet", code=1)
    assert done.stderr == "--to parquet needs pyarrow: pip install 'dlassign[parquet]'\n"
