"""What a place names, in which order, with which true classes, and what is said of a place that names nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dlassign.data.image_pixels import Decoding
from dlassign.data.table_columns import NumberColumn
from dlassign.data.table_encoding import TableEncoding
from dlassign.data.table_notes import Column
from dlassign.deploy.classifier import Intake
from dlassign.deploy.sources import DEEP, Chunk, Source, open_sources
from dlassign.errors import UserError
from helpers.images import idx_bytes, save

GRAY = Intake(shape=(1, 2, 2), decoding=Decoding(size=(2, 2), grayscale=True))
CLASSES = ("cat", "dog")


def opened(
    *places: str | Path,
    intake: Intake = GRAY,
    labels: str | None = None,
    listed: Sequence[str] = (),
) -> tuple[list[Source], list[str]]:
    return open_sources(list(map(str, places)), intake=intake, classes=CLASSES, labels=labels, listed=listed)


def chunk_of(
    *places: str | Path, intake: Intake = GRAY, labels: str | None = None, listed: Sequence[str] = ()
) -> Chunk:
    [source], _ = opened(*places, intake=intake, labels=labels, listed=listed)
    [chunk] = source.chunks(100)
    assert [source.name(row) for row in range(len(source))] == list(chunk.names)
    return chunk


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two class folders whose names are sorted otherwise than the paths of their images, and a stray file."""
    for name, value in (("cat/b.png", 1), ("cat/more/a.png", 2), ("cat-like/x.png", 3), ("dog/c.png", 4)):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, np.full((2, 2), value, np.uint8))
    (tmp_path / "photos" / "cat" / "note.txt").write_text("no image")
    (tmp_path / "photos" / "cat" / ".hidden.png").write_text("no image")
    return tmp_path / "photos"


def test_a_folder_is_read_in_the_order_of_training(photos: Path) -> None:
    chunk = chunk_of(photos)
    assert [str(Path(name).relative_to(photos)) for name in chunk.names] == [
        "cat/b.png",
        "cat/more/a.png",
        "cat-like/x.png",
        "dog/c.png",
    ]
    assert chunk.x[:, 0, 0, 0].tolist() == [1, 2, 3, 4]


def test_places_keep_their_order_and_may_repeat(photos: Path) -> None:
    chunk = chunk_of(photos / "dog", f"{photos}/cat*/*.png", photos / "dog" / "c.png")
    assert chunk.x[:, 0, 0, 0].tolist() == [4, 3, 1, 4]


def test_the_nearest_folder_that_is_called_as_a_class_is_the_true_one(photos: Path) -> None:
    assert chunk_of(photos / "cat", photos / "dog").labels == [0, 0, 1]
    assert chunk_of(photos / "cat", labels="none").labels == [None, None]
    # not beyond the folder that was named
    assert chunk_of(photos / "cat" / "more").labels == [None]


def test_an_image_in_no_class_folder(photos: Path) -> None:
    _, notes = opened(photos)
    what = "1 of 4 images lie in no folder that is called as a class: cat-like (1)"
    assert notes == [f"note: no accuracy is told: {what}"]
    with pytest.raises(UserError, match=r"cat-like \(1\); the classes are cat, dog; --labels none predicts"):
        opened(photos, labels="folder")
    assert opened(photos / "cat-like")[1] == []


def test_a_list_names_files_and_what_is_missing_is_among_them(photos: Path) -> None:
    chunk = chunk_of("-", listed=[f"{photos}/dog/c.png\n", "\n", "nowhere.png\r\n"])
    assert chunk.names == [f"{photos}/dog/c.png", "nowhere.png"]
    assert len(chunk.x) == 1
    assert "no such file" in chunk.errors[1]
    with pytest.raises(UserError, match="the list on standard input is empty"):
        opened("-", listed=["\n"])


def test_what_cannot_be_read_is_an_error_of_its_own(photos: Path) -> None:
    (photos / "dog" / "bad.png").write_bytes(b"no image")
    save(photos / "dog" / "deep.png", np.full((2, 2), 900, np.uint16))
    chunk = chunk_of(photos / "dog")
    assert list(chunk.errors) == [0, 2]
    assert "cannot identify" in chunk.errors[0]
    assert chunk.errors[2] == DEEP
    assert chunk.labels == [1, 1, 1]
    assert chunk.x[:, 0, 0, 0].tolist() == [4]


