"""Flax modules: the edge detector, the generator and the discriminators."""
