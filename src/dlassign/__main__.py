"""`python -m dlassign` is the `dlassign` command."""

from dlassign.cli.main import main

if __name__ == "__main__":
    main()
