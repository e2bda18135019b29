"""Model: a trained net as a Python object, from an exported folder or a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlassign.config.ordinary_file import given_path
from dlassign.data.bundle import Samples
from dlassign.data.image_decode import why_unreadable
from dlassign.data.image_pixels import Pixels, decode_image, decode_opened
from dlassign.data.preprocess_chain import through
from dlassign.deploy.classifier import DEEP, Intake, Scores, probabilities
from dlassign.deploy.from_run import trained_of
from dlassign.deploy.graph import refuse_batch_statistics
from dlassign.deploy.model_folder import ModelFolder, read_model
from dlassign.deploy.trained import Trained
from dlassign.errors import DataError
from dlassign.store.select import one_run
from dlassign.train.device import resolve_device
from dlassign.train.given_back import by_itself
from dlassign.train.saved import open_saved

if TYPE_CHECKING:
    from PIL.Image import Image

    One = NDArray[Any] | Image | str | Path | Mapping[str, Any]
    """An array, a picture, the path of one, or the cells of a row of a table by column."""

BATCH_SIZE = 256


class Model:
    """A trained net in float32, with its preprocessing. A `Classifier`.

    Args:
        trained: what it is made of.
        device: cpu, cuda, cuda:N or auto.

    Attributes:
        labels: names of the classes.
        intake: what a raw sample is.
        batch_size: samples that are scored at once.
        module: from raw samples, (N, C, H, W) uint8 or (N, D) float64, to scores (N, K), a torch module.

    Raises:
        UserError: the weights do not fit the model, or it cannot be used alone.
        ConfigError: there is no such device.
    """

    batch_size = BATCH_SIZE

    def __init__(self, trained: Trained, *, device: str = "cpu") -> None:
        self.labels = trained.labels
        self.intake: Intake = trained.intake
        graph = trained.graph()
        refuse_batch_statistics(graph.model)
        self._preprocess = trained.preprocess
        self._device = resolve_device(device)
        self.module = graph.to(self._device)

    def __repr__(self) -> str:
        return f"Model({len(self.labels)} classes, samples of shape {self.intake.shape}, on {self._device})"

    def scores(self, x: Samples) -> Scores:
        """Return scores (N, K) of raw samples, (N, C, H, W) uint8 or (N, D) float64.

        Raises:
            DataError: a number of a row is too large for the net.
        """
        if x.dtype.kind == "f":
            self._refuse_too_large(x)
        found = [np.empty((0, len(self.labels)), np.float32)]
        # Whoever has trained the module further would get statistics of the batch, and dropout.
        self.module.eval()
        with torch.inference_mode(), self._exact():
            for start in range(0, len(x), self.batch_size):
                batch = torch.from_numpy(np.ascontiguousarray(x[start : start + self.batch_size]))
                found.append(self.module(batch.to(self._device)).cpu().numpy())
        return np.concatenate(found)

    def _exact(self) -> AbstractContextManager[None]:
        """Let a GPU compute convolutions in float32, which torch by itself rounds to 10 bits, and put that back."""
        if self._device.type != "cuda":
            return nullcontext()
        flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
            enabled=True, deterministic=True, allow_tf32=False
        )
        return flags

    def predict_proba(self, images: One | Sequence[One]) -> NDArray[np.float64]:
        """Return the probability of each class, (N, K), the softmax of the scores.

        Args:
            images: uint8 arrays or tensors of shape (H, W, C), (H, W) or (N, H, W, C), pictures of Pillow, paths, or a
                list of such; one alone counts as N = 1. Of a net that was trained on images of floats: such arrays, of
                its size. Of a net for tables: rows of numbers, (D,) or (N, D), or mappings of the names of columns to
                what stands there, such as {"age": 31, "colour": "red", "height": None}.

        Raises:
            DataError: one of them is no such image or row; the message says which of a list, and why.
        """
        one = self._row if self.intake.decoding is None else self._picture
        found = [np.empty((0, len(self.labels)))]
        waiting: list[NDArray[Any]] = []
        several = list(_each(images, axes=len(self.intake.shape)))
        for place, image in enumerate(several):
            try:
                waiting.append(one(_on_host(image)))
            except DataError as error:
                if len(several) == 1:
                    raise
                noun = "row" if self.intake.decoding is None else "image"
                raise DataError(f"{noun} {place} (counted from 0): {error}") from error
            if len(waiting) == self.batch_size:  # pictures of any number need the memory of one batch
                found.append(self._probabilities(np.stack(waiting)))
                waiting.clear()
        if waiting:
            found.append(self._probabilities(np.stack(waiting)))
        return np.concatenate(found)

    def _probabilities(self, x: Samples) -> NDArray[np.float64]:
        scores = self.scores(x)
        if x.dtype.kind == "f" and not np.isfinite(scores).all():
            raise DataError(self.intake.too_large(x[~np.isfinite(scores).all(axis=1)][0]))
        return probabilities(scores)

    def predict(self, images: One | Sequence[One]) -> NDArray[np.str_]:
        """Return the names of the most probable classes, (N,); images: as of `predict_proba`."""
        best: NDArray[np.intp] = self.predict_proba(images).argmax(axis=1)
        return np.array(self.labels)[best]

    def _row(self, row: Any) -> NDArray[np.float64]:
        """Return one row (D,) of numbers."""
        if isinstance(row, Mapping):
            if self.intake.table is None:
                raise DataError("the model does not know the columns of its table; give the numbers of a row, (D,)")
            return self.intake.table.encode_one(row)
        if isinstance(row, str | Path):
            raise DataError(f"{row} is no row; give numbers, or read a table with `dlassign predict`")
        found = _numbers(row)
        if found.shape != self.intake.shape:
            raise DataError(
                f"a row has the shape {found.shape}; the model takes rows of {self.intake.shape[0]} numbers"
            )
        if len(bad := np.flatnonzero(~np.isfinite(found))):
            raise DataError(f"value {bad[0]} of a row (counted from 0) is {found[bad[0]]}, not a finite number")
        return found

    def _refuse_too_large(self, x: Samples) -> None:
        """Refuse rows (N, D) of which preprocessing makes what float32 cannot hold; tanh would hide that."""
        with np.errstate(over="ignore", invalid="ignore"):
            prepared = through(self._preprocess.steps, x.copy()).astype(np.float32)
        if len(bad := np.flatnonzero(~np.isfinite(prepared).reshape(len(x), -1).all(axis=1))):
            raise DataError(self.intake.too_large(x[bad[0]]))

    def _picture(self, image: Any) -> Pixels:
        """Return one image as (C, H, W) uint8, as in training."""
        if isinstance(image, np.ndarray):
            return self._array(image)
        from PIL import Image as PILImage

        how = self.intake.decoding
        assert how is not None
        if self.intake.floats:
            raise DataError(self.intake.no_pictures())
        if not isinstance(image, str | Path | PILImage.Image):
            raise DataError(
                f"a {type(image).__name__} is no image; give a path, a picture of Pillow, or an array of uint8"
            )
        if isinstance(image, PILImage.Image) and 0 in image.size:
            raise DataError(_no_pixels(image.height, image.width))
        try:
            picture = decode_image(str(image), how) if isinstance(image, str | Path) else decode_opened(image, how)
        except IsADirectoryError as error:
            raise DataError(f"{image} is a folder; give its files") from error
        except Exception as error:  # of any kind: each of Pillow's decoders raises errors of its own
            name = image if isinstance(image, str | Path) else f"an image of {type(image).__name__}"
            raise DataError(f"{name} cannot be read as an image: {why_unreadable(str(image), error)}") from error
        if picture.deep is not None and how.bits is None:
            raise DataError(DEEP)
        return self.intake.in_range(picture.x)

    def _array(self, image: NDArray[Any]) -> Pixels:
        """Return an array (H, W, C) or (H, W) as (C, H, W); one of another size is resized as a picture is."""
        channels, height, width = self.intake.shape
        if self.intake.floats:
            return self._floats(image)
        if image.dtype != np.uint8:
            raise DataError(_not_bytes(image))
        found = image[:, :, None] if image.ndim == 2 else image
        if found.ndim != 3 or found.shape[2] not in (1, 3, 4):
            raise DataError(
                f"an image has the shape {image.shape}; expected (height, width, channels) with 1, 3 or 4 channels, or "
                f"(height, width), channels last; several images are a list, such as list(x), or (N, height, width, "
                f"channels); the model was trained on {height}x{width}x{channels}"
            )
        if 0 in found.shape:
            raise DataError(_no_pixels(*found.shape[:2]))
        if found.shape == (height, width, channels):
            if found.max() > self.intake.white:
                raise DataError(f"pixels go up to {found.max()}; the model was trained on 0 to {self.intake.white}")
            return np.ascontiguousarray(found.transpose(2, 0, 1))
        from PIL import Image as PILImage

        return self._picture(PILImage.fromarray(found[:, :, 0] if found.shape[2] == 1 else found))

    def _floats(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return an array (H, W, C) of numbers as (C, H, W) float64; one of another size is not resized."""
        channels, height, width = self.intake.shape
        found = image[:, :, None] if image.ndim == 2 else image
        if found.shape != (height, width, channels) or found.dtype.kind != "f":
            raise DataError(f"this is an array {image.shape} of {image.dtype}; {self.intake.no_pictures()}")
        return np.ascontiguousarray(found.transpose(2, 0, 1), dtype=np.float64)


