"""Importance samples of the latent variable of one example, Burda et al. (2016)."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import RecipeError
from reparax.model import Model


def importance_samples(
    model: Model, posterior: dist.Distribution, key: Array, num_samples: int
) -> tuple[Array, Float[Array, " k"]]:
    """Draws of z from q(z | x), and log q(z | x) - log p(z) of each; of a deterministic posterior its point, and 0.

    The log importance weights are log p(x | z) minus the latter.
    """
    if model.posterior.latent_space == "point":
        return posterior.mean[None], jnp.zeros(1)
    prior = model.prior(model.posterior)
    z = posterior.sample(key, (num_samples,))
    return z, jax.vmap(lambda one: posterior.log_prob(one) - prior.log_prob(one))(z)


def require_samples(num_samples: int) -> None:
    """Raises `RecipeError` for a number of samples below 1.

    Raises:
        RecipeError: There is less than one.
    """
    if num_samples < 1:
        raise RecipeError(expected="a number of samples from 1 up", got=f"{num_samples}", cure="ask for at least one")
