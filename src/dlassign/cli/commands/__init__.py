"""One command body a file, imported only when the command runs."""
