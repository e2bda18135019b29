"""What a run is tested for before and beside training."""
