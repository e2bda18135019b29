"""A trained net in use: what it predicts of new samples, and what leaves the program."""
