"""Class tables that tests need nothing of but their number of classes and colors."""

import numpy as np

from sflow_jax.data.labels import ClassTable, LabelClass


def numbered_classes(count):
    """Classes 0 ... count - 1, all scored, in colors of their own."""
    colors = np.random.RandomState(0).randint(0, 256, (count, 3)).tolist()
    classes = (LabelClass(i, f"class {i}", tuple(colors[i]), i) for i in range(count))
    return ClassTable("numbered", tuple(classes))
