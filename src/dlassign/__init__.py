"""dlassign: image-classification experiments from a YAML file."""
