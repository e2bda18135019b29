from __future__ import annotations

import hashlib
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from dlassign.data import sources
from dlassign.data.bundle import Raw, Split, check_raw, content_sha256
from dlassign.data.known_files import KnownFile, KnownSet, check_files, fetch_files
from dlassign.errors import DataError

CONTENT = b"some pixels"
TINY = KnownSet(
    "mnist",
    "MNIST/raw",
    tuple(KnownFile(name, len(CONTENT), hashlib.md5(CONTENT).hexdigest()) for name in ("images", "labels")),
)


def write_tiny(root: Path | str, **changed: bytes) -> Path:
    folder = Path(root) / TINY.folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in TINY.files:
        (folder / file.name).write_bytes(changed.get(file.name, CONTENT))
    return folder


def test_digits() -> None:
    raw = sources.digits()
    assert raw.train.x.shape == (1797, 1, 8, 8)
    assert raw.train.x.dtype == np.uint8
    assert (raw.train.x.min(), raw.train.x.max()) == (0, 16)
    assert raw.train.y[:4].tolist() == [0, 1, 2, 3]
    assert raw.sha256 == sources.DIGITS_SHA256
    assert raw.test is None


def test_toy_is_that_of_the_exercise() -> None:
    raw = sources.toy()
    assert_array_equal(
        raw.train.x,  # experiments.md, section 8
        [
            [16.243453636632417, -6.1175641365007536, -5.2817175226345565, -10.729686221561705],
            [8.654076293246785, -23.015386968802826, 17.448117642164799, -7.6120690089510283],
            [3.1903909605709857, -2.493703754774101, 14.621079370449742, -20.60140709497654],
            [-3.2241720401350751, -3.8405435466841564, 11.337694423354375, -10.998912673140309],
            [-1.7242820755043575, -8.778584179213718, 0.42213746715592831, 5.8281521371582219],
        ],
    )
    assert raw.train.x.dtype == np.float64
    assert raw.train.y.tolist() == [0, 1, 2, 2, 1]
    assert raw.classes == ("0", "1", "2")


def test_content_digest_sees_every_change() -> None:
    x, y = np.arange(6, dtype=np.uint8).reshape(3, 2), np.array([0, 1, 0])
    digests = [
        content_sha256([("train", Split(x, y))], "ab"),
        content_sha256([("train", Split(x, y))], "ac"),
        content_sha256([("test", Split(x, y))], "ab"),
        content_sha256([("train", Split(x.astype(np.int16), y))], "ab"),
        content_sha256([("train", Split(x[::-1], y))], "ab"),
        content_sha256([("train", Split(x, 1 - y))], "ab"),
        content_sha256([("train", Split(x, y)), ("test", Split(x, y))], "ab"),
    ]
    assert len(set(digests)) == len(digests)
    assert digests[0] == content_sha256([("train", Split(x.copy(order="F"), y)), ("val", None)], "ab")


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [
        (("a",), [0, 0], "1 class; classification needs at least 2"),
        (("a", "b"), [0, 2], "train has labels 0..2, but there are 2 classes"),
        (("a", "b"), [0, -1], "train has labels -1..0"),
        (("a", "b"), [], "the train part holds no samples"),
    ],
)
def test_raw_data_that_make_no_sense(classes: tuple[str, ...], y: list[int], message: str) -> None:
    split = Split(np.zeros((len(y), 1)), np.array(y, dtype=np.int64))
    with pytest.raises(DataError, match=message):
        check_raw(Raw(train=split, classes=classes, sha256="0", label="odd"))


def test_split_needs_a_label_for_each_sample() -> None:
    with pytest.raises(ValueError, match="2 samples, but 3 labels"):
        Split(np.zeros((2, 1)), np.zeros(3, dtype=np.int64))


