"""Datasets: the example schema, one builder per dataset and the input pipeline."""
