"""The video sequences of the SYNTHIA dataset."""

from sflow_jax.data.synthia.builder import Synthia as Synthia
