"""What a step does with its networks, on stub networks; parity has the real ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import streets
from sflow_jax import losses
from sflow_jax.methods import create_method
from sflow_jax.methods.sflow import Generated
from sflow_jax.ops import augment
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.step import make_train_step, update_discriminator, update_generator
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.parity import cases
from tests.random_weights import EDGE_THRESHOLD, random_batch, random_state
from tests.stub_networks import StubDNED, stub_method

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
SIZE = (12, 16)
SCHEDULE = Schedule(
    1, laplacian_steps=2, ramp_steps=4, constant_steps=10, decay_steps=20, num_steps=20
)
STAGE_A, RAMP, STAGE_B = 0, 4, 8  # steps whose share of DNED's edges is 0, 1/2 and 1


def make_config(**changes):
    config = streets.get_test_config()
    config.loss.perceptual_weight = 0.0
    config.edges.threshold = EDGE_THRESHOLD
    config.edges.quantile = None
    config.update_from_flattened_dict(changes)
    return config


def colors(params, images):
    """A perceptual network of five slices."""
    return [params * images[:, :: 2**i] ** 3 for i in range(5)]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A step, what went in and what came out."""

    config: object
    before: object
    after: object
    metrics: dict

    @property
    def gradients(self):
        return cases.first_gradients(self.after.optimizer_state, self.config.optimizer.beta1)

    @property
    def discriminator_gradients(self):
        optimizer_state = self.after.discriminator_optimizer_state
        return cases.first_gradients(optimizer_state, self.config.optimizer.beta1)


def take_step(step=RAMP, **changes):
    """One step of the stub networks from random parameters."""
    config, method, train_step = compiled(tuple(sorted(changes.items())))
    state = random_state(method, config, SCHEDULE).replace(step=np.int32(step))
    batch = random_batch(SIZE, 2, NUM_CLASSES)
    after, metrics = train_step(state, perceptual(config)[1], batch)
    return Outcome(config, state, after, jax.device_get(metrics))


@functools.cache
def compiled(changes):
    config = make_config(**dict(changes))
    method = stub_method(config, CLASSES, SCHEDULE, perceptual(config)[0])
    return config, method, fast_jit(make_train_step(method, SCHEDULE, config, axis_name=None))


def perceptual(config):
    if config.loss.perceptual_weight == 0:
        return None, {}
    return PerceptualNetwork(colors, {}), jnp.full((), 2.0)


def players_alone(outcome):
    """Both players' losses and gradients as the equations have them, each with its own passes."""
    config, state = outcome.config, outcome.before
    method = stub_method(config, CLASSES, SCHEDULE)
    batch = random_batch(SIZE, 2, NUM_CLASSES)
    keys = augment.example_keys(
        jax.random.fold_in(jax.random.key(config.seed), state.step), 2, None
    )
    scene = method.scene(batch, keys)
    options = config.loss

    def play(params, discriminator_params):
        generated = method.generate(params, scene, state.step)
        fake, sides = generated.image, generated.side_outputs
        seen = scene.label_map
        if config.discriminator.sees_edges:
            seen = jnp.concatenate([seen, jax.lax.stop_gradient(generated.edge_map)], -1)
        judge = method.discriminator.apply
        real_scores = judge(discriminator_params, seen, scene.image)
        return fake, sides, real_scores, judge(discriminator_params, seen, fake)

    def generator_loss(params):
        fake, sides, real_scores, fake_scores = play(params, state.discriminator_params)
        matching = losses.feature_matching(real_scores, fake_scores, options.feature_weighting)
        bce = losses.edge_bce(sides, scene.edge_map, options.side_weights, config.dned.balanced)
        total = losses.adversarial_generator(fake_scores, options.adversarial)
        total += options.feature_matching_weight * matching + options.dned_weight * bce
        network, perceptual_params = perceptual(config)
        if network is not None:
            slices = [network.features(perceptual_params, x) for x in (scene.image, fake)]
            weights = options.perceptual_weighting
            total += options.perceptual_weight * losses.perceptual(*slices, weights)
        return total

    def discriminator_loss(discriminator_params):
        scores = play(state.params, discriminator_params)[2:]
        return sum(losses.adversarial_discriminator(*scores, options.adversarial))

    generator = jax.value_and_grad(generator_loss)
    discriminator = jax.value_and_grad(discriminator_loss)
    return fast_jit(lambda: (generator(state.params), discriminator(state.discriminator_params)))()


