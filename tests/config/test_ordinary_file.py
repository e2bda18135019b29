"""Files are read; what may never end or is no file is refused at once."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from dlassign.config.load import load_config
from dlassign.config.load_sweep import load_sweep
from dlassign.config.ordinary_file import open_ordinary, read_ordinary
from dlassign.errors import ConfigError, UserError
from dlassign.store.records import read_records

PIPE = "it is no ordinary file, but a pipe or a device, which cannot be read twice"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.yaml")


def test_a_file_is_read() -> None:
    Path("a").write_bytes(b"abc")
    assert read_ordinary(Path("a")) == b"abc"
    with open_ordinary(Path("a")) as file:
        assert file.read(2) == b"ab"


@pytest.mark.parametrize(("name", "message"), [("/dev/zero", PIPE), ("pipe.yaml", PIPE), (".", "directory")])
def test_what_is_no_file_is_refused(name: str, message: str) -> None:
    with pytest.raises(OSError, match=message):
        read_ordinary(Path(name))


def test_a_socket_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="No such device"):
            read_ordinary(Path("socket"))


def test_a_pipe_that_a_shell_made_is_refused() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w"), pytest.raises(ConfigError, match=PIPE):
        load_config(f"/dev/fd/{reader}")


def test_a_pipe_as_config_does_not_hang() -> None:
    with pytest.raises(ConfigError, match=rf"^pipe.yaml: cannot be read \({PIPE}.*give the path of a YAML file"):
        load_config("pipe.yaml")


def test_a_pipe_that_is_extended_or_a_sweeps_base_does_not_hang() -> None:
    Path("a.yaml").write_text("extends: pipe.yaml\n")
    with pytest.raises(ConfigError, match=rf"^a.yaml:1:10: extends: pipe.yaml: cannot be read \({PIPE}"):
        load_config("a.yaml")
    Path("s.yaml").write_text("base: pipe.yaml\nspace: {optimizer.lr: [0.1]}\n")
    with pytest.raises(ConfigError, match=rf"^s.yaml:1:7: base: pipe.yaml: cannot be read \({PIPE}"):
        load_sweep("s.yaml")


def test_a_pipe_as_log_does_not_hang() -> None:
    os.mkfifo("log.jsonl")
    with pytest.raises(UserError, match=PIPE):
        read_records(Path("log.jsonl"))
