"""Layers of latent variables: exact marginals, the KL of each layer, shared networks."""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import reparax as rx
from reparax.data import from_array
from reparax.distributions import (
    Constant,
    Layers,
    has_conditional_kl,
    kl_divergence,
    kl_terms,
    layer_slices,
    layered_normal,
)
from reparax.errors import RecipeError
from reparax.estimators import sample_with_log_prob
from reparax.likelihoods import Normal as NormalLikelihood
from reparax.model import Model
from reparax.networks import MLP
from reparax.objectives import ELBO
from reparax.posteriors import BottomUp, DiagonalNormal, Ladder, TopDownResidual
from reparax.priors import StandardNormal, TopDown
from reparax.pytrees import num_parameters, strongly_typed

SLICES = ((0, 1), (1, 3))
DEEP = np.array([[0.8, -0.5]])
TO_X = np.array([[1.0, 0.2, -0.4], [0.3, -0.7, 0.5]])
INNER, NOISE = 0.6, 0.5
SUMMARY = from_array(np.random.default_rng(0).normal(size=(20, 3))).schema.summary()


class Affine(eqx.Module):
    """The mean and log standard deviation of a linear layer."""

    matrix: jax.Array
    offset: jax.Array
    scale: jax.Array

    def __call__(self, before: jax.Array) -> jax.Array:
        loc = before @ self.matrix + self.offset
        return jnp.stack([loc, jnp.log(jnp.broadcast_to(self.scale, loc.shape))])


def affine(matrix: np.ndarray, offset: np.ndarray, covariance: np.ndarray) -> Affine:
    scale = np.sqrt(np.diag(covariance))
    return Affine(*(jnp.asarray(part, jnp.float32) for part in (matrix, offset, scale)))


def joint_of_x() -> tuple[np.ndarray, np.ndarray]:
    """The covariance of (z_2, z_1, x) of the linear chain, and that of x."""
    noise = np.diag([1.0] + [INNER**2] * 2 + [NOISE**2] * 3)
    lower = np.eye(6)
    lower[1:3, :1] = DEEP.T
    lower[3:, 1:3] = TO_X.T
    lower[3:, :1] = TO_X.T @ DEEP.T
    joint = lower @ noise @ lower.T
    return joint, joint[3:, 3:]


