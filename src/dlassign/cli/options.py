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


def given(*names: str) -> str:
    """Return those of the options that the user typed, also with their defaults, such as `--weights, --set`.

    names: of the parameters of the command that runs.
    """
    here = click.get_current_context()
    typed = {name for name in names if here.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    return ", ".join(parameter.opts[-1] for parameter in here.command.params if parameter.name in typed)


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
code_option = click.option(
    "--code",
    type=place,
    multiple=True,
    metavar="FILE.py",
    help="A Python file of your own whose parts the config may name, as in `model: {name: net.py:Net}`. Repeatable.",
)
trust_option = click.option(
    "--trust", is_flag=True, help="Let the code in the run's folder run, if the run has parts of its user's own."
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
_format_option = click.option(
    "--format",
    "how",
    type=click.Choice(["text", "csv", "markdown", "latex", "json"]),
    default="text",
    show_default=True,
    help="How to print the table; csv has all digits, latex needs booktabs.",
)


def table_options(function: F) -> F:
    """Give a command `--format`, and `--json` as a short way to say `--format json`; it gets `how`.

    Raises:
        click.UsageError: when it runs, `--json` stands beside another format.
    """

    @wraps(function)
    def command(*args: Any, as_json: bool, how: str, **options: Any) -> Any:
        if as_json and given("how") and how != "json":
            raise click.UsageError(f"--json is --format json; leave it out, or --format {how}")
        return function(*args, how="json" if as_json else how, **options)

    short = click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
    return _format_option(short(command))  # type: ignore[return-value]
