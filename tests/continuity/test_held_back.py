"""Random programs with stopped gradients: where no derivative is said to be lost, none is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax.continuity import Variable, judge

WEIGHTS = jnp.array([[0.5, -1.0, 0.3], [0.2, 0.8, -0.6], [1.0, 0.1, -0.2]])
POINTS = jax.random.normal(jax.random.key(0), (3, 3))
# Each takes two square matrices and gives one.
MOVES = {
    "other axes": lambda a, b: a.T,
    "other rows": lambda a, b: a[::-1],
    "shifted": lambda a, b: jnp.pad(a[1:], ((0, 1), (0, 0))),
    "sum of a row": lambda a, b: jnp.broadcast_to(jnp.sum(a, axis=1)[:, None], (3, 3)),
    "sum of a row in a column": lambda a, b: jnp.broadcast_to(jnp.sum(a, axis=1)[None, :], (3, 3)),
    "maximum of a column": lambda a, b: jnp.broadcast_to(jnp.max(a, axis=0), (3, 3)),
    "first row": lambda a, b: jnp.broadcast_to(a[0], (3, 3)),
    "total": lambda a, b: jnp.full((3, 3), jnp.sum(a)),
    "twice": lambda a, b: 2 * a,
    "negative": lambda a, b: -a,
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (0.1 + jnp.square(b)),
    "exponential": lambda a, b: jnp.exp(-jnp.abs(a)) + b,
    "logsumexp": lambda a, b: jnp.log(jnp.sum(jnp.exp(a - b), axis=1))[:, None] + b,
    "logsumexp of a row": lambda a, b: jnp.log(jnp.sum(jnp.exp(a - b[:, :1]), axis=1))[:, None] + b[:, :1],
    "softmax": lambda a, b: jnp.exp(a - b) / jnp.sum(jnp.exp(a - b), axis=1, keepdims=True),
    "softmax of a row": lambda a, b: jnp.exp(a - b[:, :1]) / jnp.sum(jnp.exp(a - b[:, :1]), axis=1, keepdims=True),
    "chosen": lambda a, b: jnp.where(WEIGHTS > 0, a, b),
    "larger": jnp.maximum,
}


def program(noise):
    """A random program of matrices; `stop` is applied to one of its values, and some operations are undone."""
    names = noise.choice(list(MOVES), 5)
    places = noise.integers(0, 100, (5, 2))
    first = noise.integers(0, 3)

    def f(x, stop):
        square = jnp.outer(x, x) + jnp.arange(9.0).reshape(3, 3) / 9
        stopped = [stop(square), stop(jnp.broadcast_to(jnp.max(square, axis=1)[:, None], (3, 3))), stop(square[0, 0])]
        values = [square, jnp.broadcast_to(stopped[first], (3, 3))]
        for name, (one, other) in zip(names, places, strict=True):
            # The stopped value and the newest one occur most, so that they meet and cancel.
            choice = [values[-1], values[1], *values]
            values.append(MOVES[name](choice[one % len(choice)], choice[other % len(choice)]))
        return jnp.sum(WEIGHTS * values[-1])

    return f, names


def is_lost(f):
    return judge(jax.make_jaxpr(lambda x: f(x, jax.lax.stop_gradient))(jnp.ones(3)), [Variable()]).held_back[0]


def loss(f):
    """The largest difference that stopping makes in the derivative."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        points = POINTS.astype(float)
        kept = jax.vmap(jax.grad(lambda x: f(x, lambda y: y)))(points)
        stopped = jax.vmap(jax.grad(lambda x: f(x, jax.lax.stop_gradient)))(points)
    same = np.isclose(kept, stopped, rtol=1e-6, atol=1e-8, equal_nan=True)
    return 0.0 if same.all() else float(np.nanmax(np.abs(kept - stopped)))


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(1000, 4000), marks=pytest.mark.full)])
def test_what_is_said_to_lose_no_derivative_loses_none(seeds):
    kept = 0
    for seed in seeds:
        f, names = program(np.random.default_rng(seed))
        if not is_lost(f):
            kept += 1
            assert loss(f) == 0, (seed, list(names))
    # Some programs cancel what they stop; with fewer the test would show little.
    assert kept > len(seeds) / 10
