"""Continuous distributions on the unit interval and the simplex."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from reparax.distributions._elementwise import along_one_axis
from reparax.distributions.kl import analytic_kl
from reparax.reparameterization import declared, rsample, rule


def log_sinhc(t: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(sinh(t) / t), even in t, by series where |t| < 0.3 (the remainder is below 1e-9 there)."""
    size = jnp.abs(t)
    small = size < 0.3
    near = jnp.where(small, t, 0.0) ** 2
    series = near * (1 / 6 + near * (-1 / 180 + near * (1 / 2835 - near / 37800)))
    away = jnp.where(small, 1.0, size)
    return jnp.where(small, series, away + jnp.log1p(-jnp.exp(-2 * away)) - jnp.log(2 * away))


class ContinuousBernoulli(dist.Distribution):
    r"""The continuous Bernoulli on [low, high]; nats, in the units of the values.

    With y = (x - low) / (high - low) and natural parameter eta (``logits``),

    p(x) = exp(eta (y - 1/2)) / (sinhc(eta / 2) (high - low)),  sinhc(t) = sinh(t) / t,

    which is Loaiza-Ganem & Cunningham (2019), equations 2 and 3, written symmetrically. The normalizer is exact, with a
    series near eta = 0.

    Args:
        logits: eta, the log odds of the parameter lambda, of the batch shape.
        low: The lower bound, in the user's units.
        high: The upper bound.
    """

    arg_constraints = {"logits": constraints.real, "low": constraints.dependent, "high": constraints.dependent}
    reparametrized_params = ["logits", "low", "high"]
    pytree_data_fields = ("logits", "low", "high")

    def __init__(
        self,
        logits: Float[Array, "*batch"],
        low: float | Float[Array, "*batch"] = 0.0,
        high: float | Float[Array, "*batch"] = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(jnp.shape(logits), jnp.shape(low), jnp.shape(high))
        dtype = jnp.result_type(logits)
        low, high = jnp.asarray(low, dtype), jnp.asarray(high, dtype)
        self.logits, self.low, self.high = promote_shapes(logits, low, high, shape=batch_shape)
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        return constraints.interval(self.low, self.high)

    @validate_sample
    def log_prob(self, value: Float[Array, "*sample"]) -> Float[Array, "*sample"]:
        return along_one_axis(_log_density_of_continuous_bernoulli, value, self.logits, self.low, self.high)

    def icdf(self, q: Float[Array, "*sample"]) -> Float[Array, "*sample"]:
        """The quantile function, in the user's units: differentiable in every parameter."""
        size = jnp.abs(self.logits)
        flat = size < 1e-3
        rate = jnp.where(flat, 1.0, size)
        mass = jnp.where(self.logits > 0, 1 - q, q) * -jnp.expm1(-rate)
        # In float32 the mass rounds to 1 at the end of a steep density, where the logarithm would be infinite.
        below_one = mass < 1
        decaying = jnp.where(below_one, -jnp.log1p(-jnp.where(below_one, mass, 0.0)), rate) / rate
        linear = q + 0.5 * self.logits * q * (1 - q)
        position = jnp.where(flat, linear, jnp.where(self.logits > 0, 1 - decaying, decaying))
        return jnp.clip(self.low + (self.high - self.low) * position, self.low, self.high)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample"]:
        shape = sample_shape + self.batch_shape
        return lax.stop_gradient(self.icdf(jax.random.uniform(key, shape, self.logits.dtype)))

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """1/2 + (coth(t) - 1/t) / 2 with t = eta / 2, in the user's units."""
        half = 0.5 * self.logits
        flat = jnp.abs(half) < 0.1
        t = jnp.where(flat, 1.0, half)
        curve = jnp.where(flat, half / 3 - half**3 / 45, 1 / jnp.tanh(t) - 1 / t)
        return jnp.broadcast_to(self.low + (self.high - self.low) * (0.5 + 0.5 * curve), self.batch_shape)


def _log_density_of_continuous_bernoulli(value: Array, logit: Array, low: Array, high: Array) -> Array:
    width = high - low
    density = logit * ((value - low) / width - 0.5) - log_sinhc(0.5 * logit) - jnp.log(width)
    return jnp.where((value >= low) & (value <= high), density, -jnp.inf)


@rule(ContinuousBernoulli, declare=declared("inverse CDF", "logits", "low", "high"))
def _continuous_bernoulli(q: ContinuousBernoulli, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return q.icdf(jax.random.uniform(key, (*sample_shape, *q.batch_shape), q.logits.dtype))


MOMENT_PAIRS = 512


class LogisticNormal(dist.Distribution):
    """z = softmax((y, 0)), y ~ N(loc, diag(scale^2)), d + 1 proportions from d numbers; nats.

    log p(z) = sum_i log N(log z_i - log z_{d+1}; loc_i, scale_i) - sum_i log z_i, Aitchison & Shen (1980), equation
    2.1.

    Args:
        loc: The means of the log ratios, shape ``(*batch, d)``.
        scale: Their standard deviations.
    """

    arg_constraints = {"loc": constraints.real_vector, "scale": constraints.positive}
    support = constraints.simplex
    reparametrized_params = ["loc", "scale"]
    pytree_data_fields = ("loc", "scale")

    def __init__(
        self, loc: Float[Array, "*batch d"], scale: Float[Array, "*batch d"], *, validate_args: bool | None = None
    ) -> None:
        shape = lax.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        self.loc, self.scale = promote_shapes(loc, scale, shape=shape)
        super().__init__(shape[:-1], (shape[-1] + 1,), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Float[Array, "*sample d1"]) -> Float[Array, "*sample"]:
        log_value = jnp.log(jnp.maximum(value, jnp.finfo(value.dtype).tiny))
        ratios = log_value[..., :-1] - log_value[..., -1:]
        density = dist.Normal(self.loc, self.scale).log_prob(ratios)
        return jnp.sum(density, axis=-1) - jnp.sum(log_value, axis=-1)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample d1"]:
        return lax.stop_gradient(rsample(self, key, sample_shape))

    @property
    def mean(self) -> Float[Array, "*batch d1"]:
        """E[z], which has no closed form: the average over 512 fixed antithetic pairs, the same in every call."""
        return jnp.mean(self._fixed(), axis=0)

    @property
    def variance(self) -> Float[Array, "*batch d1"]:
        """Var[z], over the same fixed draws as the mean."""
        return jnp.var(self._fixed(), axis=0)

    def _fixed(self) -> Float[Array, "draws *batch d1"]:
        noise = jax.random.normal(jax.random.key(0), (MOMENT_PAIRS, *jnp.shape(self.loc)), self.loc.dtype)
        return to_simplex(self.loc[None] + self.scale[None] * jnp.concatenate([noise, -noise]))


def to_simplex(y: Float[Array, "*batch d"]) -> Float[Array, "*batch d1"]:
    """softmax((y, 0))."""
    return jax.nn.softmax(jnp.concatenate([y, jnp.zeros_like(y[..., :1])], axis=-1), axis=-1)


@rule(LogisticNormal, declare=declared("composed (location-scale)", "loc", "scale"))
def _logistic_normal(q: LogisticNormal, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return to_simplex(rsample(dist.Normal(q.loc, q.scale), key, sample_shape))


@analytic_kl(LogisticNormal, LogisticNormal)
def _kl(q: LogisticNormal, p: LogisticNormal) -> Array:
    normals = dist.kl_divergence(dist.Normal(q.loc, q.scale), dist.Normal(p.loc, p.scale))
    return jnp.sum(normals, axis=-1)
