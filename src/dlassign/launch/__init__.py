"""From a config to a run that is there: found, checked, trained or gone on with; for the commands and for Python."""
