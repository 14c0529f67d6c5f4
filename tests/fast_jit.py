"""Compilation for tests: their networks are tiny, so compiling takes longer than running."""

import importlib.metadata

import jax

# A train step compiles in a fifth of the time.
FAST = {"xla_backend_optimization_level": 0}
# Newer jaxlibs have no emitters to choose from, and end a process whose XLA_FLAGS name them.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    FAST["xla_cpu_use_fusion_emitters"] = False
# The same for a whole process, as part of XLA_FLAGS.
FAST_FLAGS = " ".join(f"--{option}={value}".lower() for option, value in FAST.items())


def fast_jit(function):
    """`jax.jit` that compiles fast and runs slowly."""
    return jax.jit(function, compiler_options=FAST)
