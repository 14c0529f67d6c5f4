"""A trained generator as one file for other programs: what `sflow_jax.export` runs.

sampler.py       the generator as a function of uint8 arrays, with its parameters inside
stablehlo.py     that function for JAX on CPUs, GPUs and TPUs
onnx_file.py     and for programs that run ONNX
onnx_program.py  from a program of JAX to a graph of ONNX
onnx_ops.py      each operation
onnx_graph.py    what the graph is made of
"""
