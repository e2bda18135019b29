"""What is proved of a run after it: its log, its config, its weights and its result, each beside the others."""
