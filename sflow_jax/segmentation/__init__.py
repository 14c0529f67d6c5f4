"""Segmentation: two networks, how they are trained, how they label pictures and are scored."""
