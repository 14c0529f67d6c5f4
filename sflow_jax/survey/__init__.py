"""A look at a dataset before training: faults, classes, edges and motion, and a report of them."""
