"""Any base noise, shifted and scaled."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.reparameterization import ParameterRule, declared, parameter_rules, rsample, rule


class LocationScale(dist.Distribution):
    """z = loc + scale * eps, with eps from a distribution of one's own: p(z) = p_base((z - loc) / scale) / scale.

    A base without parameters needs ``sample`` and ``log_prob`` only; one with parameters must be reparameterizable.

    Args:
        base: The noise, of event shape ().
        loc: The location.
        scale: The scale, positive.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    pytree_data_fields = ("base", "loc", "scale")

    def __init__(
        self,
        base: dist.Distribution,
        loc: float | Float[Array, "*batch"],
        scale: float | Float[Array, "*batch"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(base.batch_shape, jnp.shape(loc), jnp.shape(scale))
        dtype = jnp.result_type(float, loc, scale)
        self.base = base
        self.loc, self.scale = (jnp.broadcast_to(jnp.asarray(a, dtype), batch_shape) for a in (loc, scale))
        super().__init__(batch_shape=batch_shape, validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s"]:
        """Draws, of shape ``sample_shape + batch_shape``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        return self.base.log_prob((value - self.loc) / self.scale) - jnp.log(self.scale)


def _declare(q: LocationScale) -> tuple[ParameterRule, ...]:
    noise = parameter_rules(q.base) if q.base.arg_constraints else ()
    return (*declared("location-scale", "loc", "scale"), *noise)


@rule(LocationScale, declare=_declare)
def _location_scale(q: LocationScale, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    wide = q.base.expand(q.batch_shape)
    draw = rsample(wide, key, sample_shape) if q.base.arg_constraints else wide.sample(key, sample_shape)
    return q.loc + q.scale * draw
