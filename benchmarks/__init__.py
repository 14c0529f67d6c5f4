"""Measurements: each prints a table and writes JSON; timings are never tests."""
