"""What `import dlassign` offers: runs trained, opened, listed and compared from Python."""
