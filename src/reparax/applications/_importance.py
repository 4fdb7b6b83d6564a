"""Importance samples of the latent variable of one example, and what is made of them; Burda et al. (2016)."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float, PyTree

from reparax.applications._batches import map_rows
from reparax.data import Dataset
from reparax.errors import RecipeError
from reparax.estimators import log_mean_exp, sample_with_log_prob
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import adapter_of


def importance_samples(
    model: Model, posterior: dist.Distribution, key: Array, num_samples: int
) -> tuple[Array, Float[Array, " k"]]:
    """Draws of z from q(z | x), and log q(z | x) - log p(z) of each; of a deterministic posterior its point, and 0.

    The log importance weights are log p(x | z) minus the latter.
    """
    if not model.posterior.has_density:
        return posterior.sample(key, (1,)), jnp.zeros(1)
    prior = model.prior(model.posterior)
    z, log_q = sample_with_log_prob(posterior, key, (num_samples,))
    return z, log_q - jax.vmap(prior.log_prob)(z)


def require_samples(num_samples: int) -> None:
    """Raises `RecipeError` for a number of samples below 1.

    Raises:
        RecipeError: There is less than one.
    """
    if num_samples < 1:
        raise RecipeError(expected="a number of samples from 1 up", got=f"{num_samples}", cure="ask for at least one")


def map_with_samples(
    function: Callable[[Any, Array, Array], PyTree],
    fitted: FittedModel,
    dataset: Dataset,
    num_samples: int,
    seed: int,
) -> PyTree:
    """What a function makes of each row with that many samples in all, as of `map_rows`.

    Raises:
        RecipeError: A number of samples below 1.
    """
    require_samples(num_samples)
    key, transform = jax.random.key(seed), fitted.units.transform
    return map_rows(function, fitted, dataset, transform=transform, key=key, work=num_samples)


class Terms(eqx.Module):
    """Of one example: the bound of K samples, reconstruction and KL, the code.

    Of tables also E[log p(x_j | z)] of each column under the weighted samples; else None.
    """

    iwae: Any
    reconstruction: Any
    kl: Any
    mean: Any
    by_column: Any


class _ComputeTerms(eqx.Module):
    """The bound of K samples and its parts, for one example; a value, so that one K is compiled once."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> Terms:
        posterior = model.posterior(x)
        samples, kl = importance_samples(model, posterior, key, self.num_samples)
        reconstruction, by_column = jax.vmap(lambda z: _of_sample(model, z, x))(samples)
        if by_column is not None:
            by_column = jax.nn.softmax(reconstruction - kl) @ by_column
        bound = log_mean_exp(reconstruction - kl)
        return Terms(bound, jnp.mean(reconstruction), jnp.mean(kl), jnp.ravel(model.posterior.code(x)), by_column)


def terms_of(fitted: FittedModel, dataset: Dataset, num_samples: int, seed: int) -> Terms:
    """The bound and its parts for each row, stacked.

    Raises:
        RecipeError: A number of samples below 1.
    """
    return map_with_samples(_ComputeTerms(num_samples), fitted, dataset, num_samples, seed)


def _of_sample(model: Model, z: Array, x: Array) -> tuple[Float[Array, ""], Float[Array, " d"] | None]:
    """log p(x | z), and of tables that of each column."""
    distribution = model.likelihood(z)
    return distribution.log_prob(x), adapter_of(model.likelihood).log_prob_of_columns(distribution, x)
