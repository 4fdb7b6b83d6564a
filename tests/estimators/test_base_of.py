"""Expectations and bounds seen from the base: against multivariate Normals, quadrature and exact sums."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.flows import InverseAutoregressiveTransform

import reparax as rx
from reparax.distributions import Pushforward
from reparax.errors import InvalidEstimator
from reparax.estimators import AssumedContinuous, base_of, sample_with_log_prob

from ..distributions.maps import Bent, InverseAutoregressive, Planar, Table, Triangular, WithoutInverse
from ..monte_carlo import many, z_score

NODES, WEIGHTS = np.polynomial.hermite.hermgauss(64)
NODES = jnp.asarray(np.sqrt(2) * NODES, jnp.float32)
WEIGHTS = jnp.asarray(WEIGHTS / np.sqrt(np.pi), jnp.float32)
KEY = jax.random.key(0)

# A linear-Gaussian model: z ~ N(0, I) in two dimensions, x ~ N(W z, 0.5^2 I) in three.
LOADINGS = jnp.array([[1.0, 0.3], [-0.4, 0.8], [0.2, -1.1]])
X = jnp.array([0.7, -0.3, 1.2])
COVARIANCE = LOADINGS @ LOADINGS.T + 0.25 * jnp.eye(3)
MARGINAL = dist.MultivariateNormal(jnp.zeros(3), COVARIANCE).log_prob(X)
PRECISION = jnp.eye(2) + LOADINGS.T @ LOADINGS / 0.25
MEAN = jnp.linalg.solve(PRECISION, LOADINGS.T @ X / 0.25)
# Base location and log scale, shift, and the three numbers of the triangle.
THETA = jnp.array([0.2, -0.1, 0.1, -0.3, 0.4, -0.6, 0.7, -0.3, 0.5])


def log_joint(z):
    prior = -0.5 * jnp.sum(z**2) - jnp.log(2 * jnp.pi)
    return prior + jnp.sum(dist.Normal(LOADINGS @ z, 0.5).log_prob(X))


def parts(theta):
    lower = jnp.zeros((2, 2)).at[jnp.array([0, 1, 1]), jnp.array([0, 0, 1])].set(theta[6:])
    return theta[:2], jnp.exp(theta[2:4]), theta[4:6], lower


def affine(theta, hide=False):
    loc, scale, shift, lower = parts(theta)
    transform = Triangular(shift, lower)
    return Pushforward(dist.Normal(loc, scale).to_event(1), WithoutInverse(transform) if hide else transform)


def exact_elbo(theta):
    """By the moments of the multivariate Normal that q is."""
    loc, scale, shift, lower = parts(theta)
    mean, root = shift + lower @ loc, lower * scale[None, :]
    covariance = root @ root.T
    entropy = dist.MultivariateNormal(mean, covariance).entropy()
    misfit = jnp.sum((X - LOADINGS @ mean) ** 2) + jnp.trace(LOADINGS @ covariance @ LOADINGS.T)
    fit = -0.5 * misfit / 0.25 - 1.5 * jnp.log(2 * jnp.pi * 0.25)
    return entropy + fit - 0.5 * (mean @ mean + jnp.trace(covariance)) - jnp.log(2 * jnp.pi)


@pytest.mark.parametrize(
    ("name", "hide"),
    [
        ("auto", True),
        ("leave-one-out", True),
        ("antithetic", True),
        ("sobol", True),
        ("sticking-the-landing", False),
        ("doubly-reparameterized", False),
    ],
)
def test_the_elbo_of_an_affine_pushforward_and_its_gradient_are_exact(name, hide):
    """The parameters of base and map; estimators that need no density at z go without the inverse."""

    def loss(theta, key):
        return rx.elbo_estimate(log_joint, affine(theta, hide), key=key, num_samples=4, estimator=name)

    values, gradients = many(lambda key: jax.value_and_grad(loss)(THETA, key), 10_000)
    assert z_score(values, exact_elbo(THETA)) < 5
    assert z_score(gradients, jax.grad(exact_elbo)(THETA)) < 5


def test_an_inverse_lets_the_gradient_stick_the_landing():
    """At the exact posterior the gradient of sticking the landing has no variance, in the map's parameters neither."""
    lower = jnp.linalg.cholesky(jnp.linalg.inv(PRECISION))
    triangle = jnp.stack([lower[0, 0], lower[1, 0], lower[1, 1]])
    theta = jnp.concatenate([jnp.zeros(4), MEAN, triangle])

    def loss(theta, key, name):
        return rx.elbo_estimate(log_joint, affine(theta), key=key, estimator=name)

    values, landed = many(lambda k: jax.value_and_grad(loss)(theta, k, "sticking-the-landing"), 200)
    plain = many(lambda k: jax.grad(loss)(theta, k, "auto"), 200)
    np.testing.assert_allclose(values, MARGINAL, atol=1e-4)
    np.testing.assert_allclose(landed, 0, atol=1e-3)
    assert np.all(np.std(np.asarray(plain)[:, 4:], axis=0) > 0.05)


