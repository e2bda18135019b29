"""Parts of the user's own: Python files that may run, and the keys that their code takes."""