def test_deep_images_have_the_range_of_the_run(photos: Path) -> None:
    save(photos / "dog" / "deep.png", np.full((2, 2), 900, np.uint16))
    intake = Intake(shape=(1, 2, 2), decoding=Decoding(size=(2, 2), grayscale=True, bits=10))
    assert chunk_of(photos / "dog", intake=intake).x[:, 0, 0, 0].tolist() == [4, 900 >> 2]


def test_a_bomb_is_an_image_that_cannot_be_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1)
    assert "decompression bomb" in chunk_of(photos / "dog").errors[0]


def test_pixels_get_the_range_of_the_training_images(photos: Path) -> None:
    save(photos / "dog" / "c.png", np.array([[0, 8], [128, 255]], np.uint8))
    intake = Intake(shape=(1, 2, 2), decoding=Decoding(size=(2, 2), grayscale=True), white=16)
    assert chunk_of(photos / "dog", intake=intake).x.ravel().tolist() == [0, 1, 8, 16]


def test_a_file_that_is_named_more_than_once_is_told(photos: Path) -> None:
    _, notes = opened(photos, photos / "dog")
    assert notes[0] == "note: 1 of the 5 named files are repeats; each counts again"
    (photos / "cat" / "note.txt").unlink()
    # A pattern names each once, though it matches the folders, too.
    [source], notes = opened(f"{photos}/**")
    assert len(source) == 4
    assert not any("repeats" in note for note in notes)


@pytest.mark.parametrize("text", ["\ufeff{}\r\n", "{}\0"])
def test_lists_as_windows_and_find_write_them(text: str, photos: Path) -> None:
    chunk = chunk_of("-", listed=[text.format(photos / "dog" / "c.png")])
    assert (len(chunk.x), chunk.errors) == (1, {})


def test_why_a_file_cannot_be_read_is_the_same_each_time(photos: Path) -> None:
    (photos / "empty.png").touch()
    (photos / "link.png").symlink_to(photos / "nowhere.png")
    (photos / "text.png").write_text("no image")
    names = ("empty", "link", "text", "gone")
    chunk = chunk_of("-", listed=[str(photos / f"{name}.png") for name in names])
    assert [chunk.errors[place] for place in range(4)] == [
        "the file is empty",
        "this link leads to no file",
        "cannot identify image file",
        "there is no such file",
    ]


def test_places_that_name_nothing(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file or folder .*photo \(working.*Did you mean 'photos'"):
        opened(tmp_path / "photo")
    with pytest.raises(UserError, match=r"no file matches .*\*\.jpg"):
        opened(f"{photos}/*.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no images"):
        opened(tmp_path / "empty")


def test_a_link_upwards_ends(photos: Path) -> None:
    (photos / "dog" / "up").symlink_to(photos)
    assert len(chunk_of(photos).names) == 4


def test_an_mnist_file_with_the_labels_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2)))
    assert chunk_of(path).labels == [None, None, None]
    beside = tmp_path / "t10k-labels-idx1-ubyte"
    beside.write_bytes(idx_bytes(np.array([0, 1, 1], np.uint8)))
    [source], _ = opened(path)
    first, second = source.chunks(2)
    assert (first.labels, second.labels) == ([0, 1], [1])
    assert second.names == [f"{path}[2]"]
    assert second.x.tolist() == [[[[8, 9], [10, 11]]]]
    assert chunk_of(path, labels="none").labels == [None, None, None]
    beside.write_bytes(idx_bytes(np.array([0, 2, 1], np.uint8)))
    with pytest.raises(UserError, match="has labels up to 2, and the net knows 2 classes"):
        opened(path)
    beside.write_bytes(idx_bytes(np.array([0, 1], np.uint8)))
    with pytest.raises(UserError, match="holds 2 labels for the 3 images"):
        opened(path)
    with pytest.raises(UserError, match="holds images of 1x2x2, and the net takes 3x2x2"):
        opened(path, intake=Intake(shape=(3, 2, 2), decoding=Decoding()))


def test_a_net_for_tables_names_its_columns_where_images_are_given(photos: Path) -> None:
    encoding = TableEncoding((NumberColumn(Column(0, "age"), ".", None, False),), Column(1, "label"), 2, ",")
    intake = Intake(shape=(1,), table=encoding)
    with pytest.raises(
        UserError, match=r"b\.png is an image, and this net takes rows of a table with the columns 'age'"
    ):
        opened(photos, intake=intake)
    with pytest.raises(UserError, match="there is no file age,label; a list on standard input holds names of tables"):
        opened("-", intake=intake, listed=["age,label\n", "1,a\n"])
