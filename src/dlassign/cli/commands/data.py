"""`dlassign data`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dlassign.cli.options import code_option, place, set_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dlassign.config.run import RunConfig
    from dlassign.data.bundle import Dataset
    from dlassign.data_checks.flaw import DataCheck


@click.group("data")
def data_command() -> None:
    """Get data sets, list what is in their splits, and check them for faults.

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
    """Write which sample is in which split, as CSV: split, path, true_label.

    Example: dlassign data list configs/quickstart.yaml --out samples.csv
    """
    from pathlib import Path

    from dlassign.cli.views.prediction import write_lines
    from dlassign.cli.views.target import check_target
    from dlassign.config.load import load_config
    from dlassign.data.load import list_samples
    from dlassign.stats.text import csv_line

    if out is not None and not out.lower().endswith(".csv"):
        raise click.UsageError(f"--out {out}: end the name in .csv")
    if out is not None:
        check_target(Path(out), option="--out")
    found = list_samples(load_config(config, overrides).data)
    rows = [(split, *sample) for split, samples in found.items() for sample in samples]
    write_lines(map(csv_line, [("split", "path", "true_label"), *rows]), None if out is None else Path(out))


@data_command.command("check")
@click.argument("config", type=place, metavar="CONFIG")
@set_option
@code_option
@click.option("--near", is_flag=True, help="Look for near duplicates among images, too; 60,000 take about 20 seconds.")
@click.option("--labels", is_flag=True, help="Train five nets, and say which labels of train may be wrong.")
@click.option("--grid", metavar="FILE", help="With --labels: draw the candidates into a PNG, SVG or PDF.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_command(
    config: str,
    overrides: tuple[str, ...],
    code: tuple[str, ...],
    near: bool,
    labels: bool,
    grid: str | None,
    as_json: bool,
) -> int:
    """Say what is wrong with the data of a config, the worst first; exit 1 if anything makes results wrong.

    Example: dlassign data check configs/quickstart.yaml
    """
    import json
    from pathlib import Path

    from dlassign.cli.views.notes import fitted, say_at_once

    say_at_once(f"reading the data of {config}")
    from dlassign.cli.views.data_check import check_lines, plain_check
    from dlassign.config.load import load_config
    from dlassign.data.load import find_images, load_dataset, names_of
    from dlassign.data_checks.check import check_data
    from dlassign.data_checks.files import headers_of
    from dlassign.parts.code import Code

    if grid is not None and not labels:
        raise click.UsageError("--grid draws the candidates of --labels; give both")
    sheet = None if grid is None else _sheet(grid)
    cfg = load_config(config, overrides, code=Code(map(Path, code)))
    data = cfg.data
    images = find_images(data)
    dataset = load_dataset(data, images=images)
    names = names_of(data, dataset, images)
    headers = None if images is None else headers_of(dataset, images)
    check = check_data(dataset, by=data.split.by, near=near, headers=headers)
    if labels:
        check = _with_labels(cfg, dataset, check, names=names["train"], sheet=sheet)
    if as_json:
        click.echo(json.dumps(plain_check(check, names, notes=dataset.notes)))
    else:
        click.echo("\n".join(fitted(check_lines(check, names, notes=dataset.notes))))
    return 1 if check.alarms else 0


def _sheet(grid: str) -> Path | None:
    # It imports torch, which the check itself does without.
    from dlassign.cli.views.prediction import sheet_of

    return sheet_of(grid)


def _with_labels(
    cfg: RunConfig, dataset: Dataset, check: DataCheck, *, names: Sequence[str], sheet: Path | None
) -> DataCheck:
    """Return a check with what nets say of the labels that had not seen them, and draw that."""
    from dlassign.cli.views.data_check import draw_candidates
    from dlassign.cli.views.notes import say
    from dlassign.data_checks.labels import candidates, label_flaw
    from dlassign.launch.out_of_sample import out_of_sample

    if sheet is not None and dataset.train.x.ndim != 4:
        raise click.UsageError("--grid draws images, and the samples are rows of numbers")
    y = dataset.train.y
    probabilities = out_of_sample(cfg, dataset, say=say)
    rows, better = candidates(probabilities, y)
    flaw = label_flaw(rows, better, y, classes=dataset.classes)
    if flaw is None:
        return check
    if sheet is not None:
        draw_candidates(dataset, rows, better, probabilities, names=names, sheet=sheet)
        click.echo(f"plot   {sheet}", err=True)
    return check.with_flaw(flaw)
