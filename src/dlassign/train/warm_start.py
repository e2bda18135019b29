"""Pretrained weights, of an earlier run or of ImageNet, and the preprocessing that goes with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from dlassign.config.data import Data
from dlassign.config.model import Init, Model
from dlassign.config.transfer import IMAGENET, PretrainedInit
from dlassign.data.bundle import Split
from dlassign.data.load import preprocess_steps
from dlassign.data.prepare import Description, Preprocess, fit_preprocess
from dlassign.errors import ConfigError, Problem, UserError
from dlassign.nets.freezing import head_of
from dlassign.nets.pretrained import LoadReport, find_imagenet, imagenet_preprocess, load_pretrained, load_state
from dlassign.store.paths import weights_file
from dlassign.train.checkpoint import is_checkpoint, load_checkpoint, to_numpy
from dlassign.train.learner import State


def check_weights(init: Init, *, cfg: Model) -> None:
    """See that the pretrained weights that a config asks for are there, without reading them.

    Raises:
        UserError: they are not, and are not to be downloaded.
    """
    if not isinstance(init, PretrainedInit) or init.download:
        return
    if init.weights == IMAGENET:
        find_imagenet(cfg.name)
    else:
        weights_file(init.weights)


def load_initial(model: nn.Module, init: Init, *, cfg: Model) -> LoadReport | None:
    """Set a model's weights, except those of its head, to pretrained ones; None if the config asks for none.

    Raises:
        UserError: the weights are missing, damaged, carry code, or belong to another architecture.
    """
    if not isinstance(init, PretrainedInit):
        return None
    head = head_of(model)
    state = None if init.weights == IMAGENET else _earlier(init.weights)
    if state is not None:
        # An earlier run of ours; else the file is torchvision's or another library's.
        return load_state(model, state["weights"], head=head, source=init.weights)
    return load_pretrained(model, init.weights, name=cfg.name, head=head, download=init.download)


def steps_by_default(data: Data, init: Init) -> Sequence[Description]:
    """Return the preprocessing of a config as plain steps; where it says none, that of the pretrained weights.

    Raises:
        UserError: the run whose weights are taken cannot be read.
        ConfigError: it has preprocessing of the user's own.
    """
    if data.preprocess is not None or not isinstance(init, PretrainedInit):
        return preprocess_steps(data)
    if init.weights == IMAGENET:
        return imagenet_preprocess()
    state = _earlier(init.weights)
    if state is None:
        return []
    earlier = Preprocess.from_state(to_numpy(state["preprocess"])).without_copies()
    if own := earlier.own_parts():
        message = f"the run prepared its samples by {own[0]}, and code is not taken over; give data.preprocess"
        raise ConfigError.at("init.weights", message)
    return earlier.state()


def fit_steps(steps: Sequence[Description], train: Split, *, data: Data, init: Init) -> Preprocess:
    """Measure on train what the steps need; the preprocessing of an earlier run is taken as that run measured it.

    Raises:
        ConfigError: a step does not fit the data.
        DataError: images have another size than those of the earlier run.
    """
    earlier = data.preprocess is None and isinstance(init, PretrainedInit) and init.weights != IMAGENET
    if not earlier:
        return fit_preprocess(steps, train)
    fitted = Preprocess.from_state(steps)
    try:
        fitted.apply(train.x[:1])
    except (UserError, ValueError) as error:
        message = f"the preprocessing of the run does not fit this data ({error}); give data.preprocess"
        raise ConfigError([Problem(path="init.weights", message=message)]) from error
    return fitted


def _earlier(source: str) -> State | None:
    """Return the checkpoint of an earlier run, by its folder or one of its files; None if another program wrote it."""
    file = weights_file(source)
    if not Path(source).expanduser().is_dir() and not is_checkpoint(file):
        return None
    state = load_checkpoint(file)
    if "weights" not in state:  # last.pt or previous.pt; only best.pt has `weights`
        learner = state["learner"]
        state["weights"] = learner.get("evaluated", learner["model"])
    return state
