"""Which runs of a row count: each seed once, by the log of that very run, whatever was copied or edited."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dlassign.cli.main import main
from dlassign.store.paths import RunPaths
from helpers.forging import of, read_lines, rewrite_chain, write_lines
from helpers.tiny_tables import row, write_config, write_table

SHORT = {"steps": 6, "batch_size": 20, "log_every": {"steps": 2}, "eval_every": {"steps": 3}, "evaluate": ["test"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of two rows, each with runs of seeds 4, 5 and 6."""
    folder = tmp_path_factory.mktemp("trained")
    for name, hidden in (("narrow", 8), ("wide", 12)):
        write_config(folder, name, model={"name": "mlp", "hidden": [hidden]}, train=SHORT)
    write_table(folder, {name: row(name, {"figure": "test last", "value": 0.5}) for name in ("narrow", "wide")})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(main, ["reproduce", "small", "--executor", "serial"])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def place(name: str, seed: int) -> RunPaths:
    """Return where a run lies, or would."""
    [first] = Path("out", name).glob("????????-s4")
    return RunPaths(first.with_name(first.name.replace("-s4", f"-s{seed}")))


def copy(target: RunPaths, source: RunPaths) -> None:
    shutil.rmtree(target.root, ignore_errors=True)
    shutil.copytree(source.root, target.root)


def copy_log(target: RunPaths, source: RunPaths) -> None:
    shutil.copy(source.log, target.log)


def without_chain(paths: RunPaths, *, saved: bool = True, known: bool = True) -> None:
    """Strip the chain of a log and make its losses smaller; also the records of checkpoints, and the manifest."""
    lines = [{key: value for key, value in line.items() if key != "chain"} for line in read_lines(paths)]
    of(lines, "train", -1)["loss"] = 0.049
    write_lines(paths, [line for line in lines if saved or line["kind"] != "checkpoint"])
    if not known:
        manifest = json.loads(paths.manifest.read_text())
        paths.manifest.write_text(json.dumps({key: value for key, value in manifest.items() if key != "chain"}))


def edit(paths: RunPaths, change: Callable[[dict[str, Any]], object], *, chain: bool) -> None:
    lines = read_lines(paths)
    change(lines[0])
    write_lines(paths, lines)
    if chain:
        rewrite_chain(paths)


FORGERIES: dict[str, tuple[Callable[[], object], int, str]] = {
    "a folder as a further seed": (lambda: copy(place("narrow", 7), place("narrow", 5)), 7, "one of seed 7, .* seed 5"),
    "a folder as another seed": (lambda: copy(place("narrow", 6), place("narrow", 5)), 6, "one of seed 6, .* seed 5"),
    "a log of another seed": (lambda: copy_log(place("narrow", 6), place("narrow", 5)), 6, "one of seed 6, .* seed 5"),
    "a folder of another row": (lambda: copy(place("narrow", 6), place("wide", 6)), 6, "the hash in the folder's name"),
    "a log of another row": (lambda: copy_log(place("narrow", 6), place("wide", 6)), 6, "the hash in the folder's"),
    "a log without its chain": (lambda: without_chain(place("narrow", 6)), 6, "no record has a chain"),
    "and without its checkpoints": (lambda: without_chain(place("narrow", 6), saved=False), 6, "manifest.json"),
    "and of the manifest": (lambda: without_chain(place("narrow", 6), known=False), 6, "no record has a chain"),
    "another seed in the log": (
        lambda: edit(place("narrow", 6), lambda start: start.update(seed=9), chain=True),
        6,
        "one of seed 6, .* seed 9",
    ),
    "another config in the log": (
        lambda: edit(place("narrow", 6), lambda start: start["config"]["optimizer"].update(lr=0.1), chain=True),
        6,
        "the hash in the folder's name",
    ),
    "other data in the log": (
        lambda: edit(place("narrow", 6), lambda start: start["data"].update(sha256="0" * 64), chain=True),
        6,
        "the hash in the folder's name",
    ),
    "a number of the log": (
        lambda: edit(place("narrow", 6), lambda start: start.update(n_params=3), chain=False),
        6,
        "the chain is broken",
    ),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_run_counts_for_its_own_row_and_seed_alone(folder: Path, kind: str) -> None:
    forge, seed, why = FORGERIES[kind]
    forge()
    done = CliRunner().invoke(main, ["reproduce", "small:narrow", "--no-train"])
    assert done.exit_code == 0, done.output
    narrow = json.loads(Path("out/tables/small.json").read_text())["rows"][0]
    assert narrow["seeds"] == ([4, 5] if seed == 6 else [4, 5, 6])
    assert len(set(narrow["seeds"])) == len(narrow["figures"][0]["values"])
    root = place("narrow", seed).root
    assert re.search(f"{root} is not counted, for .*{why}.*; move it away to train this seed again", narrow["why"])
    assert f"{root} is not counted" in done.stdout


def cut(paths: RunPaths) -> None:
    lines = paths.log.read_bytes().splitlines(keepends=True)
    paths.log.write_bytes(b"".join(lines[:-1]))


def make_file(paths: RunPaths) -> None:
    shutil.rmtree(paths.root)
    paths.root.write_text("")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (cut, r" is not over \(interrupted, step 6 of 6\); train it to its end, or remove it"),
        (lambda paths: paths.log.unlink(), ".* it is not there, .*; put the log back, or move"),
        (make_file, " is no folder, and a run belongs there; move it away"),
    ],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_folder_that_does_not_count_is_named(
    folder: Path, spoil: Callable[[RunPaths], object], why: str, seeds: int
) -> None:
    """Also where it is a further seed behind those that were asked for, or behind a gap."""
    spoil(place("narrow", 5))
    done = CliRunner().invoke(main, ["reproduce", "small:narrow", "--no-train", "--seeds", str(seeds)])
    assert done.exit_code == 0, done.output
    narrow = json.loads(Path("out/tables/small.json").read_text())["rows"][0]
    assert narrow["seeds"] == [4, 6]
    assert re.search(f"{place('narrow', 5).root}{why}", narrow["why"])
    assert str(place("narrow", 5).root) in done.stdout
