"""Scores: how probable, and how odd, each example is under the model."""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from reparax.applications._door import dataset_of
from reparax.applications._importance import importance_samples, map_with_samples, terms_of
from reparax.estimators import log_mean_exp
from reparax.model import Model
from reparax.recipe import FittedModel
from reparax.tables import adapter_of


@dataclass(frozen=True)
class Scores:
    """Numbers for each example.

    Attributes:
        log_density: A lower bound on log p(x), nats in the user's units; None for a model without one.
        anomaly_score: Higher is odder. Of tables: see `score`. Else minus the log density, or minus log p(x | z) of a
            deterministic autoencoder.
        shares: Of tables, each column's share of the anomaly score; 0 for missing cells. They add up to it. None
            for images and arrays.
        names: The columns that the shares belong to.
    """

    log_density: Float[np.ndarray, " n"] | None
    anomaly_score: Float[np.ndarray, " n"]
    shares: Float[np.ndarray, "n d"] | None = None
    names: tuple[str, ...] = ()


def score(fitted: FittedModel, data: Any, *, num_samples: int = 100, seed: int = 0, context: Any = None) -> Scores:
    """log (1/K) sum_k p(x, z_k) / q(z_k | x) for each example, Burda et al. (2016), equation 8.

    The noise of a row depends on the seed and on the row itself, so that its score does not depend on the rows around
    it.

    Of tables the anomaly score is no log density, which depends on units and takes every value that many rows share
    for usual. With P_j(r) the probability of the same category, or of numbers up to r standard deviations away (of
    `Column.spread`):

        sum_j mean_r [L(t_jr) + 1/3 L(a_jr)] + max(0, mean_r [t_jr + 1/3 a_jr] - 4),  L(s) = log(1 + 100 s),
        t_jr = E_q[-log P_j(r | z)],  a_jr = -log P_j(r) without z, as in the data of the fit,  r = 1/2, 1, 2, 4.

    t is high where columns do not fit together, a where they are odd one by one. What is usual differs from column to
    column and from reach to reach by orders of magnitude: with logs no one decides for all, but for single cells that
    are grossly wrong, which count in full. Columns share the score in proportion to mean_r [t_jr + 1/3 a_jr].

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        num_samples: K.
        seed: The seed of the importance samples.
        context: Of a conditional model, one row of numbers for each example.

    Raises:
        DataError: Data of another shape or kind than at fitting.
        RecipeError: A number of samples below 1.
    """
    dataset = dataset_of(fitted, data, context)
    deterministic = not fitted.model.posterior.has_density
    if adapter_of(fitted.model.likelihood).is_table:
        log_density, total, shares = map_with_samples(_Score(num_samples), fitted, dataset, num_samples, seed)
        names = tuple(column.name for column in fitted.schema.columns or ())
        return Scores(None if deterministic else log_density, total, shares, names)
    terms = terms_of(fitted, dataset, num_samples, seed)
    return Scores(None, -terms.reconstruction) if deterministic else Scores(terms.iwae, -terms.iwae)


class _Score(eqx.Module):
    """The bound of one row, its anomaly score and each column's share; a value, so that one K is compiled once."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> tuple[Array, Array, Array]:
        z, kl = importance_samples(model, model.posterior(x), key, self.num_samples)
        row = adapter_of(model.likelihood).score(model.likelihood, x, z)
        return log_mean_exp(row.log_prob - kl), row.anomaly_score, row.shares
