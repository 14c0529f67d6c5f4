"""A page to play with a trained generator in: what `sflow_jax.demo` serves.

scene.py    a label map and a CG frame, of the run's test split or uploaded
drawing.py  what the generator makes of a scene with chosen controls
page.py     the page itself
"""
