"""Commands called from Python, with their options as keyword arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import click


def calling(name: str, module: str | None = None) -> Callable[..., Any]:
    """Return a function that runs a command: places first, options by the names that its body has.

    The options go through click, so they are checked as on a command line; errors come as they are, and what the body
    returns is returned.
    """
    found = import_module(f"dlassign.cli.commands.{module or name}")
    command: click.Command = getattr(found, f"{name}_command")

    def call(places: str | Iterable[str] = (), **options: Any) -> Any:
        line = [option for key, value in options.items() for option in written(command, key, value)]
        return command.main([*line, "--", *([places] if isinstance(places, str) else places)], standalone_mode=False)

    return call


def written(command: click.Command, key: str, value: Any) -> list[str]:
    """Return an option as it is written on a command line."""
    [option] = [param for param in command.params if param.name == key]
    assert isinstance(option, click.Option)
    name = option.opts[-1]
    if option.is_flag:
        return [name] if value else []
    if option.multiple:
        return [part for item in value for part in (name, str(item))]
    return [] if value is None else [name, *map(str, value if option.nargs > 1 else [value])]
