"""Compilation for tests: their networks are tiny, so compiling takes longer than running."""

import jax
from jax.errors import JaxRuntimeError


def _is_known(option: str, value: object) -> bool:
    """Whether the installed jaxlib has the option: an unknown one ends the process."""
    try:
        jax.jit(lambda: 0, compiler_options={option: value})()
    except JaxRuntimeError:
        return False
    return True


# A train step compiles in a fifth of the time. Newer jaxlibs have no fusion emitters to turn off.
FAST = {
    option: value
    for option, value in {
        "xla_backend_optimization_level": 0,
        "xla_cpu_use_fusion_emitters": False,
    }.items()
    if _is_known(option, value)
}
# The same for a process of its own, as part of XLA_FLAGS.
FAST_FLAGS = " ".join(f"--{option}={value}".lower() for option, value in FAST.items())


def fast_jit(function):
    """`jax.jit` that compiles fast and runs slowly."""
    return jax.jit(function, compiler_options=FAST)