ADVERSARIAL, MATCHING = "generator/adversarial", "generator/feature_matching"
DNED, PERCEPTUAL = "generator/dned", "generator/perceptual"
THROUGH_THE_FAKE = {ADVERSARIAL, MATCHING, "discriminator/fake", "l1"}
OF_THE_SCORES = {ADVERSARIAL, "discriminator/real", "discriminator/fake"}
OPTIONS = [  # what is changed, and the terms that this changes
    ({}, set()),
    ({"loss.adversarial": "bce"}, OF_THE_SCORES),
    ({"loss.adversarial": "hinge"}, OF_THE_SCORES),
    ({"loss.feature_matching_weight": 3.0}, {MATCHING}),
    ({"loss.dned_weight": 0.5}, {DNED}),
    ({"loss.side_weights": (1.0, 0.0, 0.0, 2.0, 0.0, 0.5)}, THROUGH_THE_FAKE | {DNED}),
    ({"dned.balanced": False}, {DNED}),
    ({"dned.input": "gray"}, THROUGH_THE_FAKE | {DNED}),
    ({"dned.input": "rgb"}, THROUGH_THE_FAKE | {DNED}),
    ({"dned.stop_gradient": True}, set()),
    ({"generator.edges": "laplacian"}, THROUGH_THE_FAKE),
    ({"generator.edges": "none"}, THROUGH_THE_FAKE),
    ({"discriminator.sees_edges": True}, OF_THE_SCORES | {MATCHING}),
    ({"discriminator.num_scales": 2}, OF_THE_SCORES | {MATCHING}),
    (
        {"discriminator.num_scales": 3, "loss.feature_weighting": "pix2pixhd"},
        OF_THE_SCORES | {MATCHING},
    ),
    ({"loss.perceptual_weight": 10.0}, {PERCEPTUAL}),
    (
        {"loss.perceptual_weight": 10.0, "loss.perceptual_weighting": "uniform"},
        {PERCEPTUAL},
    ),
    ({"edges.quantile": 0.9}, THROUGH_THE_FAKE | {DNED, "edge_density"}),
]
TERMS = OF_THE_SCORES | THROUGH_THE_FAKE | {DNED, PERCEPTUAL, "edge_density"}


@pytest.fixture(scope="module")
def default_outcome():
    return take_step()


@pytest.mark.parametrize(("changes", "affected"), OPTIONS)
def test_each_player_has_the_gradients_of_its_own_game(default_outcome, changes, affected):
    """For every option, as the equations have them."""
    outcome = take_step(**changes)
    (total, gradients), (discriminator_total, discriminator_gradients) = players_alone(outcome)
    metrics = outcome.metrics
    np.testing.assert_allclose(metrics["generator/total"], total, rtol=1e-5)
    both = metrics["discriminator/real"] + metrics["discriminator/fake"]
    np.testing.assert_allclose(both, discriminator_total, rtol=1e-5)
    for found, expected in (
        (outcome.gradients, gradients),
        (outcome.discriminator_gradients, discriminator_gradients),
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected)) > 0.01

    before = default_outcome.metrics
    changed = {
        name
        for name in TERMS & (metrics.keys() | before.keys())
        if not np.isclose(metrics.get(name, np.nan), before.get(name, np.nan), rtol=1e-6)
    }
    assert changed == affected


