"""The process of `dlassign` and of `python -m dlassign`."""

import sys


def run() -> None:
    """Run the command line; a Ctrl-C while it is still being imported gives one line too."""
    try:
        from dlassign.cli.main import run_process
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    run_process()


if __name__ == "__main__":
    run()
