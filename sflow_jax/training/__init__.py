"""The train state, step, schedule, loop and checkpoints."""