@pytest.mark.parametrize(
    ("step", "changes", "flows"),
    [
        (STAGE_A, {}, False),
        (RAMP, {}, True),
        (STAGE_B, {}, True),
        (STAGE_B, {"dned.stop_gradient": True}, False),
        (STAGE_B, {"generator.edges": "laplacian"}, False),
        (STAGE_B, {"generator.edges": "none"}, False),
        (STAGE_B, {"discriminator.sees_edges": True, "dned.stop_gradient": True}, False),
    ],
)
def test_gradients_flow_from_the_generator_into_dned(step, changes, flows):
    outcome = take_step(step, **{"loss.dned_weight": 0.0} | changes)
    norm = outcome.metrics["gradient_norm/dned"]
    assert norm > 1e-3 if flows else norm == 0
    assert outcome.metrics["gradient_norm/generator"] > 1e-3
    assert outcome.metrics["dned_share"] == {STAGE_A: 0, RAMP: 0.5, STAGE_B: 1}[step]


def test_the_edges_into_the_generator_go_from_laplacian_to_dned():
    config = make_config(**{"augmentation.flip": False})
    method = stub_method(config, CLASSES, SCHEDULE)
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch(SIZE, 2, NUM_CLASSES)
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))

    def edges(step):
        return method.generate(params, scene, step).edge_map

    sides = method.dned.apply(params["dned"], scene.dned_input)
    drawn = np.mean([1 / (1 + np.exp(-x)) for x in sides], 0)
    np.testing.assert_array_equal(edges(STAGE_A), scene.edge_map)
    np.testing.assert_allclose(edges(STAGE_B), drawn, atol=1e-6)
    np.testing.assert_allclose(edges(3), 0.25 * drawn + 0.75 * scene.edge_map, atol=1e-6)


def test_both_optimizers_are_adam_at_the_scheduled_rate():
    outcome = take_step()
    rate = streets.get_test_config().optimizer.learning_rate
    for before, after, gradients in (
        (outcome.before.params, outcome.after.params, outcome.gradients),
        (
            outcome.before.discriminator_params,
            outcome.after.discriminator_params,
            outcome.discriminator_gradients,
        ),
    ):
        # Bias correction leaves g / (|g| + epsilon) of the first step.
        expected = jax.tree.map(lambda p, g: p - rate * g / (np.abs(g) + 1e-8), before, gradients)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), after, expected)


def test_the_average_warms_up_and_then_follows_slowly():
    for step, decay in ((0, 0.1), (8, 0.5), (10**6, 0.99)):
        outcome = take_step(step, **{"optimizer.learning_rate": 1.0})
        assert outcome.config.optimizer.ema_decay == 0.99
        expected = jax.tree.map(
            lambda old, new, d=decay: d * old + (1 - d) * new,
            outcome.before.ema_params,
            outcome.after.params,
        )
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
            outcome.after.ema_params,
            expected,
        )
        assert outcome.after.step == step + 1


def test_bfloat16_moves_the_losses_little_and_keeps_float32_parameters():
    """Against the golden losses of the reference, which are in float64."""
    name = "global, one scale"
    step = cases.step(*cases.STEPS[name], compute_dtype="bfloat16")
    train_step = make_train_step(step.method, step.schedule, step.config, axis_name=None)
    state, metrics = fast_jit(train_step)(step.state, {}, step.batch)
    expected = cases.load_golden("pix2pixhd")["steps"][name]["losses"]
    adversarial, matching = metrics["generator/adversarial"], metrics["generator/feature_matching"]
    np.testing.assert_allclose(adversarial, expected["G_GAN"], rtol=0.05)
    np.testing.assert_allclose(matching, expected["G_GAN_Feat"], rtol=0.05)
    assert abs(matching - expected["G_GAN_Feat"]) > 1e-5 * matching
    types = {leaf.dtype for leaf in jax.tree.leaves((state.params, state.ema_params))}
    assert types == {jnp.dtype("float32")}


