"""Checkpoints: nothing that was saved is lost, nothing damaged is used, and no code is run."""

from __future__ import annotations

import errno
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.seal import seal
from dlassign.train.checkpoint import (
    CheckpointStore,
    load_checkpoint,
    sealed,
    to_numpy,
    to_tensors,
    using,
    weights_sha256,
)


@pytest.fixture
def paths(tmp_path: Path) -> RunPaths:
    paths = RunPaths(tmp_path)
    paths.checkpoints.mkdir()
    return paths


def state(value: float) -> dict[str, Any]:
    return {
        "learner": {
            "model": {
                "w": torch.full((50, 7), float(value)),
                "count": torch.tensor(3),
                "half": torch.ones(2).double() / 3,
            },
        },
        "progress": {"step": int(value), "losses": [0.1 + 0.2, 1e-300], "stopped": False, "none": None},
        "hooks": {},
        "preprocess": [],
        "classes": ["a", "ß"],
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def damage(path: Path, value: float) -> None:
    """Flip one bit of the tensor full of `value`."""
    raw = path.read_bytes()
    at = raw.index(np.full(10, value, dtype="float32").tobytes()) + 5
    path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])


def test_everything_comes_back(paths: RunPaths) -> None:
    CheckpointStore(paths).save(state(1), step=12)
    found, warnings = CheckpointStore(paths).load_newest()
    assert equal(found, {"schema": 1, "step": 12, **state(1)})
    assert warnings == []
    assert names(paths.checkpoints) == ["last.pt"]


def test_previous_is_the_one_before(paths: RunPaths) -> None:
    store = CheckpointStore(paths)
    for step in (1, 2, 3):
        store.save(state(step), step=step)
    assert load_checkpoint(paths.last)["step"] == 3
    assert load_checkpoint(paths.previous)["step"] == 2
    assert names(paths.checkpoints) == ["last.pt", "previous.pt"]


def refuse_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


