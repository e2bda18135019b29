"""The digest at the end of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from dlassign.store.seal import is_sealed, is_whole, seal


def test_one_changed_byte_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    assert not is_whole(path)
    assert is_sealed(b"x" + seal(b"x"))
    path.write_bytes(b"weights" + seal(b"weights"))
    assert is_whole(path)
    path.write_bytes(b"weighty" + seal(b"weights"))
    assert not is_whole(path)
