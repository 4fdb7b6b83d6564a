"""Whether a model has learned anything: its density beside that of the data's own marginals."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from reparax.applications._parts import parts_of
from reparax.applications._score import score
from reparax.compiler import in_float32
from reparax.data import Dataset, by_view, dense
from reparax.errors import TrainingError
from reparax.recipe import FittedModel, Units
from reparax.tables import Adapter, RowDistribution, TableAdapter, ViewsAdapter, adapter_of

NATS_PER_VALUE = 1.0
"""A model that gives a typical value e times less probability than its marginal does has learned nothing of use: what
is left of the difference to a good model is no matter of a few epochs more."""

MOST_ROWS = 1000
SAMPLES = 4


def marginal_log_density(fitted: FittedModel, part: Dataset, rows: Dataset) -> Float[np.ndarray, " n"]:
    """sum_d log p_d(x_d) of each row, p_d the distribution of the d-th value in the data of the fit; nats.

    For tables it is the likelihood without latent variables; otherwise the frequencies of whole numbers (one more of
    each is counted), the mean of bits, or a Normal with the mean and the variance of the data.

    Args:
        fitted: The fitted model.
        part: The data of the fit.
        rows: The rows.
    """
    adapter = adapter_of(fitted.model.likelihood)
    if not isinstance(adapter, ViewsAdapter):
        return _of_marginals(fitted.units, adapter, part, rows)
    total, of_part = np.zeros(len(rows)), by_view(part)
    for (name, view), units, own in zip(by_view(rows).items(), fitted.units.views, adapter.views, strict=True):
        if len(view.rows):
            total[view.rows] += _of_marginals(units, own, of_part[name].dataset, view.dataset)
    return total


def _of_marginals(units: Units, adapter: Adapter, part: Dataset, rows: Dataset) -> Float[np.ndarray, " n"]:
    """The same of data that are no views, or of one view."""
    if isinstance(adapter, TableAdapter):
        alone = RowDistribution.of_data(adapter.layout.value)
        stored = adapter.stored(units.stored(rows.values))
        return np.asarray(jax.jit(in_float32(jax.vmap(alone.log_prob)))(jnp.asarray(stored)), np.float64)
    if part.is_sparse:  # a sample is enough to compare with
        part = part.take(np.arange(0, len(part), -(-len(part) // MOST_ROWS)))
    stored = (units.stored(dense(data.values)) for data in (rows, part))
    x, given = (np.asarray(values, np.float64).reshape(len(values), -1) for values in stored)
    if units.binarize != "none":
        bits = ((values - units.low) / (units.high - units.low) for values in (x, given))
        x, given = ((b > 0.5) * 1.0 if units.binarize == "threshold" else b for b in bits)
    if units.summary.kind == "binary":
        p = np.clip(given.mean(axis=0), 1 / (len(given) + 2), 1 - 1 / (len(given) + 2))
        return (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1)
    if units.summary.kind in {"integer", "counts"}:
        return sum((_log_frequency(*columns) for columns in zip(x.T, given.T, strict=True)), np.zeros(len(x)))
    mean, std = given.mean(axis=0), np.maximum(given.std(axis=0), 1e-3 * np.maximum(1.0, given.std()))
    return (-0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)).sum(axis=1)


def marginal_bound(fitted: FittedModel, dataset: Dataset) -> float | None:
    """The mean of `marginal_log_density` over the held-out rows of a fit, to compare its held-out bound with.

    None for tables and views, where it would take as long as compiling the model; for sparse data; for other data than
    those of the fit; and if nothing was held out, or the model has no density.

    Args:
        fitted: The fitted model.
        dataset: The data of the fit.
    """
    if fitted.schema.kind in {"table", "views"} or dataset.is_sparse or not fitted.model.posterior.has_density:
        return None
    parts = parts_of(fitted, dataset)
    return None if parts is None else float(np.mean(marginal_log_density(fitted, *parts)))


def _log_frequency(x: Float[np.ndarray, " n"], given: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
    """The logarithm of how frequent whole numbers are among given ones, one more of each in their range counted."""
    low, high = min(x.min(), given.min()), max(x.max(), given.max())
    values, counts = np.unique(given, return_counts=True)
    place = np.clip(np.searchsorted(values, x), 0, len(values) - 1)
    seen = np.where(values[place] == x, counts[place], 0)
    return np.log((seen + 1) / (len(given) + high - low + 1))


def require_sense(fitted: FittedModel, part: Dataset, rows: Dataset, *, chosen: float) -> None:
    """Refuses a model that gives typical rows much less probability than the data's own marginals do.

    Args:
        fitted: The fitted model.
        part: The data of the fit.
        rows: Rows that were held out of it.
        chosen: The learning rate.

    Raises:
        TrainingError: It does.
    """
    rows = rows.take(np.arange(min(len(rows), MOST_ROWS)))
    found = score(fitted, rows, num_samples=SAMPLES).log_density
    if found is None:
        return
    alone = marginal_log_density(fitted, part, rows)
    lost = float(np.median(alone - np.nan_to_num(np.asarray(found, np.float64), nan=-np.inf)))
    if lost > NATS_PER_VALUE * fitted.units.summary.size:
        raise TrainingError(
            expected=f"a model at least as good as its values taken one by one, {np.median(alone):.4g} nats for a "
            "typical held-out example",
            got=f"{np.median(alone) - lost:.4g} nats, worse than before training",
            cure=f"lower the learning rate (it was {chosen:g}) or leave it open; the model is not kept",
        )
