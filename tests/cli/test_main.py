"""The lazy group: every command is found, its help is cheap, and its file imports click alone."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner

import dlassign.cli.main as main_module
from dlassign.__main__ import run
from dlassign.cli.main import COMMANDS, main
from dlassign.cli.options import place
from helpers.logs import write_log

FOLDER = Path(main_module.__file__).parent
HEAVY = {"torch", "numpy", "pydantic", "matplotlib", "rich", "yaml", "dlassign.errors", "dataclasses", "json"}
LIGHT = {
    "dlassign.cli.options": FOLDER / "options.py",
    "dlassign.deploy.kinds": FOLDER.parent / "deploy" / "kinds.py",
    "dlassign.trackers.names": FOLDER.parent / "trackers" / "names.py",
}
"""What files of commands import at module level; these import no more themselves."""
README = (Path(__file__).parents[2] / "README.md").read_text()
CODE = """
import sys
from dlassign.cli.main import main
main({arguments}, standalone_mode=False)
print(*sys.modules)
"""


def modules_after(*arguments: str) -> set[str]:
    line = [sys.executable, "-c", CODE.format(arguments=list(arguments))]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_the_files_of_commands_and_nothing_heavy() -> None:
    found = modules_after("--help")
    assert not HEAVY & found
    assert {f"dlassign.cli.commands.{name}" for name in COMMANDS} <= found


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_imports_that_command_alone(name: str) -> None:
    found = modules_after(name, "--help")
    assert not HEAVY & found
    others = {f"dlassign.cli.commands.{other}" for other in COMMANDS if other != name}
    assert not others & found


def test_every_file_of_commands_is_a_command() -> None:
    files = {path.stem for path in (FOLDER / "commands").glob("*.py")} - {"__init__"}
    assert files == set(COMMANDS)


@pytest.mark.parametrize(
    "path",
    [FOLDER / "main.py", *LIGHT.values(), *sorted((FOLDER / "commands").glob("*.py"))],
    ids=lambda p: p.stem,
)
def test_click_and_lists_of_names_are_imported_at_module_level(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            root = name.split(".")[0]
            assert root in {"click", *sys.stdlib_module_names} or name in LIGHT, name


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_one_example_and_stands_in_the_readme(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert command.help.count("Example: dlassign ") == 1
    assert f"`dlassign {name}" in README


def test_a_mistyped_command_exits_2() -> None:
    done = CliRunner().invoke(main, ["trian"])
    assert done.exit_code == 2
    assert "No such command" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "--where", "bogus"],
        ["runs", "--where", "lr>3"],
        ["runs", "--sort", "foo"],
        ["doctor", "--explain", "nonsense"],
        ["train", "none.yaml"],
        ["init", "nowhere"],
    ],
    ids=" ".join,
)
def test_what_no_command_knows_exits_2(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_log(Path("out/a/0000000a-s0"))
    assert CliRunner().invoke(main, words).exit_code == 2


@pytest.mark.parametrize("name", ["verify", "compare", "doctor", "evaluate", "plot", "report", "clean"])
def test_a_run_that_is_not_there_exits_1(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, [name, "nowhere"]).exit_code == 1


def test_an_error_of_the_system_is_told_in_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["check", str(tmp_path)])
    assert done.exit_code in (1, 2)
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--lr", "3"], "--set optimizer.lr=3"),
        (["--lr=3"], "--set optimizer.lr=3"),
        (["--batch-size", "8", "--seed", "1"], "--set train.batch_size=8"),
        (["--model", "vgg"], "--set model.name=vgg"),
        (["--epochs"], "--set train.epochs=VALUE"),
    ],
)
def test_a_config_key_given_as_an_option_is_named(given: list[str], meant: str) -> None:
    done = CliRunner().invoke(main, ["train", "--config", "a.yaml", *given])
    assert done.exit_code == 2
    assert f"Did you mean '{meant}'?" in done.stderr


def test_other_unknown_options_are_told_as_before() -> None:
    assert "--set" not in CliRunner().invoke(main, ["train", "--confi", "a.yaml"]).stderr
    assert "--set" not in CliRunner().invoke(main, ["runs", "--lr", "3"]).stderr


def test_a_tilde_in_out_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert place("~/x") == str(tmp_path / "x")
    assert place("a/~") == "a/~"
    done = CliRunner().invoke(main, ["train", "--config=~/none.yaml", "--out=~/x"])
    assert done.stderr.startswith(f"{tmp_path}/none.yaml: no such file")
    done = CliRunner().invoke(main, ["train", "--config=a.yaml", "--out=~nobody-here/x"])
    assert "there is no user '~nobody-here'" in done.stderr


@pytest.mark.parametrize("name", ["train", "sweep", "crosscheck", "gradcheck"])
def test_a_config_is_given_by_its_path_or_by_the_option(name: str) -> None:
    for given in (["none.yaml"], ["--config", "none.yaml"]):
        done = CliRunner().invoke(main, [name, *given])
        assert (done.exit_code, done.stderr[:23]) == (2, "none.yaml: no such file")
    done = CliRunner().invoke(main, [name, "a.yaml", "--config", "b.yaml"])
    assert done.exit_code == 2
    assert "a.yaml and --config b.yaml are two configs; give one" in done.stderr
    assert CliRunner().invoke(main, [name, "a.yaml", "b.yaml"]).exit_code == 2


@pytest.mark.parametrize("name", ["train", "sweep", "crosscheck"])
def test_no_config_is_one_message(name: str) -> None:
    done = CliRunner().invoke(main, [name])
    assert done.exit_code == 2
    assert "no config is given; give the path of a YAML file" in done.stderr


@pytest.fixture
def signals() -> Iterator[None]:
    """A process that ends ignores signals; this one goes on with the next test."""
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def test_ctrl_c_while_the_program_is_imported_gives_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Importing(ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "dlassign.cli.main", Importing("dlassign.cli.main"))
    with pytest.raises(SystemExit) as ended:
        run()
    assert (ended.value.code, capsys.readouterr().err) == (130, "interrupted\n")


def test_a_second_sigterm_while_the_first_is_told_still_exits_130(
    signals: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    told = []

    def echo(text: str, **where: Any) -> None:
        told.append(text)
        if len(told) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    command = main.get_command(click.Context(main), "schema")
    assert command is not None
    monkeypatch.setattr(command, "callback", interrupted)
    monkeypatch.setattr(main_module.click, "echo", echo)
    monkeypatch.setattr(sys, "argv", ["dlassign", "schema"])
    with pytest.raises(SystemExit) as ended:
        main_module.run_process()
    assert (ended.value.code, set(told)) == (130, {"interrupted"})
    assert "Aborted" not in capsys.readouterr().err
    os.kill(os.getpid(), signal.SIGTERM)  # a third one, while the interpreter ends, finds nobody


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_thread_that_goes_on_can_be_ended(number: int) -> None:
    """Own code may leave one; after the result nothing but SIGKILL ended the process that waited for it."""
    code = (
        "import sys, threading, time\n"
        "from dlassign.cli.main import run_process\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "sys.argv = ['dlassign', '--version']\n"
        "run_process()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            for _ in range(100):  # the first may come while the exit code is still being made
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
                    break
            assert process.poll() == -number
        finally:
            process.kill()


ENDING = """\
import atexit, sys
from dlassign.cli.main import main, run_process

