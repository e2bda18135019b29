"""The `dlassign` command: options only. Bodies live in `commands/`; only click is imported before one runs."""

from __future__ import annotations

from typing import Any

import click

from dlassign.cli.group import Commands, call

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

config_option = click.option("--config", required=True, metavar="FILE", help="The YAML config.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a config key; VALUE is YAML. Repeatable."
)
out_option = click.option("--out", default="out", metavar="DIR", show_default=True, help="Folder of all runs.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
device_option = click.option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(package_name="dlassign")
@click.option("--traceback", is_flag=True, help="Show where in the code an error came from.")
@click.pass_context
def main(ctx: click.Context, traceback: bool) -> None:
    """Image-classification experiments from a YAML file.

    Example: dlassign train --config configs/quickstart.yaml
    """
    ctx.obj = {"traceback": traceback}


@main.command()
@config_option
@set_option
@out_option
@click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, batches and dropout.")
@device_option
@json_option
@click.option("--again", is_flag=True, help="Move an earlier run of this config aside and train anew.")
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train what a config says, or go on where it was stopped.

    Example: dlassign train --config configs/quickstart.yaml --set optimizer.lr=3e-3 --seed 1
    """
    from dlassign.cli.commands.train import train_command

    call(ctx, train_command, options)


@main.command()
@config_option
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the sweep file. Repeatable.")
@out_option
@click.option(
    "--executor",
    type=click.Choice(["auto", "serial", "processes", "stacked", "ray"]),
    help="What trains; else what the sweep file says.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes of the executor processes.")
@device_option
@click.option("--retry", is_flag=True, help="Train failed trials again.")
@click.option("--fail-fast", is_flag=True, help="End with the first trial that fails.")
@click.option("--list", "list_only", is_flag=True, help="Print the trials and what is there already; train nothing.")
@json_option
@click.pass_context
def sweep(ctx: click.Context, /, **options: Any) -> None:
    """Train the runs of a sweep file that are not there yet, and rank them.

    Example: dlassign sweep --config configs/sweeps/digits.yaml
    """
    from dlassign.cli.commands.sweep import sweep_command

    call(ctx, sweep_command, options)


@main.command()
@click.argument("tables", nargs=-1)
@out_option
@click.option(
    "--data",
    multiple=True,
    metavar="NAME=PATH",
    help="Where data lies: cifar10=DIR (its own files, or train/ and test/ with a folder a class), mnist=DIR, "
    "csv_table=FILE. Repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of every row; else 3, or what the table says.")
@click.option("--quick", is_flag=True, help="One run of the rows that take at most a minute.")
@click.option("--list", "list_only", is_flag=True, help="Print rows, what is there and what the rest costs, no more.")
@click.option("--no-train", is_flag=True, help="Write the tables from the runs that are there.")
@click.option(
    "--executor",
    type=click.Choice(["auto", "serial", "processes", "stacked", "ray"]),
    default="auto",
    show_default=True,
    help="What trains.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes of the executor processes.")
@device_option
@click.option("--page", "page_file", metavar="FILE", help="Write all tables as one Markdown page too.")
@json_option
@click.pass_context
def reproduce(ctx: click.Context, /, **options: Any) -> None:
    """Train what the tables of the reports lack, and print reported numbers beside measured ones.

    TABLE is a name in configs/tables, such as uva2020, a file, or one row, such as uva2020:numpy_mlp; none are all.

    Example: dlassign reproduce uva2020 --seeds 3 --data cifar10=data
    """
    from dlassign.cli.commands.reproduce import reproduce_command

    call(ctx, reproduce_command, options)


@main.command()
@click.argument("run")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="What to evaluate on.",
)
@click.option(
    "--weights", type=click.Choice(["best", "last"]), default="best", show_default=True, help="Which weights to use."
)
@device_option
@json_option
@click.option("--views", is_flag=True, help="Also with the config's test-time augmentation, beside the plain result.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a config key, such as data.root where the data has moved.",
)
@click.pass_context
def evaluate(ctx: click.Context, /, **options: Any) -> None:
    """Evaluate the weights of RUN: accuracy, loss, per-class scores and a confusion matrix.

    Example: dlassign evaluate out/quickstart/latest --split val
    """
    from dlassign.cli.commands.evaluate import evaluate_command

    call(ctx, evaluate_command, options)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--metric",
    type=click.Choice(["loss", "accuracy", "both", "confusion"]),
    default="both",
    show_default=True,
    help="What to draw.",
)
@click.option(
    "--split", "splits", multiple=True, type=click.Choice(["train", "val", "test"]), help="Draw only these. Repeatable."
)
@click.option("--group", metavar="KEY", help="Average runs that share this config key; `seed`: that differ only in it.")
@click.option(
    "--smooth", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="Weight of the past in a moving average."
)
@click.option(
    "--x",
    type=click.Choice(["step", "epoch", "seconds", "wall"]),
    default="step",
    show_default=True,
    help="Unit of the x axis: seconds of training, wall-clock seconds since the start.",
)
@click.option("--log-x", is_flag=True, help="Logarithmic x axis.")
@click.option("--log-y", is_flag=True, help="Logarithmic y axis.")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(["png", "svg", "pdf"]), help="Kind of file. Repeatable."
)
@click.option("--output", metavar="PATH", help="A picture file (both metrics side by side) or a folder.")
@click.option("--title", help="Title of the picture.")
@click.option("--weights", is_flag=True, help="Draw the first layer's weights instead of curves.")
@click.option("--last", is_flag=True, help="With --weights: the last weights, not those that were best on validation.")
@click.option(
    "--sweep",
    type=click.Choice(["parallel", "heatmap", "importance", "progress"]),
    help="Draw a sweep, from its table.json: parallel coordinates, a heat map of two keys, how much each key matters "
    "(needs Optuna), or the best so far against the time spent.",
)
@click.option(
    "--keys", nargs=2, metavar="A B", help="The two keys of the heat map.  [default: the first two that vary]"
)
@click.option(
    "--cell", type=click.Choice(["mean", "best"]), help="What a cell of the heat map shows of the other keys."
)
@click.pass_context
def plot(ctx: click.Context, /, **options: Any) -> None:
    """Draw loss and accuracy of runs again, from their logs alone; weights, from their checkpoints; or a sweep.

    Example: dlassign plot out/quickstart --group seed --metric accuracy --format svg
    """
    from dlassign.cli.commands.plot import plot_command

    call(ctx, plot_command, options)


@main.command()
@click.argument("out", default="out", metavar="[DIR]")
@click.option(
    "--where", multiple=True, metavar="KEY=VALUE", help="= != < > <= >=; val and test are in percent. Repeatable."
)
@click.option("--sort", metavar="[-]KEY", help="Sort by this column; with - in front, largest first.")
@click.option(
    "--columns",
    metavar="A,B,...",
    help="Columns to show: run, status, data, params, steps, val, test, val_tta, test_tta (with test-time "
    "augmentation), precision, seconds, seconds.PHASE (import, data, build, compile, train, eval, other), age, or "
    "config keys such as optimizer.lr.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Show only so many.")
@json_option
@click.pass_context
def runs(ctx: click.Context, /, **options: Any) -> None:
    """List the runs under a folder.

    Example: dlassign runs --where 'optimizer.lr>=0.01' --sort -test
    """
    from dlassign.cli.commands.runs import runs_command

    call(ctx, runs_command, options)


@main.command()
@click.argument("groups", nargs=-1, required=True, metavar="A B...")
@click.option("--split", type=click.Choice(["val", "test"]), help="Whose figures.  [default: test if all have them]")
@click.option(
    "--metric", type=click.Choice(["accuracy", "loss"]), default="accuracy", show_default=True, help="What to compare."
)
@click.option(
    "--effect",
    type=click.FloatRange(min=0, min_open=True),
    help="A difference, in points (or units of the loss): say how many seeds show it.  [default: the one seen]",
)
@json_option
@click.pass_context
def compare(ctx: click.Context, /, **options: Any) -> None:
    """Compare groups of runs over seeds with the first: difference, interval, p value, and how many seeds are missing.

    A group is a folder of runs that differ in the seed alone, out/NAME/HASH8, a run, or a sweep's row out/SWEEP:RANK.

    Example: dlassign compare out/adam out/sgd --metric accuracy
    """
    from dlassign.cli.commands.compare import compare_command

    call(ctx, compare_command, options)


@main.command()
@click.argument("places", nargs=-1, metavar="[PATH]...")
@click.option("-o", "--output", default="report.html", metavar="FILE", show_default=True, help="The page to write.")
@out_option
@click.option("--title", help="Title of the page.")
@click.option("--live", is_flag=True, help="Write the page again and again until all runs have ended, or Ctrl-C.")
@click.option("--every", type=click.FloatRange(min=0.5), metavar="SECONDS", help="Between live pages.  [default: 5]")
@click.pass_context
def report(ctx: click.Context, /, **options: Any) -> None:
    """Write one HTML page about runs, sweeps and tables, to be opened in any browser without a server.

    PATH is a run folder, a sweep folder, a folder that holds some, a table out/tables/NAME.json, or its NAME alone.
    Without it: all runs and tables under --out.

    Example: dlassign report out/quickstart -o report.html
    """
    from dlassign.cli.commands.report import report_command

    call(ctx, report_command, options)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@set_option
@click.option("--summary", is_flag=True, help="Also print layers, shapes, parameters, FLOPs and memory.")
@click.pass_context
def check(ctx: click.Context, /, **options: Any) -> None:
    """Check configs and say what they amount to, without training.

    Example: dlassign check configs/*.yaml
    """
    from dlassign.cli.commands.check import check_command

    call(ctx, check_command, options)


@main.command()
@config_option
@set_option
@click.option("--steps", type=click.IntRange(min=1), default=20, show_default=True, help="Steps to compare.")
@click.option(
    "--bound",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-10,
    show_default=True,
    help="Largest relative difference that counts as equal.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, batches and dropout.")
@click.option("--random-data", is_flag=True, help="Use random samples of the data's shape; needs no MNIST or CIFAR-10.")
@json_option
@click.pass_context
def crosscheck(ctx: click.Context, /, **options: Any) -> None:
    """Train a config's net with NumPy and with PyTorch side by side and say where they part; exit code 1 if they do.

    Example: dlassign crosscheck --config configs/quickstart.yaml
    """
    from dlassign.cli.commands.crosscheck import crosscheck_command

    call(ctx, crosscheck_command, options)


@main.command()
@click.option("--layer", metavar="NAME", help="One layer or loss, or one of your own: MODULE:CLASS or FILE.py:CLASS.")
@click.option("--config", metavar="FILE", help="The net of this YAML config, with its loss and penalty.")
@set_option
@click.option(
    "--arg", "arguments", multiple=True, metavar="KEY=VALUE", help="An argument of --layer; VALUE is YAML. Repeatable."
)
@click.option("--input", "input_shape", metavar="N,D", help="Shape of the input of --layer; 5,4 if not given.")
@click.option(
    "--torch",
    "torch_peer",
    metavar="MODULE:CLASS",
    help="A module with the same --arg and parameters, to compare with.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of inputs, weights and dropout.")
@json_option
@click.pass_context
def gradcheck(ctx: click.Context, /, **options: Any) -> None:
    """Check hand-written gradients against differences, PyTorch and random directions; exit code 1 if one is wrong.

    Errors are relative to a tensor's largest entry; entries at kinks are counted, `(n out)` had to be left out.
    Without --layer and --config: all layers and losses.

    Example: dlassign gradcheck --layer my_layers.py:Swish --arg beta=0.5 --input 3,4
    """
    from dlassign.cli.commands.gradcheck import gradcheck_command

    call(ctx, gradcheck_command, options)


@main.command()
@click.option("--markdown", is_flag=True, help="Print the reference of all keys instead.")
@click.option("--sweep", is_flag=True, help="Print the schema of sweep files instead.")
@click.pass_context
def schema(ctx: click.Context, /, **options: Any) -> None:
    """Print the JSON Schema of configs, for editors.

    Example: dlassign schema > configs/schema.json
    """
    from dlassign.cli.commands.schema import schema_command

    call(ctx, schema_command, options)


@main.group()
def data() -> None:
    """Get data sets.

    Example: dlassign data fetch mnist
    """


@data.command()
@click.argument(
    "name", type=click.Choice(["mnist", "cifar10", "resnet18-imagenet", "resnet34-imagenet", "resnet50-imagenet"])
)
@click.option(
    "--root", metavar="DIR", help="Folder to put it in.  [default: data; torch's hub folder for ImageNet weights]"
)
@click.pass_context
def fetch(ctx: click.Context, /, **options: Any) -> None:
    """Download a data set or ImageNet weights; training itself never does unless `download` is true.

    Example: dlassign data fetch mnist --root data
    """
    from dlassign.cli.commands.data import fetch_command

    call(ctx, fetch_command, options)
