"""How good a model is on data: the bounds and their parts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from reparax.applications._door import dataset_of
from reparax.applications._importance import Terms, terms_of
from reparax.recipe import FittedModel

ACTIVE_VARIANCE = 0.01
"""Burda et al. (2016), section 5: a latent dimension is active where its mean varies more than this over the data."""


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on data, means over examples, in nats.

    Attributes:
        num_examples: How many examples.
        elbo: The evidence lower bound; None for a model without a density.
        elbo_standard_error: Its standard error over examples.
        iwae: The importance-weighted bound of ``num_samples`` samples.
        iwae_standard_error: Its standard error over examples.
        num_samples: K of the importance-weighted bound.
        kl: KL(q(z | x) || p(z)).
        reconstruction: E_q[log p(x | z)].
        active_units: Latent dimensions whose posterior mean varies over the data, Burda et al. (2016), section 5.
        latent_dim: All latent dimensions.
        bits_per_dim: For images: -iwae / (values per image) in bits; of the deterministic autoencoder None.
        columns: For tables: E[log p(x_j | z)] of each column j under the posterior (importance-weighted), the mean over
            the rows where it is observed.
    """

    num_examples: int
    elbo: float | None
    elbo_standard_error: float | None
    iwae: float | None
    iwae_standard_error: float | None
    num_samples: int
    kl: float | None
    reconstruction: float
    active_units: int
    latent_dim: int
    bits_per_dim: float | None
    columns: dict[str, float] | None = None


def evaluate(
    fitted: FittedModel, data: Any, *, num_samples: int = 100, seed: int = 0, context: Any = None
) -> Evaluation:
    """The bounds and their parts on data, with standard errors.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        num_samples: K of the importance-weighted bound; the ELBO, the KL and the reconstruction average over it too.
        seed: The seed of the samples of z.
        context: Of a conditional model, one row of numbers for each example.

    Raises:
        DataError: Data of another shape or kind than at fitting.
        RecipeError: A number of samples below 1.
    """
    dataset = dataset_of(fitted, data, context)
    terms = terms_of(fitted, dataset, num_samples, seed)
    count, size = len(terms.iwae), fitted.units.summary.size
    shared = {
        "num_examples": count,
        "num_samples": num_samples,
        "reconstruction": float(np.mean(terms.reconstruction)),
        "active_units": int((np.var(terms.mean, axis=0) > ACTIVE_VARIANCE).sum()),
        "latent_dim": terms.mean.shape[1],
    }
    columns = _of_columns(fitted, dataset.values, terms)
    if not fitted.model.posterior.has_density:
        nothing = dict.fromkeys(("elbo", "elbo_standard_error", "iwae", "iwae_standard_error", "kl", "bits_per_dim"))
        return Evaluation(**shared, **nothing, columns=columns)
    elbo = terms.reconstruction - terms.kl
    iwae = float(np.mean(terms.iwae))
    return Evaluation(
        **shared,
        elbo=float(np.mean(elbo)),
        elbo_standard_error=_standard_error(elbo),
        iwae=iwae,
        iwae_standard_error=_standard_error(terms.iwae),
        kl=float(np.mean(terms.kl)),
        bits_per_dim=-iwae / (size * np.log(2)) if fitted.schema.kind == "images" else None,
        columns=columns,
    )


def _of_columns(fitted: FittedModel, values: np.ndarray, terms: Terms) -> dict[str, float] | None:
    if terms.by_column is None:
        return None
    observed = np.maximum(1, (~np.isnan(values)).sum(axis=0))
    means = terms.by_column.sum(axis=0, dtype=np.float64) / observed
    return dict(zip((column.name for column in fitted.schema.columns or ()), means.tolist(), strict=True))


def _standard_error(values: np.ndarray) -> float | None:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
