"""The options that several commands have."""

from pathlib import Path

import click


def place(value: str) -> str:
    """Return a path with `~` expanded: a shell expands `--out ~/x`, but not `--out=~/x`, nor what stands in quotes.

    Raises:
        click.BadParameter: there is no such user.
    """
    try:
        return str(Path(value).expanduser()) if value.startswith("~") else value
    except RuntimeError:
        message = f"there is no user {value.split('/')[0]!r}; write the path of the folder out"
        raise click.BadParameter(message) from None


EXECUTORS = ("auto", "serial", "processes", "stacked", "ray")

config_option = click.option("--config", type=place, required=True, metavar="FILE", help="The YAML config.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a config key; VALUE is YAML. Repeatable."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, batches and dropout.")
device_option = click.option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
workers_option = click.option(
    "--workers", type=click.IntRange(1, 1024), help="Number of worker processes, for the executors auto and processes."
)
out_option = click.option(
    "--out", type=place, default="out", metavar="DIR", show_default=True, help="Folder of all runs."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
