"""One row of a table without gaps, from weighted draws of the latent variable; Mattei & Frellsen (2019)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from reparax.likelihoods import Likelihood


def statistics_of_row(
    likelihood: Likelihood, z: Float[Array, "k *latent"], log_weights: Float[Array, " k"]
) -> list[PyTree[Float[Array, "..."]]]:
    """Expectations from which the expected numbers and the most probable categories follow.

    Args:
        likelihood: The likelihood of a table.
        z: Draws of the latent variable.
        log_weights: Their importance weights.
    """
    weights = jax.nn.softmax(log_weights)
    statistics = jax.vmap(lambda one: likelihood(one).statistics())(z)
    return jax.tree.map(lambda of_z: jnp.tensordot(weights, of_z, axes=1), statistics)


def drawn_rows(
    likelihood: Likelihood,
    z: Float[Array, "k *latent"],
    log_weights: Float[Array, " k"],
    num_draws: int,
    keys: Sequence[Array],
) -> Float[Array, "n d"]:
    """Rows drawn given latent variables that are resampled by their weights.

    Args:
        likelihood: The likelihood of a table.
        z: Draws of the latent variable.
        log_weights: Their importance weights.
        num_draws: How many rows.
        keys: Two random keys: of the choice among the draws, and of the rows.
    """
    for_choice, for_x = keys
    chosen = jax.random.categorical(for_choice, log_weights, shape=(num_draws,))
    return jax.vmap(lambda one, key: likelihood(one).sample_whole(key))(z[chosen], jax.random.split(for_x, num_draws))
