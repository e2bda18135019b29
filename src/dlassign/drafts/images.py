"""A first config for a folder of images: what lies there is looked at, and sizes, split, network and epochs follow."""

from __future__ import annotations

import math
import shlex
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlassign.data.image_layout import SHARES, Layout, find_layout
from dlassign.data.image_scan import ImageFile, Scan, scan_folders
from dlassign.data.split import split_sizes
from dlassign.drafts.yaml_text import comment_lines, inline, loss_lines
from dlassign.errors import DataError, counted, first_few

LOOKED_AT = 1000
"""Headers that are read, of images spread over the whole set."""
FEWEST = 10
"""Images that a split into train, val and test needs."""
BATCHES = ((128, 10_000), (64, 2000), (32, 500), (16, 60), (8, 0))
"""Batch sizes, each with the number of training images from which it is used: small sets need more than a few steps."""
IMAGES_TO_SHOW = 12_000
"""Training images shown in all epochs together, after which more epochs hardly help a small network on few photos."""


@dataclass(frozen=True)
class Look:
    """What the headers of some images say.

    Attributes:
        sizes: (height, width) of each, as the camera was held.
        gray: whether none has colours.
        bad: paths of those that are no images, however they are called.
    """

    sizes: tuple[tuple[int, int], ...]
    gray: bool
    bad: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What fits a set of images.

    Attributes:
        size: (height, width) of the network's input.
        fit: how images are brought to it.
        stages: channels of the network's stages, each of which halves the image.
        batch_size, epochs: of training.
    """

    size: tuple[int, int]
    fit: str
    stages: tuple[int, ...]
    batch_size: int
    epochs: int


def draft_images(root: str, *, file: str) -> tuple[str, list[str]]:
    """Return the YAML of a first config for a folder of images, and lines on what was seen.

    Args:
        root: the folder, relative to the working directory.
        file: the config will be written to; its stem is the name of the runs.

    Raises:
        DataError: there are no class folders, too few images that can be read, or runs would be written among the class
            folders.
    """
    found = find_layout(root)
    if found is None:
        raise DataError(
            f"{root} has no class folders; it must hold one folder for each class, at least 2, with the images of the "
            "class in it, or such folders below train and test"
        )
    if found.train == "." and Path(found.root).resolve() == Path.cwd():
        raise DataError(
            f"{root} is the working directory, and runs are written to out/ in it, which would be taken for a class; "
            f"give the command one folder up: `cd ..`, then `dlassign init {Path.cwd().name}`"
        )
    scan = scan_folders(found.root, train=found.train, val=found.val, test=found.test)
    look = look_at(scan.files)
    if not look.sizes and len(scan.parts[0][1]) >= FEWEST:
        raise DataError(f"none of the {len(scan.files)} files in {found.root} can be read as an image")
    scan = scan.without(look.bad)
    counts = {part: len(files) for part, files in scan.parts}
    if counts["train"] < FEWEST:
        raise DataError(f"{found.root} has {counts['train']} images to train on; give at least {FEWEST}")
    _check_readable(found, scan)
    held_out = {part: share for part, share in SHARES.items() if getattr(found, part) is None}
    sizes = split_sizes(counts["train"], counts.get("test"), n_val=counts.get("val"), **held_out)
    choice = choose(look, n_train=sizes.train)
    seen = [*_seen(found, scan, look), _network(choice)]
    lines = [*comment_lines(seen), "#", f"# Command:  dlassign train {shlex.quote(file)}", ""]
    lines += [*_data_lines(found, look, choice, held_out=held_out), *_model_lines(look, choice)]
    lines += [*loss_lines(file.label for file in scan.parts[0][1]), *_training_lines(choice)]
    return "\n".join(lines) + "\n", seen


def look_at(files: Sequence[ImageFile]) -> Look:
    """Read the headers of some images."""
    import warnings

    from PIL import Image
    from PIL.ExifTags import Base

    step = max(1, len(files) // LOOKED_AT)
    sizes: list[tuple[int, int]] = []
    modes: set[str] = set()
    bad: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata, and of large images
        for file in files[::step]:
            try:
                with Image.open(file.path) as opened:
                    # Pillow turns TIFF itself: its size is already the turned one.
                    on_its_side = opened.format != "TIFF" and opened.getexif().get(Base.Orientation, 1) >= 5
                    sizes.append(opened.size if on_its_side else opened.size[::-1])
                    modes.add(opened.mode)
            except Exception:  # noqa: BLE001 - each of Pillow's decoders raises errors of its own
                bad.append(file.path)
    return Look(tuple(sizes), all(mode.startswith(("L", "I", "F", "1")) for mode in modes), tuple(bad))


def _check_readable(found: Layout, scan: Scan) -> None:
    """Refuse a part, or a class of train, of which no file can be read as an image; scan: what can be read."""
    for part, files in scan.parts:
        folder = Path(found.root) / getattr(found, part)
        if not files:
            raise DataError(f"{folder}: none of its files can be read as an image; mend them, or move the folder away")
        if part == "train" and (lacking := set(range(len(scan.classes))) - {file.label for file in files}):
            raise DataError(
                f"{folder / scan.classes[min(lacking)]}: none of its files can be read as an image; mend them, or take "
                "the class out of every part"
            )


def choose(look: Look, *, n_train: int) -> Choice:
    """Return what fits images of these sizes, of which so many are trained on."""
    heights, widths = zip(*look.sizes, strict=True)
    longest = 64 if n_train <= 20_000 else 32
    height, width = statistics.median_low(heights), statistics.median_low(widths)
    shapes = [h / w for h, w in look.sizes]
    alike = max(shapes) / min(shapes) < 1.1
    if not alike:
        height = width = min(height, width)
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    # Each stage halves the image; the last one should still see a few pixels.
    stages = (32, 64, 128, 256)[: max(1, min(4, int(math.log2(min(size))) - 1))]
    batch = min(next(batch for batch, least in BATCHES if n_train >= least), n_train // 2)
    while n_train % batch == 1:  # batch normalisation takes no batch of one image
        batch += 1
    epochs = min(40, max(5, round(IMAGES_TO_SHOW / n_train)))
    return Choice(size, "stretch" if alike else "crop", stages, batch, epochs)


def _seen(found: Layout, scan: Scan, look: Look) -> list[str]:
    """Return lines on what lies in the folder."""
    lines = []
    for part, files in scan.parts:
        counts = Counter(file.label for file in files)
        fewest, most = min(counts.values()), max(counts.values())
        each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        shown = first_few([scan.classes[label] for label in sorted(counts)], 5)
        folder = Path(found.root) / getattr(found, part)
        lines.append(
            f"{folder}: {len(files):,} images of {counted(len(counts), 'class', 'classes')} ({shown}), {each} of each"
        )
        if lacking := [name for label, name in enumerate(scan.classes) if label not in counts]:
            lines.append(f"{folder}: no image of {first_few(lacking, 5)}, so its results will say nothing of that")
    lines += found.odd
    low, high = min(look.sizes, key=math.prod), max(look.sizes, key=math.prod)
    sizes = f"{low[0]}x{low[1]}" + (f" to {high[0]}x{high[1]}" if high != low else "")
    lines.append(f"sizes: {sizes} (height x width){', gray' if look.gray else ''}")
    if look.bad:
        lines.append(f"cannot be read as images, and left out: {first_few(look.bad, 3)}")
    return lines + list(scan.notes)


def _network(choice: Choice) -> str:
    size = "x".join(map(str, choice.size))
    return (
        f"network: convolutions in stages of {list(choice.stages)} channels, on {size} pixels, {choice.epochs} epochs"
    )


def _data_lines(found: Layout, look: Look, choice: Choice, *, held_out: Mapping[str, float]) -> list[str]:
    """Return the section `data`, with comments on what may be changed."""
    whole = "  # the class folders lie in root itself" if found.train == "." else ""
    lines = ["data:", "  name: image_folder", f"  root: {inline(found.root)}", f"  train: {inline(found.train)}{whole}"]
    lines += [f"  {part}: {inline(folder)}" for part, folder in (("val", found.val), ("test", found.test)) if folder]
    lines += [] if found.test else ["  test: null"]
    if held_out:
        shares = ", ".join(f"{part}: {share}" for part, share in held_out.items())
        lines += [f"  split: {{{shares}}}  # shares of the images in train that are held out"]
        lines += ["  # Photos that belong together, such as all of one patient, should stay in one part:"]
        lines += [f"  # split: {{{shares}, by: group, pattern: '(patient\\d+)_'}}  # in names of files"]
    lines += [f"  size: [{choice.size[0]}, {choice.size[1]}]  # height and width; larger shows more and takes longer"]
    if choice.fit != "stretch":
        lines += [
            f"  fit: {choice.fit}  # the middle of each image; `pad` keeps all of it, `stretch` changes its shape"
        ]
    lines += ["  grayscale: true"] * look.gray
    lines += ["  skip_bad: true  # leave out files that cannot be read as images"] * bool(look.bad)
    lines += ["  preprocess:", "    - {name: normalize}  # mean 0 and standard deviation 1, as measured on train"]
    moves = max(choice.size) // 16
    augment = [] if look.gray else ["    - {name: flip}  # where left and right mean the same"]
    augment += [f"    - {{name: translate, pixels: {moves}}}"] * bool(moves)
    return lines + (["  augment:", *augment] if augment else [])


def _model_lines(look: Look, choice: Choice) -> list[str]:
    """Return the section `model`, and as comments those that begin with pretrained weights."""
    lines = ["model:", "  name: vgg", f"  stages: [{', '.join(f'[{width}]' for width in choice.stages)}]"]
    lines += ["  global_pool: avg", "  dropout: 0.2"]
    if not look.gray:
        lines += [
            "# Weights that were trained on ImageNet know more than a few photos can teach. To begin with them, give",
            "# `dlassign data fetch resnet18-imagenet` once, write these two lines in place of `model`, remove",
            "# `preprocess`, and make `size` about [160, 160]:",
            "# model: {name: resnet18}",
            "# init: {name: pretrained, weights: imagenet}",
        ]
    return lines


def _training_lines(choice: Choice) -> list[str]:
    """Return the sections `optimizer`, `schedule` and `train`."""
    lines = ["optimizer: {name: adamw, lr: 2e-3, weight_decay: 0.05}", "schedule: {name: one_cycle}"]
    return [*lines, "train:", f"  epochs: {choice.epochs}", f"  batch_size: {choice.batch_size}"]
