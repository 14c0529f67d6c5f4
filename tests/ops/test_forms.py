import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse

from configs import streets_video
from sflow_jax.methods.flow_terms import flow_terms
from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.dned import DNED
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.ops import banded, bilinear, fast_convolution, forms, nn
from sflow_jax.ops.convolution import convolve, convolve_transposed
from sflow_jax.ops.forms import plain_forms
from sflow_jax.ops.laplacian import laplacian_edges
from sflow_jax.ops.layout import in_row_major_layout
from sflow_jax.ops.optical_flow import farneback
from sflow_jax.ops.warp import warp
from tests.fast_jit import fast_jit
from tests.random_weights import init_random

SIZES = {"width": 4, "num_downsamplings": 1, "num_blocks": 1}
NETWORKS = {  # and the channels of their inputs
    "global generator": (GlobalGenerator(**SIZES), (5, 1)),
    "global generator without edges": (GlobalGenerator(**SIZES), (5,)),
    "local enhancer": (LocalEnhancer(**SIZES, num_local_blocks=1, remat=True), (5, 1)),
    "DNED": (DNED(2), (1,)),
    "discriminators": (MultiScaleDiscriminator(2, 4, 2), (5, 3)),
}
ONE = ((1, 1), (1, 1))


def noise(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def whole(*shape, seed=0):
    """Small whole numbers, many of them equal, some 0."""
    return np.random.RandomState(seed).randint(-2, 3, shape).astype(np.float32)


def inside(last, seed):
    """Positions in 0..last, between the pixels."""
    random = np.random.RandomState(seed)
    return random.randint(0, last, (2, 4, 5)) + random.uniform(0.1, 0.9, (2, 4, 5))


def smooth(shift):
    """Two gray images in 0..255 of waves, moved by `shift` pixels."""
    y, x = np.mgrid[:24, :28]
    waves = [np.sin((x - shift) / 3 + i) * np.cos(y / (2 + i)) for i in range(2)]
    return np.float32(127 + 100 * np.stack(waves))[..., None]


BAND = scipy.sparse.diags_array([1.0, -2.0, 3.0], offsets=[-1, 0, 2], shape=(90, 90)).tocsr()
KERNEL = noise(3, 3, 3, 5, seed=1)
OPERATORS = {
    "convolution": (lambda x, k: convolve(x, k, (1, 1), ONE), (noise(2, 6, 7, 3), KERNEL)),
    "strides": (lambda x, k: convolve(x, k, (2, 2), "SAME"), (noise(2, 6, 7, 3), KERNEL)),
    "data": (
        lambda x, k: convolve(x, k, (1, 1), "VALID", num_constant=2),
        (noise(2, 6, 7, 3), KERNEL),
    ),
    "data alone": (
        lambda x, k: convolve(x, k, (1, 1), "VALID", num_constant=3),
        (noise(2, 6, 7, 3), KERNEL),
    ),
    "pointwise": (
        lambda x, k: convolve(x, k, (2, 2), "VALID", num_constant=1),
        (noise(2, 6, 7, 3), noise(1, 1, 3, 5)),
    ),
    "precision": (
        lambda x, k: convolve(x, k, (1, 1), ONE, precision="highest"),
        (noise(2, 6, 7, 3), KERNEL),
    ),
    "transposed convolution": (
        lambda x, k: convolve_transposed(x, k, 2, ONE, (6, 8)),
        (noise(2, 3, 4, 5), KERNEL),
    ),
    "of an odd size": (
        lambda x, k: convolve_transposed(x, k, 2, ((0, 2), (1, 0)), (7, 8)),
        (noise(2, 4, 4, 5), KERNEL),
    ),
    "instance norm": (nn.instance_norm, (noise(2, 5, 6, 3) * [1, 10, 0.1] + [0, 5, 3],)),
    "ReLU": (nn.relu, (whole(2, 5, 6, 3),)),
    "max pool": (nn.max_pool_2x2, (whole(2, 5, 6, 3),)),
    "average pool": (nn.average_pool_3x3, (noise(2, 5, 6, 3),)),
    "reflected border": (functools.partial(nn.reflect_pad, size=2), (noise(2, 5, 6, 3),)),
    "multiple": (functools.partial(nn.pad_to_multiple, multiple=4), (noise(2, 5, 9, 3),)),
    "bilinear interpolation": (
        bilinear.read,
        (noise(2, 6, 7, 3), inside(6, seed=1), inside(5, seed=2)),
    ),
    "warping": (warp, (noise(2, 6, 7, 3), 2 * noise(2, 6, 7, 2, seed=1))),
    "bands down columns": (
        functools.partial(banded.down_columns, [[BAND], [2 * BAND]]),
        (noise(1, 2, 90, 3),),
    ),
    "bands along rows": (
        functools.partial(banded.along_rows, [[BAND, BAND]]),
        (noise(2, 2, 3, 90),),
    ),
    "flow": (functools.partial(farneback, iterations=1), (smooth(0), smooth(1))),
    "edges": (laplacian_edges, (noise(2, 6, 7, 3),)),
    "memory layout": (in_row_major_layout, (noise(3, 4, 5),)),
}


def primitives(jaxpr):
    """The names of all operations of a program, those of its functions included."""
    found = set()
    for equation in jaxpr.eqns:
        found.add(equation.primitive.name)
        for parameter in jax.tree.leaves(
            equation.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                found |= primitives(inner)
    return found


def is_own(name):
    return name.startswith(("custom_", "optimization_", "linear_", "layout_", "scan"))


def traced(function, *inputs):
    # A function of its own: JAX would not trace one again that it knows.
    return jax.make_jaxpr(lambda *arguments: function(*arguments))(*inputs)


def with_gradients(function, *inputs):
    """The values and, for one cotangent, the gradients of a function."""

    @fast_jit
    def compute(*inputs):
        values, pullback = jax.vjp(function, *inputs)
        cotangent = jax.tree.map(lambda y: jnp.asarray(noise(*y.shape, seed=2), y.dtype), values)
        return values, pullback(cotangent)

    return compute(*inputs)


def assert_close(found, expected, tolerance=1e-5):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(1, np.abs(b).max())
        np.testing.assert_allclose(a, b, atol=tolerance * scale, rtol=0)


@pytest.fixture(params=["cpu", "gpu"])
def platform(request, monkeypatch):
    """Each has fast forms of its own."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)


@pytest.mark.parametrize("name", OPERATORS)
def test_plain_and_fast_forms_agree_in_value_and_gradient(platform, name):
    operator, inputs = OPERATORS[name]
    inputs = [jnp.asarray(x, jnp.float32) for x in inputs]
    fast = with_gradients(lambda *a: operator(*a), *inputs)
    with plain_forms():
        plain = with_gradients(lambda *a: operator(*a), *inputs)
        assert not any(map(is_own, primitives(traced(operator, *inputs).jaxpr)))
    assert np.abs(jax.tree.leaves(fast)[0]).max() > 0
    assert_close(fast, plain)


@pytest.fixture(params=NETWORKS)
def network(request):
    """A small network, its parameters and its inputs."""
    module, channels = NETWORKS[request.param]
    inputs = [noise(2, 18, 23, number, seed=i) for i, number in enumerate(channels)]
    return module, init_random(module, *inputs), inputs


def test_plain_and_fast_networks_agree_in_value_and_gradient(network):
    module, params, inputs = network

    def apply(params, *inputs):
        return module.apply(params, *inputs)

    fast = with_gradients(lambda *a: apply(*a), params, *inputs)
    with plain_forms():
        plain = with_gradients(lambda *a: apply(*a), params, *inputs)
    assert_close(fast, plain, 1e-4)


def test_the_plain_forward_pass_has_only_ordinary_operations(network, monkeypatch):
    module, params, inputs = network
    assert any(map(is_own, primitives(traced(module.apply, params, *inputs).jaxpr)))
    monkeypatch.setattr(jax, "linear_transpose", None)
    monkeypatch.setattr(fast_convolution, "convolve", None)
    with plain_forms():
        found = primitives(traced(module.apply, params, *inputs).jaxpr)
    assert "conv_general_dilated" in found
    assert not any(map(is_own, found)), found


def test_plain_networks_have_forward_mode_derivatives(network):
    module, params, inputs = network

    def derivatives(*inputs):
        return jax.jvp(lambda *a: module.apply(params, *a), inputs, inputs)

    assert any(map(is_own, primitives(traced(derivatives, *inputs).jaxpr)))
    with plain_forms():
        assert not any(map(is_own, primitives(traced(derivatives, *inputs).jaxpr)))


def test_a_plain_network_is_exported_for_all_platforms():
    module, channels = NETWORKS["global generator"]
    inputs = [noise(1, 16, 16, number, seed=i) for i, number in enumerate(channels)]
    params = init_random(module, *inputs)
    with plain_forms():
        jitted = jax.jit(lambda *a: module.apply(params, *a))
        exported = jax.export.export(jitted, platforms=["cpu", "cuda", "tpu"])(*inputs)
    found = jax.export.deserialize(exported.serialize()).call(*inputs)
    assert_close(found, module.apply(params, *inputs), 1e-4)


def test_plain_forms_are_the_same_on_every_platform(network, monkeypatch):
    module, params, inputs = network
    programs = []
    for name in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda name=name: name)
        with plain_forms():
            programs.append(str(traced(module.apply, params, *inputs)))
    assert programs[0] == programs[1]


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_the_environment_asks_for_plain_forms(monkeypatch, value, expected):
    monkeypatch.setenv("SFLOW_PLAIN_OPS", value)
    program = str(traced(nn.relu, noise(3)))
    assert ("custom_vjp" not in program) == expected


def test_the_context_manager_has_the_last_word_and_ends(monkeypatch):
    monkeypatch.delenv("SFLOW_PLAIN_OPS", raising=False)
    with plain_forms():
        assert forms.is_plain()
        with plain_forms(enabled=False):
            assert not forms.is_plain()
        assert forms.is_plain()
    assert not forms.is_plain()
    monkeypatch.setenv("SFLOW_PLAIN_OPS", "1")
    with plain_forms(enabled=False):
        assert not forms.is_plain()
    assert forms.is_plain()


def test_jitted_functions_follow_the_switch_at_every_call():
    calls = []

    @functools.partial(forms.jit, static_argnames="factor")
    def scaled(x, factor=1):
        calls.append(forms.is_plain())
        return factor * nn.relu(x)

    for plain in (False, True, False, True):
        with plain_forms(plain):
            assert scaled(jnp.ones(()), 3) == 3
    assert calls == [False, True]  # traced once in each form


def test_the_compiled_flow_follows_the_switch():
    images = smooth(0), smooth(1)
    farneback(*images)
    with plain_forms():
        assert not any(map(is_own, primitives(traced(farneback, *images).jaxpr)))
    assert any(map(is_own, primitives(traced(farneback, *images).jaxpr)))


def test_the_plain_flow_terms_have_only_ordinary_operations():
    options = streets_video.get_config("tiny").flow
    options.loss = "both"
    options.mask = "both"
    fake, real, real_flow = noise(4, 16, 20, 3), noise(4, 16, 20, 3, seed=1), noise(2, 16, 20, 2)

    def terms(fake):
        return flow_terms(fake, real, real_flow, options)

    def gradient(fake):
        return jax.grad(lambda fake: sum(terms(fake)[0].values()))(fake)

    found = primitives(traced(terms, fake).jaxpr)
    assert "custom_vjp_call" in found
    assert "optimization_barrier" in primitives(traced(gradient, fake).jaxpr)
    with plain_forms():
        for function in (terms, gradient):
            found = primitives(traced(function, fake).jaxpr)
            assert not any(map(is_own, found)), found
