"""`dlassign data`."""

from __future__ import annotations

import click

from dlassign.data.load import fetch


def fetch_command(name: str, root: str | None) -> None:
    """Download a data set or ImageNet weights and say where they lie.

    Args:
        name: mnist or cifar10; or resnet18-imagenet, resnet34-imagenet, resnet50-imagenet.
        root: folder to put it in; None is `data` for a data set, and torch's hub folder for weights.
    """
    if name.endswith("-imagenet"):
        from dlassign.nets.pretrained import fetch_imagenet

        click.echo(f"{name} is {fetch_imagenet(name.removesuffix('-imagenet'), root)}")
    else:
        click.echo(f"{name} is in {fetch(name, root or 'data')}")
