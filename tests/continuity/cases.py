"""Functions of three Normal variables: some jump, each in a way of its own, the others are continuous."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.sharding import Mesh, PartitionSpec

W = jnp.array([0.7, -1.3, 0.4])
A = jnp.array([[0.5, -1.0, 0.3], [0.2, 0.8, -0.6], [1.0, 0.1, -0.2], [-0.4, 0.9, 0.7]])
TABLE = jnp.array([0.3, -1.0, 2.0])
KNOTS, HEIGHTS = jnp.array([-1.0, 0.0, 0.5, 2.0]), jnp.array([0.3, -0.2, 1.0, 0.4])


def step(x):
    return (x > 0).astype(x.dtype)


def network(activation, layers=2):
    def f(x):
        for _ in range(layers):
            x = jnp.tanh(A.T @ activation(A @ x))
        return jnp.sum(x)

    return f


def convolved(x):
    return jnp.convolve(step(x), jnp.array([1.0, -0.5]))


def mapped(x):
    mesh = Mesh(np.array(jax.devices()[:1]), ("a",))
    inner = jax.shard_map(
        lambda v: jnp.where(v > 0, 1.0, 0.0), mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec()
    )
    return inner(x)


def called_back(x):
    return jax.pure_callback(lambda v: np.asarray(np.floor(v), np.float32), jax.ShapeDtypeStruct(x.shape, x.dtype), x)


@jax.custom_jvp
def soft_sign(x):
    return jnp.sign(x)


soft_sign.defjvp(lambda p, t: (soft_sign(p[0]), t[0] / (1 + p[0] ** 2)))


@jax.custom_vjp
def straight(x):
    return jnp.round(x)


straight.defvjp(lambda x: (straight(x), None), lambda _, g: (g,))


def newton(x):
    def again(s):
        return jnp.any(jnp.abs(s[0] ** 2 - s[1]) > 1e-3)

    return jax.lax.while_loop(again, lambda s: ((s[0] + s[1] / s[0]) / 2, s[1]), (1 + x**2, 2 + x**2))[0]


def _factor(x):
    return jnp.linalg.cholesky(jnp.outer(x, x) + jnp.diag(W))


def _at_largest(x):
    return x[jnp.argmax(x)]


def _accumulated(x):
    return jax.lax.scan(lambda s, row: (s + row.sum(), None), 0.0, x)[0]


def _factors_carried(x):
    return jax.lax.fori_loop(0, 2, lambda _, s: s + _factor(x)[0], jnp.zeros(3))


def ranks(x):
    return jnp.argsort(jnp.argsort(x)).astype(x.dtype)


JUMPS = {
    # A step that passes through a product.
    "dot of a step": lambda x: jnp.dot(W, step(x)),
    "einsum of a step": lambda x: jnp.einsum("i,i->", W, step(x)),
    "matrix times a step": lambda x: A @ step(x),
    "convolution of a step": convolved,
    "one-hot times a table": lambda x: jax.nn.one_hot(jnp.argmax(x), 3) @ TABLE,
    "table looked up": lambda x: TABLE[jnp.argmax(x)],
    "cumsum of a step": lambda x: jnp.cumsum(step(x)),
    "network with a hard threshold": network(step),
    "mean of a step": lambda x: jnp.mean(jnp.heaviside(x, 0.5)),
    "fraction above": lambda x: jnp.count_nonzero(x > 0.2) / 3.0,
    "histogram": lambda x: jnp.histogram(x, bins=KNOTS)[0].astype(float),
    "digitize": lambda x: jnp.digitize(x, KNOTS).astype(float) @ W,
    "polynomial of a step": lambda x: jnp.polyval(jnp.array([1.0, 2.0, 0.0]), step(x)),
    "matrix power of steps": lambda x: jnp.linalg.norm(jnp.outer(step(x), x)),
    # Equality with what max, min, clip, sort made.
    "is the largest": lambda x: (x == x.max()).astype(float) @ W,
    "rectified is zero": lambda x: jnp.where(jax.nn.relu(x) == 0, 1.0, 0.0),
    "clipped at the top": lambda x: (jnp.clip(x, -1, 1) == 1).astype(float),
    "equals the median": lambda x: jnp.where(x == jnp.median(x), x**2, 0.0),
    "equals its sorted self": lambda x: jnp.where(x == jnp.sort(x), 1.0, 0.0),
    "differs from the smaller": lambda x: jnp.where(x != jnp.minimum(x, 0.3), 2.0, 1.0),
    "any equals": lambda x: jnp.any(x == jnp.maximum(x, 0.0)).astype(float),
    # Order as a value.
    "argsort": lambda x: jnp.argsort(x) @ jnp.array([1, 2, 3]),
    "ranks": lambda x: ranks(x) @ W,
    "lexsort": lambda x: jnp.lexsort((x, x[::-1])).astype(float),
    "top indices": lambda x: jax.lax.top_k(x, 2)[1].astype(float),
    "payload of a sort": lambda x: jax.lax.sort((x, W), num_keys=1)[1],
    "searchsorted": lambda x: jnp.searchsorted(KNOTS, x).astype(float),
    "permuted by another": lambda x: W[jnp.argsort(x)],
    "taken along": lambda x: jnp.take_along_axis(W, jnp.argsort(x), 0),
    # Small beside the value.
    "small beside a thousand": lambda x: 1000 + jnp.where(x > 0, 1.0, 0.0),
    "small in itself": lambda x: jnp.where(x > 0, 4e-4, 0.0),
    "small beside a million": lambda x: jnp.where(x > 0, 1e6 + 1, 1e6),
    "tiny": lambda x: jnp.where(x > 0, 1e-9, 0.0),
    "small beside a smooth part": lambda x: jnp.where(x > 0, jnp.sin(x) + 1e-4, jnp.sin(x)),
    "almost a ramp": lambda x: jnp.where(x > 1.0, x - 0.9999, 0.0),
    # NaN and infinity as branches.
    "is nan": lambda x: jnp.where(jnp.isnan(jnp.sqrt(x)), 0.0, W),
    "is finite": lambda x: jnp.isfinite(jnp.log(x)).astype(float),
    "nan to number": lambda x: jnp.nan_to_num(jnp.log(x)),
    "infinite branch": lambda x: jax.nn.sigmoid(jnp.where(x > 0, 0.3, -jnp.inf)),
    "factor is defined": lambda x: jnp.isnan(_factor(x)).any().astype(float),
    "factor is defined, sorted": lambda x: jnp.isnan(jnp.sort(_factor(x).ravel())).any().astype(float),
    "factor is defined, largest": lambda x: jnp.isnan(jax.lax.top_k(_factor(x).ravel(), 2)[0]).any().astype(float),
    "factor is defined, chosen": lambda x: jnp.where(_at_largest(_factor(x)[0]) > -1e9, 1.0, 0.0),
    "factor is defined, carried": lambda x: jnp.isnan(_accumulated(_factor(x))).any().astype(float),
    "factor is defined, in a loop": lambda x: jnp.isnan(_factors_carried(x)).any().astype(float),
    "factor is defined, and its sign": lambda x: jnp.sign(jnp.exp(_factor(x)) + 1).sum() > 0,
    "factor is defined, stacked": lambda x: jnp.isfinite(jnp.concatenate([_factor(x)[0], x])).all().astype(float),
    "entropy": lambda x: jnp.tanh(jax.scipy.special.entr(x)),
    "xlogy": lambda x: jnp.tanh(jax.scipy.special.xlogy(1.0, jnp.abs(x))),
    "direction of one": lambda x: x[:1] / jnp.linalg.norm(x[:1]),
    "inverse distance": lambda x: jnp.tanh(1 / jnp.linalg.norm(x[:1])),
    "rounded to few bits": lambda x: jax.lax.reduce_precision(x, 8, 2),
    "an eighth of a float": lambda x: x.astype(jnp.float8_e4m3fn).astype(jnp.float32),
    "sum without nan": lambda x: jnp.nansum(jnp.sqrt(x)),
    "largest without nan": lambda x: jnp.nanmax(jnp.where(x > 0, x, jnp.nan)),
    "compared with nan": lambda x: jnp.where(jnp.sqrt(x) > -1, 1.0, 0.0),
    "fmax": lambda x: jnp.fmax(jnp.log(x), 0.0) + jnp.where(jnp.isnan(jnp.log(x)), 1.0, 0.0),
    "exponential of minus infinity": lambda x: jnp.exp(jnp.where(x > 0.1, -(x**2), -jnp.inf)),
    # Poles and branch cuts.
    "over its size": lambda x: x / jnp.abs(x),
    "angle": lambda x: jnp.arctan2(x[0], x[1]),
    "arctan of the inverse": lambda x: jnp.arctan(1 / x),
    "sign of a determinant": lambda x: jnp.linalg.slogdet(jnp.outer(x, W) + jnp.eye(3))[0],
    "sign of an eigenvector": lambda x: jnp.linalg.eigh(jnp.outer(x, x) + jnp.diag(W))[1][0],
    "complex angle": lambda x: jnp.angle(x[0] + 1j * x[1]),
    "complex logarithm": lambda x: jnp.imag(jnp.log(x[0] + 1j * x[1])),
    "tangent": lambda x: jnp.tanh(jnp.tan(x)),
    "hyperbola": lambda x: jnp.tanh(1 / (x - 0.5)),
    "inverse root": lambda x: jnp.tanh(x * jax.lax.rsqrt(x**2)),
    "reciprocal power": lambda x: jnp.tanh(x ** (-3)),
    "squashed inverse": lambda x: jax.nn.sigmoid(1 / x),
    "solved": lambda x: jnp.tanh(jnp.linalg.solve(jnp.outer(x, W) + jnp.diag(x), W)),
    "orthogonal factor": lambda x: jnp.linalg.qr(jnp.outer(x, W) + jnp.eye(3))[0][0],
    # Worth nothing at most points.
    "worth nothing at first": lambda x: jnp.where(x[0] > 0, jnp.maximum(x[1] + x[2] - 3, 0.0), 0.0),
    "worth nothing for long": lambda x: jnp.where(x[0] > 0, jnp.maximum(x[1] - 50.0, 0.0), 0.0),
    "a narrow bump": lambda x: jnp.where(x[0] > 0, jnp.exp(-1e4 * (x[1] - 0.7) ** 2), 0.0),
    "saturated": lambda x: jnp.where(x[0] > 0, jax.nn.sigmoid(1e4 * x[1]) * jax.nn.sigmoid(-1e4 * x[1]), 0.0),
    "one side of two": lambda x: jnp.where((x[0] - 1) * (x[0] - 2) > 0, x[0] - 1, 0.0),
    "hidden by a root": lambda x: jnp.where(x[0] > 0, jnp.sqrt((x[1] - 30.0) ** 2) - (30.0 - x[1]), 0.0),
    "a step into another": lambda x: jnp.where(x[1] + step(x[0]) > 0.2, 1.0, 0.0),
    "a step inside a root": lambda x: jnp.sqrt(1.5 + jnp.where(x[0] > 0, x[1], -x[1]) ** 3 * 1e-2 + 100.0),
    # Where code cannot be followed.
    "inside shard_map": mapped,
    "a callback": called_back,
    "inside scan": lambda x: jax.lax.scan(lambda c, y: (c + jnp.where(y > 0, 1.0, 0.0), c), 0.0, x),
    "carried by scan": lambda x: jax.lax.scan(
        lambda c, _: (jnp.where(c > 0, 1.0, 0.0) * (c + 1), None), x, None, length=3
    )[0],
    "a late jump of a scan": lambda x: jax.lax.scan(
        lambda c, y: ((c[1], jnp.floor(c[0]), y), None), (x[0], x[1], x[2]), x
    )[0],
    "rounds that depend on z": lambda x: jax.lax.while_loop(lambda c: c < x[0], lambda c: c + 1, 0.0),
    "Newton until converged": newton,
    "branch": lambda x: jax.lax.cond(x[0] > 0, lambda: 1.0, lambda: 0.0),
    "switch": lambda x: jax.lax.switch((x[0] * 3).astype(int), [lambda: 1.0, lambda: 0.0, lambda: 2.0]),
    "a random key": lambda x: jax.random.normal(jax.random.key((x[0] * 10).astype(int))),
    "bits": lambda x: (jax.lax.bitcast_convert_type(x, jnp.int32) & 1).astype(float),
    "nextafter": lambda x: (jnp.nextafter(x, 9.0) - x) * 1e7,
    # Values of derivatives of one's own, and without derivatives.
    "step behind stop_gradient": lambda x: jax.lax.stop_gradient(step(x)),
    "straight-through": lambda x: x + jax.lax.stop_gradient(step(x) - x),
    "surrogate of a sign": soft_sign,
    "surrogate of rounding": straight,
    # Plain ones.
    "step": lambda x: jnp.where(x > 0, 1.0, 0.0),
    "sign": jnp.sign,
    "floor": jnp.floor,
    "round": jnp.round,
    "ceiling": jnp.ceil,
    "whole quotient": lambda x: x // 0.7,
    "hard threshold": lambda x: jnp.where(x > 0.3, x, 0.0),
    "cast": lambda x: x.astype(int),
    "sawtooth": lambda x: jnp.remainder(x, 1.0),
    "modf": lambda x: jnp.modf(x)[0],
    "shifted": lambda x: jnp.where(x > 0, x, x**2 + 1),
    "not periodic": lambda x: jnp.sin(jnp.remainder(x, 3.0)),
    "guarded but stepping": lambda x: jnp.where(x > 1.0, jnp.log(jnp.where(x > 1.0, x, 1.0)), 0.5),
    "under jit": jax.jit(lambda x: jnp.where(jnp.sin(x) > 0.2, 1.0, 0.0)),
    "index": lambda x: jnp.arange(3.0)[jnp.argmax(x)],
    "interval": lambda x: ((x > -1) & (x < 1)).astype(float),
    "knocked out": lambda x: jnp.where(jnp.max(jnp.cumsum(x)) < 2.0, jnp.maximum(x[2], 0.0), 0.0),
    "all above": lambda x: jnp.where(jnp.all(x > -1), 1.0, 0.0),
    "bounds": lambda x: jnp.where(x < 2.0, x, -jnp.inf),
    "median of two sides": lambda x: jnp.where(x > jnp.mean(x), 1.0, -1.0),
    "copysign": lambda x: jnp.copysign(2.0, x),
    "interpolated with an end": lambda x: jnp.interp(x, KNOTS, HEIGHTS, left=5.0),
    "interpolated over a step": lambda x: jnp.interp(x, jnp.array([0.0, 1.0, 1.0, 2.0]), HEIGHTS),
    "quantized": lambda x: jnp.round(x * 10) / 10,
    "signed power": lambda x: jnp.sign(x) * jnp.sqrt(1 + jnp.abs(x)),
    "logical": lambda x: jnp.logical_xor(x[0] > 0, x[1] > 0).astype(float),
    "mode of a mixture": lambda x: jnp.where(x[:, None] > KNOTS[None, :], 1.0, 0.0) @ HEIGHTS,
    "compared across": lambda x: jnp.sum(jnp.where(x[:, None] > x[None, :], x[:, None] + x[None, :], 0.0)),
    "relu of the wrong one": lambda x: jnp.where(x > 0, x[::-1], 0.0),
    "zero norm": lambda x: jnp.linalg.norm(jax.nn.relu(x), ord=0),
    "integer division": lambda x: (x * 10).astype(int) // 3,
}

CONTINUOUS = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "logsumexp": jax.nn.logsumexp,
    "abs": jnp.abs,
    "celu": jax.nn.celu,
    "relu6": jax.nn.relu6,
    "hard tanh": jax.nn.hard_tanh,
    "hard sigmoid": jax.nn.hard_sigmoid,
    "hard swish": jax.nn.hard_swish,
    "mish": jax.nn.mish,
    "squareplus": jax.nn.squareplus,
    "soft sign": jax.nn.soft_sign,
    "sparse plus": jax.nn.sparse_plus,
    "log sigmoid": jax.nn.log_sigmoid,
    "log softmax": jax.nn.log_softmax,
    "standardize": jax.nn.standardize,
    "glu": lambda x: jax.nn.glu(x[:2]),
    "max": lambda x: jnp.maximum(x, 0.3),
    "clip": lambda x: jnp.clip(x, -1, 1),
    "sum of maxima": lambda x: jnp.max(x) - jnp.min(x),
    "logaddexp": lambda x: jnp.logaddexp(x, 0.0),
    "xlogy": lambda x: jax.scipy.special.xlogy(jnp.abs(x), jnp.exp(x)),
    "leaky relu": jax.nn.leaky_relu,
    "selu": jax.nn.selu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "prelu": lambda x: jnp.where(x > 0, x, W * x),
    "huber": lambda x: jnp.where(jnp.abs(x) < 1, 0.5 * x**2, jnp.abs(x) - 0.5),
    "huber with a width": lambda x: jnp.where(jnp.abs(x) <= 1.345, x**2 / 2, 1.345 * (jnp.abs(x) - 1.345 / 2)),
    "softmax": jax.nn.softmax,
    "hinge": lambda x: jnp.where(x > 2.0, x - 2.0, 0.0),
    "far hinge": lambda x: jnp.where(x > 100, x - 100, 0.0),
    "maximum as a switch": lambda x: jnp.where(x > x[::-1], x, x[::-1]),
    "sort": jnp.sort,
    "sorted and weighted": lambda x: jnp.sort(x) @ W,
    "median": jnp.median,
    "quantile": lambda x: jnp.quantile(x, 0.3),
    "top values": lambda x: jax.lax.top_k(x, 2)[0],
    "cumulative max": jax.lax.cummax,
    "norm": jnp.linalg.norm,
    "norms": lambda x: jnp.linalg.norm(A * x, axis=1),
    "one norm": lambda x: jnp.linalg.norm(x, ord=1),
    "largest norm": lambda x: jnp.linalg.norm(x, ord=jnp.inf),
    "distance": lambda x: jnp.sqrt(jnp.sum((x - W) ** 2)),
    "interp": lambda x: jnp.interp(x, KNOTS, HEIGHTS),
    "variance": lambda x: jnp.log(1 + jnp.var(x)),
    "std": lambda x: jnp.std(x),
    "fixed while": lambda x: jax.lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, jnp.tanh(s[1] * 1.1)), (0, x))[
        1
    ],
    "fixed rounds": lambda x: jax.lax.fori_loop(0, 5, lambda i, c: jnp.sin(c) + i, x),
    "rounds counted in a carry": lambda x: jax.lax.while_loop(
        lambda s: s[0] < 4.5, lambda s: (s[0] + 1.0, s[1] * x), (0.0, x)
    )[1],
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + jax.nn.elu(y), c), 0.0, x),
    "scan of scans": lambda x: jax.lax.scan(
        lambda c, y: (jax.lax.fori_loop(0, 3, lambda i, d: d + jnp.tanh(y), c), c), 0.0, x
    ),
    "guarded": lambda x: jnp.where(x == 0, 1.0, x),
    "safe ratio": lambda x: x[0] / jnp.where(jnp.abs(x[1]) > -1, 1 + x[1] ** 2, 1.0),
    "log ndtr": jax.scipy.special.log_ndtr,
    "student": lambda x: jax.scipy.stats.t.logpdf(x, 3.0),
    "normal cdf": jax.scipy.stats.norm.cdf,
    "under jit": jax.jit(lambda x: jnp.where(x > 0, x, 0.1 * x)),
    "remat": jax.checkpoint(jax.nn.elu),
    "absolute value by sign": lambda x: x * jnp.sign(x),
    "rectified by a mask": lambda x: x * (x > 0),
    "minimum by argmin": lambda x: x[jnp.argmin(x)],
    "square by sign": lambda x: jnp.sign(x) * x**2,
    "double where": lambda x: jnp.where(x > 1.0, jnp.log(jnp.where(x > 1.0, x, 1.0)), 0.0),
    "single where": lambda x: jnp.where(x > 1.0, jnp.log(x), 0.0),
    "periodic": lambda x: jnp.cos(jnp.remainder(x, 2 * jnp.pi)),
    "triangle wave": lambda x: jnp.abs(x - jnp.round(x)),
    "angle in a sine": lambda x: jnp.cos(jnp.arctan2(x[0], x[1]) + 0.3),
    "power": lambda x: jnp.exp(x) ** 1.7,
    "numpyro": lambda x: dist.Beta(2.0, 3.0).log_prob(jax.nn.sigmoid(x)),
    "cauchy": lambda x: dist.Cauchy(0.0, 2.0).log_prob(x),
    "dirichlet": lambda x: dist.Dirichlet(jnp.ones(3) * 2).log_prob(jax.nn.softmax(x)),
    "categorical": lambda x: dist.Categorical(logits=x).log_prob(jnp.array(1)),
    "laplace": lambda x: dist.Laplace(0.0, 2.0).log_prob(x),
    "Bernoulli decoder": lambda x: dist.Bernoulli(logits=2 * x).log_prob(jnp.ones(3)),
    "gamma": lambda x: dist.Gamma(2.0, 1.5).log_prob(jnp.exp(x)),
    "multivariate": lambda x: dist.MultivariateNormal(x, jnp.eye(3)).log_prob(W),
    "half normal": lambda x: dist.HalfNormal(2.0).log_prob(jnp.exp(x)),
    "poisson": lambda x: dist.Poisson(jnp.exp(x)).log_prob(jnp.arange(3)),
    "log-normal": lambda x: dist.LogNormal(0.0, 1.0).log_prob(jnp.exp(x)),
    "mixture": lambda x: dist.MixtureSameFamily(dist.Categorical(jnp.ones(3) / 3), dist.Normal(x, 1.0)).log_prob(0.3),
    "clipped by its norm": lambda x: jnp.where(jnp.linalg.norm(x) > 1, x / jnp.linalg.norm(x), x),
    "branch that agrees": lambda x: jax.lax.cond(x[0] > 0, lambda: x[0] * x[1], lambda: 0.0 * x[1]),
    "nested where": lambda x: jnp.where(x < 0, 0.0, jnp.where(x < 1, x, 1.0)),
    "smoothstep": lambda x: jnp.clip(x, 0, 1) ** 2 * (3 - 2 * jnp.clip(x, 0, 1)),
    "select": lambda x: jnp.select([x < -1, x < 1], [-1.0 + 0 * x, x], 1.0 + 0 * x),
    "network": network(jax.nn.leaky_relu),
    "network of where": network(lambda x: jnp.where(x > 0, x, jnp.expm1(x)), 4),
    "residual": lambda x: x + network(jax.nn.elu)(x),
    "attention": lambda x: jax.nn.softmax(jnp.outer(x, x)) @ x,
    "layer norm": lambda x: (x - x.mean()) / jnp.sqrt(x.var() + 1e-5),
    "squared exponential": lambda x: jnp.exp(-((x[:, None] - x[None, :]) ** 2)),
    "cholesky": lambda x: jnp.linalg.cholesky(jnp.outer(x, x) + 2 * jnp.eye(3)),
    "log determinant": lambda x: jnp.sum(
        jnp.log(jnp.diagonal(jnp.linalg.cholesky(jnp.outer(x, x) + 2 * jnp.eye(3))) ** 2 + 1)
    ),
    "eigenvalues": lambda x: jnp.linalg.eigvalsh(jnp.outer(x, x)),
    "determinant": lambda x: jnp.linalg.det(jnp.outer(x, W) + jnp.eye(3)),
    "solved": lambda x: jnp.linalg.solve(jnp.eye(3) + jnp.outer(W, W), x),
    "fft": lambda x: jnp.abs(jnp.fft.fft(x)),
    "nan to number of a number": lambda x: jnp.nan_to_num(x),
    "finite": lambda x: jnp.where(jnp.isfinite(x), x, 0.0),
    "direction": lambda x: x / jnp.linalg.norm(x),
    "cosine": lambda x: jnp.dot(W, x / jnp.sqrt(jnp.sum(x**2))),
    "xlogy of itself": lambda x: jax.scipy.special.xlogy(jnp.exp(x), jnp.exp(x)),
    "pairwise maxima": lambda x: jnp.sum(jnp.where(x[:, None] > x[None, :], x[:, None] - x[None, :], 0.0)),
    "scattered": lambda x: jnp.zeros(5).at[jnp.array([0, 2, 2])].add(x),
    "rolled": lambda x: jnp.roll(x, 1) - x,
    "padded": lambda x: jnp.pad(x, 2) @ jnp.arange(7.0),
    "max pool": lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2,), (1,), "VALID"),
    "polynomial": lambda x: jnp.polyval(jnp.array([1.0, -2.0, 0.5]), x),
    "vmapped": jax.vmap(lambda y: jnp.where(y > 0, y, 0.2 * y)),
    "vmapped branch": jax.vmap(lambda y: jax.lax.cond(y > 0, lambda: y, lambda: 0.1 * y)),
    "integer mask": lambda x: jnp.where(jnp.arange(3) > 1, x, 0.0),
    "associative scan": lambda x: jax.lax.associative_scan(jnp.multiply, x),
    "trapezoid": lambda x: jnp.trapezoid(jnp.maximum(x, 0.0)),
    "smooth l1": lambda x: jnp.where(jnp.abs(x - W) < 1, 0.5 * (x - W) ** 2, jnp.abs(x - W) - 0.5),
    "derivative inside": lambda x: jax.grad(lambda y: jnp.sum(jnp.tanh(y) ** 2))(x),
    "betting": partial(jnp.where, W > 0, 1.0),
}
