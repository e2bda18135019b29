"""The commands: a file for each, with its options and, below them, its body."""
