"""First configs: from a template of the package, or fitted to a folder of images or a table."""
