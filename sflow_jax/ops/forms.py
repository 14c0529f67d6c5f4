"""The form in which an operator is computed: XLA's plain one, or one that is fast on this platform.

The operators of `ops.convolution`, `ops.nn`, `ops.bilinear`, `ops.banded` and `ops.layout` have
both forms, which give the same values and gradients but for rounding. The plain forms are the
textbook's definitions in ordinary operations of JAX, with the gradients that JAX derives. They
serve reading, debugging, forward-mode derivatives, and exporters, which do not know the custom
gradients of the fast forms. The environment variable `SFLOW_PLAIN_OPS=1` or the context manager
`plain_forms` asks for them.

The form is chosen when a function is traced. What `jax.jit` has already traced keeps its form: set
the variable before the program starts, or jit the function anew within `plain_forms`. The package's
own functions that are jitted once for all follow the switch at every call: see `jit`.
"""

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")

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


def jit(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """`jax.jit` of a function that is traced anew for each form, not only for new shapes.

    Args:
        function: what is compiled.
        **options: of `jax.jit`.
    """

    def compiled(plain: bool) -> Callable[P, R]:
        @functools.wraps(function)
        def in_form(*args: P.args, **kwargs: P.kwargs) -> R:
            with plain_forms(plain):
                return function(*args, **kwargs)

        jitted: Callable[P, R] = jax.jit(in_form, **options)
        return jitted

    of_form = {plain: compiled(plain) for plain in (False, True)}

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return of_form[is_plain()](*args, **kwargs)

    return call


def on_cpu() -> bool:
    """Whether what is traced now will be compiled for a CPU."""
    return jax.default_backend() == "cpu"