def test_previous_where_there_are_no_hard_links(paths: RunPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_hard_links(monkeypatch)
    test_previous_is_the_one_before(paths)


def test_no_checkpoint_yet(paths: RunPaths) -> None:
    assert CheckpointStore(paths).load_newest() == (None, [])
    with pytest.raises(UserError, match=r"there is no checkpoint .*last\.pt"):
        load_checkpoint(paths.last)


def test_best_is_apart_from_the_others(paths: RunPaths) -> None:
    store = CheckpointStore(paths)
    store.save_best({"weights": {"w": torch.ones(2)}, "chosen": "best", "preprocess": []}, step=4)
    assert equal(load_checkpoint(paths.best)["weights"], {"w": torch.ones(2)})
    assert load_checkpoint(paths.best)["step"] == 4
    assert store.load_newest() == (None, [])


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one bit": lambda path: damage(path, 2),
    "no zip": lambda path: path.write_bytes(b"hello" * 100),
    "old pickle format": lambda path: path.write_bytes(pickle.dumps({"schema": 1, "step": 9})),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_newest_falls_back_to_the_one_before(kind: str, paths: RunPaths) -> None:
    store = CheckpointStore(paths)
    store.save(state(1), step=1)
    store.save(state(2), step=2)
    DAMAGES[kind](paths.last)
    found, warnings = store.load_newest()
    assert equal(found, {"schema": 1, "step": 1, **state(1)})
    assert len(warnings) == 1
    assert f"the checkpoint {paths.last} is damaged" in warnings[0]


def test_both_damaged_is_an_error_that_names_both_and_the_cure(paths: RunPaths) -> None:
    store = CheckpointStore(paths)
    store.save(state(1), step=1)
    store.save(state(2), step=2)
    paths.last.write_bytes(b"")
    damage(paths.previous, 1)
    with pytest.raises(UserError) as caught:
        store.load_newest()
    assert str(paths.last) in str(caught.value)
    assert str(paths.previous) in str(caught.value)
    assert "--again" in str(caught.value)


def test_missing_newest_is_silent_if_the_one_before_is_there(paths: RunPaths) -> None:
    """What a kill between two renames leaves on a file system without hard links."""
    CheckpointStore(paths).save(state(1), step=1)
    paths.last.rename(paths.previous)
    found, warnings = CheckpointStore(paths).load_newest()
    assert found is not None
    assert (found["step"], warnings) == (1, [])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A path to write to, and the bytes of a whole checkpoint."""
    path = tmp_path_factory.mktemp("cut") / "checkpoint.pt"
    path.write_bytes(sealed({"schema": 1, "step": 1, **state(1)}))
    return path, path.read_bytes()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_one_changed_byte_anywhere_is_noticed(data: Any, written: tuple[Path, bytes]) -> None:
    path, raw = written
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = bytearray(raw)
    changed[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_anywhere_it_is_refused(data: Any, written: tuple[Path, bytes]) -> None:
    path, raw = written
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(path)


class Evil:
    """What would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("digested", [True, False])
def test_code_is_not_run(digested: bool, paths: RunPaths, tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    value = {"schema": 1, "step": 1, "learner": Evil(evidence)}
    if digested:
        paths.last.write_bytes(sealed(value))
    else:
        torch.save(value, paths.last)
    with pytest.raises(UserError, match=r"could run code" if digested else "damaged"):
        load_checkpoint(paths.last)
    assert not evidence.exists()
    torch.load(paths.last, weights_only=False)
    assert evidence.exists()  # so the file above was dangerous


@pytest.mark.parametrize(("saved", "found"), [({"schema": 2}, "2"), ({"step": 1}, "None"), ([1, 2], "None")])
def test_another_schema_is_refused(saved: Any, found: str, paths: RunPaths) -> None:
    paths.last.write_bytes(sealed(saved))
    with pytest.raises(UserError, match=f"has schema {found}; this version of dlassign reads 1"):
        load_checkpoint(paths.last)


def test_a_value_that_does_not_fit_is_one_line_and_a_full_memory_is_not_its_fault(paths: RunPaths) -> None:
    with (
        pytest.raises(UserError, match=r"does not hold what this run saves \(KeyError: 'rng'\); --again"),
        using(paths),
    ):
        raise KeyError("rng")
    with pytest.raises(torch.OutOfMemoryError), using(paths):
        raise torch.OutOfMemoryError("CUDA out of memory.")


class Affine(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def script() -> bytes:
    """What torch.jit writes: a zip file too."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Affine()), file)
    return file.getvalue()


def with_seal(content: bytes) -> bytes:
    return content + seal(content)


FOREIGN: dict[str, Callable[[], bytes]] = {
    "a schema alone": lambda: sealed({"schema": 1}),
    "no step": lambda: sealed({"schema": 1, **state(1)}),
    "the seal alone": lambda: with_seal(b""),
    "a script": lambda: with_seal(script()[:-2]),
    "a text": lambda: with_seal(b"hello"),
    **{
        name: lambda change=change: sealed({"schema": 1, "step": 1, **state(1), **change})  # type: ignore[misc]
        for name, change in {
            "a step that is a text": {"step": "x"},
            "a learner without a model": {"learner": {}},
            "a model that is a list": {"learner": {"model": [1]}},
            "weights that are numbers": {"learner": {"model": {"w": 1.0}}},
            "progress that is null": {"progress": None},
            "losses that are a number": {"progress": {"step": 1, "losses": 3}},
            "a watcher that is a list": {"hooks": {"keep_best": []}},
            "best weights that are numbers": {"hooks": {"keep_best": {"weights": {"w": 1}}}},
            "preprocessing of another name": {"preprocess": [{"name": "nobody"}]},
            "preprocessing that is a number": {"preprocess": [7]},
            "best weights that are a text": {"weights": "x"},
        }.items()
    },
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_whose_seal_is_right_and_whose_content_is_wrong_is_one_line(kind: str, paths: RunPaths) -> None:
    store = CheckpointStore(paths)
    store.save(state(1), step=1)
    store.save(state(2), step=2)
    paths.last.write_bytes(FOREIGN[kind]())
    found, [warning] = store.load_newest()
    assert equal(found, {"schema": 1, "step": 1, **state(1)})
    assert warning.startswith(f"the checkpoint {paths.last} ")
    assert "not written by dlassign" in warning or "only use checkpoints that dlassign wrote" in warning.lower()
    assert "\n" not in warning


FULL_DISK = OSError(errno.ENOSPC, "No space left on device")


class FullDisk(io.FileIO):
    """A file on a disk that takes 100 more bytes."""

    def write(self, data: Any) -> int:
        super().write(bytes(data)[:100])
        raise FULL_DISK


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Calling it fills the disk."""
    open_file = Path.open

    def open_full(self: Path, mode: str = "r", **options: Any) -> Any:
        return FullDisk(self, "w") if "w" in mode else open_file(self, mode, **options)

    return lambda: monkeypatch.setattr(Path, "open", open_full)


def test_a_full_disk_leaves_the_last_checkpoint(paths: RunPaths, full_disk: Callable[[], None]) -> None:
    store = CheckpointStore(paths)
    store.save(state(1), step=1)
    store.save(state(2), step=2)
    store.save_best({"weights": {}}, step=2)
    before = {path: path.read_bytes() for path in (paths.last, paths.previous, paths.best)}
    full_disk()
    with pytest.raises(
        UserError, match=r"the checkpoint of step 3 was not saved: .*no space left on the disk"
    ) as caught:
        store.save(state(3), step=3)
    assert f"The last good checkpoint is kept: {paths.last}" in str(caught.value)
    with pytest.raises(UserError, match=r"the best weights \(step 3\) were not saved: .*no space left") as caught:
        store.save_best({"weights": {}}, step=3)
    assert str(paths.last) in str(caught.value)
    assert {path: path.read_bytes() for path in before} == before
    assert names(paths.checkpoints) == ["best.pt", "last.pt", "previous.pt"]


def fail_to_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise FULL_DISK

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("hard_links", [True, False])
def test_a_disk_that_fills_up_at_the_flush_leaves_both_checkpoints(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, *, hard_links: bool
) -> None:
    if not hard_links:
        refuse_hard_links(monkeypatch)
    store = CheckpointStore(paths)
    store.save(state(1), step=1)
    store.save(state(2), step=2)
    fail_to_flush(monkeypatch)
    with pytest.raises(UserError, match=r"not saved.*no space left on the disk.*last good checkpoint is kept"):
        store.save(state(3), step=3)
    assert equal(load_checkpoint(paths.last), {"schema": 1, "step": 2, **state(2)})
    assert equal(load_checkpoint(paths.previous), {"schema": 1, "step": 1, **state(1)})


@pytest.mark.parametrize("flushes", [True, False])
def test_a_run_that_went_on_from_previous_never_puts_the_damaged_file_in_its_place(
    paths: RunPaths, monkeypatch: pytest.MonkeyPatch, *, flushes: bool
) -> None:
    for step in (1, 2):
        CheckpointStore(paths).save(state(step), step=step)
    damage(paths.last, 2)
    store = CheckpointStore(paths)
    found, _ = store.load_newest()
    assert found is not None
    assert found["step"] == 1
    if flushes:
        store.save(state(3), step=3)
        assert load_checkpoint(paths.last)["step"] == 3
    else:
        fail_to_flush(monkeypatch)
        with pytest.raises(UserError, match="not saved"):
            store.save(state(3), step=3)
    assert equal(load_checkpoint(paths.previous), {"schema": 1, "step": 1, **state(1)})


def test_a_failed_first_save_says_that_there_is_none(paths: RunPaths, full_disk: Callable[[], None]) -> None:
    full_disk()
    with pytest.raises(UserError, match="There is no earlier checkpoint"):
        CheckpointStore(paths).save(state(1), step=1)
    assert names(paths.checkpoints) == []


WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2), "n": torch.tensor(5)}


def test_equal_weights_have_equal_digests() -> None:
    twin = {name: tensor.clone() for name, tensor in reversed(WEIGHTS.items())}
    assert weights_sha256(twin) == weights_sha256(WEIGHTS)
    turned = {**WEIGHTS, "a": WEIGHTS["a"].T.contiguous().T}  # same values, other memory layout
    assert weights_sha256(turned) == weights_sha256(WEIGHTS)
    assert len(weights_sha256(WEIGHTS)) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"b": torch.tensor([0.0, -0.0])},
        {"a": WEIGHTS["a"].reshape(3, 2)},
        {"a": WEIGHTS["a"].double()},
        {"b": torch.zeros(2, dtype=torch.int32)},
        {"n": torch.tensor([5])},
        {"n": torch.tensor(6)},
        {"c": torch.zeros(0)},
    ],
    ids=str,
)
def test_digest_changes_with_value_shape_and_dtype(change: dict[str, torch.Tensor]) -> None:
    assert weights_sha256({**WEIGHTS, **change}) != weights_sha256(WEIGHTS)


