"""Run folders as tar archives."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlassign.errors import UserError
from dlassign.sweep.ray.shipping import pack, unpack


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def make(root: Path) -> Path:
    (root / "checkpoints").mkdir(parents=True)
    (root / "log.jsonl").write_text("one\n")
    (root / "checkpoints" / "last.pt").write_bytes(bytes(range(256)))
    (root / "checkpoints" / "previous.pt").hardlink_to(root / "checkpoints" / "last.pt")
    return root


def test_a_folder_comes_back_whole_in_place_of_the_former_one(tmp_path: Path) -> None:
    there, here = make(tmp_path / "there" / "run"), tmp_path / "here" / "run"
    (there / ".tmp-1-last.pt").write_text("left by a killed process")
    here.mkdir(parents=True)
    (here / "former").write_text("gone")
    archive = pack(there)
    assert archive is not None
    unpack(archive, here)
    (there / ".tmp-1-last.pt").unlink()
    assert files(here) == files(there)
    assert [path.name for path in here.parent.iterdir()] == ["run"]
    assert pack(tmp_path / "nowhere") is None


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = make(tmp_path / "run")
    archive, before = pack(here), files(here)
    assert archive is not None
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if "-new-" in path.name:
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UserError, match="no space left on the disk"):
        unpack(archive, here)
    assert files(here) == before
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
