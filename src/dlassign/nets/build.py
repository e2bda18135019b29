"""From the model's config to the model, and the check that it fits the data."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from dlassign.config.convnets import VGG, EECSCifarBase, EECSCifarImproved, PreactResNet, WhitenedCNN
from dlassign.config.model import MLP, EECSConvNet, Model, OwnActivation, OwnModel
from dlassign.config.own_part import own_parts
from dlassign.config.transfer import ResNet
from dlassign.errors import ConfigError, Problem
from dlassign.nets.eecs import eecs_convnet
from dlassign.nets.eecs_cifar import eecs_cifar_base, eecs_cifar_improved
from dlassign.nets.mlp import mlp
from dlassign.nets.own_model import own_model
from dlassign.nets.own_module import own_module
from dlassign.nets.preact import preact_resnet
from dlassign.nets.resnet import resnet
from dlassign.nets.vgg import vgg
from dlassign.nets.whitened import whitened_cnn


def build_model(cfg: Model, in_shape: Sequence[int], n_outputs: int) -> nn.Module:
    """Build the model that a config describes, with PyTorch's own initial weights.

    in_shape: of one sample, (C, H, W) or (D,).

    Raises:
        ConfigError: the model does not fit the sample; the problem names the key.
    """
    try:
        return _build(cfg, in_shape, n_outputs)
    except ValueError as error:
        key = str(error).split()[0].rstrip(":")
        known = key in type(cfg).model_fields
        message = str(error).removeprefix(f"{key}: ")
        raise ConfigError([Problem(path=f"model.{key}" if known else "model.name", message=message)]) from error


def _build(cfg: Model, in_shape: Sequence[int], n_outputs: int) -> nn.Module:
    match cfg:
        case MLP():
            return _build_mlp(cfg, in_shape, n_outputs)
        case EECSConvNet():
            return _build_eecs_convnet(cfg, in_shape, n_outputs)
        case EECSCifarBase():
            return eecs_cifar_base(in_shape, n_outputs=n_outputs, fc_relu=cfg.fc_relu)
        case EECSCifarImproved():
            return eecs_cifar_improved(in_shape, n_outputs=n_outputs)
        case ResNet():
            return resnet(
                cfg.name, in_shape, n_outputs=n_outputs, stem=cfg.stem, resize=cfg.resize, dropout=cfg.dropout
            )
        case VGG():
            flat = cfg.model_dump(exclude={"name", "stages"})
            return vgg(in_shape, cfg.stages, n_outputs=n_outputs, **flat)
        case WhitenedCNN():
            flat = cfg.model_dump(exclude={"name", "widths"})
            return whitened_cnn(in_shape, cfg.widths, n_outputs=n_outputs, **flat)
        case OwnModel():
            return own_model(cfg, in_shape, n_outputs)
        case PreactResNet():
            return preact_resnet(in_shape, cfg.widths, n_outputs=n_outputs, blocks=cfg.blocks)


def check_model(cfg: Model, in_shape: Sequence[int], n_outputs: int) -> int:
    """Build the model on torch's meta device, which takes no memory, and return its parameter count.

    Builders check that every layer fits the one before it, so nothing needs to be run (a first operation on the meta
    device takes seconds).

    Raises:
        ConfigError: a layer does not fit; the problem names the key.
    """
    if any(own_parts(cfg)):  # their code may compute with weights, and those on the meta device have no values
        with torch.random.fork_rng(devices=[]):
            return n_parameters(build_model(cfg, in_shape, n_outputs))
    try:
        with torch.device("meta"):
            return n_parameters(build_model(cfg, in_shape, n_outputs))
    except (RuntimeError, TypeError) as error:  # what torch says of a size that does not fit 64 bits
        if "overflow" not in str(error).lower() and not isinstance(error, TypeError):
            raise
        message = "a layer is too large for any machine; make the model smaller"
        raise ConfigError([Problem(path=size_key(cfg), message=message)]) from error


def size_key(cfg: Model) -> str:
    """Return the key that makes a model as large as it is."""
    return next(f"model.{key}" for key in ("stages", "widths", "hidden", "name") if key in type(cfg).model_fields)


def n_parameters(model: nn.Module) -> int:
    """Return the number of numbers in all parameters, frozen ones too."""
    return sum(p.numel() for p in model.parameters())


def _build_mlp(cfg: MLP, in_shape: Sequence[int], n_outputs: int) -> nn.Module:
    in_features = math.prod(in_shape)
    if cfg.in_features is not None and cfg.in_features != in_features:
        shape = "x".join(map(str, in_shape))
        message = f"is {cfg.in_features}, but a sample has {shape} = {in_features} values; set {in_features} or null"
        raise ConfigError([Problem(path="model.in_features", message=message)])
    depth = len(cfg.hidden)
    many = isinstance(cfg.activation, tuple)
    chosen = cfg.activation if isinstance(cfg.activation, tuple) else (cfg.activation,) * depth
    activations = [
        own_module(one, size, path=f"model.activation{f'.{place}' if many else ''}.name")
        if isinstance(one, OwnActivation)
        else one
        for place, (one, size) in enumerate(zip(chosen, cfg.hidden, strict=True))
    ]
    return mlp(
        in_features,
        cfg.hidden,
        n_outputs=n_outputs,
        activation=activations,
        dropout=cfg.dropout if isinstance(cfg.dropout, tuple) else (cfg.dropout,) * depth,
        norm=cfg.norm
        if isinstance(cfg.norm, str)
        else [own_module(cfg.norm, size, path="model.norm.name") for size in cfg.hidden],
        norm_at=cfg.norm_at,
        bias=cfg.bias,
        dropout_inverted=cfg.dropout_scale == "training",
    )


def _build_eecs_convnet(cfg: EECSConvNet, in_shape: Sequence[int], n_outputs: int) -> nn.Module:
    try:
        return eecs_convnet(
            in_shape,
            n_outputs=n_outputs,
            filters=cfg.filters,
            kernel_size=cfg.kernel_size,
            pool=cfg.pool,
            hidden=cfg.hidden,
            norm=cfg.norm,
            dropout=cfg.dropout,
            dropout_inverted=cfg.dropout_scale == "training",
        )
    except ValueError as error:
        raise ValueError(f"{error}; make the layers smaller or use mlp") from error
