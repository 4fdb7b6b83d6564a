"""The probability of one whole number under a rounded logistic, and its derivative in closed form."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def log_mass_of_rounded_logistic(
    value: Float[Array, "*s"], loc: Float[Array, "*s"], scale: Float[Array, "*s"], low: int, high: int
) -> Float[Array, "*s"]:
    """log [sigmoid(above) - sigmoid(below)], where above and below are (value +- 1/2 - loc) / scale; nats.

    The difference is sigmoid(above) sigmoid(-below) (1 - exp(-1 / scale)), without cancellation, and three exponentials
    and one logarithm are all that it takes. The edges low and high include the tails. Written out for derivatives,
    because a likelihood of images spends most of a training step here, and jax would take twice as long.

    Args:
        value: Whole numbers, in the range (the edges' probabilities are returned for those outside).
        loc: The location of the logistic before rounding.
        scale: Its scale, positive.
        low: The least value.
        high: The greatest value.
    """
    return _log_mass_and_tails(value, loc, scale, low, high)[0]


@log_mass_of_rounded_logistic.defjvp
def _derivative(
    low: int, high: int, primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    value, loc, scale = primals
    of_value, of_loc, of_scale = tangents
    log_mass, mass, beyond, before = _log_mass_and_tails(value, loc, scale, low, high)
    rate, slope = 1 / scale, beyond - before
    widened = (value - loc) * slope + 0.5 * (beyond + before) + (1 - mass) / mass
    return log_mass, rate * (slope * (of_value - of_loc) - rate * widened * of_scale)


def _log_mass_and_tails(
    value: Array, loc: Array, scale: Array, low: int, high: int
) -> tuple[Array, Array, Array, Array]:
    """The logarithm, 1 - exp(-1 / scale), and the probabilities beyond and before the value, 0 at the edges."""
    rate = 1 / scale
    middle = (value - loc) * rate
    above = jnp.where(value >= high, jnp.inf, middle + 0.5 * rate)
    below = jnp.where(value <= low, -jnp.inf, middle - 0.5 * rate)
    from_above, from_below = jnp.exp(-jnp.abs(above)), jnp.exp(-jnp.abs(below))
    mass = jnp.where((value > low) & (value < high), -jnp.expm1(-rate), 1.0)
    factor = mass / ((1 + from_above) * (1 + from_below))
    log_mass = jnp.minimum(above, 0.0) - jnp.maximum(below, 0.0) + jnp.log(factor)
    beyond = jnp.where(above > 0, from_above, 1.0) / (1 + from_above)
    before = jnp.where(below > 0, 1.0, from_below) / (1 + from_below)
    return log_mass, mass, beyond, before
