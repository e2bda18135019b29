"""The options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def place(value: str) -> str:
    """Return a path with `~` expanded: a shell expands `--out ~/x`, but not `--out=~/x`, nor what stands in quotes.

    Raises:
        click.BadParameter: it is empty, or there is no such user.
    """
    if not value:  # as a variable of a shell that is not set; the working directory is `.`
        raise click.BadParameter("the path is empty")
    try:
        return str(Path(value).expanduser()) if value.startswith("~") else value
    except RuntimeError:
        message = f"there is no user {value.split('/')[0]!r}; write the path of the folder out"
        raise click.BadParameter(message) from None


EXECUTORS = ("auto", "serial", "processes", "stacked", "ray")


def optional_config(function: F) -> F:
    """Give a command `FILE` and `--config FILE`, two ways to say one thing; it gets `config`, None if neither is given.

    Raises:
        click.UsageError: when it runs, both are given.
    """

    @wraps(function)
    def command(*args: Any, config_file: str | None, config: str | None, **options: Any) -> Any:
        if config_file is not None and config is not None:
            raise click.UsageError(f"{config_file} and --config {config} are two configs; give one")
        return function(*args, config=config if config_file is None else config_file, **options)

    option = click.option("--config", type=place, metavar="FILE", help="The YAML config, the same as FILE.")
    return click.argument("config_file", type=place, required=False, metavar="[FILE]")(option(command))  # type: ignore[return-value]


def config_option(function: F) -> F:
    """Do what `optional_config` does, for a command that needs a config.

    Raises:
        click.UsageError: when it runs, both or neither are given.
    """

    @wraps(function)
    def command(*args: Any, config: str | None, **options: Any) -> Any:
        if config is None:
            raise click.UsageError("no config is given; give the path of a YAML file")
        return function(*args, config=config, **options)

    return optional_config(command)  # type: ignore[return-value]


set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a config key; VALUE is YAML. Repeatable."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, batches and dropout.")
neutral_set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a config key that changes no result, such as data.root where the data has moved.",
)
weights_option = click.option(
    "--weights", type=click.Choice(["best", "last"]), default="best", show_default=True, help="Which weights to use."
)
device_option = click.option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
workers_option = click.option(
    "--workers", type=click.IntRange(1, 1024), help="Number of worker processes, for the executors auto and processes."
)
out_option = click.option(
    "--out", type=place, default="out", metavar="DIR", show_default=True, help="Folder of all runs."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
