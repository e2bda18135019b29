"""What several tests share: made-up runs, sweeps, tables and data."""
