"""The process of `dlassign` and of `python -m dlassign`."""

import sys


def run() -> None:
    """Run the command line; Ctrl-C ends it with one line and 130, even while it is still being imported."""
    try:
        from dlassign.cli.main import main

        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)


if __name__ == "__main__":
    run()
