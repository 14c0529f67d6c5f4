"""Translates folders of frames, image by image or as video: what `sflow_jax.sample` runs.

job.py          what is translated, with what and to where
record.py       sampling.json, which keeps results of different settings apart
translation.py  from frames to PNG files
comparison.py   label, edges, result and real image side by side
clips.py        from PNG files to videos
"""
