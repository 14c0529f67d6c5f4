"""What a run is on disk and in steps: its record, its checkpoints and its schedule."""