@pytest.mark.parametrize("name", ["auto", "importance-weighted-pathwise", "doubly-reparameterized", "leave-one-out"])
def test_the_importance_weighted_bound_of_two_draws_and_its_gradient(name):
    """In one dimension, by quadrature over pairs of base draws."""

    def joint(z):
        return dist.StudentT(4.0, 0.3, 0.8).log_prob(z[0])

    def make(t):
        transform = Triangular(t[2:3], t[3:, None])
        return Pushforward(
            dist.Normal(t[:1], jnp.exp(t[1:2])).to_event(1),
            transform if name == "doubly-reparameterized" else WithoutInverse(transform),
        )

    def exact(t):
        z = t[2] + t[3] * (t[0] + jnp.exp(t[1]) * NODES)
        q = dist.Normal(t[2] + t[3] * t[0], jnp.abs(t[3]) * jnp.exp(t[1]))
        w = jax.vmap(lambda one: joint(one[None]) - q.log_prob(one))(z)
        pairs = jax.vmap(lambda a: jnp.logaddexp(w, jnp.full_like(w, a)))(w) - jnp.log(2.0)
        return WEIGHTS @ pairs @ WEIGHTS

    theta = jnp.array([0.2, -0.3, 0.1, -0.9])

    def loss(t, key):
        return rx.iwae_estimate(joint, make(t), key=key, num_samples=2, estimator=name)

    values, gradients = many(lambda key: jax.value_and_grad(loss)(theta, key), 20_000)
    assert z_score(values, exact(theta)) < 5
    assert z_score(gradients, jax.grad(exact)(theta)) < 5


def planar(t):
    return Planar(t[:2], t[2:4], t[4])


def test_a_planar_flow_needs_no_inverse():
    """E_q[f(z, log q(z))], its gradient in base and map: against quadrature, the volume by a Jacobian of the map."""
    theta = jnp.array([1.2, -0.5, 0.7, 0.9, 0.3, 0.2])

    def make(t):
        return Pushforward(dist.Normal(jnp.stack([t[5], -t[5]]), 0.8).to_event(1), planar(t))

    def f(z, log_q):
        return jnp.stack([jnp.sin(z[0]) * z[1], z[1] ** 2, log_q])

    def estimate(t, key):
        base, push = base_of(make(t))
        # Its volume is positive for these parameters, which is not shown.
        return rx.expectation(AssumedContinuous(lambda e: f(*push(e))), base, key=key, num_samples=4)

    def exact(t):
        def at(a, b):
            e = jnp.stack([t[5] + 0.8 * a, -t[5] + 0.8 * b])
            move = lambda e: e + t[:2] * jnp.tanh(jnp.sum(t[2:4] * e) + t[4])  # noqa: E731
            log_base = -0.5 * (a**2 + b**2) - jnp.log(2 * jnp.pi * 0.64)
            return f(move(e), log_base - jnp.linalg.slogdet(jax.jacfwd(move)(e))[1])

        grid = jax.vmap(lambda a: jax.vmap(lambda b: at(a, b))(NODES))(NODES)
        return jnp.einsum("i,j,ijk->k", WEIGHTS, WEIGHTS, grid)

    values, slopes = many(lambda key: (estimate(theta, key), jax.jacfwd(estimate)(theta, key)), 20_000)
    assert z_score(values, exact(theta)) < 5
    assert z_score(slopes, jax.jacfwd(exact)(theta)) < 5


@pytest.mark.parametrize(
    "transform",
    [
        Planar(jnp.array([0.8, -0.3]), jnp.array([0.6, 0.4]), jnp.array(0.1)),
        InverseAutoregressive(jnp.array([[0.0, 0.0], [0.7, 0.0]]), jnp.array([[0.0, 0.0], [-0.4, 0.0]])),
    ],
    ids=["planar", "inverse autoregressive"],
)
def test_bounds_stay_below_the_exact_log_marginal_and_do_not_fall_in_k(transform):
    # Not too narrow a proposal, so that the weights have a variance.
    base = dist.Normal(MEAN, 1.2 / jnp.sqrt(jnp.diagonal(PRECISION))).to_event(1)
    q = Pushforward(base, transform)
    found = []
    for count in (1, 4, 32):
        draws = np.asarray(
            many(lambda k, n=count: rx.iwae_estimate(AssumedContinuous(log_joint), q, key=k, num_samples=n), 4000)
        )
        found.append((draws.mean(), draws.std() / np.sqrt(len(draws))))
    elbo = np.asarray(many(lambda k: rx.elbo_estimate(AssumedContinuous(log_joint), q, key=k), 4000))
    assert abs(elbo.mean() - found[0][0]) < 5 * np.hypot(found[0][1], elbo.std() / np.sqrt(len(elbo)))
    for (mean, error), (higher, further) in itertools.pairwise(found):
        assert higher > mean - 5 * np.hypot(error, further)
    assert all(mean < MARGINAL + 5 * error for mean, error in found)
    assert found[-1][0] > MARGINAL - 0.3


