"""The options that several commands have."""

from pathlib import Path
from typing import Any

import click


class _Place(click.ParamType):
    """A path as text, `~` expanded: a shell expands `--out ~/x`, but not `--out=~/x`, nor what stands in quotes."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path; a user that is not there is an error."""
        try:
            return str(Path(value).expanduser()) if value.startswith("~") else value
        except RuntimeError:
            self.fail(f"there is no user {value.split('/')[0]!r}; write the path of the folder out", param, ctx)


PLACE = _Place()
EXECUTORS = ("auto", "serial", "processes", "stacked", "ray")

config_option = click.option("--config", type=PLACE, required=True, metavar="FILE", help="The YAML config.")
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a config key; VALUE is YAML. Repeatable."
)
seed_option = click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, batches and dropout.")
device_option = click.option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where to compute.")
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Number of worker processes, for the executors auto and processes."
)
out_option = click.option(
    "--out", type=PLACE, default="out", metavar="DIR", show_default=True, help="Folder of all runs."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
