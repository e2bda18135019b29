"""`dlassign export --to mlflow`, read back with MLflow's own client: each run once, whole, and found again."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dlassign.store.paths import RunPaths
from dlassign.trackers import mlflow as tracker
from dlassign.trackers.run_log import read_logs
from helpers.logs import RECORDS, START, export, measured, write_log

# Takes seconds to import, and as long to make a database.
pytestmark = [
    pytest.mark.extra,
    # MLflow's own, of packages that it uses in their old ways.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MLflow in which nothing is."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        tracker._create(path)
    assert [one.name for one in path.parent.iterdir()] == ["empty.db"], "whole, and nothing beside it"
    return path


@pytest.fixture(autouse=True)
def run(tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.chdir(tmp_path)
    for name in tracker._SILENT:  # so that they are given back when the test ends
        monkeypatch.setenv(name, "0" if name.endswith("RETRIES") else "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(tables, "mlflow.db")
    return write_log(Path("out/a/0000000a-s0"))


def client_of_tests() -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")


def runs_of(name: str = "a") -> list[Any]:
    client = client_of_tests()
    experiment = client.get_experiment_by_name(name)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def points_of(run: Any, name: str) -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client_of_tests().get_metric_history(run.info.run_id, name)]


def test_mlflow_reads_what_the_log_says_and_a_repeated_export_changes_nothing(run: RunPaths) -> None:
    before = run.log.read_bytes()
    done = export("out", "--to", "mlflow", "--out", "mlflow.db")
    assert done.stdout.splitlines() == [
        "wrote  sqlite:///mlflow.db",
        "show it: mlflow ui --backend-store-uri sqlite:///mlflow.db",
    ]
    assert done.stderr == ""
    [found] = runs_of()
    losses = points_of(found, "loss/train")
    assert losses[:2] == [(1, 2.0), (2, 2.0)]
    assert losses[2][0] == 4
    assert math.isnan(losses[2][1])
    assert points_of(found, "loss/val") == [(2, 1.5)]
    assert found.data.metrics["final/test_accuracy"] == 0.5
    assert found.data.params["train.steps"] == "4"
    assert (found.info.run_name, found.info.status) == ("0000000a-s0", "FINISHED")
    assert found.data.tags["dlassign.group"] == "a/0000000a"
    export("out", "--to", "mlflow", "--out", "mlflow.db")
    assert [one.info.run_id for one in runs_of()] == [found.info.run_id]
    assert run.log.read_bytes() == before
    assert not Path("mlruns").exists()


def test_a_run_that_has_gone_on_replaces_its_former_export_wherever_its_folder_lies(run: RunPaths) -> None:
    run.log.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[:3]))
    export("out", "--to", "mlflow", "--out", "mlflow.db")
    assert [(len(points_of(one, "lr")), one.info.status) for one in runs_of()] == [(2, "KILLED")]
    run.root.rename("out/a/moved")
    write_log(Path("out/a/again"), [START | {"time": "2026-02-01T00:00:00+00:00"}])
    Path("out/a/moved/log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    export("out", "--to", "mlflow", "--out", "mlflow.db")
    assert sorted((one.info.run_name, len(points_of(one, "lr"))) for one in runs_of()) == [("again", 0), ("moved", 3)]


def test_what_a_killed_export_has_left_is_removed(run: RunPaths) -> None:
    client = client_of_tests()
    [log] = read_logs([run])
    client.create_run(client.create_experiment("a"), tags={tracker.IDENTITY: log.identity})
    export("out", "--to", "mlflow", "--out", "mlflow.db")
    [found] = runs_of()
    assert tracker.CONTENT in found.data.tags


def test_a_log_that_grows_adds_to_its_run_and_a_resume_writes_it_anew(run: RunPaths) -> None:
    def written(*records: dict[str, Any]) -> Any:
        run.log.write_text("".join(json.dumps(record) + "\n" for record in records))
        exporter.write(read_logs([run]))
        [found] = runs_of()
        return found

    exporter = tracker.MLflow(Path("mlflow.db"))
    first = written(*RECORDS[:2])
    second = written(*RECORDS[:3])
    assert second.info.run_id == first.info.run_id
    assert points_of(second, "loss/train") == [(1, 2.0), (2, 9.0)]
    third = written(*RECORDS)
    assert third.info.run_id != first.info.run_id
    assert points_of(third, "loss/train")[:2] == [(1, 2.0), (2, 2.0)]
    assert tracker.MLflow(Path("mlflow.db")).write(read_logs([run])) == ["sqlite:///mlflow.db"]
    assert [one.info.run_id for one in runs_of()] == [third.info.run_id]


def test_many_measurements_and_settings_of_any_name(run: RunPaths) -> None:
    columns = {f"größe {i} (cm)/../$": {"use": "x" * 7000 if i == 0 else None} for i in range(120)}
    start = START | {"config": START["config"] | {"columns": columns}}
    records = [start, *(measured("train", step, 1.0, lr=0.1) for step in range(1, 1201))]
    run.log.write_text("".join(json.dumps(record) + "\n" for record in records))
    export("out", "--to", "mlflow", "--out", "mlflow.db")
    [found] = runs_of()
    assert len(points_of(found, "loss/train")) == 1200
    assert len(found.data.params) > 120


def test_one_run_that_fails_is_one_line_and_the_others_go_on(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def fail(client: MlflowClient, run_id: str, *arguments: Any, **more: Any) -> None:
        if client.get_run(run_id).info.run_name == "0000000a-s0":
            raise MlflowException("the network is gone\nand much more")
        log_batch(client, run_id, *arguments, **more)

    log_batch = MlflowClient.log_batch
    write_log(Path("out/b/0000000b-s1"), [START | {"seed": 1, "name": "b"}, *RECORDS[1:]])
    monkeypatch.setattr(MlflowClient, "log_batch", fail)
    done = export("out", "--to", "mlflow", "--out", "mlflow.db", code=1)
    assert done.stderr == (
        "out/a/0000000a-s0 could not be exported to mlflow: the network is gone; the same command goes on from there "
        "(1 of 2 runs are exported)\n"
    )
    assert (len(runs_of("a")), len(runs_of("b"))) == (0, 1)


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    done = export("out", "--to", "mlflow", code=1)
    assert done.stderr.startswith("MLflow at http://127.0.0.1:9 cannot be used: ")
    assert "MLFLOW_TRACKING_URI" in done.stderr
    assert "secret" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_of_the_users_own_is_written_over() -> None:
    Path("notes.db").write_text("my notes")
    with sqlite3.connect("mine.db") as database:
        database.execute("create table mine (x)")
    database.close()
    Path("empty.db").touch()
    for own in ("notes.db", "mine.db", "empty.db"):
        before = Path(own).read_bytes()
        done = export("out", "--to", "mlflow", "--out", own, code=1)
        assert "there is a file that is no database of MLflow" in done.stderr
        assert Path(own).read_bytes() == before