def test_discrete_bases_are_enumerated_and_scored():
    """Atoms of a learned table: exact sums over the states, and the gradient in logits and table."""
    theta = jnp.array([[0.3, -0.5, 0.1], [0.2, 1.0, -1.5], [-0.7, 0.4, 0.9]])

    def make(t):
        return Pushforward(dist.Categorical(logits=t[0]), Table(t[1:].T), event_shape=(2,))

    def exact(t):
        log_q = jax.nn.log_softmax(t[0])
        return jnp.exp(log_q) @ (jax.vmap(log_joint)(t[1:].T) - log_q)

    def loss(t, key, name):
        return rx.elbo_estimate(log_joint, make(t), key=key, num_samples=3, estimator=name)

    def loss_two(t, key):
        return rx.iwae_estimate(log_joint, make(t), key=key, num_samples=2)

    def exact_two(t):
        log_q = jax.nn.log_softmax(t[0])
        w = jax.vmap(log_joint)(t[1:].T) - log_q
        pairs = jax.vmap(lambda a: jnp.logaddexp(w, jnp.full_like(w, a)))(w) - jnp.log(2.0)
        return jnp.exp(log_q) @ pairs @ jnp.exp(log_q)

    for name in ("auto", "enumeration"):
        np.testing.assert_allclose(jax.grad(loss)(theta, KEY, name), jax.grad(exact)(theta), rtol=1e-3, atol=1e-4)
    assert z_score(many(lambda k: jax.grad(loss)(theta, k, "leave-one-out"), 20_000), jax.grad(exact)(theta)) < 5
    assert z_score(many(lambda k: jax.grad(loss_two)(theta, k), 20_000), jax.grad(exact_two)(theta)) < 5


def test_a_mixture_for_a_base():
    """In one dimension by quadrature of the mixture's density; the map bends."""
    theta = jnp.array([0.3, -1.0, 0.8, 0.5])

    def mixture(t):
        return dist.MixtureSameFamily(
            dist.Categorical(logits=jnp.stack([t[0], -t[0]])), dist.Normal(t[1:3, None], 0.7).to_event(1)
        )

    def estimate(t, key):
        q = Pushforward(mixture(t), Bent(t[3]))
        return rx.elbo_estimate(AssumedContinuous(lambda z: -0.5 * jnp.sum((z - 0.2) ** 2)), q, key=key, num_samples=2)

    def exact(t):
        e = jnp.linspace(-8, 8, 4001)
        with jax.numpy_rank_promotion("allow"):
            log_base = mixture(t).log_prob(e[:, None])
        slope = 1 + t[3] * (1 - jnp.tanh(e) ** 2)
        weight = -0.5 * (e + t[3] * jnp.tanh(e) - 0.2) ** 2 - log_base + jnp.log(slope)
        return jnp.sum(jnp.exp(log_base) * weight) * (e[1] - e[0])

    values, slopes = many(lambda key: jax.value_and_grad(estimate)(theta, key), 10_000)
    assert z_score(values, exact(theta)) < 5
    assert z_score(slopes, jax.grad(exact)(theta)) < 5


def test_pytrees_of_distributions_and_ordinary_ones():
    q = {"a": affine(THETA), "b": dist.Bernoulli(logits=0.3), "c": dist.LogNormal(jnp.zeros(3), 1.0)}
    base, push = base_of(q)
    assert base["b"] is q["b"]
    assert base["c"] is q["c"]
    e = {"a": jnp.ones(2), "b": jnp.array(1), "c": jnp.ones(3)}
    z, log_q = push(e)
    alone = {name: base_of(part)[1](e[name]) for name, part in q.items()}
    for name, (value, _) in alone.items():
        np.testing.assert_array_equal(z[name], value)
    np.testing.assert_allclose(log_q, sum(log for _, log in alone.values()), rtol=1e-6)

    def joint(z):
        return log_joint(z["a"]) + 0.3 * z["b"].astype(float) - 0.5 * jnp.sum(jnp.log(z["c"]) ** 2)

    assert jnp.isfinite(rx.elbo_estimate(joint, q, key=KEY))


