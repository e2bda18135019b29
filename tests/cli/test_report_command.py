"""`dlassign report` from the outside: the page, its warnings and errors, and `--live`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from dlassign.cli.main import main, run_process
from dlassign.errors import ConfigError, UserError
from dlassign.store.paths import RunPaths
from helpers.commands import calling
from helpers.synthetic import make_run

report_command = calling("report")

Going = tuple[RunPaths, FileLock]


def shown(path: Path) -> dict[str, Any]:
    """The data inside a page."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_run(Path("out"), name="a", steps=20)
    make_run(Path("out"), name="b", steps=20, seed=1)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_everything_under_out_goes_into_report_html(here: Path) -> None:
    done = run()
    assert (done.exit_code, done.stdout, done.stderr) == (0, "report.html\n", "")
    assert {found["name"] for found in shown(here / "report.html")["runs"]} == {"a", "b"}
    assert shown(here / "report.html")["every"] is None


def test_places_output_and_title(here: Path) -> None:
    done = run("out/a", "-o", "pages/one.html", "--title", "A <title>")
    assert done.stdout == "pages/one.html\n"
    assert [found["name"] for found in shown(here / "pages" / "one.html")["runs"]] == ["a"]
    assert "<title>A &lt;title&gt;</title>" in (here / "pages" / "one.html").read_text()


@pytest.mark.parametrize("own", ["my own page", "<!doctype html>\n<title>my own page</title>\n"])
def test_a_page_of_the_users_own_is_kept(here: Path, own: str) -> None:
    (here / "mine.html").write_text(own)
    for more in ((), ("--live",)):
        done = run("-o", "mine.html", *more)
        assert done.exit_code == 2
        assert "-o mine.html is there already, and dlassign did not write it; give another name" in done.stderr
        assert (here / "mine.html").read_text() == own


def test_a_page_of_ours_is_written_anew(here: Path) -> None:
    assert [run("--title", title).exit_code for title in ("first", "second")] == [0, 0]
    assert "<title>second</title>" in (here / "report.html").read_text()


def test_it_reads_out_and_writes_nothing_there(here: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in Path("out").rglob("*"))
    assert run().exit_code == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in Path("out").rglob("*")) == before


def test_a_damaged_run_is_a_warning(here: Path) -> None:
    (Path("out") / "c" / "0a0a0a0a-s0").mkdir(parents=True)
    (Path("out") / "c" / "0a0a0a0a-s0" / "log.jsonl").write_text("rubbish\n")
    done = run()
    assert done.exit_code == 0
    assert done.stderr.startswith("warning: out/c/0a0a0a0a-s0: ")
    assert [r["status"] for r in shown(here / "report.html")["runs"]].count("unreadable") == 1


def test_torch_is_imported_only_for_checkpoints(here: Path) -> None:
    code = "import sys; from dlassign.cli.commands.report import report_command\n"
    code += "report_command([], standalone_mode=False); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["report.html", "False"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["out/aa"], 1, "Did you mean out/a?"),
        (["--out", "nowhere"], 1, "no runs and no tables under nowhere"),
        (["-o", "out"], 1, "-o out: is a folder"),
        (["-o", "notes.md"], 1, "-o notes.md: expected a name that ends in .html or .htm"),
        (["-o", "/dev/full"], 1, "-o /dev/full: expected a name that ends in"),
        (["--live", "-o", "page"], 1, "-o page: expected a name that ends in"),
        (["--every", "2"], 2, "--every says how often --live writes the page"),
        (["--live", "--every", "0.1"], 2, "0.1 is not in the range"),
    ],
)
def test_mistakes_are_told(here: Path, arguments: list[str], code: int, said: str) -> None:
    done = run(*arguments)
    assert done.exit_code == code
    assert said in done.stderr
    assert done.stdout == ""