@pytest.mark.parametrize(("name", "known"), [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py")])
def test_missing_files_say_where_and_how(name: str, known: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        getattr(sources, name)(str(tmp_path))
    message = str(caught.value)
    assert f"missing from {tmp_path / known}" in message
    assert str(Path.cwd()) in message
    for cure in (f"dlassign data fetch {name} --root {tmp_path}", "--set data.root=", "data.download: true"):
        assert cure in message


def test_whole_files_pass(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    assert check_files(TINY, str(tmp_path)) == folder


def test_one_missing_file_is_named(tmp_path: Path) -> None:
    (write_tiny(tmp_path) / "labels").unlink()
    with pytest.raises(DataError, match="labels is missing from"):
        check_files(TINY, str(tmp_path))


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"cut", "3 bytes instead of 11"), (b"other bytes", "its MD5 is [0-9a-f]{32} instead")],
)
def test_damaged_file_is_named(content: bytes, what: str, tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, labels=content)
    with pytest.raises(DataError, match=f"{folder / 'labels'} is damaged: {what}.*data fetch mnist"):
        check_files(TINY, str(tmp_path))


def test_packed_files_are_to_be_unpacked(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    for file in TINY.files:
        (folder / file.name).rename(folder / f"{file.name}.gz")
    with pytest.raises(DataError, match=r"holds only packed files; unpack them with `gunzip --keep"):
        check_files(TINY, str(tmp_path))


def test_fetch_moves_what_is_whole(tmp_path: Path) -> None:
    write_tiny(tmp_path, labels=b"damaged")
    folder = fetch_files(TINY, str(tmp_path), download=write_tiny)
    assert check_files(TINY, str(tmp_path)) == folder
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]


def test_fetch_leaves_whole_files_alone(tmp_path: Path) -> None:
    write_tiny(tmp_path)

    def download(root: str) -> None:
        raise AssertionError("nothing is to be downloaded")

    fetch_files(TINY, str(tmp_path), download=download)


def test_fetch_keeps_stdout_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def download(root: str) -> None:
        print("Downloading")
        write_tiny(root)

    fetch_files(TINY, str(tmp_path), download=download)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Downloading" in err


@pytest.mark.parametrize(
    ("failure", "what"),
    [
        (urllib.error.URLError("Name or service not known"), "Name or service not known"),
        (RuntimeError("Error downloading x:\nTried y, got:\n<urlopen error timed out>\n"), "timed out"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (None, "what came is not the known set"),
    ],
)
def test_failed_download_leaves_nothing(failure: Exception | None, what: str, tmp_path: Path) -> None:
    def download(root: str) -> None:
        write_tiny(root, labels=b"half")
        if failure:
            raise failure

    with pytest.raises(DataError, match=f"could not download mnist: .*{what}.*Check the network.*images, labels"):
        fetch_files(TINY, str(tmp_path), download=download)
    assert list((tmp_path / TINY.folder).iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]


def test_fetch_goes_through_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def refuse(root: str, *, download: bool) -> None:
        assert download
        raise urllib.error.URLError("offline")

    monkeypatch.setattr(datasets, "MNIST", refuse)
    monkeypatch.setattr(datasets, "CIFAR10", refuse)
    for name in ("mnist", "cifar10"):
        with pytest.raises(DataError, match=f"could not download {name}: <urlopen error offline>"):
            sources.fetch(name, str(tmp_path))
    with pytest.raises(DataError, match="could not download mnist"):
        sources.mnist(str(tmp_path), download=True)


def test_fetch_of_what_cannot_be_fetched(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'digits' is not a set that can be downloaded; known: mnist, cifar10"):
        sources.fetch("digits", str(tmp_path))


def test_fetch_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*choose another --root"):
        fetch_files(TINY, str(tmp_path / "file"), download=write_tiny)


def test_importing_and_fingerprints_need_no_torch() -> None:
    code = """
import sys
from dlassign.config.data import MNIST, CIFAR10, Digits, Toy
from dlassign.data import load, prepare
for cfg in (MNIST(name="mnist"), CIFAR10(name="cifar10"), Digits(name="digits"), Toy(name="toy")):
    assert len(load.fingerprint(cfg)) == 64
    load.describe(cfg)
assert not {"torch", "torchvision", "sklearn", "PIL"} & set(sys.modules), "heavy import"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def fake_cifar(folder: Path) -> Any:
    """Write CIFAR-10 batches of two images each and return a torchvision class that accepts them."""
    import pickle

    from torchvision.datasets import CIFAR10

    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]
    md5 = {}
    for i, name in enumerate(names):
        entry: dict[str, Any] = {"data": rng.integers(0, 256, (2, 3072), dtype=np.uint8), "labels": [i, 0]}
        data = pickle.dumps(entry if name != "batches.meta" else {"label_names": list("abcdefghij")})
        (folder / name).write_bytes(data)
        md5[name] = hashlib.md5(data).hexdigest()

    lists = {
        "train_list": [[name, md5[name]] for name in names[:5]],
        "test_list": [["test_batch", md5["test_batch"]]],
        "meta": {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]},
    }
    return type("Tiny", (CIFAR10,), lists)


def test_cifar10_is_channels_first_in_file_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    from torchvision import datasets

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    monkeypatch.setattr(datasets, "CIFAR10", fake_cifar(folder))
    monkeypatch.setattr(sources, "_present", lambda name, root, download: folder)
    raw = sources.cifar10(str(tmp_path))
    assert raw.train.x.shape == (10, 3, 32, 32)
    assert raw.train.y.tolist() == [0, 0, 1, 0, 2, 0, 3, 0, 4, 0]
    assert raw.test is not None
    first = pickle.loads((folder / "data_batch_1").read_bytes())["data"]
    assert_array_equal(raw.train.x[:2].reshape(2, -1), first)
    assert raw.train.x.flags.c_contiguous


@pytest.mark.data
def test_real_mnist(real_data: Path) -> None:
    raw = sources.mnist(str(real_data))
    assert raw.test is not None
    assert raw.train.x.shape == (60_000, 1, 28, 28)
    assert raw.test.x.shape == (10_000, 1, 28, 28)
    assert raw.train.x.dtype == np.uint8
    assert raw.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert raw.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert round(float(raw.train.x.mean() / 255), 4) == 0.1307
