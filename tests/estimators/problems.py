"""Problems with a closed form: a distribution per parameter vector, an integrand, the exact expectation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.distributions import OneHotCategorical


class Problem(NamedTuple):
    make: object
    f: object
    exact: object
    theta: object


def binary_f(z):
    z = z.astype(float)
    return jnp.sum(z * jnp.array([1.0, 2.0, -0.5])) ** 2 - 3 * z[0]


def _all_binary(theta):
    states = jnp.stack(jnp.meshgrid(*[jnp.arange(2)] * 3, indexing="ij"), -1).reshape(8, 3)
    p = jax.nn.sigmoid(theta)
    weights = jax.vmap(lambda z: jnp.prod(jnp.where(z == 1, p, 1 - p)))(states)
    return jnp.sum(weights * jax.vmap(binary_f)(states))


WEIGHTS = jnp.array([[1.0, 2.0, -1.0], [0.5, 0.3, 3.0]])


def one_hot_f(z):
    return jnp.sum(z * WEIGHTS) ** 2


def _all_categories(theta):
    p = jax.nn.softmax(theta.reshape(2, 3))
    return jnp.sum(p[0][:, None] * p[1][None, :] * (WEIGHTS[0][:, None] + WEIGHTS[1][None, :]) ** 2)


def normal_f(z):
    return jnp.sum((z - 0.4) ** 2) + z[0] * z[1]


def mixture_exact(t):
    return jnp.sum(jax.nn.softmax(t[:2]) * (t[2:] ** 2 + 0.25))


CATEGORIES = jnp.array([0.3, -0.8, 0.5, 0.1, 0.0, -1.0])
PROBLEMS = {
    "bernoulli": Problem(
        lambda t: dist.Bernoulli(logits=t).to_event(1), binary_f, _all_binary, jnp.array([0.3, -0.8, 0.5])
    ),
    "categorical": Problem(
        lambda t: dist.Categorical(logits=t.reshape(2, 3)),
        lambda z: (WEIGHTS[0][z[0]] + WEIGHTS[1][z[1]]) ** 2,
        _all_categories,
        CATEGORIES,
    ),
    "one-hot": Problem(
        lambda t: OneHotCategorical(t.reshape(2, 3)).to_event(1), one_hot_f, _all_categories, CATEGORIES
    ),
    "normal": Problem(
        lambda t: dist.Normal(t[:2], jnp.exp(t[2:])).to_event(1),
        normal_f,
        lambda t: jnp.sum((t[:2] - 0.4) ** 2 + jnp.exp(2 * t[2:])) + t[0] * t[1],
        jnp.array([0.4, -0.3, 0.1, -0.2]),
    ),
    "multivariate normal": Problem(
        lambda t: dist.MultivariateNormal(t[:2], scale_tril=jnp.array([[1.0, 0.0], [0.5, 1.0]]) * jnp.exp(t[2])),
        normal_f,
        lambda t: jnp.sum((t[:2] - 0.4) ** 2) + t[0] * t[1] + jnp.exp(2 * t[2]) * (1 + 1.25 + 0.5),
        jnp.array([0.4, -0.3, 0.1]),
    ),
    "poisson": Problem(
        dist.Poisson, lambda z: z.astype(float) ** 2, lambda t: t**2 + t, jnp.float32(1.5)
    ),
    "exponential": Problem(dist.Exponential, lambda z: jnp.exp(-z), lambda t: t / (t + 1), jnp.float32(1.5)),
    "gamma": Problem(
        lambda t: dist.Gamma(2.0, t), lambda z: jnp.exp(-z), lambda t: (t / (t + 1)) ** 2, jnp.float32(1.5)
    ),
    "laplace": Problem(
        lambda t: dist.Laplace(t[0], t[1]), jnp.sin, lambda t: jnp.sin(t[0]) / (1 + t[1] ** 2), jnp.array([0.5, 0.8])
    ),
    "uniform": Problem(
        lambda t: dist.Uniform(t[0], t[1]), lambda z: z**2,
        lambda t: (t[1] ** 3 - t[0] ** 3) / (3 * (t[1] - t[0])), jnp.array([-0.5, 1.2]),
    ),
    "log-normal": Problem(
        lambda t: dist.LogNormal(t[0], t[1]), jnp.sqrt, lambda t: jnp.exp(t[0] / 2 + t[1] ** 2 / 8),
        jnp.array([0.2, 0.6]),
    ),
    "truncated normal": Problem(
        lambda t: dist.TruncatedNormal(t, 1.0, low=0.0), lambda z: z,
        lambda t: t + jnp.exp(jax.scipy.stats.norm.logpdf(t) - jax.scipy.stats.norm.logcdf(t)), jnp.float32(0.4),
    ),
    "mixture": Problem(
        lambda t: dist.MixtureSameFamily(dist.Categorical(logits=t[:2]), dist.Normal(t[2:], 0.5)),
        lambda z: z**2, mixture_exact, jnp.array([0.4, -0.3, 0.1, 1.2]),
    ),
}  # fmt: skip
