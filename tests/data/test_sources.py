"""Sources whose content is known: digits, toy, MNIST and CIFAR-10."""

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
from dlassign.errors import DataError


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


@pytest.mark.parametrize(("name", "known"), [("mnist", "MNIST/raw"), ("cifar10", "cifar-10-batches-py")])
def test_missing_files_say_where_and_how(name: str, known: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        getattr(sources, name)(str(tmp_path))
    message = str(caught.value)
    assert f"missing from {tmp_path / known}" in message
    assert str(Path.cwd()) in message
    for cure in (f"dlassign data fetch {name} --root {tmp_path}", "--set data.root=", "data.download: true"):
        assert cure in message


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


def test_fetch_names_what_it_knows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="known: mnist, cifar10"):
        sources.fetch("toy", str(tmp_path))
