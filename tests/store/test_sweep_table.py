"""What a sweep found is written and read in one form; damage is told with its place."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlassign.errors import UserError
from dlassign.store.sweep_table import SweepTable, read_table, table_content, write_table
from helpers.sweep_tables import grid, row, run, write


@pytest.fixture
def table(tmp_path: Path) -> Any:
    def make(rows: list[dict[str, Any]], **changes: Any) -> SweepTable:
        return read_table(write(tmp_path / "out" / "grid", rows, **changes))

    return make


class TestReadTable:
    def test_rows_stand_in_the_order_of_their_trials(self, table: Any) -> None:
        found = table(grid()[::-1])
        assert [r.number for r in found.rows] == list(range(12))
        assert found.rows[0].runs[0].seconds == 2.0
        assert found.varied == ("optimizer.lr", "train.batch_size", "model.hidden")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("{", "no JSON"),
            ("[]", "no table of a sweep"),
            ('{"schema": 2}', "has schema 2, this version of dlassign reads 1"),
            ('{"schema": 1}', "name: is missing"),
        ],
    )
    def test_damaged(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "table.json").write_text(text)
        with pytest.raises(UserError, match=said):
            read_table(tmp_path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"keys": "a"}, "keys: expected a list, got 'a'"),
            ({"keys": [1]}, r"keys\[0\]: expected a text, got 1"),
            ({"rows": [3]}, r"rows\[0\]: expected an object, got 3"),
            ({"objective": {"split": "val", "metric": "f1", "of": "final"}}, "metric: expected one of loss, accuracy"),
            ({"rows": [{**row(0, {}, run(0.5)), "number": True}]}, r"rows\[0\]\.number: expected a whole number"),
            ({"rows": [{**row(0, {}, run(0.5)), "rank": {}}]}, r"rows\[0\]\.rank: expected a whole number, got \{\}"),
        ],
    )
    def test_damage_is_told_with_its_place(self, tmp_path: Path, change: dict[str, Any], said: str) -> None:
        file = write(tmp_path, []) / "table.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
        with pytest.raises(UserError, match=said):
            read_table(tmp_path)

    def test_a_damaged_run_is_named(self, table: Any) -> None:
        rows = grid()
        rows[4]["runs"][0]["value"] = "high"
        with pytest.raises(UserError, match=r"rows\[4\]\.runs\[0\]\.value: expected a number or null, got 'high'"):
            table(rows)
        rows[4]["runs"][0] = run(0.1, status="lost")
        with pytest.raises(UserError, match=r"rows\[4\]\.runs\[0\]\.status: expected one of finished, .*got 'lost'"):
            table(rows)

    @pytest.mark.parametrize("name", ["a\0b", "..", "../else", "/etc", ""])
    def test_a_run_that_lies_elsewhere_is_damage(self, table: Any, name: str) -> None:
        with pytest.raises(UserError, match=r"is damaged: the run '.*' is no name of a folder"):
            table([row(0, {}, run(0.5) | {"run": name})])

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="there is no folder"):
            read_table(tmp_path / "x")
        with pytest.raises(UserError, match=r"holds no sweep.*give the folder that"):
            read_table(tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="is a file; give the folder"):
            read_table(tmp_path / "file")

    def test_what_is_not_finite_has_no_value(self, tmp_path: Path) -> None:
        text = json.dumps({**row(0, {"a": 1}, run(None)), "value": math.inf})
        folder = write(tmp_path, [])
        body = json.loads((folder / "table.json").read_text())
        (folder / "table.json").write_text(json.dumps(body).replace('"rows": []', f'"rows": [{text}]'))
        assert read_table(folder).rows[0].value is None


class TestWriteTable:
    def test_what_is_written_is_read_again(self, tmp_path: Path) -> None:
        read = read_table(write(tmp_path / "a", grid()))
        (tmp_path / "b").mkdir()
        write_table(replace(read, folder=tmp_path / "b"))
        assert replace(read_table(tmp_path / "b"), folder=read.folder) == read

    def test_rows_are_written_best_first(self, tmp_path: Path) -> None:
        runs = run(0.4), run(0.3, seed=9, confirms=True)
        rows = [row(i, {"a": i}, *runs) | {"rank": rank} for i, rank in enumerate((2, None, 1))]
        table = read_table(write(tmp_path, rows))
        content = table_content(table)
        assert [found["rank"] for found in content["rows"]] == [1, 2, None]
        write_table(table)
        assert json.loads((tmp_path / "table.json").read_text()) == content
        lines = (tmp_path / "table.csv").read_text().splitlines()
        assert lines[0].startswith("rank,number,point,a,status,n,value,low,high,confirmed_n,")
        assert lines[1] == "1,2,00000002,2,finished,1,0.4,,,,,,,,4.0"
