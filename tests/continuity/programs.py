"""Random programs of three Normal variables, and whether the pathwise derivative of one is right, by simulation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

A = jnp.array([[0.5, -1.0, 0.3], [0.2, 0.8, -0.6], [1.0, 0.1, -0.2]])
W = jnp.array([0.7, -1.3, 0.4])
Operation = Callable[[np.random.Generator], Callable[..., jax.Array]]


def constant(noise):
    return float(np.round(noise.normal(), 2))


def of_two(function):
    return lambda noise: function


def shifted(function):
    def make(noise):
        c = constant(noise)
        return lambda a, b: function(a, b, c)

    return make


def scanned(body):
    return lambda noise: lambda a, b: jax.lax.scan(lambda c, y: (body(c, y), body(c, y)), b[0], a)[1]


# fmt: off
# Each takes two vectors and gives one; all of these are continuous.
SMOOTH: dict[str, Operation] = {
    "tanh": of_two(lambda a, b: jnp.tanh(a + 0.3 * b)),
    "sine": of_two(lambda a, b: jnp.sin(2 * a) + b),
    "product": of_two(lambda a, b: a * b),
    "bell": of_two(lambda a, b: b * jnp.exp(-(a**2))),
    "ratio": of_two(lambda a, b: a / (1 + b**2)),
    "logarithm": of_two(lambda a, b: jnp.log(1 + a**2) - b),
    "root": of_two(lambda a, b: jnp.sqrt(1 + a**2 + b**2)),
    "matrix": of_two(lambda a, b: A @ a + b),
    "softmax": of_two(lambda a, b: jax.nn.softmax(a) + b),
    "cumsum": of_two(lambda a, b: jnp.cumsum(a) - b),
    "norm": of_two(lambda a, b: a * jnp.linalg.norm(b)),
    "mean": of_two(lambda a, b: a - jnp.mean(b)),
    "scan": scanned(lambda c, y: jnp.tanh(c + y)),
    "standardized": of_two(lambda a, b: (a - a.mean()) / jnp.sqrt(a.var() + 1) + b),
    "logsumexp": of_two(lambda a, b: a + jax.nn.logsumexp(b)),
    "convolved": of_two(lambda a, b: jnp.convolve(a, W, "same") + b),
}
BENT: dict[str, Operation] = {
    "relu": of_two(lambda a, b: jax.nn.relu(a) - b),
    "larger": of_two(jnp.maximum),
    "absolute": of_two(lambda a, b: jnp.abs(a - b)),
    "clip": shifted(lambda a, b, c: jnp.clip(a, c, c + 1.0) + b),
    "sorted": of_two(lambda a, b: jnp.sort(a) * b),
    "hinge": shifted(lambda a, b, c: jnp.where(a > c, a - c, 0.0) + b),
    "elu": of_two(lambda a, b: jax.nn.elu(a) + b),
    "leaky": of_two(lambda a, b: jnp.where(a > b, a, b + 0.2 * (a - b))),
    "median": of_two(lambda a, b: a - jnp.median(b)),
    "huber": shifted(
        lambda a, b, c: jnp.where(jnp.abs(a) < 1 + c**2, a**2 / 2, (1 + c**2) * (jnp.abs(a) - (1 + c**2) / 2)) + b
    ),
    "branch": of_two(lambda a, b: jax.lax.cond(a[0] > 0, lambda: a[0] * b, lambda: 0.5 * a[0] * b)),
    "masked": of_two(lambda a, b: (a - b) * (a > b)),
    "largest": of_two(lambda a, b: a * jnp.max(b)),
    "scan of maxima": scanned(lambda c, y: jnp.maximum(0.5 * c, y)),
    "wave": of_two(lambda a, b: jnp.abs(a - jnp.round(a)) * b),
    "interpolated": of_two(lambda a, b: jnp.interp(a, jnp.array([-1.0, 0.0, 2.0]), jnp.array([0.3, -1.0, 1.0])) + b),
    "fixed rounds": of_two(lambda a, b: jax.lax.fori_loop(0, 3, lambda i, c: jnp.tanh(c + b), a)),
    "safe logarithm": of_two(lambda a, b: jnp.where(a > 1, jnp.log(jnp.where(a > 1, a, 1.0)), 0.0) + b),
}


def counted(a, b):
    return b * jax.lax.while_loop(lambda c: c < jnp.abs(a[0]), lambda c: c + 0.5, 0.0)


# The classes of jumps; a program that uses one may all the same be continuous.
JUMPING: dict[str, dict[str, Operation]] = {
    "comparison": {
        "where": shifted(lambda a, b, c: jnp.where(a > c, b, a)),
        "mask": shifted(lambda a, b, c: (a > c).astype(a.dtype) * b),
        "mask in a product": shifted(lambda a, b, c: A @ (a < c).astype(a.dtype) + b),
        "scan of steps": scanned(lambda c, y: jnp.where(y > 0, 0.5 * c + 1.0, c)),
        "any": shifted(lambda a, b, c: jnp.where(jnp.any(a > 1 + c), b, -b)),
    },
    "equality": {
        "is largest": of_two(lambda a, b: (a == a.max()).astype(a.dtype) * b),
        "is zero": of_two(lambda a, b: jnp.where(jax.nn.relu(a) == 0, 1.0, b)),
        "is clipped": of_two(lambda a, b: b + (jnp.clip(a, -0.5, 0.5) == 0.5).astype(a.dtype)),
    },
    "order": {
        "argsort": of_two(lambda a, b: jnp.argsort(a).astype(a.dtype) + b),
        "ranked": of_two(lambda a, b: b[jnp.argsort(a)]),
    },
    "index": {
        "table": of_two(lambda a, b: W[jnp.argmax(a)] * b),
        "one-hot": of_two(lambda a, b: b * jax.nn.one_hot(jnp.argmax(a), 3)),
    },
    "rounding": {
        "floor": of_two(lambda a, b: jnp.floor(2 * a) + b),
        "round": of_two(lambda a, b: jnp.round(a) * b),
        "cast": of_two(lambda a, b: (a * 2).astype(int).astype(a.dtype) + b),
        "sawtooth": of_two(lambda a, b: jnp.remainder(a, 1.0) + b),
        "sign": of_two(lambda a, b: jnp.sign(a) * (1 + b**2)),
    },
    "nan": {
        "is nan": of_two(lambda a, b: jnp.where(jnp.isnan(jnp.sqrt(a)), 0.0, b)),
        "is finite": of_two(lambda a, b: jnp.isfinite(jnp.log(a)).astype(a.dtype) + b),
        "nan to number": of_two(lambda a, b: jnp.tanh(jnp.nan_to_num(jnp.log(a), nan=1.0, neginf=0.0)) + b),
    },
    "pole": {
        "over its size": of_two(lambda a, b: a / jnp.abs(a) * (1 + b**2)),
        "inverse": of_two(lambda a, b: jnp.arctan(1 / a) + b),
        "tangent": of_two(lambda a, b: jnp.arctan(3 * jnp.tan(a)) + b),
    },
    "cut": {"angle": of_two(lambda a, b: jnp.arctan2(a[::-1], a) + b)},
    "rounds": {"counted": of_two(counted)},
    "hidden": {
        "worth nothing": of_two(lambda a, b: jnp.where(a[0] > 0, jnp.maximum(b - 1.5, 0.0), 0.0)),
        "a bump": of_two(lambda a, b: jnp.where(a[0] > 0, jnp.exp(-200 * (b - 0.5) ** 2), 0.0)),
    },
}
# fmt: on


def program(noise, operations, size=5):
    """A random composition of operations: a function of three variables, with values between -1 and 1."""
    names = list(operations)
    steps = []
    for place in range(size):
        name = names[noise.integers(len(names))]
        # The last result and any other, so that most of what is computed is used.
        steps.append((operations[name](noise), place, int(noise.integers(place + 1)), bool(noise.integers(2)), name))

    def f(z):
        pool = [z]
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            for operation, last, other, turned, _ in steps:
                one, two = (pool[last], pool[other]) if turned else (pool[other], pool[last])
                pool.append(operation(one, two))
        return jnp.tanh(0.5 * jnp.dot(W, pool[-1]))

    return f, [step[-1] for step in steps]


def error_of_the_path(f, draws=200_000, seed=0):
    """How many standard errors the mean pathwise derivative is from that by the score, at worst over coordinates."""
    location = jnp.array([0.2, -0.3, 0.4])

    def one(noise):
        value, slope = jax.value_and_grad(f)(location + noise)
        return value, slope

    noise = jax.random.normal(jax.random.key(seed), (draws, 3))
    values, slopes = jax.jit(jax.vmap(one))(noise)
    values, slopes, noise = (np.asarray(x, np.float64) for x in (values, slopes, noise))
    kept = np.isfinite(values) & np.isfinite(slopes).all(axis=1)
    if kept.mean() < 0.999:
        return float("nan")
    values, slopes, noise = values[kept], slopes[kept], noise[kept]
    # What is linear in the noise has the same derivative by both, and would only add variance.
    centered = np.column_stack([np.ones(len(noise)), noise, noise**2])
    residual = values - centered @ np.linalg.lstsq(centered, values, rcond=None)[0]
    fitted = np.linalg.lstsq(centered, values, rcond=None)[0]
    differences = slopes - (fitted[1:4] + 2 * fitted[4:] * noise) - residual[:, None] * noise
    return float(np.max(np.abs(differences.mean(axis=0)) / (differences.std(axis=0) / np.sqrt(len(noise)) + 1e-6)))
