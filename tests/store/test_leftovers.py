"""What `dlassign clean` may remove: found among forged run folders, and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dlassign.errors import UserError
from dlassign.store.files import hold_lock
from dlassign.store.leftovers import find_leftovers, remove
from dlassign.store.paths import RunPaths
from dlassign.store.seal import seal

START: dict[str, Any] = {"kind": "start", "schema": 1, "time": "2026-01-01T00:00:00+00:00", "name": "a", "seed": 0}
START |= {"config": {"train": {"steps": 3, "epochs": None, "metric": "loss"}, "seed": 0}}
START |= {"data": {"label": "digits", "sha256": "f", "n_train": 1, "n_val": 0, "n_test": 0}, "n_params": 1}
END = {"kind": "end", "status": "finished", "steps": 3}
DEAD = 2**22 + 1
"""No process has this number."""


def forge(root: Path, **end: Any) -> RunPaths:
    """Make a run folder with a log, its best weights and two checkpoints; status=None: without an end."""
    paths = RunPaths(root)
    paths.checkpoints.mkdir(parents=True)
    ended = {**END, **end}
    records = [START, *([ended] if ended["status"] else [])]
    paths.log.write_text("".join(json.dumps(record) + "\n" for record in records))
    for path in (paths.config, paths.manifest):
        path.write_text("{}")
    for path in (paths.last, paths.previous, paths.best):
        path.write_bytes(b"weights" + seal(b"weights"))
    return paths


def found(root: Path) -> dict[str, str]:
    return {str(one.path.relative_to(root)): one.what for one in find_leftovers(root)}


def test_checkpoints_of_finished_runs_alone(tmp_path: Path) -> None:
    done = forge(tmp_path / "a" / "0000000a-s0")
    for number, status in enumerate(("interrupted", "diverged", "pruned", None)):
        forge(tmp_path / "a" / f"0000000b-s{number}", status=status)
    forge(tmp_path / "a" / "0000000c-s0", keep_checkpoints="all")
    forge(tmp_path / "a" / "0000000d-s0").log.write_text("rubbish\n")
    wanted = [f"a/0000000a-s0/checkpoints/{name}.pt" for name in ("last", "previous")]
    assert found(tmp_path) == dict.fromkeys(wanted, "checkpoint")
    assert [one.size for one in find_leftovers(tmp_path)] == [80, 80]
    before = sorted(tmp_path.rglob("*"))
    for one in find_leftovers(tmp_path):
        remove(one)
    assert [path for path in before if not path.exists()] == [done.last, done.previous]
    assert not found(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "cut off", "a link", "checkpoints are a link"])
def test_the_last_weights_stay_where_the_best_are_not_whole(damage: str, tmp_path: Path) -> None:
    paths = forge(tmp_path / "out" / "0000000a-s0")
    elsewhere = tmp_path / "elsewhere"
    if damage == "cut off":
        paths.best.write_bytes(paths.best.read_bytes()[:-1])
    elif damage == "checkpoints are a link":
        paths.checkpoints.rename(elsewhere)
        paths.checkpoints.symlink_to(elsewhere)
    else:
        paths.best.rename(elsewhere)
        if damage == "a link":
            paths.best.symlink_to(elsewhere)
    assert not found(tmp_path / "out")


@pytest.mark.parametrize("loss", ["the new weights are gone", "they are cut off", "a file of the user's own"])
def test_a_run_that_was_set_aside_stays_where_something_would_be_lost(loss: str, tmp_path: Path) -> None:
    new = forge(tmp_path / "0000000a-s0", keep_checkpoints="all")
    old = forge(tmp_path / "0000000a-s0.old-1")
    assert found(tmp_path) == {old.root.name: "run set aside"}
    if loss == "the new weights are gone":
        new.best.unlink()
    elif loss == "they are cut off":
        new.best.write_bytes(new.best.read_bytes()[:-1])
    else:
        (old.root / "NOTES.md").touch()
    assert old.root.name not in found(tmp_path)


def test_a_run_that_was_set_aside_goes_when_the_new_one_has_finished(tmp_path: Path) -> None:
    new = forge(tmp_path / "0000000a-s0", keep_checkpoints="all")
    forge(tmp_path / "0000000a-s0.old-1")
    forge(tmp_path / "0000000b-s0.old-1", keep_checkpoints="all")  # the only result of its config
    forge(tmp_path / "x.old-2" / "0000000c-s0", keep_checkpoints="all")  # an experiment of that name
    assert found(tmp_path) == {"0000000a-s0.old-1": "run set aside"}
    [old] = find_leftovers(tmp_path)
    assert old.size == sum(path.stat().st_size for path in old.path.rglob("*") if path.is_file())
    remove(old)
    assert not old.path.exists()
    assert new.log.exists()
    forge(tmp_path / "0000000a-s0.old-1")
    new.log.write_text(json.dumps(START) + "\n")
    assert "0000000a-s0.old-1" not in found(tmp_path)


def test_dangling_links_and_files_of_killed_processes(tmp_path: Path) -> None:
    run = forge(tmp_path / "a" / "0000000a-s0", keep_checkpoints="all")
    own, dead = f".tmp-{os.getpid()}-01234567-x.csv", f".tmp-{DEAD}-01234567-x.csv"
    for folder in (tmp_path, run.checkpoints):
        for name in (own, dead, ".tmp-notes", ".tmp-1-by-others"):
            (folder / name).touch()
    for folder, target in (("a", run.root.name), ("b", "0000000b-s0"), ("c", "/gone/0000000b-s0"), ("d", "gone")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "latest").symlink_to(target)
    (tmp_path / "b" / f".latest-{DEAD}").symlink_to("0000000b-s0")
    killed = [dead, f"a/0000000a-s0/checkpoints/{dead}", f"b/.latest-{DEAD}"]
    assert found(tmp_path) == {**dict.fromkeys(killed, "left by a killed process"), "b/latest": "dangling link"}


def test_no_link_is_followed_and_nothing_that_a_process_holds_is_named(tmp_path: Path) -> None:
    outside = forge(tmp_path / "outside" / "0000000a-s0")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "linked").symlink_to(outside.root)
    held = forge(tmp_path / "out" / "a" / "0000000b-s0")
    assert len(found(tmp_path / "out")) == 2
    [one, _] = find_leftovers(tmp_path / "out")
    with hold_lock(held.lock, taken=""):
        assert not found(tmp_path / "out")
        with pytest.raises(UserError, match="is in use by another process; it was left alone"):
            remove(one)
    assert held.last.exists()
    (tmp_path / "out" / "a" / ".sweep.lock").touch()
    with hold_lock(tmp_path / "out" / "a" / ".sweep.lock", taken=""):
        assert not found(tmp_path / "out")


def test_what_changes_between_looking_and_removing_stays(tmp_path: Path) -> None:
    paths = forge(tmp_path / "0000000a-s0")
    [last, _] = find_leftovers(tmp_path)
    paths.best.unlink()
    remove(last)
    assert paths.last.exists()


def test_what_cannot_be_removed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = forge(tmp_path / "0000000a-s0")
    [last, _] = find_leftovers(tmp_path)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"cannot remove .*last.pt: permission denied; make it writable"):
        remove(last)
    assert paths.last.exists()
