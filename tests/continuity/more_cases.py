"""More functions of three Normal variables, written to probe the check after its rules were fixed."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
import optax

KEY = jax.random.key(0)
W = jnp.array([0.7, -1.3, 0.4])
A = jnp.outer(W, W) + jnp.eye(3)


def _normalized_by_others(x):
    square = jnp.outer(x, x) + jnp.arange(9.0).reshape(3, 3)
    largest = jnp.max(square, axis=0)
    return (jnp.sum(jnp.exp(square - largest[:, None]), axis=0) >= 1).astype(float)


def _divided_by_others(x):
    square = jnp.exp(jnp.outer(x, x))
    shares = square / jnp.sum(square, axis=1)[None, :]
    return (jnp.abs(jnp.sum(shares, axis=1) - 1) < 0.3).astype(float)


MORE_JUMPS = {
    "a tiny jump in large units": lambda x: jnp.where(x[0] > 0, 1.38e-23 * x[1], 0.0) / 4e-21,
    "a tiny jump scaled back": lambda x: jnp.where(x[0] > 0, 1e-30 * x[1], 0.0) * 1e30,
    "a jump of one if a variable is huge": lambda x: jnp.where(x[0] > 0, 1 + 1e-9 * x[1], 1.0),
    "a complex pole": lambda x: (1 / (0j + x)).real,
    "a complex sign": lambda x: jnp.sign(x[0] + 1j * x[1]).real,
    "piecewise": lambda x: jnp.piecewise(x, [x < 0, x >= 0], [lambda v: -1.0 + 0 * v, lambda v: 1.0 + 0 * v]),
    "trunc": jnp.trunc,
    "isclose": lambda x: jnp.isclose(x, 0.3, atol=0.1).astype(float),
    "allclose": lambda x: jnp.allclose(x, 0.3, atol=1.0).astype(float),
    "bincount": lambda x: jnp.bincount((x * 3).astype(int) + 5, length=10).astype(float),
    "argpartition": lambda x: jnp.argpartition(x, 1).astype(float) @ W,
    "unwrap": lambda x: jnp.unwrap(x * 3),
    "matrix rank": lambda x: jnp.linalg.matrix_rank(jnp.outer(x, x), rtol=0.1).astype(float),
    "categorical": lambda x: jax.random.categorical(KEY, x).astype(float),
    "bernoulli": lambda x: jax.random.bernoulli(KEY, jax.nn.sigmoid(x)).astype(float),
    "poisson": lambda x: jax.random.poisson(KEY, jnp.exp(x)).astype(float),
    "segment": lambda x: jax.ops.segment_sum(W, (x > 0).astype(int), 2),
    "update": lambda x: jnp.zeros(5).at[jnp.argmax(x)].set(1.0),
    "frexp": lambda x: jnp.frexp(x)[0],
    "hard gumbel": lambda x: (
        jax.lax.stop_gradient(jax.nn.one_hot(jnp.argmax(x), 3) - jax.nn.softmax(x)) + jax.nn.softmax(x)
    ),
    "floor exp2": lambda x: jnp.exp2(jnp.floor(jnp.log2(1 + x**2))),
    "scan cond": lambda x: jax.lax.scan(lambda c, y: (jax.lax.cond(y > 0, lambda: c + 1.0, lambda: c), None), 0.0, x)[
        0
    ],
    "associative": lambda x: jax.lax.associative_scan(jnp.add, (x > 0).astype(float)),
    "mod2": lambda x: jnp.fmod(x, 0.7),
    "ordinal": lambda x: jnp.sum(x[:, None] > jnp.array([-1.0, 0.0, 1.0]), axis=1).astype(float),
    "nonzero": lambda x: jnp.nonzero(x > 0, size=3)[0].astype(float),
    "compress": lambda x: jnp.sum(jnp.where(x > jnp.sort(x)[1], 1.0, 0.0)),
    "percentile as step": lambda x: (x >= jnp.percentile(x, 50)).astype(float) @ W,
    "while newton": lambda x: jax.lax.while_loop(
        lambda s: s[1] > 1e-3, lambda s: (s[0] / 2, s[1] / 2), (x, jnp.abs(x[0]))
    )[0],
    "logistic hard": lambda x: jnp.round(jax.nn.sigmoid(5 * x)),
    "clip eq": lambda x: jnp.where(jnp.clip(x, 0, 1) == x, x, 2.0),
    "ste clip": lambda x: jnp.where(jnp.abs(x) <= 1, x, jnp.sign(x) * 2),
    "vmapped jump": jax.vmap(lambda y: jnp.where(y > 0, 1.0, 0.0)),
    "grad relu": jax.grad(lambda x: jnp.sum(jax.nn.relu(x))),
    "grad abs": lambda x: jax.vmap(jax.grad(jnp.abs))(x),
    "hessian huber": lambda x: jax.vmap(jax.grad(jax.grad(lambda y: optax.losses.huber_loss(y))))(x),
    "grad max": jax.grad(jnp.max),
    "grad sort": jax.grad(lambda x: jnp.sort(x) @ W),
    "digits": lambda x: jnp.floor(x * 10) % 10,
    "xor": lambda x: ((x[0] > 0) ^ (x[1] > 0)).astype(float),
    "int8": lambda x: x.astype(jnp.int8).astype(float),
    "uint": lambda x: jnp.abs(x).astype(jnp.uint32).astype(float),
    "inverse": lambda x: jnp.tanh(jnp.linalg.inv(jnp.diag(x) + 0.1 * A)),
    "sqrt neg": lambda x: jnp.where(jnp.isnan(jnp.log(x)), 1.0, 2.0),
    "cot": lambda x: jnp.tanh(jnp.cos(x) / jnp.sin(x)),
    "gamma fn": lambda x: jnp.tanh(jax.scipy.special.gamma(x)),
    "arccos": lambda x: jnp.nan_to_num(jnp.arccos(x)),
    "pow frac": lambda x: jnp.nan_to_num(x**0.5, nan=-1.0),
    "psum step": lambda x: jnp.sum(jax.nn.relu(jnp.sign(x))),
    "mask mul": lambda x: (x > 0.5) * x,
    "argmin dist": lambda x: jnp.array([0.0, 1.0, 2.0])[jnp.argmin(jnp.abs(x[0] - jnp.array([0.0, 1.0, 2.0])))],
    "vq": lambda x: W[jnp.argmin((x[0] - W) ** 2)],
    "cummax eq": lambda x: (jax.lax.cummax(x) == x).astype(float) @ W,
    "reduce": lambda x: jax.lax.reduce(x, 0.0, lambda a, b: jnp.where(b > 0, a + 1, a), (0,)),
    "map_coords0": lambda x: jax.scipy.ndimage.map_coordinates(W, [x], order=0, mode="nearest"),
    "logical and of sums": lambda x: jnp.where((jnp.sum(x) > 0) & (x[0] > 1), x[1], 0.0),
    "mean of clipped eq": lambda x: jnp.mean((jax.nn.relu6(x) == 6.0).astype(float)),
    "softplus thr": lambda x: jnp.where(x > 2.0, x, jax.nn.softplus(x)),
    "where const cond broken": lambda x: jnp.where(x > 1.0, x**2, x + 0.001),
    "zero times infinity": lambda x: jnp.isnan(-jnp.inf * jax.nn.relu(x)).astype(float),
    "finite beside infinity": lambda x: jnp.isinf(-jnp.inf * jax.nn.relu(x)).astype(float),
    "a slope without limit": lambda x: jnp.clip(jnp.inf * x, 0.0, 1.0),
    "a division by nothing": lambda x: jnp.clip(x / 0.0, 0.0, 1.0),
    "infinities that cancel in steps": lambda x: jnp.isnan(jnp.where(x > 0, -jnp.inf, x) + jnp.inf).astype(float),
    "longer than a direction": lambda x: (x / jnp.sqrt(jnp.linalg.norm(x)) > 1.2).astype(float),
    "a maximum beside others": _normalized_by_others,
    "a total beside others": _divided_by_others,
    "a falling root": lambda x: (jax.lax.rsqrt(jnp.exp(x)) > 1).astype(float),
    "a falling tail": lambda x: (jax.scipy.special.erfc(jnp.exp(x)) > 0.5).astype(float),
}

MORE_CONTINUOUS = {
    "piecewise cont": lambda x: jnp.where(x < 0, -x, jnp.where(x < 1, x**2, 2 * x - 1)),
    "softplus thr": lambda x: jnp.where(x > 20.0, x, jax.nn.softplus(x)),
    "optax huber": lambda x: optax.losses.huber_loss(x),
    "log cosh": lambda x: optax.losses.log_cosh(x),
    "sign root": lambda x: jnp.sign(x) * jnp.sqrt(jnp.abs(x)),
    "sinc": jnp.sinc,
    "percentile": lambda x: jnp.percentile(x, 30.0),
    "gru": lambda x: jax.lax.scan(
        lambda h, y: ((1 - jax.nn.sigmoid(y)) * h + jax.nn.sigmoid(y) * jnp.tanh(h + y), None), 0.0, x
    )[0],
    "dropout": lambda x: jnp.where(jax.random.bernoulli(KEY, 0.5, (3,)), x / 0.5, 0.0),
    "hypot": lambda x: jnp.hypot(x[0], x[1]),
    "stack max": lambda x: jnp.max(jnp.stack([x, x**2, 0 * x]), axis=0),
    "mixture lp": lambda x: jax.nn.logsumexp(jnp.stack([-(x**2), -((x - 1) ** 2)]), axis=0),
    "kl": lambda x: jnp.sum(jax.nn.softmax(x) * (jax.nn.log_softmax(x) - jnp.log(jnp.ones(3) / 3))),
    "entropy": lambda x: -jnp.sum(jax.nn.softmax(x) * jax.nn.log_softmax(x)),
    "bce": lambda x: optax.losses.sigmoid_binary_cross_entropy(x, jnp.ones(3)),
    "student": lambda x: dist.StudentT(3.0, x, 1.0).log_prob(W),
    "nb": lambda x: dist.NegativeBinomialLogits(3.0, x).log_prob(2),
    "zip": lambda x: dist.ZeroInflatedPoisson(jax.nn.sigmoid(x[0]), jnp.exp(x[1])).log_prob(jnp.array([0, 1, 2])),
    "vonmises lp": lambda x: dist.VonMises(x[0], jnp.exp(x[1])).log_prob(W),
    "weibull": lambda x: dist.Weibull(1.0, 2.0).log_prob(jnp.exp(x)),
    "gumbel": lambda x: dist.Gumbel(0.0, 1.0).log_prob(x),
    "logistic": lambda x: dist.Logistic(x, 1.0).log_prob(W),
    "lkj": lambda x: dist.LKJCholesky(3, 2.0).log_prob(jnp.linalg.cholesky(jnp.eye(3))),
    "inv gamma": lambda x: dist.InverseGamma(2.0, 1.0).log_prob(jnp.exp(x)),
    "ordered": lambda x: dist.OrderedLogistic(x[0], jnp.array([-1.0, 1.0])).log_prob(jnp.array(1)),
    "abs diff": lambda x: jnp.sum(jnp.abs(x[:, None] - x[None, :])),
    "relu mask": lambda x: jnp.where(x > 0, 1.0, 0.0) * x,
    "tri wave": lambda x: 2 * jnp.abs(x / 2 - jnp.floor(x / 2 + 0.5)),
    "ramp": lambda x: jnp.clip((x + 1) / 2, 0.0, 1.0),
    "soft thr": lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 0.5, 0.0),
    "grad of softplus": jax.vmap(jax.grad(jax.nn.softplus)),
    "grad of huber": lambda x: jax.vmap(jax.grad(lambda y: jnp.where(jnp.abs(y) < 1, 0.5 * y * y, jnp.abs(y) - 0.5)))(
        x
    ),
    "jvp tanh": lambda x: jax.jvp(jnp.tanh, (x,), (x,))[1],
    "grad of relu2": jax.grad(lambda x: jnp.sum(jax.nn.relu(x) ** 2)),
    "unit": lambda x: x / jnp.maximum(jnp.linalg.norm(x), 1e-6),
    "rbf": lambda x: jnp.exp(-jnp.sum((x[:, None] - W[None]) ** 2, axis=-1)),
    "barrier soft": lambda x: jax.nn.sigmoid(10 * (1 - jnp.max(jnp.cumsum(x)))) * jnp.maximum(x[-1], 0),
    "lookback": lambda x: jnp.max(jnp.cumsum(x)) - jnp.cumsum(x)[-1],
    "asian": lambda x: jnp.maximum(jnp.mean(jnp.exp(jnp.cumsum(x))) - 1, 0.0),
    "call": lambda x: jnp.where(x[0] > 0.3, x[0] - 0.3, 0.0),
    "elbo": lambda x: dist.Normal(0.0, 1.0).log_prob(x).sum() - dist.Normal(0.3, 2.0).log_prob(x).sum(),
    "where with traced-free": lambda x: jnp.where(jnp.array([True, False, True]), x, 0.0),
    "two sided": lambda x: jnp.where(x < 0, 0.0, jnp.where(x > 1, 1.0, x)),
    "quad spline": lambda x: jnp.where(x < -1, 0.0, jnp.where(x < 1, (x + 1) ** 2 / 4, x)),
    "double relu": lambda x: jax.nn.relu(x) - jax.nn.relu(-x),
    "softmax temp": lambda x: jax.nn.softmax(x / 0.1) @ W,
    "top1": lambda x: jax.lax.top_k(x, 1)[0],
    "bf16": lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32),
    "logit": lambda x: jax.scipy.special.logit(jax.nn.sigmoid(x)),
    "exprel": lambda x: jnp.expm1(x) * 2,
    "digamma": lambda x: jax.scipy.special.digamma(1 + x**2),
    "gammainc": lambda x: jax.scipy.special.gammainc(2.0, jnp.exp(x)),
    "ndtr": jax.scipy.special.ndtr,
    "bessel": lambda x: jax.scipy.special.i0(x),
    "cg": lambda x: jnp.linalg.solve(A, x),
    "einsum": lambda x: jnp.einsum("i,ij,j->", x, A, x),
    "masked logits": lambda x: jax.nn.softmax(x + jnp.array([0.0, -jnp.inf, 0.0])),
    "a penalty without limit": lambda x: jnp.exp(jnp.minimum(x, jnp.inf)) + jnp.exp(jnp.full(3, -jnp.inf) + x),
    "infinite where x is not": lambda x: jnp.exp(-jnp.inf * jnp.exp(x)),
}
