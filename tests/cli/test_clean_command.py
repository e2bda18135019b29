"""`dlassign clean`: what it says, and what it removes only with --yes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dlassign.cli.main import main
from dlassign.data.image_cache import CacheEntry, checksum, write_cache
from dlassign.store import leftovers
from dlassign.store.paths import RunPaths
from dlassign.store.seal import seal


def clean(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["clean", *map(str, arguments)])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunPaths:
    """A finished run of an earlier version in `out`, and a cache with one entry and a file of someone else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    x = np.zeros((2, 1, 3, 3), dtype=np.uint8)
    entry = CacheEntry(shape=x.shape, crc32=checksum(x), sha256="f", bad={}, notes=())
    assert write_cache(tmp_path / "cache" / "dlassign", "key", x=x, entry=entry) == ""
    np.save(tmp_path / "cache" / "dlassign" / "mine.npy", x)
    paths = RunPaths(Path("out/a/0000000a-s0"))
    paths.checkpoints.mkdir(parents=True)
    start = {"kind": "start", "schema": 1, "time": "2026-01-01T00:00:00+00:00", "name": "a", "seed": 0}
    start |= {"config": {"train": {"steps": 3, "epochs": None, "metric": "loss"}, "seed": 0}}
    start |= {"data": {"label": "digits", "sha256": "f", "n_train": 1, "n_val": 0, "n_test": 0}, "n_params": 1}
    end = {"kind": "end", "status": "finished"}
    paths.log.write_text(f"{json.dumps(start)}\n{json.dumps(end)}\n")
    for path in (paths.last, paths.best):
        path.write_bytes(b"w" * 1_499_927 + seal(b"w" * 1_499_927))
    return paths


def test_what_other_folders_use_is_one_row_and_no_size_is_zero(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    head, row, told, end = clean().stdout.splitlines()
    assert head.split() == ["size", "what", "path"]
    assert "2 decoded images, shared" in row
    assert row.endswith(str(elsewhere.parent / "cache" / "dlassign"))
    size = " ".join(row.split()[:2])
    assert float(size.split()[0]) > 0
    assert told.startswith(f"{size} of it lie outside this folder, and serve the others, too")
    assert end == f"nothing of this folder, and {size} that all folders share, could be removed; --yes removes it"


def test_what_lies_here_and_what_all_folders_share_are_two_sums(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A total that was mostly of other folders stood as what --yes removes."""
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    shutil.copytree("out", elsewhere / "out")
    monkeypatch.chdir(elsewhere)
    *_, row, _, end = clean().stdout.splitlines()
    assert end == (
        f"1.5 MB of this folder and {' '.join(row.split()[:2])} that all folders share could be removed; --yes removes "
        "both, `dlassign clean out --yes` the first alone"
    )
    assert clean("out").stdout.endswith("\n1.5 MB could be removed; --yes removes it\n")


def test_it_says_and_removes_only_with_yes(run: RunPaths) -> None:
    said = clean()
    assert said.exit_code == 0, said.output
    assert "1.5 MB  checkpoint      out/a/0000000a-s0/checkpoints/last.pt" in said.stdout
    assert "decoded images" in said.stdout
    assert "mine.npy" not in said.stdout
    assert said.stdout.endswith("1.5 MB could be removed; --yes removes it\n")
    assert run.last.exists()
    done = json.loads(clean("--yes", "--json").stdout)
    assert done["removed"] is True
    assert [row["what"] for row in done["leftovers"]] == ["checkpoint", "decoded images", "decoded images"]
    assert done["bytes"] == sum(row["bytes"] for row in done["leftovers"]) > 1_500_000
    assert not run.last.exists()
    assert run.best.exists()
    assert sorted(path.name for path in Path("cache/dlassign").iterdir()) == ["mine.npy"]
    assert clean().stdout == "there is nothing to remove\n"


def test_a_path_names_one_folder(run: RunPaths) -> None:
    assert "decoded images" not in clean("out").stdout
    assert "checkpoint" not in clean("cache/dlassign").stdout
    assert "last.pt" in clean(run.root).stdout
    wrong = clean("gone")
    assert wrong.exit_code == 1
    assert "gone is no folder" in wrong.stderr


def test_what_cannot_be_removed_is_exit_code_1(run: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(leftovers.Path, "unlink", refuse)
    done = clean("out", "--yes")
    assert done.exit_code == 1
    assert "permission denied" in done.stderr
    assert done.stdout == "nothing was removed\n"
    assert run.last.exists()
