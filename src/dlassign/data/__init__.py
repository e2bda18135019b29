"""Data sets: sources, splits, preprocessing and the order in which a run sees them."""
