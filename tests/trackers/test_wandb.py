"""`dlassign export --to wandb`: what its client has written is read back as W&B's own records, each step once."""

from __future__ import annotations

import json
import math
import os
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dlassign.store.paths import RunPaths
from dlassign.trackers import wandb as tracker
from dlassign.trackers.run_log import read_logs
from helpers.logs import RECORDS, START, export, write_log

# The client is a program of its own, which takes seconds to start.
pytestmark = [
    pytest.mark.extra,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in {**tracker._SILENT, "WANDB_MODE": "offline", "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)  # given back when the test ends
    return write_log(Path("out/a/0000000a-s0"))


def records_of(path: Path) -> Iterator[Any]:
    """Yield the records of a file of W&B: LevelDB's log format, with protocol buffers in it."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, b""
    while place < len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield Record.FromString(parts)
            parts = b""


def history_of(path: Path) -> list[dict[str, Any]]:
    rows = []
    for record in records_of(path):
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            rows.append(row | {"_step": record.history.step.num})
    return rows


def test_the_client_has_written_what_the_log_says_and_a_repeated_export_replaces_it(run: RunPaths) -> None:
    before = run.log.read_bytes()
    done = export("out", "--to", "wandb")
    assert done.stdout.splitlines() == ["wrote  out/a/wandb", "upload it: wandb sync out/a/wandb"]
    assert done.stderr == ""
    [file] = Path("out/a/wandb").rglob("*.wandb")
    identity = tracker._id(read_logs([run])[0])
    assert str(file) == f"out/a/wandb/offline-run-20260101_000000-{identity}/run-{identity}.wandb"
    rows = history_of(file)
    assert [row["_step"] for row in rows] == [1, 2, 4]
    assert [row["lr"] for row in rows] == [0.1, 0.2, 0.2]
    assert rows[1]["loss/train"] == 2.0
    assert rows[1]["loss/val"] == 1.5
    assert math.isnan(rows[2]["loss/train"])
    assert rows[0]["_timestamp"] < rows[2]["_timestamp"] < 1.8e9
    [begun] = [record.run for record in records_of(file) if record.HasField("run")]
    assert (begun.run_id, begun.project, begun.display_name) == (identity, "a", "0000000a-s0")
    assert begun.run_group == "a/0000000a"
    summary = {item.key: item.value_json for record in records_of(file) for item in record.summary.update}
    assert summary.get("final/test_accuracy") == "0.5"
    written = file.read_bytes()
    export("out", "--to", "wandb")
    assert [path.read_bytes() for path in Path("out/a/wandb").rglob("*.wandb")] == [written]
    assert run.log.read_bytes() == before
    run.log.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[:3]))
    export("out", "--to", "wandb")
    [other] = Path("out/a/wandb").rglob("*.wandb")
    assert [row["_step"] for row in history_of(other)] == [1, 2]
    assert {path.name for path in Path.cwd().iterdir()} <= {"out", "home"}


class Server(ThreadingHTTPServer):
    """Answers as W&B does to what an upload and its API ask, and keeps the histories that it was sent.

    To whoever writes to a run that is there it says, as W&B does, how many lines its history has; the client then adds.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.steps: dict[str, list[int]] = {}

    def graphql(self, query: str, asked: dict[str, Any]) -> dict[str, Any]:
        name = asked.get("name", "")
        lines = len(self.steps.get(name, ()))
        if "upsertBucket" in query:
            project = {"id": "p", "name": asked["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": name, "name": name, "config": "{}", "historyLineCount": lines, "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": not lines}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}
        if "query Run(" in query:
            empty = dict.fromkeys(("config", "systemMetrics", "summaryMetrics"), "{}")
            found = {"id": name, "name": name, "state": "finished", "user": {"name": "me", "username": "me"}, **empty}
            return {"project": {"run": {**found, "tags": [], "historyKeys": {}} if name in self.steps else None}}
        if "deleteRun" in query:
            del self.steps[asked["id"]]
            return {"deleteRun": {"clientMutationId": None}}
        return {}


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        steps = self.server.steps
        if "query" in body:
            answer = json.dumps({"data": self.server.graphql(body["query"], body.get("variables") or {})})
        else:
            answer = "{}"
            own = steps.setdefault(self.path.split("/")[-2], [])
            piece = body.get("files", {}).get("wandb-history.jsonl", {"offset": len(own), "content": []})
            own[piece["offset"] :] = [json.loads(line)["_step"] for line in piece["content"]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *arguments: Any) -> None:
        """Print nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    found = Server()
    threading.Thread(target=found.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{found.server_port}"
    for name, value in {"MODE": "online", "API_KEY": "a" * 40, "BASE_URL": address}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    yield found
    found.shutdown()
    found.server_close()


def test_an_upload_takes_the_place_of_the_former_one(run: RunPaths, server: Server) -> None:
    run.log.write_text("".join(json.dumps(record) + "\n" for record in RECORDS[:3]))
    assert export("out", "--to", "wandb").stdout == "wrote  out/a/wandb\n"
    [first] = server.steps
    export("out", "--to", "wandb")
    assert server.steps == {first: [1, 2]}, "an equal log is not uploaded again"
    run.log.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    export("out", "--to", "wandb")
    [second] = server.steps
    assert second != first
    assert server.steps[second] == [1, 2, 4]
    assert len(list(Path("out/a/wandb").iterdir())) == 1


def test_after_an_upload_that_failed_half_way_no_step_is_doubled(run: RunPaths, server: Server) -> None:
    [log] = read_logs([run])
    half = Path(f"out/a/wandb/offline-run-20260101_000000-{tracker._id(log)}/run-{tracker._id(log)}.wandb")
    half.parent.mkdir(parents=True)
    half.touch()
    Path(f"{half}.syncstate").write_text('{"starting_step":0}')
    server.steps[tracker._id(log)] = [1, 2]
    export("out", "--to", "wandb")
    assert server.steps == {f"{tracker._id(log)}-2": [1, 2, 4]}
    assert not half.exists()


def test_an_upload_without_login_says_how_to_go_on(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    write_log(Path("out/b/0000000b-s1"), [START | {"seed": 1, "name": "b/c"}, *RECORDS[1:]])
    done = export("out", "--to", "wandb", code=1)
    assert done.stderr.startswith("out/a/0000000a-s0, out/b/0000000b-s1 could not be exported to wandb: No API key")
    assert done.stderr.endswith("; the same command goes on from there (0 of 2 runs are exported)\n")
    assert done.stderr.count("\n") == 1
    assert len(list(Path("out/wandb").rglob("*.wandb"))) == 2
