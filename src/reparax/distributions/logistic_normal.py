"""The logistic-Normal distribution on the simplex."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

from reparax.distributions.kl import analytic_kl
from reparax.reparameterization import declared, rsample, rule

MOMENT_PAIRS = 512


class LogisticNormal(dist.Distribution):
    """z = softmax((y, 0)), y ~ N(loc, diag(scale^2)): d numbers give d + 1 proportions; nats.

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
        """E[z], which has no closed form: the average over 512 fixed antithetic pairs, the same at every call."""
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
