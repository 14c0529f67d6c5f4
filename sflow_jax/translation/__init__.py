"""A simulator's output becomes a training set: what `sflow_jax.translate` runs.

exports.py        which frames an export has, in the layouts of CARLA, SYNTHIA and our own
simulators.py     the class tables of simulators, and reading the class ids of a frame
classes.py        from their classes to those of the model; classes that have none
edge_density.py   edges of CG frames beside those of the training images
job.py            what is translated, with what and to where
training_set.py   where each file of the set lies
production.py     from translated frames to files and lines of the certificate
certificate.py    what each frame was made of, in a form that a machine can check
typed.py          whether JSON is of the types that are expected
verification.py   whether the files still are what the certificate says, and can be made again
selection.py      frames that are set aside because a segmenter does not find their labels in them
contact_sheet.py  label, CG frame and translation of a few frames, the worst among them
"""
