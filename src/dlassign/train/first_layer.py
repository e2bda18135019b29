"""The weights of a saved model's first layer, as they act on raw samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlassign.data.prepare import Preprocess
from dlassign.errors import UserError
from dlassign.store.paths import RunPaths
from dlassign.store.records import read_records
from dlassign.train.checkpoint import to_numpy, using
from dlassign.train.saved import load_saved_weights


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstLayerWeights:
    """The weights of a model's first layer, and where they come from.

    Attributes:
        name: of the layer, such as linear1.
        array: (units, D), or (filters, C, KH, KW) of a convolution.
        sample_shape: of what the layer is applied to: (C, H, W), or (D,) if that is no image.
        components: principal components that the weights were mapped back from; None without PCA.
        step: optimizer steps done when the weights were as they are.
        chosen: best, or last; a finished run without validation has its last weights as best.
    """

    name: str
    array: NDArray[np.float64]
    sample_shape: tuple[int, ...]
    components: int | None
    step: int
    chosen: str


def first_layer(paths: RunPaths, *, weights: str = "best") -> FirstLayerWeights:
    """Return the weights of a run's first layer, from its checkpoint.

    Args:
        paths: the run.
        weights: best, or last.

    Raises:
        UserError: there is no such run or checkpoint, no layer to show, or its weights are not finite.
    """
    data = read_records(paths.log).start["data"]
    shape = tuple(data.get("raw_shape") or data.get("shape") or ())
    state = load_saved_weights(paths, weights)
    # In the order of the layers: the first weight of two or four axes is the first layer's.
    layers = (key for key, tensor in state["weights"].items() if key.endswith(".weight") and tensor.ndim in (2, 4))
    key = next(layers, None)
    if key is None:
        raise UserError(f"{paths.root}: the model has no linear or convolution layer whose weights could be drawn")
    name, array = key.removesuffix(".weight"), to_numpy(state["weights"][key]).astype(np.float64)
    if not np.isfinite(array).all():
        raise UserError(f"{paths.root}: the {weights} weights of {name} are not finite; training diverged")
    with using(paths):
        array, components = Preprocess.from_state(to_numpy(state["preprocess"])).before_pca(array)
    return FirstLayerWeights(
        name=name,
        array=array,
        sample_shape=shape,
        components=components,
        step=int(state["step"]),
        chosen=str(state.get("chosen", weights)),
    )
