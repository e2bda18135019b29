"""Reads the sources with a fixed content: digits, toy, MNIST and CIFAR-10."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlassign.data.bundle import Raw, Split, content_sha256
from dlassign.data.known_files import (
    CIFAR10_FILES,
    CIFAR10_NAMES,
    MNIST_FILES,
    KnownSet,
    check_files,
    fetch_files,
    missing_files,
)
from dlassign.errors import DataError

DIGIT_NAMES = tuple("0123456789")
DIGITS_SHA256 = "dc8fe6d8c5c9846e3387164e0d75b4f3383fa9ca52a9bf5d0bc2cd174042fa77"


def digits() -> Raw:
    """Return scikit-learn's digits: x (1797, 1, 8, 8) uint8, values 0..16, without a test set of their own.

    Raises:
        DataError: this version of scikit-learn holds other digits.
    """
    rows = _digits_table()
    split = Split(rows[:, :64].reshape(-1, 1, 8, 8).astype(np.uint8), rows[:, 64].astype(np.int64))
    sha256 = content_sha256({"train": split}, DIGIT_NAMES)
    if sha256 != DIGITS_SHA256:
        raise DataError(f"the digits of this scikit-learn are not the known ones (sha256 {sha256})")
    return Raw(train=split, classes=DIGIT_NAMES, sha256=sha256, label="digits")


def _digits_table() -> NDArray[np.float64]:
    """Return 64 pixels and the label of each digit, (1797, 65)."""
    # The file is read from the folder of scikit-learn: to import sklearn.datasets takes longer than to train on it.
    package = find_spec("sklearn")
    if package is not None and package.origin is not None:
        file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.column_stack([bunch.data, bunch.target])


def toy() -> Raw:
    """Return the toy set: x (5, 4) float64, y (5,), three classes, all samples for training.

    Source: HLCV exercise 2, toy data: NumPy's legacy generator seeded with 1.
    """
    split = Split(10 * np.random.RandomState(1).randn(5, 4), np.array([0, 1, 2, 2, 1], dtype=np.int64))
    classes = ("0", "1", "2")
    return Raw(train=split, classes=classes, sha256=content_sha256({"train": split}, classes), label="toy")


def mnist(root: str, *, download: bool = False) -> Raw:
    """Return MNIST: x (60000, 1, 28, 28) and (10000, 1, 28, 28) uint8, values 0..255, in file order.

    root: folder that holds `MNIST/raw/`; with `download` what is missing is fetched.

    Raises:
        DataError: a file is missing or damaged, or the download failed.
    """
    folder = _present(MNIST_FILES, root, download=download)
    return Raw(
        train=_read_idx(folder, "train"),
        test=_read_idx(folder, "t10k"),
        classes=DIGIT_NAMES,
        sha256=MNIST_FILES.sha256(),
        label="mnist",
    )


def cifar10(root: str, *, download: bool = False) -> Raw:
    """Return CIFAR-10: x (50000, 3, 32, 32) and (10000, 3, 32, 32) uint8, values 0..255, in file order.

    root: folder that holds `cifar-10-batches-py/`; the rest as for `mnist`.
    """
    _present(CIFAR10_FILES, root, download=download)
    expanded = str(Path(root).expanduser())
    return Raw(
        train=_read_cifar(expanded, train=True),
        test=_read_cifar(expanded, train=False),
        classes=CIFAR10_NAMES,
        sha256=CIFAR10_FILES.sha256(),
        label="cifar10",
    )


def fetch(name: str, root: str) -> Path:
    """Download mnist or cifar10 to a `data.root` unless it is there and undamaged; return the folder of its files.

    Raises:
        DataError: no set of this name can be downloaded, the download failed, or the folder cannot be written.
    """
    sets = {known.name: known for known in (MNIST_FILES, CIFAR10_FILES)}
    if name not in sets:
        raise DataError(f"{name!r} is not a set that can be downloaded; known: {', '.join(sets)}")

    def download(folder: str) -> None:
        from torchvision import datasets

        maker = datasets.MNIST if name == "mnist" else datasets.CIFAR10
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            maker(folder, download=True)

    return fetch_files(sets[name], root, download=download)


def _present(known: KnownSet, root: str, *, download: bool) -> Path:
    """Return the folder of the files after their check, or after their download."""
    if download and missing_files(known, root):
        return fetch(known.name, root)
    return check_files(known, root)


def _read_idx(folder: Path, part: str) -> Split:
    x, y = _idx(folder / f"{part}-images-idx3-ubyte"), _idx(folder / f"{part}-labels-idx1-ubyte")
    return Split(x[:, None], y.astype(np.int64))


def _idx(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of an idx file in their shape.

    The header is two zero bytes, the type, the number of axes, and the size of each axis as a big-endian int32.
    """
    # torchvision reads these files too, but it takes seconds to import.
    content = np.fromfile(path, np.uint8)
    axes = int(content[3])
    shape = content[4 : 4 + 4 * axes].view(">i4")
    return content[4 + 4 * axes :].reshape(shape)


def _read_cifar(root: str, *, train: bool) -> Split:
    from torchvision.datasets import CIFAR10

    with warnings.catch_warnings():
        # The files of 2009 are pickles with `align=0`, and NumPy 2.4 warns about that.
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        read = CIFAR10(root, train=train, download=False)
    return Split(np.ascontiguousarray(read.data.transpose(0, 3, 1, 2)), np.asarray(read.targets, dtype=np.int64))
