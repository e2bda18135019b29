"""Photos as people have them: of many formats and sizes, some turned, gray, transparent or animated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("apple", "banana", "cherry")
FORMATS = ("jpg", "JPG", "jpeg", "png", "png", "gif", "webp", "bmp", "tiff", "jpg")


def make_odd_photos(root: Path, n: int = 204, *, side: int = 60) -> Path:
    """Write `n` photos of three classes, which differ in colour, into class folders; return `root`.

    Args:
        root: the folder, which is made.
        n: number of photos, without the files that are none.
        side: typical length of a side, in pixels.
    """
    rng = np.random.default_rng(0)
    for number in range(n):
        kind = number % 3
        folder = root / CLASSES[kind] / ("more" if number % 20 == 7 else "")
        folder.mkdir(parents=True, exist_ok=True)
        save_odd(photo(kind, rng, side=side), folder / f"img {number:03}.{FORMATS[number // 3 % len(FORMATS)]}", number)
    (root / "stray.jpg").write_bytes((root / "apple" / "img 000.jpg").read_bytes())
    (root / "apple" / "Thumbs.db").write_bytes(b"no image")
    (root / "banana" / ".DS_Store").write_bytes(b"no image")
    (root / "cherry" / "notes.txt").write_text("sweet")
    return root


def photo(kind: int, rng: np.random.Generator, *, side: int) -> Image.Image:
    """Return a photo of a class: a disc of its colour on a mixed ground."""
    height, width = (int(side * rng.uniform(0.7, 1.5)) for _ in range(2))
    pixels = rng.integers(60, 120, (height, width, 3)).astype(np.uint8)
    y, x = np.ogrid[:height, :width]
    disc = (y - height * rng.uniform(0.4, 0.6)) ** 2 + (x - width * rng.uniform(0.4, 0.6)) ** 2 < (side / 3.5) ** 2
    pixels[disc] = np.array([(200, 40, 30), (230, 210, 60), (90, 10, 110)])[kind] + rng.integers(-20, 20, 3)
    return Image.fromarray(pixels)


def save_odd(image: Image.Image, path: Path, number: int) -> None:
    """Save a photo in one of the ways in which files differ, by its number."""
    match path.suffix.lower():
        case ".jpg" | ".jpeg":
            exif = Image.Exif()
            exif[274] = number % 8 + 1
            image.save(path, exif=exif)
        case ".png" if number % 2:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
            image.save(path)
        case ".gif":
            image.save(path, save_all=True, append_images=[image.rotate(90)])
        case ".bmp":
            image.convert("L").save(path)
        case _:
            image.save(path)


def make_new_photos(root: Path, *, side: int = 60) -> Path:
    """Write five photos `photo_0.jpg`, `photo_1.png` and so on, that are in no class folder; return `root`."""
    rng = np.random.default_rng(1)
    root.mkdir(parents=True)
    for number, ending in enumerate(("jpg", "png", "gif", "webp", "tiff")):
        save_odd(photo(number % 3, rng, side=side), root / f"photo_{number}.{ending}", number)
    return root