def test_the_average_warms_up_but_for_that_of_another_run():
    def kept(step, **changes):
        """The share of the average so far that a step keeps, of a parameter that was moved by 1."""
        config = make_config(**changes)
        state = random_state(stub_method(config, CLASSES, SCHEDULE), config, SCHEDULE)
        moved = jax.tree.map(lambda x: x + 1, state.params)
        still = jax.tree.map(jnp.zeros_like, state.params)
        state = state.replace(step=np.int32(step), ema_params=moved)
        after = update_generator(state, still, SCHEDULE, config)
        distance = jax.tree.map(lambda a, b: a - b, after.ema_params, after.params)
        return np.mean([np.mean(x) for x in jax.tree.leaves(distance)])

    decay = {"optimizer.ema_decay": 0.9}
    np.testing.assert_allclose([kept(0, **decay), kept(8, **decay)], [0.1, 0.5], rtol=1e-5)
    np.testing.assert_allclose(kept(1000, **decay), 0.9, rtol=1e-5)
    np.testing.assert_allclose(kept(0, **decay, init_from="none"), 0.1, rtol=1e-5)
    np.testing.assert_allclose(kept(0, **decay, init_from="runs/images"), 0.9, rtol=1e-5)


def shared_passes(method, config):
    """A step in which one pass of each network serves both players, written with their pullbacks.

    It is what the two losses have to cost, once XLA has merged the passes that they have in common.
    """

    def step(state, frozen_params, batch):
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        scene = method.scene(batch, augment.example_keys(key, len(batch["image"]), None))
        judge = method.discriminator.apply

        def generate(params):
            generated = method.generate(params, scene, state.step)
            return generated.image, generated.side_outputs, generated.edge_map

        (fake, sides, edge_map), generate_vjp = jax.vjp(generate, state.params)
        label_map = scene.label_map
        real_scores, real_vjp = jax.vjp(
            lambda params: judge(params, label_map, scene.image), state.discriminator_params
        )
        fake_scores, fake_vjp = jax.vjp(
            lambda params, image: judge(params, label_map, image), state.discriminator_params, fake
        )

        def discriminator_objective(real, fake):
            return sum(losses.adversarial_discriminator(real, fake, config.loss.adversarial))

        def generator_objective(fake, sides, fake_scores):
            generated = Generated(fake, sides, edge_map, 1.0)
            terms, measures = method.terms(
                scene, generated, real_scores, fake_scores, frozen_params
            )
            return sum(terms.values()), terms | measures

        to_real, to_fake = jax.grad(discriminator_objective, (0, 1))(real_scores, fake_scores)
        (to_image, to_sides, to_scores), metrics = jax.grad(
            generator_objective, (0, 1, 2), has_aux=True
        )(fake, sides, fake_scores)
        discriminator_grads = jax.tree.map(jnp.add, *real_vjp(to_real), fake_vjp(to_fake)[0])
        to_image += fake_vjp(to_scores)[1]
        (grads,) = generate_vjp((to_image, to_sides, jnp.zeros_like(edge_map)))
        state = update_discriminator(state, discriminator_grads, SCHEDULE, config)
        return update_generator(state, grads, SCHEDULE, config), metrics

    return step


@pytest.mark.parametrize("frames", [1, 2])
def test_the_two_losses_cost_no_more_than_shared_passes(frames):
    """In operations of the compiled step: logging adds 0.2 %, unmerged passes would add 8 %."""
    config = make_config(
        **{
            "data.frames": frames,
            "generator.width": 8,
            "discriminator.width": 8,
            "flow.loss": "warp",
        }
    )
    method = dataclasses.replace(create_method(config, CLASSES, SCHEDULE), dned=StubDNED())
    state = random_state(method, config, SCHEDULE)
    batch = random_batch((32, 32), 2, NUM_CLASSES, num_frames=frames)
    two_losses = make_train_step(method, SCHEDULE, config, axis_name=None)
    costs = [
        jax.jit(step).lower(state, {}, batch).compile().cost_analysis()["flops"]
        for step in (two_losses, shared_passes(method, config))
    ]
    assert costs[0] < 1.005 * costs[1], costs
