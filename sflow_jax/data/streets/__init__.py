"""`streets`: an embedded driving simulator and its dataset builder."""

from sflow_jax.data.streets.builder import Streets as Streets
from sflow_jax.data.streets.simulator import render_clip as render_clip
