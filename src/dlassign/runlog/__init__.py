"""The run folder: its file names, its log and its manifest."""
