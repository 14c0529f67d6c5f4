"""The Cityscapes dataset."""

from sflow_jax.data.cityscapes.builder import Cityscapes as Cityscapes
