"""Scores: how probable, and how odd, each example is under the model."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.applications._door import values_of
from reparax.applications._importance import importance_samples, map_with_samples, terms_of
from reparax.distributions import Columns
from reparax.estimators import log_mean_exp
from reparax.likelihoods.columns import Columns as ColumnsLikelihood
from reparax.model import Model
from reparax.recipe import FittedModel

MOST_USUAL = 1000
"""Rows of a fit, evenly taken, that say what is usual."""
SAMPLES_FOR_USUAL = 10
ALONE = 0.5
"""The weight of columns one by one in the anomaly score of a row."""


@dataclass(frozen=True)
class Scores:
    """Numbers for each example.

    Attributes:
        log_density: A lower bound on log p(x), nats in the user's units; None for a model without one.
        anomaly_score: Higher is odder. Of tables: see `score`. Else minus the log density, or minus log p(x | z) of a
            deterministic autoencoder.
        shares: Of tables, each column's share of the anomaly score, nats; 0 for missing cells. They add up to it. None
            for images and arrays.
        names: The columns that the shares belong to.
    """

    log_density: Float[np.ndarray, " n"] | None
    anomaly_score: Float[np.ndarray, " n"]
    shares: Float[np.ndarray, "n d"] | None = None
    names: tuple[str, ...] = ()


def score(fitted: FittedModel, data: Any, *, num_samples: int = 100, seed: int = 0) -> Scores:
    """log (1/K) sum_k p(x, z_k) / q(z_k | x) for each example, Burda et al. (2016), equation 8.

    The noise of a row depends on the seed and on the row itself, so that its score does not depend on the rows around
    it.

    Of tables the anomaly score is no log density, which depends on units and takes every value that many rows share
    for usual. With P_j(near x_j) the probability of the same category, or of numbers within half a standard deviation:

        c = sum_j E_q[-log P_j(near x_j | z)],  m = sum_j -log P_j(near x_j),  P_j without z from the data,

    c is high where columns do not fit together, m where they are odd one by one. The score is c, or c* + (m - m*) / 2
    where that is higher; c* and m* are the medians of the rows of the fit, and half as columns that go together repeat
    one oddity. Its columns' terms of c or m are the shares.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        num_samples: K.
        seed: The seed of the importance samples.

    Raises:
        DataError: Data of another shape or kind than at fitting.
        RecipeError: A number of samples below 1.
    """
    values = values_of(fitted, data)
    if isinstance(fitted.model.likelihood, ColumnsLikelihood):
        return _score_of_rows(fitted, values, num_samples, seed)
    terms = terms_of(fitted, values, num_samples, seed)
    if fitted.model.posterior.latent_space == "point":
        return Scores(None, -terms.reconstruction)
    return Scores(terms.iwae, -terms.iwae)


def usual_oddity(fitted: FittedModel, values: np.ndarray) -> tuple[float, float] | None:
    """The medians of c and m of `score` over the rows of a fit; None for images and arrays."""
    if not isinstance(fitted.model.likelihood, ColumnsLikelihood):
        return None
    rows = values[:: -(-len(values) // MOST_USUAL)].astype(np.float32 if values.dtype.kind != "f" else values.dtype)
    _, together, alone = map_with_samples(_Odd, fitted, rows, SAMPLES_FOR_USUAL, 0)
    return float(np.median(together.sum(axis=1))), float(np.median(alone.sum(axis=1)))


def _score_of_rows(fitted: FittedModel, values: np.ndarray, num_samples: int, seed: int) -> Scores:
    bound, together, alone = map_with_samples(_Odd, fitted, values, num_samples, seed)
    shares = together
    if fitted.usual_oddity is not None:
        usual_together, usual_alone = fitted.usual_oddity
        sums = together.sum(axis=1), alone.sum(axis=1)
        as_odd = usual_together + ALONE * (sums[1] - usual_alone)
        shares = np.where((as_odd > sums[0])[:, None], alone * (as_odd / np.maximum(sums[1], 1e-9))[:, None], together)
    names = tuple(column.name for column in fitted.schema.columns or ())
    log_density = None if fitted.model.posterior.latent_space == "point" else bound
    return Scores(log_density, shares.sum(axis=1), shares, names)


class _Oddities(NamedTuple):
    """Of one row: the bound, and minus the log mass near each cell, given z and without it."""

    bound: Any
    together: Any
    alone: Any


class _Odd(eqx.Module):
    """How odd a row is; a value, so that one K is compiled once."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> _Oddities:
        z, kl = importance_samples(model, model.posterior(x), key, self.num_samples)

        def of_sample(one: Array) -> tuple[Array, Array]:
            law = model.likelihood(one)
            return law.log_prob(x), -law.log_mass_near(x)

        log_prob, together = jax.vmap(of_sample)(z)
        law = model.likelihood(z[0])
        assert isinstance(law, Columns)
        alone = -Columns.of_data(law.layout).log_mass_near(x)
        return _Oddities(log_mean_exp(log_prob - kl), jnp.mean(together, axis=0), alone)