class TestLive:
    @pytest.fixture
    def going(self, here: Path) -> Iterator[Going]:
        """A run that goes on: it has no end, and its lock is held."""
        paths = make_run(Path("out"), name="going", steps=20, status=None)
        lock = FileLock(paths.lock)
        lock.acquire()
        yield paths, lock
        lock.release()

    def test_it_writes_until_all_have_ended(
        self, here: Path, going: Going, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paths, lock = going
        seen = []

        def sleep(seconds: float) -> None:
            data = shown(here / "report.html")
            seen.append((seconds, data["every"], {r["name"]: r["steps"] for r in data["runs"]}["going"]))
            if len(seen) == 1:
                with paths.log.open("a") as log:
                    log.write('{"kind": "train", "step": 40, "loss": 1.0, "accuracy": 0.5, "seconds": 1.0}\n')
            else:
                lock.release()

        monkeypatch.setattr(time, "sleep", sleep)
        assert report_command([], live=True, every=3.0) == 0
        assert seen == [(3.0, 3.0, 20), (3.0, 3.0, 40)]
        assert shown(here / "report.html")["every"] is None
        captured = capsys.readouterr()
        assert captured.out == "report.html\n"
        assert captured.err.count("3 runs, 1 running") == 1
        assert captured.err.endswith("all runs have ended: 3\n")

    def test_interrupted_it_leaves_a_page_that_stands_still(
        self, here: Path, going: Going, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def sleep(seconds: float) -> None:
            assert shown(here / "report.html")["every"] == 5.0
            raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", sleep)
        assert report_command([], live=True) == 130
        assert shown(here / "report.html")["every"] is None

    def test_sigterm_ends_it_as_ctrl_c_does(
        self, here: Path, going: Going, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def sleep(seconds: float) -> None:
            assert shown(here / "report.html")["every"] == 5.0
            os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(time, "sleep", sleep)
        monkeypatch.setattr(sys, "argv", ["dlassign", "report", "--live"])
        former = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as ended:
                run_process()
        finally:
            signal.signal(signal.SIGTERM, former[0])
            signal.signal(signal.SIGINT, former[1])
        assert ended.value.code == 130
        assert shown(here / "report.html")["every"] is None
        assert capsys.readouterr().err.endswith("interrupted; the page stays as it is now\n")

    def test_interrupted_while_it_writes_it_leaves_a_page_that_stands_still(
        self, here: Path, going: Going, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        written = []

        def write(target: Path, text: str) -> None:
            target.write_text(text)
            written.append(target)
            if len(written) == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr("dlassign.cli.views.page.write_text", write)
        assert report_command([], live=True) == 130
        assert shown(here / "report.html")["every"] is None

    @pytest.mark.parametrize("places", [["out/later"], []])
    def test_it_waits_for_a_run_that_has_not_made_its_folder(
        self, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        slept = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            assert not Path("report.html").exists()
            if len(slept) == 2:
                make_run(Path("out"), name="later", steps=20)

        monkeypatch.setattr(time, "sleep", sleep)
        assert report_command(places, live=True, every=2.0) == 0
        assert slept == [2.0, 2.0]
        assert [found["name"] for found in shown(Path("report.html"))["runs"]] == ["later"]
        said = capsys.readouterr()
        assert said.out == "report.html\n"
        [waiting, ended] = said.err.splitlines()
        assert waiting.startswith("waiting: ")
        assert waiting.endswith("; Ctrl-C ends")
        assert ended == "all runs have ended: 1"

    def test_interrupted_while_it_waits_it_writes_nothing(
        self, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def sleep(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", sleep)
        assert report_command(["out/later"], live=True) == 130
        assert not Path("report.html").exists()
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.endswith("interrupted; there is no page\n")

    def test_it_does_not_wait_for_a_file_to_become_a_run(self, here: Path) -> None:
        Path("notes.txt").write_text("")
        with pytest.raises(UserError, match="neither a run nor a table"):
            report_command(["notes.txt"], live=True)

    def test_without_a_run_that_goes_on_it_ends_at_once(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert report_command([], live=True) == 0
        assert capsys.readouterr().err == "all runs have ended: 2\n"


@pytest.mark.parametrize("name", ["out/a/latest/log.jsonl", "config.yaml", "page"])
def test_it_overwrites_nothing_but_pages(name: str, here: Path) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    assert run("-o", name).exit_code == 1
    assert path.read_text() == "mine"


def test_every_alone_is_an_error_of_the_command_line() -> None:
    with pytest.raises(ConfigError):
        report_command([], every=1.0)


def test_a_page_that_cannot_be_written_is_told(here: Path) -> None:
    Path("file").write_text("")
    with pytest.raises(UserError, match="file"):
        report_command([], output="file/report.html")