def load_model(path: str | Path, device: str = "cpu", *, trust: bool = False) -> Model:
    """Return the model of a folder that `dlassign export` wrote, or of a run folder, whose best weights are taken.

    Nothing in it is run: weights are read as safetensors, or, of a run, as tensors alone. If it has parts of a user's
    own, their code in `code/` must run; `trust` allows that.

    Raises:
        UserError: there is no such folder, a file is missing or damaged, or a newer version wrote it.
        ConfigError: there is no such device.
    """
    folder = ModelFolder(given_path(path))
    with by_itself():
        if folder.exists():
            trained = read_model(folder, trust=trust)
        else:
            trained = trained_of(open_saved(one_run(str(folder.root)), trust=trust))
        return Model(trained, device=device)


def _each(images: Any, *, axes: int) -> Iterable[Any]:
    """Return the images one by one; one alone as a sequence of one. axes: of a sample: 3 of images, 1 of rows."""
    images = _on_host(images)
    if isinstance(images, np.ndarray) and axes == 3 and images.dtype.kind in "UO":
        return images.flat  # paths or pictures that stand in an array
    if isinstance(images, np.ndarray):
        batch = images.ndim == axes + 1 or (axes == 1 and images.ndim > 1)
        return images if batch else [images]
    if isinstance(images, list | tuple):
        numbers = axes == 1 and images and not isinstance(images[0], list | tuple | np.ndarray | Mapping)
        return [images] if numbers else images
    return [images]


