"""Scores of a trained generator: the rows of a table, what is computed and the report."""
