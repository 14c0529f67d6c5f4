"""Frozen networks and the weights that they need."""
