"""Densities of single elements are the same in arrays of any shape."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.distributions import ContinuousBernoulli, DiscretizedLogistic
from reparax.distributions.discrete import Bernoulli

SHAPES = [(), (3,), (2, 3), (4, 3, 1), (2, 1, 3)]


@pytest.mark.parametrize("sample_shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "make",
    [
        lambda p, scale: Bernoulli(p),
        lambda p, scale: ContinuousBernoulli(p, -1.0, 3.0),
        lambda p, scale: ContinuousBernoulli(p, -scale, scale),
        lambda p, scale: DiscretizedLogistic(p, scale, -2, 5),
        lambda p, scale: DiscretizedLogistic(p, jnp.asarray(1.5), -2, 5),
    ],
    ids=["bernoulli", "bounds", "bounds of each", "logistic", "logistic of one scale"],
)
@jax.numpy_rank_promotion("allow")  # numpyro's check of values needs it
def test_arrays_have_the_log_densities_of_their_elements(make, shape, sample_shape):
    one, two, three = jax.random.split(jax.random.key(0), 3)
    parameter, scale = jax.random.normal(one, shape), jnp.exp(jax.random.normal(two, shape))
    q = make(parameter, scale)
    keys = jax.random.split(three, math.prod(sample_shape))
    with jax.numpy_dtype_promotion("standard"):  # numpyro's sampler needs it
        drawn = [jnp.asarray(q.sample(key), jnp.float32) for key in keys]
    value = jnp.stack(drawn).reshape(*sample_shape, *shape)
    assert q.log_prob(value).shape == (*sample_shape, *shape)
    places = np.ndindex(*value.shape)
    own = {place: place[len(sample_shape) :] for place in places}
    alone = [make(parameter[of], scale[of]).log_prob(value[place]) for place, of in own.items()]
    np.testing.assert_allclose(np.ravel(q.log_prob(value)), alone, rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda p: jnp.sum(make(p, scale).log_prob(value)))(parameter)
    assert gradient.shape == shape
