"""What differs between computing with PyTorch and with NumPy: how a learner is made and how samples are placed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from numpy.typing import NDArray

from dlassign.config.model import MLP
from dlassign.config.run import RunConfig
from dlassign.data.augment import Augmentation, make_augment
from dlassign.data.batches import Batches, Order
from dlassign.data.bundle import Split
from dlassign.data.numpy_batches import numpy_batches
from dlassign.data.on_device import DevicePreprocess, can_run
from dlassign.data.prepare import Preprocess
from dlassign.data.torch_batches import TensorSplit, to_device, torch_batches
from dlassign.errors import ConfigError, Problem
from dlassign.nets.pretrained import LoadReport
from dlassign.train.arithmetic import SINGLE_PRECISION
from dlassign.train.build import build_learner, build_numpy_learner
from dlassign.train.device import describe_blas, describe_device
from dlassign.train.learner import Learner
from dlassign.train.plan import Plan

Samples = Callable[[], NDArray[Any]]


class Backend(Protocol):
    """What computes. `learner` comes first: how samples are placed depends on it.

    Attributes:
        loaded: what of pretrained weights `learner` loaded, or None.
    """

    loaded: LoadReport | None

    @property
    def layout(self) -> str:
        """What `place` does beside the preprocessing: where two backends have the same, so is what they place."""
        ...

    def learner(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        *,
        plan: Plan | None = None,
        pretrained: bool = False,
        samples: Samples | None = None,
    ) -> Learner:
        """Build the learner.

        Args:
            in_shape: of a prepared sample.
            n_classes: number of classes.
            plan: durations in steps; None for a learner that only evaluates.
            pretrained: set initial weights that come from elsewhere; not needed where a checkpoint is loaded after.
            samples: () -> some prepared training samples, for initial weights that are measured on them.
        """
        ...

    def place(self, split: Split, preprocess: Preprocess, *, train: bool = False) -> Any:
        """Return raw samples as the learner takes them; train: with the copies that preprocessing appends to train."""
        ...

    def batches(self, split: Any, order: Order) -> Batches[Any]:
        """Return training batches of a placed split."""
        ...

    def machine(self) -> tuple[str, str, int]:
        """Return the device, what it is called, and the threads that one operation may use now."""
        ...


class TorchBackend:
    """PyTorch on a device.

    Args:
        cfg: the run.
        device: where to compute.
        recorded: the arithmetic that the run began with, as its log has it; None for a new run.
    """

    def __init__(self, cfg: RunConfig, device: torch.device, recorded: dict[str, Any] | None = None) -> None:
        self._cfg, self._device, self._recorded = cfg, device, recorded
        self._arithmetic = SINGLE_PRECISION
        self.loaded: LoadReport | None = None

    def learner(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        *,
        plan: Plan | None = None,
        pretrained: bool = False,
        samples: Samples | None = None,
    ) -> Learner:
        """Build the learner; see Backend."""
        recorded = self._recorded
        if recorded is not None and plan is None:
            recorded = {**recorded, "compile": False}  # one evaluation is over before a compiler would be
        learner, self.loaded = build_learner(
            self._cfg,
            in_shape,
            n_classes,
            device=self._device,
            plan=plan,
            recorded=recorded,
            pretrained=pretrained,
            samples=samples,
        )
        if learner.views is not None:
            learner.views.check(in_shape)
        self._arithmetic = learner.arithmetic
        return learner

    @property
    def layout(self) -> str:
        """Device, number type and memory layout of samples, and whether images stay bytes."""
        arithmetic = self._arithmetic
        layout = (self._device, arithmetic.weights, arithmetic.channels_last, self._wants_bytes())
        return " ".join(map(str, layout))

    def place(self, split: Split, preprocess: Preprocess, *, train: bool = False) -> TensorSplit:
        """Return samples on the device: images as bytes where a batch can be prepared there, else prepared ones."""
        dtype = self._arithmetic.weights
        if not self._keeps_bytes(split, preprocess):
            prepared = _prepared(split, preprocess, "float64" if dtype == torch.float64 else "float32", train=train)
            return to_device(prepared, self._device, dtype=dtype)
        prepare = DevicePreprocess(
            preprocess.steps,
            channels=split.x.shape[1],
            device=self._device,
            dtype=dtype,
            channels_last=self._arithmetic.channels_last,
        )
        return to_device(split, self._device, dtype=torch.uint8, prepare=prepare)

    def _keeps_bytes(self, split: Split, preprocess: Preprocess) -> bool:
        return self._wants_bytes() and can_run(preprocess.steps, split.x.dtype, split.x.shape[1:])

    def _wants_bytes(self) -> bool:
        return bool(self._cfg.data.augment) or not isinstance(self._cfg.model, MLP)

    def batches(self, split: TensorSplit, order: Order) -> Batches[Any]:
        """Return training batches, augmented as the config says.

        Raises:
            ConfigError: an augmentation does not fit the samples.
        """
        return torch_batches(split, order, augment=self._augmentation(split))

    def _augmentation(self, split: TensorSplit) -> Augmentation | None:
        steps = [step.model_dump() for step in self._cfg.data.augment]
        if not steps:
            return None
        if split.prepare is None:
            message = (
                "augmentation works on 8-bit images; leave flatten and pca out of data.preprocess, or remove augment"
            )
            raise ConfigError([Problem(path="data.augment", message=message)])
        return make_augment(steps, split.x, seed=self._cfg.seed)

    def machine(self) -> tuple[str, str, int]:
        """Return device, its name and the threads of one operation."""
        return describe_device(self._device)


class NumpyBackend:
    """NumPy on the CPU."""

    loaded: LoadReport | None = None

    def __init__(self, cfg: RunConfig) -> None:
        self._cfg = cfg

    def learner(
        self,
        in_shape: Sequence[int],
        n_classes: int,
        *,
        plan: Plan | None = None,
        pretrained: bool = False,
        samples: Samples | None = None,
    ) -> Learner:
        """Build the learner; see Backend."""
        return build_numpy_learner(self._cfg, in_shape, n_classes)

    @property
    def layout(self) -> str:
        """NumPy and the number type of samples."""
        return f"numpy {self._dtype()}"

    def place(self, split: Split, preprocess: Preprocess, *, train: bool = False) -> Split:
        """Return prepared samples."""
        return _prepared(split, preprocess, self._dtype(), train=train)

    def _dtype(self) -> str:
        return "float64" if self._cfg.train.precision == "fp64" else "float32"

    def batches(self, split: Split, order: Order) -> Batches[Any]:
        """Return training batches."""
        return numpy_batches(split, order)

    def machine(self) -> tuple[str, str, int]:
        """Return cpu, its name and the threads of the BLAS library."""
        return describe_blas()


def _prepared(split: Split, preprocess: Preprocess, dtype: str, *, train: bool) -> Split:
    """Return preprocessed samples in memory; train: with the copies that preprocessing appends to train."""
    return preprocess.apply_to_train(split, dtype) if train else Split(preprocess.apply(split.x, dtype), split.y)


def make_backend(
    cfg: RunConfig, device: torch.device, recorded: dict[str, Any] | None = None
) -> TorchBackend | NumpyBackend:
    """Return what a config computes with.

    Args:
        cfg: the run.
        device: where to compute; NumPy takes the CPU whatever it is.
        recorded: the arithmetic that the run began with, as its log has it; None for a new run.
    """
    return NumpyBackend(cfg) if cfg.backend == "numpy" else TorchBackend(cfg, device, recorded)
