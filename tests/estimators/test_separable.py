"""Sums of terms of one element of a discrete variable each are enumerated term by term; nothing else is."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.distributions import OneHotCategorical
from reparax.errors import InvalidEstimator
from reparax.estimators import Enumeration

from ..monte_carlo import many, z_score

KEY = jax.random.key(0)
TABLE = jnp.array([[0.3, -1.0], [2.0, 0.5], [-0.7, 1.1]])
X = jnp.array([0.4, -1.2, 0.7, 2.0])


def real(z):
    return z.astype(jnp.float32)


SEPARABLE = {
    "gather": lambda z: jnp.sum(TABLE[z] * X[:, None]),
    "mapped": lambda z: jnp.sum(jax.vmap(lambda x, k: (x - TABLE[k, 0]) ** 2)(X, z)),
    "one-hot": lambda z: jnp.sum(jnp.tanh(jax.nn.one_hot(z, 3) @ TABLE)) + 2.0,
    "density": lambda z: jnp.mean(dist.Normal(TABLE[z, 1], 1.0).log_prob(X)),
    "polynomial": lambda z: 3.0 - jnp.sum(real(z) ** 2 * X) / 2 + jnp.dot(X, real(z)),
    "switch": lambda z: jnp.sum(jnp.where(z == 1, X, jnp.sin(real(z)))),
    "two sums": lambda z: jnp.sum(jnp.stack([jnp.sum(real(z)), jnp.sum(real(z) * X)]) * X[:2]),
    "several results": lambda z: jnp.sum(TABLE[z], axis=0) @ X[:2],
}
MIXED = {
    "square of a sum": lambda z: jnp.sum(real(z) * X) ** 2,
    "neighbors": lambda z: jnp.sum(real(z)[1:] * real(z)[:-1]),
    "product": lambda z: jnp.prod(real(z) + 1),
    "largest": lambda z: jnp.max(real(z) * X),
    "sorted": lambda z: jnp.sort(real(z)) @ X,
    "turned": lambda z: jnp.sum(real(z) * real(z)[::-1]),
    "pairs": lambda z: jnp.sum(jnp.tanh(real(z)[:, None] - real(z)[None, :])),
    "chain": lambda z: jax.lax.scan(lambda c, k: (jnp.tanh(c + real(k)), None), 0.0, z)[0],
    "counted": lambda z: jnp.sum(jnp.bincount(z, length=3).astype(jnp.float32) ** 2),
    "all": lambda z: jnp.where(jnp.all(z > 0), 1.0, 0.0),
    "matrix": lambda z: jnp.sum(jnp.tanh(real(z) @ jnp.ones((4, 2)))),
    "logsumexp": lambda z: jax.nn.logsumexp(real(z) * X),
    "cumsum": lambda z: jnp.sum(jnp.cumsum(real(z)) ** 2),
    "looked up by another": lambda z: jnp.sum(X[z[z]]),
}
LOGITS = jax.random.normal(jax.random.key(1), (4, 3))


def exact(f, logits):
    return rx.expectation(f, dist.Categorical(logits=logits), key=KEY, estimator=Enumeration())


@pytest.mark.parametrize("name", SEPARABLE)
def test_values_and_derivatives_of_all_orders_are_exact(name):
    f = SEPARABLE[name]

    def loss(logits):
        return rx.expectation(f, dist.Categorical(logits=logits), key=KEY, estimator="separable-enumeration")

    wanted = jax.jit(jax.value_and_grad(lambda logits: exact(f, logits)))(LOGITS)
    for found in (jax.value_and_grad(loss)(LOGITS), jax.jit(jax.value_and_grad(loss))(LOGITS)):
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
        np.testing.assert_allclose(found[1], wanted[1], atol=1e-5)
    direction = jnp.ones_like(LOGITS) * jnp.arange(3.0)[None]
    second = jax.jit(
        lambda: [jax.jvp(jax.grad(part), (LOGITS,), (direction,))[1] for part in (loss, lambda v: exact(f, v))]
    )()
    np.testing.assert_allclose(*second, atol=1e-4)


@pytest.mark.parametrize("name", MIXED)
def test_what_reads_several_elements_at_once_is_refused(name):
    with pytest.raises(InvalidEstimator, match="combined by more than a sum"):
        rx.expectation(MIXED[name], dist.Categorical(logits=LOGITS), key=KEY, estimator="separable-enumeration")


def test_other_shapes_and_families():
    coins = dist.Bernoulli(logits=jnp.arange(6.0).reshape(2, 3) / 3).to_event(2)
    weights = jnp.arange(6.0).reshape(3, 2)

    def f(z):
        return jnp.sum(real(z).T * weights)

    value = rx.expectation(f, coins, key=KEY, estimator="separable-enumeration")
    np.testing.assert_allclose(value, jnp.sum(jax.nn.sigmoid(jnp.arange(6.0).reshape(2, 3) / 3).T * weights), rtol=1e-6)
    one_hot = OneHotCategorical(LOGITS).to_event(1)
    value = rx.expectation(
        lambda z: jnp.sum(z @ TABLE * X[:, None]), one_hot, key=KEY, estimator="separable-enumeration"
    )
    np.testing.assert_allclose(value, exact(SEPARABLE["gather"], LOGITS), rtol=1e-5)
    wide = dist.Categorical(logits=LOGITS[0]).expand([4])
    value = rx.expectation(SEPARABLE["gather"], wide, key=KEY, estimator="separable-enumeration")
    np.testing.assert_allclose(value, exact(SEPARABLE["gather"], jnp.broadcast_to(LOGITS[0], (4, 3))), rtol=1e-5)


def mixture(theta):
    points = jnp.linspace(-2.0, 2.0, 30)
    q = {"means": dist.Normal(theta["means"], 0.5).to_event(1), "label": dist.Categorical(logits=theta["logits"])}

    def f(z):
        return jnp.sum(dist.Normal(z["means"][z["label"]], 1.0).log_prob(points)) - jnp.sum(z["means"] ** 2)

    return f, q


def test_auto_enumerates_assignments_that_are_independent_given_shared_means():
    theta = {"means": jnp.array([-1.0, 0.0, 1.0]), "logits": jax.random.normal(KEY, (30, 3))}

    def gradient(estimator, key):
        def loss(theta):
            f, q = mixture(theta)
            return rx.expectation(f, q, key=key, num_samples=2, estimator=estimator)

        return jax.grad(loss)(theta)

    def closed_form(theta):
        points = jnp.linspace(-2.0, 2.0, 30)
        squares = (points[:, None] - theta["means"][None]) ** 2 + 0.25
        terms = -0.5 * squares - 0.5 * jnp.log(2 * jnp.pi)
        return jnp.sum(jax.nn.softmax(theta["logits"]) * terms) - jnp.sum(theta["means"] ** 2 + 0.25)

    found = many(lambda k: gradient("auto", k), 4000)
    sampled = many(lambda k: gradient({"means": "pathwise", "label": "leave-one-out"}, k), 500)
    wanted = jax.grad(closed_form)(theta)
    for name in theta:
        assert z_score(found[name], wanted[name]) < 5
    assert np.var(found["logits"], axis=0).sum() < np.var(sampled["logits"], axis=0).sum() / 100


@pytest.mark.parametrize(
    "make",
    [
        lambda t: dist.Bernoulli(logits=t),
        lambda t: dist.Bernoulli(probs=t),
        lambda t: dist.Binomial(2, logits=t),
        lambda t: dist.Categorical(probs=jnp.stack([t, 1 + t, jnp.ones_like(t)], axis=-1), validate_args=False),
        lambda t: dist.Categorical(logits=jnp.stack([t, -t], axis=-1)),
        lambda t: OneHotCategorical(jnp.stack([t, -t], axis=-1)),
    ],
)
def test_probabilities_are_those_of_plain_enumeration_at_the_edges_too(make):
    """At logits of 0, probabilities of 0 and 1, and off the simplex."""

    def loss(t, estimator):
        q = make(t)
        weights = jnp.arange(1.0, 4.0).reshape(3, *(1,) * (len(q.shape()) - 1))
        return rx.expectation(lambda z: jnp.sum(jnp.sin(real(z) + 1) * weights), q, key=KEY, estimator=estimator)

    parameters = jnp.array([0.0, 1.0, 0.4])
    function = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    one, other = (function(parameters, name) for name in ("separable-enumeration", "enumeration"))
    for part, wanted in zip(one, other, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=1e-5, atol=1e-6)
