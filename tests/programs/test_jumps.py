"""Programs that jump in a continuous draw: that draw is scored, the others stay; what moves a jump is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import reparax as rx
from reparax import programs
from reparax.errors import InvalidEstimator

KEY = jax.random.key(0)


def walk(theta, upstream, key, estimator="auto"):
    first, second = jax.random.split(key)
    a, upstream = rx.draw(dist.Normal(theta, 1.0), upstream, key=first, estimator=estimator, name="a")
    b, upstream = rx.draw(dist.Normal(a, 0.5), upstream, key=second, estimator=estimator, name="b")
    return a, b, upstream


def test_the_last_draw_before_a_jump_is_scored_and_the_others_stay():
    def loss(theta, key):
        def program(key, upstream):
            a, b, upstream = walk(theta, upstream, key)
            return rx.cost(jnp.where(b > 0.4, 1.0, 0.0) + a**2, upstream)

        return rx.simulate(program, key=key, num_samples=8)

    def exact(theta):
        return 1 - jax.scipy.stats.norm.cdf(0.4, theta, jnp.sqrt(1.25)) + theta**2 + 1

    with pytest.warns(UserWarning, match="comparison"):
        draws = jax.jit(jax.vmap(lambda k: jax.grad(loss)(0.7, k)))(jax.random.split(KEY, 5000))
    error = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - jax.grad(exact)(0.7)) < 5 * error

    def program(key, upstream):
        _, b, upstream = walk(0.7, upstream, key)
        return rx.cost(jnp.sign(b), upstream)

    lines = str(programs.explain(program, key=KEY)).splitlines()
    assert ["pathwise" in line for line in lines if line.startswith("a ")] == [True]
    assert ["leave-one-out" in line for line in lines if line.startswith("b ")] == [True]


def test_jumps_inside_loops_are_seen_and_a_named_path_refuses():
    def program(key, upstream, estimator="pathwise"):
        def step(carry, key):
            z, upstream = carry
            z, upstream = rx.draw(dist.Normal(0.5 * z, 1.0), upstream, key=key, estimator=estimator, name="z")
            return (jnp.where(z > 0, z, 0.0 * z + 1.0), upstream), None

        (z, upstream), _ = jax.lax.scan(step, (jnp.float32(0.3), upstream), jax.random.split(key, 4))
        return rx.cost(z, upstream)

    with pytest.raises(InvalidEstimator, match="continuous"):
        rx.simulate(program, key=KEY)
    with pytest.warns(UserWarning, match="leave-one-out"):
        rx.simulate(lambda key, upstream: program(key, upstream, "auto"), key=KEY)


@pytest.mark.parametrize("estimator", ["auto", "leave-one-out"])
@pytest.mark.filterwarnings("ignore:the draw at")
def test_what_moves_a_jump_cannot_be_differentiated(estimator):
    def loss(threshold, location):
        def program(key, upstream):
            z, upstream = rx.draw(dist.Normal(location, 1.0), upstream, key=key, estimator=estimator, name="z")
            return rx.cost(jnp.where(z > threshold, 1.0, 0.0), upstream)

        return rx.simulate(program, key=KEY, num_samples=50)

    assert jnp.isfinite(jax.jit(loss)(0.2, 0.3))
    assert jax.jit(jax.grad(loss, argnums=1))(0.2, 0.3) > 0
    for gradient in (jax.grad(loss), jax.grad(jax.jit(loss)), jax.jit(jax.grad(loss, argnums=(0, 1)))):
        with pytest.raises(InvalidEstimator, match="place of a jump"):
            gradient(0.2, 0.3)
