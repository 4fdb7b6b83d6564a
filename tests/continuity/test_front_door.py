"""One integrand per class of jumps, at the front door: auto gives the derivative, a named path refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax.errors import InvalidEstimator

W = jnp.array([0.7, -1.3])

# Functions of two independent Normal variables.
CLASSES = {
    "a step through a product": lambda z: jnp.dot(W, (z > 0.3).astype(jnp.float32)),
    "a hard threshold in a network": lambda z: jnp.sum(
        jnp.tanh(jnp.outer(W, W) @ (jnp.outer(W, W) @ z > 0).astype(jnp.float32))
    ),
    "equality with a maximum": lambda z: jnp.sum((z == z.max()).astype(jnp.float32) * W),
    "a rectified zero": lambda z: jnp.sum(jnp.where(jax.nn.relu(z) == 0, 1.0, 0.0)),
    "order as a value": lambda z: jnp.dot(jnp.argsort(z).astype(jnp.float32), W),
    "small beside the value": lambda z: 1000.0 + jnp.where(z[0] > 0, 1.0, 0.0),
    "small": lambda z: jnp.where(z[0] > 0, 4e-4, 0.0),
    "nan as a branch": lambda z: jnp.where(jnp.isnan(jnp.sqrt(z[0])), 0.0, 2.0),
    "infinity as a branch": lambda z: jax.nn.sigmoid(jnp.where(z[0] > 0, 0.3, -jnp.inf)),
    "a pole": lambda z: jnp.sum(z / jnp.abs(z)),
    "a branch cut": lambda z: jnp.arctan2(z[0], z[1]),
    "worth nothing at most points": lambda z: jnp.where(z[0] > 0, jnp.maximum(z[1] - 1.0, 0.0), 0.0),
    "stopped": lambda z: jax.lax.stop_gradient((z[0] > 0).astype(jnp.float32)),
    "in a scan": lambda z: jax.lax.scan(lambda c, y: (c + jnp.where(y > 0, 1.0, 0.0), None), 0.0, z)[0],
}
LOCATION = jnp.array([0.3, -0.2])


def exact(f):
    """The derivative in the location by the score, integrated over a grid of midpoints."""
    edges = np.linspace(-6, 6, 801)
    middles = (edges[1:] + edges[:-1]) / 2
    weights = np.exp(-(middles**2) / 2) * np.diff(edges) / np.sqrt(2 * np.pi)
    noise = np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape(-1, 2)
    values = np.asarray(jax.jit(jax.vmap(f))(LOCATION[None] + jnp.asarray(noise, jnp.float32)), np.float64)
    joint = np.outer(weights, weights).reshape(-1)
    return ((values - values.mean())[:, None] * noise * joint[:, None]).sum(0)


@pytest.mark.parametrize("name", CLASSES)
def test_auto_is_right_and_a_named_path_refuses(name):
    f = CLASSES[name]

    def loss(location, key, estimator="auto"):
        return rx.expectation(f, dist.Normal(location, 1.0).to_event(1), key=key, num_samples=8, estimator=estimator)

    with pytest.raises(InvalidEstimator, match="AssumedContinuous"):
        loss(LOCATION, jax.random.key(0), "pathwise")
    with pytest.warns(UserWarning, match="leave-one-out"):
        draws = jax.jit(jax.vmap(lambda k: jax.grad(loss)(LOCATION, k)))(jax.random.split(jax.random.key(1), 20000))
    draws = np.asarray(draws, np.float64)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    wanted = exact(f)
    assert np.all(np.abs(draws.mean(axis=0) - wanted) < 5 * error + 2e-3 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 5 * error.max()
