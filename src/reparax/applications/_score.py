"""Likelihoods: how probable each example is under the model."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.applications._batches import map_rows
from reparax.applications._door import values_of
from reparax.applications._importance import importance_samples, require_samples
from reparax.distributions import Columns
from reparax.estimators import log_mean_exp
from reparax.likelihoods.columns import Columns as ColumnsLikelihood
from reparax.model import Model
from reparax.recipe import FittedModel

ACTIVE_VARIANCE = 0.01
"""Burda et al. (2016), section 5: a latent dimension is active where its mean varies more than this over the data."""

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
    terms = _terms(fitted, values, num_samples, seed)
    if fitted.model.posterior.latent_space == "point":
        return Scores(None, -terms.reconstruction)
    return Scores(terms.iwae, -terms.iwae)


def usual_oddity(fitted: FittedModel, values: np.ndarray) -> tuple[float, float] | None:
    """The medians of c and m of `score` over the rows of a fit; None for images and arrays."""
    if not isinstance(fitted.model.likelihood, ColumnsLikelihood):
        return None
    rows = values[:: -(-len(values) // MOST_USUAL)].astype(np.float32 if values.dtype.kind != "f" else values.dtype)
    _, together, alone = _oddities(fitted, rows, SAMPLES_FOR_USUAL, 0)
    return float(np.median(together.sum(axis=1))), float(np.median(alone.sum(axis=1)))


def _score_of_rows(fitted: FittedModel, values: np.ndarray, num_samples: int, seed: int) -> Scores:
    bound, together, alone = _oddities(fitted, values, num_samples, seed)
    shares = together
    if fitted.usual_oddity is not None:
        usual_together, usual_alone = fitted.usual_oddity
        sums = together.sum(axis=1), alone.sum(axis=1)
        as_odd = usual_together + ALONE * (sums[1] - usual_alone)
        shares = np.where((as_odd > sums[0])[:, None], alone * (as_odd / np.maximum(sums[1], 1e-9))[:, None], together)
    names = tuple(column.name for column in fitted.schema.columns or ())
    log_density = None if fitted.model.posterior.latent_space == "point" else bound
    return Scores(log_density, shares.sum(axis=1), shares, names)


def evaluate(fitted: FittedModel, data: Any, *, num_samples: int = 100, seed: int = 0) -> Evaluation:
    """The bounds and their parts on data, with standard errors.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        num_samples: K of the importance-weighted bound; the ELBO, the KL and the reconstruction average over it too.
        seed: The seed of the samples of z.

    Raises:
        DataError: Data of another shape or kind than at fitting.
        RecipeError: A number of samples below 1.
    """
    values = values_of(fitted, data)
    terms = _terms(fitted, values, num_samples, seed)
    count, size = len(terms.iwae), fitted.units.summary.size
    shared = {
        "num_examples": count,
        "num_samples": num_samples,
        "reconstruction": float(np.mean(terms.reconstruction)),
        "active_units": int((np.var(terms.mean, axis=0) > ACTIVE_VARIANCE).sum()),
        "latent_dim": terms.mean.shape[1],
    }
    columns = _of_columns(fitted, values, terms)
    if fitted.model.posterior.latent_space == "point":
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


class _Oddities(NamedTuple):
    """Of one row: the bound, and minus the log mass near each cell, given z and without it."""

    bound: Any
    together: Any
    alone: Any


def _oddities(fitted: FittedModel, values: np.ndarray, num_samples: int, seed: int) -> _Oddities:
    require_samples(num_samples)
    key, transform = jax.random.key(seed), fitted.units.transform
    return map_rows(_Odd(num_samples), fitted, values, transform=transform, key=key, work=num_samples)


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


class _Terms(eqx.Module):
    iwae: Any
    reconstruction: Any
    kl: Any
    mean: Any
    by_column: Any


class _Weigh(eqx.Module):
    """The bound of K samples and its parts, for one example; a value, so that one K is compiled once."""

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> _Terms:
        posterior = model.posterior(x)
        samples, kl = importance_samples(model, posterior, key, self.num_samples)
        reconstruction, by_column = jax.vmap(lambda z: _of_sample(model.likelihood(z), x))(samples)
        if by_column is not None:
            by_column = jax.nn.softmax(reconstruction - kl) @ by_column
        bound = log_mean_exp(reconstruction - kl)
        return _Terms(bound, jnp.mean(reconstruction), jnp.mean(kl), jnp.ravel(posterior.mean), by_column)


def _of_sample(law: dist.Distribution, x: Array) -> tuple[Float[Array, ""], Float[Array, " d"] | None]:
    """log p(x | z), and of tables that of each column."""
    return law.log_prob(x), law.log_prob_of_columns(x) if isinstance(law, Columns) else None


def _of_columns(fitted: FittedModel, values: np.ndarray, terms: _Terms) -> dict[str, float] | None:
    if terms.by_column is None:
        return None
    observed = np.maximum(1, (~np.isnan(values)).sum(axis=0))
    means = terms.by_column.sum(axis=0, dtype=np.float64) / observed
    return dict(zip((column.name for column in fitted.schema.columns or ()), means.tolist(), strict=True))


def _terms(fitted: FittedModel, values: np.ndarray, num_samples: int, seed: int) -> _Terms:
    require_samples(num_samples)
    key, transform = jax.random.key(seed), fitted.units.transform
    return map_rows(_Weigh(num_samples), fitted, values, transform=transform, key=key, work=num_samples)


def _standard_error(values: np.ndarray) -> float | None:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