def _on_host(image: Any) -> Any:
    """Return a tensor of any device as an array, and everything else as it is."""
    if not isinstance(image, torch.Tensor):
        return image
    found = image.detach().cpu()
    return (found.float() if found.dtype == torch.bfloat16 else found).numpy()


def _numbers(row: Any) -> NDArray[np.float64]:
    """Return numbers as float64; texts, times, complex numbers and None are none, though NumPy turns them into some."""
    try:
        found = np.asarray(row)
        kinds = {type(value) for value in found.flat} if found.dtype.kind == "O" else {found.dtype.type}
        if other := [kind.__name__ for kind in kinds if not issubclass(kind, Real | Decimal | np.bool_)]:
            raise DataError(f"a row is not made of numbers (it holds {min(other)})")
        with np.errstate(over="ignore"):
            return found.astype(np.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise DataError(f"a row is not made of numbers ({error})") from error


def _no_pixels(height: int, width: int) -> str:
    return f"an image of {height}x{width} (height x width) has no pixels"


def _not_bytes(image: NDArray[Any]) -> str:
    """Return why an array that is not uint8 is refused, and what to do."""
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            return (
                f"pixels are given as uint8 from 0 to 255, and these are {image.dtype}, and some are not finite "
                "(NaN or infinite); give the image itself, or mend what computed it"
            )
        low, top = float(np.min(image, initial=0.0)), float(np.max(image, initial=0.0))
        if low < 0:
            return (
                f"pixels are given as uint8 from 0 to 255, and these are {image.dtype} from {low:g} to {top:g}; "
                "preprocessing is part of the model, so give the image as it was before"
            )
        span = "0 to 1" if top <= 1 else f"up to {top:g}"
        cure = "(x * 255).round().astype('uint8')" if top <= 1 else "x.round().astype('uint8') of values from 0 to 255"
        return (
            f"pixels are given as uint8 from 0 to 255, and these are {image.dtype} ({span}); preprocessing is part of "
            f"the model, so give the image itself: {cure}"
        )
    return (
        f"pixels are given as uint8 from 0 to 255, and these are {image.dtype}; if all values are from 0 to 255, give "
        "x.astype('uint8'), else bring them to that range first"
    )
