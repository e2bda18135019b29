"""`dlassign data`."""

import click


@click.group("data")
def data_command() -> None:
    """Get data sets.

    Example: dlassign data fetch mnist
    """


@data_command.command("fetch")
@click.argument(
    "name", type=click.Choice(["mnist", "cifar10", "resnet18-imagenet", "resnet34-imagenet", "resnet50-imagenet"])
)
@click.option(
    "--root", metavar="DIR", help="Folder to put it in.  [default: data; torch's hub folder for ImageNet weights]"
)
def fetch_command(name: str, root: str | None) -> None:
    """Download a data set or ImageNet weights; training itself never does unless `download` is true.

    Example: dlassign data fetch mnist --root data
    """
    if name.endswith("-imagenet"):
        from dlassign.nets.pretrained import fetch_imagenet

        click.echo(f"{name} is {fetch_imagenet(name.removesuffix('-imagenet'), root)}")
    else:
        from dlassign.data.sources import fetch

        click.echo(f"{name} is in {fetch(name, root or 'data')}")