def conditional(joint: np.ndarray, of: list[int], given: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and the covariance of a Normal of some dimensions given others."""
    matrix = np.linalg.solve(joint[np.ix_(given, given)], joint[np.ix_(given, of)])
    return matrix, joint[np.ix_(of, of)] - joint[np.ix_(of, given)] @ matrix


def prior() -> dist.Distribution:
    first = Constant(jnp.zeros((2, 1)))
    return layered_normal(Layers((first, affine(DEEP, np.zeros(2), INNER**2 * np.eye(2))), SLICES), 3)


def log_likelihood(z: jax.Array, x: np.ndarray) -> jax.Array:
    to_x = jnp.asarray(TO_X, jnp.float32)
    return dist.Normal(z[1:] @ to_x, jnp.full(3, NOISE)).to_event(1).log_prob(jnp.asarray(x, jnp.float32))


def rotated() -> tuple[np.ndarray, np.ndarray]:
    """The posterior of z given x, as a matrix and a covariance."""
    return conditional(joint_of_x()[0], [0, 1, 2], [3, 4, 5])


def test_the_chains_density_is_that_of_its_normal():
    covariance = joint_of_x()[0][:3, :3]
    z = np.random.default_rng(1).normal(size=(20, 3))
    expected = stats.multivariate_normal(np.zeros(3), covariance).logpdf(z)
    np.testing.assert_allclose(jax.vmap(prior().log_prob)(jnp.asarray(z, jnp.float32)), expected, rtol=2e-5)
    draws, log_prob = sample_with_log_prob(prior(), jax.random.key(0), (4000,))
    np.testing.assert_allclose(log_prob, stats.multivariate_normal(np.zeros(3), covariance).logpdf(draws), atol=1e-4)
    np.testing.assert_allclose(np.cov(draws, rowvar=False), covariance, atol=5 * 1.5 / np.sqrt(4000))


def test_with_a_posterior_upwards_that_is_exact_every_draw_gives_the_marginal():
    """With one dimension below, so that the exact posterior is a chain of independent Normals upwards."""
    x = np.array([0.7, -0.3, 0.4])
    to_x = TO_X[:1]
    noise = np.diag([1.0, INNER**2] + [NOISE**2] * 3)
    lower = np.eye(5)
    lower[1, 0] = DEEP[0, 0]
    lower[2:, 1], lower[2:, 0] = to_x[0], DEEP[0, 0] * to_x[0]
    joint = lower @ noise @ lower.T
    below, covariance = conditional(joint, [1], [2, 3, 4])
    first = Constant(jnp.asarray([(x @ below), np.log(np.sqrt(np.diag(covariance)))], jnp.float32))
    up, covariance = conditional(joint, [0], [1])
    q = layered_normal(Layers((first, affine(up, np.zeros(1), covariance)), ((1, 2), (0, 1))), 2)
    deepest = Constant(jnp.zeros((2, 1)))
    p = layered_normal(Layers((deepest, affine(DEEP[:, :1], np.zeros(1), INNER**2 * np.eye(1))), ((0, 1), (1, 2))), 2)
    assert not has_conditional_kl(q, p)  # they run in opposite orders
    z, log_q = sample_with_log_prob(q, jax.random.key(2), (50,))
    to_x = jnp.asarray(to_x, jnp.float32)
    seen = jnp.asarray(x, jnp.float32)
    log_x = jax.vmap(lambda z: dist.Normal(z[1:] @ to_x, jnp.full(3, NOISE)).to_event(1).log_prob(seen))(z)
    weights = log_x + jax.vmap(p.log_prob)(z) - log_q
    exact = stats.multivariate_normal(np.zeros(3), joint[2:, 2:]).logpdf(x)
    np.testing.assert_allclose(weights, np.full(50, exact), atol=2e-4)


def test_the_bound_with_the_kl_of_each_layer_is_the_bound_of_the_joint_normal():
    """E_q[log p(x | z)] - KL of a chain that is not the posterior, beside the closed form of the joint Normals."""
    x = np.array([0.7, -0.3, 0.4])
    matrix, _ = rotated()
    mean = x @ matrix
    first = Constant(jnp.asarray([mean[:1] + 0.3, np.log([0.5])], jnp.float32))
    slope = np.array([[0.4, -0.2]])
    q = layered_normal(Layers((first, affine(slope, mean[1:], np.diag([0.3**2, 0.6**2]))), SLICES), 3)
    assert has_conditional_kl(q, prior())

    @jax.jit
    @jax.vmap
    def terms(key):
        z, log_q = sample_with_log_prob(q, key)
        groups = kl_terms(q, prior(), z, log_q)
        return log_likelihood(z, x) - jnp.sum(groups), jnp.sum(groups), log_q - prior().log_prob(z)

    bounds, closed, estimated = (np.asarray(v, np.float64) for v in terms(jax.random.split(jax.random.key(3), 20_000)))
    lower = np.eye(3)
    lower[1:, :1] = slope.T
    q_covariance = lower @ np.diag([0.25, 0.09, 0.36]) @ lower.T
    q_mean = np.concatenate([mean[:1] + 0.3, mean[1:] + (mean[:1] + 0.3) @ slope])
    normals = [
        dist.MultivariateNormal(jnp.asarray(m, jnp.float32), jnp.asarray(c, jnp.float32))
        for m, c in ((q_mean, q_covariance), (np.zeros(3), joint_of_x()[0][:3, :3]))
    ]
    kl = float(kl_divergence(*normals))
    residual = x - q_mean[1:] @ TO_X
    squares = residual @ residual + np.trace(TO_X.T @ q_covariance[1:, 1:] @ TO_X)
    reconstruction = -0.5 * squares / NOISE**2 - 3 * np.log(NOISE) - 1.5 * np.log(2 * np.pi)
    for values, expected in ((closed, kl), (estimated, kl), (bounds, reconstruction - kl)):
        assert abs(values.mean() - expected) <= 5 * values.std() / np.sqrt(len(values))
    assert closed.var() < 0.2 * estimated.var()
    assert reconstruction - kl < stats.multivariate_normal(np.zeros(3), joint_of_x()[1]).logpdf(x)


def make_encoder(out_size: int, *, key: jax.Array):
    return MLP(8, 1).encoder((3,), out_size, key=key)


def model_of(part, prior_part) -> Model:
    posterior = part.create(make_encoder, 6, key=jax.random.key(1))
    prior = prior_part.create(posterior, SUMMARY, MLP(8, 1).decoder, key=jax.random.key(2))

    def make_decoder(parameters: int, shape: tuple[int, ...] | None = None, *, key: jax.Array):
        return MLP(8, 1).decoder(6, (parameters, 3), key=key)

    return Model(posterior, prior, NormalLikelihood().create(make_decoder, SUMMARY, key=jax.random.key(3)))


PAIRS = [
    (BottomUp(num_layers=3), TopDown()),
    (Ladder(num_layers=3), TopDown()),
    (Ladder(), StandardNormal()),
    (TopDownResidual(num_layers=3), TopDown()),
    (TopDownResidual(), StandardNormal()),
    (DiagonalNormal(), TopDown(num_layers=3)),
]


@pytest.mark.parametrize(("part", "prior_part"), PAIRS)
def test_the_mean_of_the_kl_is_that_of_log_ratios(part, prior_part):
    model = model_of(part, prior_part)
    x = jnp.asarray([0.3, -1.0, 0.5])
    q, p = model.posterior(x), model.prior(model.posterior)
    assert has_conditional_kl(q, p) == (not isinstance(part, BottomUp))

    @jax.jit
    @jax.vmap
    def both(key):
        z, log_q = sample_with_log_prob(q, key)
        return jnp.sum(kl_terms(q, p, z, log_q)), log_q - q.log_prob(z), log_q - p.log_prob(z)

    kl, error, ratio = (np.asarray(part, np.float64) for part in both(jax.random.split(jax.random.key(0), 4000)))
    assert np.abs(error).max() < 1e-3
    difference = kl - ratio
    assert abs(difference.mean()) <= 5 * difference.std() / np.sqrt(4000) + 1e-6


@pytest.mark.parametrize(("part", "prior_part"), PAIRS)
def test_free_bits_are_of_each_dimension_and_the_gradient_reaches_every_weight(part, prior_part):
    model = model_of(part, prior_part)
    x = jnp.asarray([0.3, -1.0, 0.5])

    learned, rest = eqx.partition(model, eqx.is_inexact_array)
    learned = jax.tree.map(lambda leaf: leaf + 0.01, learned)  # some weights are zero at first
    model = eqx.combine(learned, rest)
    slopes = jax.jit(
        jax.grad(
            lambda m: ELBO(num_samples=4)(eqx.combine(m, rest), x, key=jax.random.key(5), step=jnp.asarray(1)).objective
        )
    )(learned)
    still = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(slopes) if not np.any(leaf)]
    assert still == []
    if has_conditional_kl(model.posterior(x), model.prior(model.posterior)):
        terms = ELBO(free_bits=500.0)(model, x, key=jax.random.key(5), step=jnp.asarray(1))
        np.testing.assert_allclose(terms.reconstruction - terms.objective, 6 * 500.0, rtol=1e-5)


@pytest.mark.parametrize(("part", "prior_part", "closed"), [
    (Ladder(num_layers=3), TopDown(), True), (TopDownResidual(num_layers=3), TopDown(), True),
    (BottomUp(num_layers=3), TopDown(), False), (DiagonalNormal(), StandardNormal(), True),
])  # fmt: skip
def test_free_bits_of_a_layer_are_those_of_its_dimensions_together(part, prior_part, closed):
    model = model_of(part, prior_part)
    x = jnp.asarray([0.3, -1.0, 0.5])
    slices = model.posterior.layer_slices
    run = {"key": jax.random.key(5), "step": jnp.asarray(1)}
    most = ELBO(free_bits=500.0, free_bits_of="layer")(model, x, **run)
    np.testing.assert_allclose(most.reconstruction - most.objective, 500.0 * len(slices), rtol=1e-5)
    assert most.bound == ELBO(free_bits=500.0)(model, x, **run).bound
    if not closed:
        return
    # Between the KL of one layer and another, from the same draw: the sum of the larger of both for each layer.
    q, p = model.posterior(x), model.prior(model.posterior)
    z, log_q = sample_with_log_prob(q, jax.random.key(9))
    kl = np.asarray(jnp.broadcast_to(kl_terms(q, p, z, log_q), z.shape), np.float64)
    of_layers = np.array([kl[start:end].sum() for start, end in slices])
    for bits in (0.0, 0.5 * of_layers.min(), of_layers.mean()):
        found = ELBO(free_bits=float(bits), free_bits_of="layer")._penalty(
            jnp.asarray(kl, jnp.float32), slices, len(kl)
        )
        assert float(found) == pytest.approx(np.maximum(of_layers, bits).sum() if bits else kl.sum(), rel=1e-5)


def test_free_bits_belong_to_a_dimension_or_a_layer():
    with pytest.raises(RecipeError, match="dimension or layer"):
        ELBO(free_bits_of="group")


def test_the_ladders_networks_belong_to_the_posterior_alone():
    for part in (Ladder(num_layers=3), TopDownResidual(num_layers=3)):
        model = model_of(part, TopDown())
        assert num_parameters(model.prior) == 0
        assert model.posterior.layer_slices == model.prior(model.posterior).transform.slices
    assert num_parameters(model_of(BottomUp(), TopDown()).prior) > 0


@pytest.mark.parametrize(
    "posterior",
    [*(pytest.param(name, marks=pytest.mark.full) for name in ("bottom-up", "ladder")), "top-down-residual"],
)
def test_layers_of_a_conditional_model_depend_on_the_context(posterior):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    context = np.random.default_rng(1).normal(size=(60, 1))
    fitted = rx.fit(
        from_array(rows).given(context),
        posterior=posterior,
        latent_dim=4,
        epochs=2,
        width=8,
        hidden_units=8,
        hide=0.0,
    )
    z = jnp.asarray([0.3, -1.0, 0.5, 0.2])
    plain = [fitted.model.given(jnp.asarray([value])) for value in (0.0, 3.0)]
    densities = [one.prior(one.posterior).log_prob(z) for one in plain]
    assert abs(densities[0] - densities[1]) > 1e-4
    assert np.isfinite(rx.evaluate(fitted, rows, context=context, num_samples=2).iwae)


def test_equal_layers_in_a_scan_are_those_of_a_loop():
    posterior = TopDownResidual(num_layers=3).create(make_encoder, 6, key=jax.random.key(1))
    layers = posterior.top_down
    z = np.random.default_rng(0).normal(size=6).astype(np.float32)
    state, found = layers.start, []
    for index in range(3):
        block = jax.tree.map(lambda leaf, index=index: leaf[index], layers.blocks)
        found.append(block.moments(state))
        state = block.next(state, z[2 * index : 2 * index + 2])
    loc, scale = layers.conditionals(z)
    np.testing.assert_allclose(loc, np.concatenate([m for m, _ in found]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale, np.exp(np.concatenate([s for _, s in found])), rtol=1e-5)


@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 3.0])
def test_layers_share_the_dimensions_and_none_is_empty(ratio):
    for size in range(1, 20):
        for count in range(1, 7):
            slices = layer_slices(size, count, ratio)
            assert slices[0][0] == 0
            assert slices[-1][1] == size
            assert all(start < end for start, end in slices)
            assert all(before[1] == after[0] for before, after in pairwise(slices))
            assert len(slices) == min(count, size)
    assert layer_slices(150, 2, 0.5) == ((0, 50), (50, 150))
    assert layer_slices(124, 5, 0.5) == ((0, 4), (4, 12), (12, 28), (28, 60), (60, 124))


def test_a_weakly_typed_weight_does_not_compile_a_fit_again():
    weak = {"gain": jnp.asarray(0.5), "key": jax.random.key(0), "name": "x"}
    assert weak["gain"].weak_type
    strong = strongly_typed(weak)
    assert not strong["gain"].weak_type
    assert strong["gain"] == weak["gain"]
    assert strong["name"] == "x"
