"""A user's own dataset: folders of PNG files and a class table."""

from sflow_jax.data.folder.builder import KEYS as KEYS
from sflow_jax.data.folder.builder import Folder as Folder
