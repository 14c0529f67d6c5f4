"""The form in which an operator is computed: XLA's plain one, or one that is fast on this platform.

The operators of `ops.convolution` and `ops.nn` have both forms, which give the same values and
gradients but for rounding. The plain forms are the textbook's definitions in ordinary operations of
JAX, with the gradients that JAX derives. They serve reading, debugging, forward-mode derivatives,
and exporters, which do not know the custom gradients of the fast forms. The environment variable
`SFLOW_PLAIN_OPS=1` or the context manager `plain_forms` asks for them.

The form is chosen when a function is traced. What `jax.jit` has already traced keeps its form: set
the variable before the program starts, or jit the function anew within `plain_forms`.
"""

import contextlib
import contextvars
import os
from collections.abc import Iterator

import jax

PLAIN_VARIABLE = "SFLOW_PLAIN_OPS"

_plain = contextvars.ContextVar[bool | None]("plain", default=None)


@contextlib.contextmanager
def plain_forms(enabled: bool = True) -> Iterator[None]:
    """Within it, this thread traces operators in their plain forms, whatever the environment says.

    Args:
        enabled: False asks for the fast forms instead.
    """
    token = _plain.set(enabled)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether operators that are traced now get their plain forms."""
    enabled = _plain.get()
    return os.environ.get(PLAIN_VARIABLE, "") not in ("", "0") if enabled is None else enabled


def on_cpu() -> bool:
    """Whether what is traced now will be compiled for a CPU."""
    return jax.default_backend() == "cpu"