def test_transforms_of_numpyro_that_are_slow_to_invert():
    """An inverse autoregressive flow of numpyro: one pass gives what its loop for the inverse gives."""
    weights = jnp.array([[0.0, 0.0], [0.8, 0.0]])

    def network(x):
        return x @ weights.T, jnp.tanh(x @ weights.T)

    q = dist.TransformedDistribution(
        dist.Normal(jnp.zeros(2), 1.0).to_event(1), InverseAutoregressiveTransform(network)
    )
    z, log_q = sample_with_log_prob(q, KEY, (6,))
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(log_q, q.log_prob(z), atol=1e-4)
    text = str(jax.make_jaxpr(lambda k: rx.elbo_estimate(AssumedContinuous(log_joint), q, key=k))(KEY))
    assert "while" not in text
    assert " scan[" not in text


def test_the_score_of_a_pushforward_is_that_of_its_base():
    """A jump in z: scored in the base's parameters, without an inverse; refused in the map's, which move the jump."""

    def chance(t, u, key):
        q = Pushforward(dist.Normal(t, 1.0).expand((2,)).to_event(1), Planar(jnp.array([u, 0.0]), jnp.ones(2), 0.0))
        step = lambda z: jnp.where(z[0] > 0.5, 1.0, 0.0)  # noqa: E731
        return rx.expectation(step, q, key=key, num_samples=4, estimator="leave-one-out")

    def exact(t):
        """P(z_0 > 0.5) with z_0 = e_0 + u tanh(e_0 + e_1): the threshold of e_0 for each e_1, by bisection."""
        total = 0.0
        for node, weight in zip(np.asarray(NODES, np.float64), np.asarray(WEIGHTS, np.float64), strict=True):
            low, high = -20.0, 20.0
            for _ in range(80):
                middle = (low + high) / 2
                above = middle + 0.6 * np.tanh(middle + t + node) > 0.5
                low, high = (low, middle) if above else (middle, high)
            total += weight * 0.5 * jax.scipy.special.erfc((low - t) / np.sqrt(2))
        return float(total)

    slopes = many(lambda key: jax.grad(chance)(0.2, 0.6, key), 20_000)
    assert z_score(slopes, (exact(0.25) - exact(0.15)) / 0.1) < 5
    with pytest.raises(InvalidEstimator, match="support"):
        jax.grad(chance, argnums=1)(0.2, 0.6, KEY)


@pytest.mark.parametrize("estimator", ["sticking-the-landing", "doubly-reparameterized"])
def test_estimators_that_hold_the_parameters_need_an_inverse(estimator):
    with pytest.raises(InvalidEstimator, match=r"WithoutInverse has no inverse.*auto.*inverse_and_log_det"):
        rx.elbo_estimate(log_joint, affine(THETA, hide=True), key=KEY, estimator=estimator)
    if estimator == "doubly-reparameterized":
        with pytest.raises(InvalidEstimator, match="no inverse"):
            rx.iwae_estimate(log_joint, affine(THETA, hide=True), key=KEY, num_samples=3, estimator=estimator)


def test_a_jump_that_the_map_moves_is_not_passed_over():
    """log p(x, z) jumps in z: seen from the base its place moves with the map, which no draw shows."""

    def loss(theta):
        return rx.elbo_estimate(
            lambda z: jnp.sign(z[0]), affine(theta), key=KEY, num_samples=2, estimator="leave-one-out"
        )

    with pytest.raises(InvalidEstimator, match="jump"):
        jax.grad(loss)(THETA)


class Leaky(eqx.Module):
    """z = e up to b, and twice as steep behind it: its volume jumps at b."""

    b: jax.Array

    def forward_and_log_det(self, e):
        return e + jax.nn.relu(e - self.b), jnp.sum(jnp.where(e > self.b, jnp.log(2.0), 0.0))

    def inverse_and_log_det(self, z):
        e = jnp.where(z > self.b, (z + self.b) / 2, z)
        return e, -self.forward_and_log_det(e)[1]


@pytest.mark.parametrize("name", ["pathwise", "leave-one-out", "sticking-the-landing", "doubly-reparameterized"])
def test_a_volume_that_jumps_is_not_passed_over(name):
    def loss(b, estimate, **given):
        q = Pushforward(dist.Normal(0.0, 1.0), Leaky(b))
        return estimate(lambda z: -0.5 * z**2, q, key=KEY, estimator=name, **given)

    with pytest.raises(InvalidEstimator, match="jump"):
        jax.grad(loss)(jnp.array(0.3), rx.elbo_estimate, num_samples=2)
    if name != "sticking-the-landing":
        with pytest.raises(InvalidEstimator, match="jump"):
            jax.grad(loss)(jnp.array(0.3), rx.iwae_estimate, num_samples=2)


def test_it_is_explained():
    text = str(rx.estimators.explain(affine(THETA), f=lambda z: jnp.sum(z**2)))
    assert "parameters of Triangular" in text
    assert "composed (location-scale)" in text
