"""`dlassign data`."""

import click

from dlassign.cli.options import place, set_option


@click.group("data")
def data_command() -> None:
    """Get data sets, and list what is in their splits.

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


@data_command.command("list")
@click.argument("config", type=place, metavar="CONFIG")
@set_option
@click.option("--out", type=place, metavar="FILE.csv", help="Write to this file in place of standard output.")
def list_command(config: str, overrides: tuple[str, ...], out: str | None) -> None:
    """Write which sample is in which split, as CSV: split, path, label.

    Example: dlassign data list configs/quickstart.yaml --out samples.csv
    """
    from pathlib import Path

    from dlassign.cli.views.prediction import check_target, csv_line, write_lines
    from dlassign.config.load import load_config
    from dlassign.data.load import list_samples

    if out is not None and not out.lower().endswith(".csv"):
        raise click.UsageError(f"--out {out}: end the name in .csv")
    if out is not None:
        check_target(Path(out), option="--out")
    found = list_samples(load_config(config, overrides).data)
    rows = [("split", "path", "label"), *((split, *sample) for split, samples in found.items() for sample in samples)]
    write_lines(map(csv_line, rows), None if out is None else Path(out))
