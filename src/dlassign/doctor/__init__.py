"""Why training does not work: findings of a config, of a short probe and of a run's log, causes before symptoms."""
