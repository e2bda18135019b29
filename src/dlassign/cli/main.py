"""The `dlassign` command: a group that imports a command when it is asked for.

Each command is a file of its own in `commands/`: its options, and below them its body. At module level these files
import click and lists of names alone, so that `dlassign --help` can import all of them and still answer at once.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import threading
from importlib import import_module
from typing import Any

import click

COMMANDS = (
    "check",
    "clean",
    "compare",
    "crosscheck",
    "data",
    "doctor",
    "evaluate",
    "export",
    "gradcheck",
    "init",
    "plot",
    "predict",
    "report",
    "reproduce",
    "runs",
    "schema",
    "sweep",
    "train",
    "verify",
)
INTERRUPTED = 130
_GIVEN = "dlassign.given"


class Commands(click.Group):
    """Runs one of the commands, prints its errors in plain words, and exits with its code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, as `--help` lists them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            # click looks here for a name that may have been meant
            self.commands = {name: known for name in COMMANDS if (known := self.get_command(ctx, name))}
            return None
        module = import_module(f"dlassign.cli.commands.{cmd_name}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the command, and keep what follows for `_naming_config_key`."""
        ctx.meta[_GIVEN] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and exit with the code that it returns, or with that of the error it raised."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A name in a run folder may hold characters that the terminal's encoding lacks.
                stream.reconfigure(errors="backslashreplace")
        from dlassign.parts.prints import prints_aside

        _leave_out_caches()
        try:
            with prints_aside():
                code = super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = INTERRUPTED
        except click.NoSuchOption as error:
            raise _naming_config_key(error, ctx.meta[_GIVEN]) from None
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise  # click prints its own
        except Exception as error:  # those that are no mistake of the user's are raised again
            code = None if ctx.params["traceback"] else _tell(error)
            if code is None:
                raise
        ctx.exit(code or 0)


def _leave_out_caches() -> None:
    """Keep from the user that matplotlib found no folder to keep its fonts in: pictures are drawn all the same."""
    import logging

    said = ("mkdir -p failed", "temporary cache directory", "temporary config")
    logging.getLogger("matplotlib").addFilter(lambda record: not any(text in record.getMessage() for text in said))


def _naming_config_key(error: click.NoSuchOption, given: list[str]) -> click.UsageError:
    """Return the error with how to set the config key whose name was taken for an option, as in `--lr 3`."""
    if error.ctx is None or not any("--set" in param.opts for param in error.ctx.command.params):
        return error
    from dlassign.config.schema import keys_called

    keys = keys_called(error.option_name.lstrip("-").replace("-", "_"))
    rest = "\n".join(given).partition(error.option_name)[2]  # either `=3`, or what the next argument is
    value = rest[1:].partition("\n")[0] or "VALUE"
    meant = " or ".join(f"'--set {key}={value}'" for key in keys)
    message = f"No such option {error.option_name!r}. It is a key of the config. Did you mean {meant}?"
    return click.UsageError(message, ctx=error.ctx) if keys else error


def _tell(error: Exception) -> int | None:
    """Print what a user can mend in plain words and return the exit code; None for any other error."""
    from dlassign.errors import ConfigError, DlassignError

    if isinstance(error, DlassignError):
        count = len(error.problems) if isinstance(error, ConfigError) else 1
        click.echo(f"{error}\n\n{count} problems" if count > 1 else str(error), err=True)
        return error.exit_code
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # click ends quietly at a closed pipe
        name = f"{error.filename}: " if error.filename else ""
        click.echo(f"{name}{error.strerror or error}; --traceback shows where", err=True)
        return 1
    return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dlassign")
@click.option("--traceback", is_flag=True, help="Show where in the code an error came from.")
def main(traceback: bool) -> None:  # `Commands.invoke` reads the option
    """Image-classification experiments from a YAML file.

    Example: dlassign train configs/quickstart.yaml
    """


def run_process() -> None:
    """Run the command line as a process of its own: SIGTERM ends it as Ctrl-C does, with 130 whenever they come."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.stdout is None:  # as after `>&-`; the next file that is opened would be taken for it
        click.echo("standard output is closed, so no result could be printed; send it to /dev/null instead", err=True)
        sys.exit(1)
    ended: list[int] = []
    # atexit calls in reverse order, so ours runs last if nothing is registered yet. Where Python cannot tell, the end
    # is not cut short.
    if getattr(atexit, "_ncallbacks", lambda: 1)() == 0:
        atexit.register(_end_at_once, ended)
    code = INTERRUPTED
    try:
        code = main.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):  # a second signal, while the first was being told
        click.echo("interrupted", err=True)
    finally:
        # What is still to come is the end of the interpreter, which waits for threads that own code has left.
        waits = any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if waits else signal.SIG_IGN)
    ended.append(code)
    sys.exit(code)


def _end_at_once(ended: list[int]) -> None:
    """End the process after all that waits for its end, and leave the memory of all objects to the system.

    To take down what torch made takes Python as long as some runs train. Own code may have left a file open, whose end
    only Python writes.

    Args:
        ended: the exit code; empty if an error is on its way out.
    """
    from dlassign.parts.modules import PREFIX

    if not ended or any(name.startswith(PREFIX) for name in sys.modules):
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):  # such as a full disk, which Python tells in its own way
        return
    os._exit(ended[0])