def test_digest_changes_with_the_name() -> None:
    renamed = {("z" if name == "b" else name): tensor for name, tensor in WEIGHTS.items()}
    assert weights_sha256(renamed) != weights_sha256(WEIGHTS)
    swapped = {"x": torch.ones(1), "y": torch.zeros(1)}
    assert weights_sha256(swapped) != weights_sha256({"x": torch.zeros(1), "y": torch.ones(1)})


@given(st.integers(0, 5), st.integers(0, 31))
def test_digest_changes_with_any_bit(element: int, bit: int) -> None:
    flipped = WEIGHTS["a"].clone()
    raw = flipped.view(-1).numpy().view(np.uint32)
    raw[element] ^= np.uint32(1) << np.uint32(bit)
    assert weights_sha256({**WEIGHTS, "a": flipped}) != weights_sha256(WEIGHTS)


def test_arrays_travel_as_tensors(paths: RunPaths) -> None:
    value = [{"name": "normalize", "mean": np.array([0.1, 0.2]), "n": 3, "inner": [np.arange(3, dtype=np.uint8)]}]
    tensors = to_tensors(value)
    assert isinstance(tensors[0]["mean"], torch.Tensor)
    CheckpointStore(paths).save({**state(1), "arrays": tensors}, step=1)
    (found,) = to_numpy(load_checkpoint(paths.last)["arrays"])
    assert (found["name"], found["n"]) == ("normalize", 3)
    np.testing.assert_array_equal(found["mean"], value[0]["mean"])
    assert (found["mean"].dtype, found["inner"][0].dtype) == (np.float64, np.uint8)
    value[0]["mean"][0] = 9
    assert tensors[0]["mean"][0] == 0.1  # a copy
