"""One HTML page from logs."""
