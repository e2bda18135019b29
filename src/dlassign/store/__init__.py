"""What lies under out/: names, formats, and which runs a place names."""