def command(inner=main.main, **settings):
    atexit.register(print, "last words")
    return inner(**settings)

main.main = command
left_open = open(sys.argv[1], "w")
left_open.write("end")
{before}
sys.argv = ["dlassign", "schema", *sys.argv[2:]]
run_process()
"""


@pytest.mark.parametrize(
    ("before", "written"),
    [
        ("", ""),  # objects are left to the system
        ("atexit.register(int)", "end"),
        ("sys.modules['dlassign_own_0123.net'] = sys", "end"),
    ],
)
@pytest.mark.parametrize(("options", "code"), [((), 0), (("--nothing",), 2)])
def test_the_process_ends_at_once_after_what_waits_for_its_end(
    tmp_path: Path, before: str, written: str, options: tuple[str, ...], code: int
) -> None:
    """Python takes down all that torch made, which takes longer than some runs; with own code it does."""
    file = tmp_path / "file"
    command = [sys.executable, "-c", ENDING.format(before=before), str(file), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert done.returncode == code
    assert done.stdout.endswith("last words\n")
    assert file.read_text() == written


def test_a_wrong_option_of_the_process_exits_2(
    signals: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dlassign", "schema", "--nothing"])
    with pytest.raises(SystemExit) as ended:
        main_module.run_process()
    assert ended.value.code == 2
    assert "--nothing" in capsys.readouterr().err


def test_a_closed_standard_output_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`dlassign runs --json >&-` printed nothing and ended with 0."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "stdout", None)
    try:
        with pytest.raises(SystemExit) as ended:
            main_module.run_process()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        "standard output is closed, so no result could be printed; send it to /dev/null instead\n"
    )


def test_a_home_that_cannot_be_written_is_no_warning_of_matplotlib(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    # Below a file no folder can be made, by root neither.
    places = {name: str(file / "none") for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    code = "from dlassign.cli.main import main; main(['plot', 'nowhere'], standalone_mode=False)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | places, capture_output=True, text=True)
    assert [line for line in done.stderr.splitlines() if "atplotlib" in line or "mkdir" in line] == []
