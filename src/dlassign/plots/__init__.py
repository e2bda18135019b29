"""Pictures made again from run logs alone."""
