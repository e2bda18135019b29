"""Small pictures of first-layer weights, to be embedded in a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dlassign.errors import UserError
from dlassign.plots.weights import as_images, heat_colors, tile
from dlassign.store.paths import RunPaths

if TYPE_CHECKING:
    from dlassign.train.first_layer import FirstLayerWeights

Load = Callable[[RunPaths], "FirstLayerWeights"]

MOST_RUNS = 24
MOST_BYTES = 2_000_000
"""Base64 text of all pictures of a page."""
_ONE_PICTURE = 160_000
_MOST_UNITS = 64
_MOST_FEATURES = 400
_LARGEST_CHECKPOINT = 100 * 2**20
_WIDEST = 640


@dataclass(frozen=True, kw_only=True)
class WeightPicture:
    """A picture, or the reason why there is none.

    Attributes:
        source: data URI of a PNG; "" if there is none.
        width, height: of the PNG in pixels.
        text: what it shows, or why there is none.
        crisp: whether a pixel is a weight, so that it must not be smoothed when it is enlarged.
    """

    source: str = ""
    width: int = 0
    height: int = 0
    text: str
    crisp: bool = True


class WeightPictures:
    """Makes the pictures of runs and keeps them, so that a page that is written often reads a checkpoint once.

    `load` may import torch: it is called only for runs that have a checkpoint and no picture of their own.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._made: dict[Path, tuple[tuple[int, int], WeightPicture]] = {}

    def of(self, runs: Sequence[RunPaths]) -> dict[Path, WeightPicture]:
        """Return pictures by folder of runs that have ended; the first 24 with a checkpoint or a picture get one."""
        found: dict[Path, WeightPicture] = {}
        spent = 0
        for paths in runs:
            if len(found) == MOST_RUNS:
                break
            picture = self._picture(paths)
            if picture is None:
                continue
            spent += len(picture.source)
            found[paths.root] = picture if spent <= MOST_BYTES else WeightPicture(text="left out: the page is full")
        return found

    def _picture(self, paths: RunPaths) -> WeightPicture | None:
        saved = paths.plots / "weights.png"
        files = [path for path in (paths.best, saved) if path.is_file()]
        if not files:
            return None
        newest = max(files, key=lambda path: (path.stat().st_mtime_ns, path == saved))
        state = newest.stat()
        stamp = state.st_mtime_ns, state.st_size
        known = self._made.get(paths.root)
        if known is None or known[0] != stamp:
            known = stamp, self._make(paths, saved if newest == saved else None)
            self._made[paths.root] = known
        return known[1]

    def _make(self, paths: RunPaths, saved: Path | None) -> WeightPicture:
        try:
            if saved is not None:
                return _of_file(saved)
            if paths.best.stat().st_size > _LARGEST_CHECKPOINT:
                text = f"the checkpoint is large; `dlassign plot {paths.root} --weights` draws it"
                return WeightPicture(text=text)
            return draw_small(self._load(paths))
        except (UserError, OSError, ValueError, LookupError) as error:
            return WeightPicture(text=f"no picture: {error}")


def draw_small(layer: FirstLayerWeights) -> WeightPicture:
    """Return the picture of a layer: at most 64 units, fewer if they are large.

    Raises:
        ValueError: the weights have neither two nor four axes.
    """
    weights = layer.array
    images = as_images(weights, layer.sample_shape)
    count, noun = min(len(weights), _MOST_UNITS), "unit" if weights.ndim == 2 else "filter"
    while True:
        pixels = heat_colors(weights[:count, :_MOST_FEATURES]) if images is None else tile(images[:count])
        png = _png(Image.fromarray((255 * pixels).round().astype(np.uint8)))
        if len(png) <= _ONE_PICTURE or count == 1:
            break
        count = count // 2
    shown = f"{count} of {len(weights)} {noun}s" if count < len(weights) else f"{count} {noun}{'s' * (count != 1)}"
    scale = "a unit a row, a feature a column, white is 0" if images is None else "each scaled on its own"
    back = "" if layer.components is None else f", mapped back from {layer.components} principal components"
    text = f"{layer.name}: {shown}, {scale}{back}; {layer.chosen} weights, step {layer.step:,}"
    return WeightPicture(source=_uri(png), width=pixels.shape[1], height=pixels.shape[0], text=text)


def _png(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, format="PNG", optimize=True)
    return target.getvalue()


def _of_file(path: Path) -> WeightPicture:
    """Return a picture that `dlassign plot --weights` wrote, made smaller if it is large."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    png = path.read_bytes()
    while len(png) > _ONE_PICTURE and max(image.size) > 64:
        width = min(_WIDEST, image.width * 3 // 4)
        image = image.resize((width, max(1, round(image.height * width / image.width))))
        png = _png(image)
    text = "as `dlassign plot --weights` drew it"
    return WeightPicture(source=_uri(png), width=image.width, height=image.height, text=text, crisp=False)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
