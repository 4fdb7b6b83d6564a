"""Examples of which not all is known that a model is given: averages over what it could be, and the most probable."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from reparax.applications._door import dataset_of
from reparax.applications._rows import Terms, terms_of
from reparax.data import Dataset, Schema, read_with_unknown
from reparax.errors import DataError
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

MOST_COMPLETIONS = 100
"""The most values of what is unknown that are compared for an example, the most frequent ones."""


@dataclass(frozen=True)
class Completions:
    """Examples with all that could be given of them.

    Attributes:
        dataset: Each example as many times as there are values of what is unknown of it; once if all is known.
        owners: The place of the example of each row.
        log_weights: The log of the fraction of the rows of the fit that have these values, among those with what is
            known.
        rows: The examples, with what is given of the fit's most frequent completion.
        unknown: Of each example, which of what is given is unknown.
    """

    dataset: Dataset
    owners: Int[np.ndarray, " m"]
    log_weights: Float[np.ndarray, " m"]
    rows: Dataset
    unknown: np.ndarray

    def log_sum(self, values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " n"]:
        """log sum_c w_c exp(v_c) for each example."""
        total = np.full(len(self.rows), -np.inf)
        np.logaddexp.at(total, self.owners, self.log_weights + np.asarray(values, np.float64))
        return total

    def posterior(self, values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """w_c exp(v_c) / sum_c w_c exp(v_c)."""
        return np.exp(self.log_weights + np.asarray(values, np.float64) - self.log_sum(values)[self.owners])

    def mean(self, weights: Float[np.ndarray, " m"], values: Float[np.ndarray, "m *s"]) -> Float[np.ndarray, "n *s"]:
        """sum_c weight_c v_c for each example."""
        total = np.zeros((len(self.rows), *values.shape[1:]))
        np.add.at(total, self.owners, weights.reshape(-1, *(1,) * (values.ndim - 1)) * values)
        return total


def completions_of(fitted: FittedModel, data: Any, context: Any = None) -> Completions:
    """The examples with every value that what is unknown of them had in the fit.

    What is unknown is distributed as in the rows of the fit that have what is known; if no row has it, as in those that
    have the known categories; if none has these, as in all.

    Raises:
        DataError: The data cannot be read, or nothing is given to the model by name.
    """
    if fitted.schema.given is None:
        raise DataError(
            expected="a model that is given something by name, which may be unknown", got="another model",
            cure="leave out what to do with it, or fit with given=[...] (--given)",
        )  # fmt: skip
    missing = adapter_of(fitted.model.likelihood).allows_missing
    read = read_with_unknown(data, fitted.schema, allow_missing=bool(missing), context=context)
    assert read.conditions is not None
    known = read.conditions.values
    unknown = np.isnan(known)
    found = [_completed(fitted.schema.given, row) for row in known]
    owners = np.repeat(np.arange(len(found)), [len(weights) for _, weights in found])
    log_weights = np.log(np.concatenate([weights for _, weights in found]))
    conditions = np.concatenate([rows for rows, _ in found])
    first = np.stack([rows[0] for rows, _ in found])
    return Completions(
        _with(fitted, read.take(owners), conditions), owners, log_weights, _with(fitted, read, first), unknown
    )


def _with(fitted: FittedModel, rows: Dataset, conditions: Float[np.ndarray, "n g"]) -> Dataset:
    """The rows as the model takes them, with what is given of each."""
    given = fitted.schema.given
    assert given is not None
    complete = Dataset(np.ascontiguousarray(conditions, dtype=given.dtype), given)
    return dataset_of(fitted, replace(rows, conditions=complete))


def _completed(schema: Schema, known: Float[np.ndarray, " g"]) -> tuple[np.ndarray, np.ndarray]:
    """What is known with each value of the unknown in rows of the fit, the most frequent first; the fractions."""
    unknown = np.isnan(known)
    if not unknown.any():
        return known[None], np.ones(1)
    rows, counts = np.asarray(schema.rows, np.float64), np.asarray(schema.row_counts, np.float64)
    categories = np.array([column.is_category for column in schema.columns or ()])
    same = (rows == known) | unknown
    for needed in (~unknown, ~unknown & categories, np.zeros(len(known), bool)):
        meet = same[:, needed].all(axis=1)
        if meet.any():
            break
    values, places = np.unique(rows[meet][:, unknown], axis=0, return_inverse=True)
    fractions = np.bincount(places.ravel(), counts[meet]) / counts[meet].sum()
    order = np.argsort(-fractions, kind="stable")[:MOST_COMPLETIONS]
    completed = np.tile(known, (len(order), 1))
    completed[:, unknown] = values[order]
    return completed, fractions[order]


def impute_given(
    fitted: FittedModel, data: Any, *, num_samples: int = 20, seed: int = 0, context: Any = None
) -> Dataset:
    """The data with what is unknown of what is given filled in: the most probable values given the rest of the row.

    The value c with the largest p(c | known) p(x | c, known): p(c | known) is the fraction of the rows of the fit that
    have c among those that have what is known, and p(x | c, known) is estimated by its bound; for a model without a
    density, by p(x | z) of the code. Unknown are missing cells, categories that did not occur in the fit, and columns
    or labels that the data lack.

    The densities of the result are those given the filled values, and so are codes and imputed cells. `score` and
    `evaluate` average over the unknown instead, with ``unknown="average"``.

    Args:
        fitted: A model that something is given by name.
        data: As for `score`.
        num_samples: The number of importance samples of the bound.
        seed: Their seed.
        context: What is given, by name, instead of the columns of the data; None where it is unknown.

    Returns:
        The dataset, which all applications take; its notes say how many values were filled in.

    Raises:
        DataError: The data cannot be read, or nothing is given to the model by name.
    """
    fitted.require_one("to fill in what is given")
    found = completions_of(fitted, data, context)
    if not found.unknown.any():
        return found.rows
    assert found.dataset.conditions is not None
    score = found.log_weights + _evidence(terms_of(fitted, found.dataset, num_samples, seed)[0], fitted)
    order = np.lexsort((-score, found.owners))
    best = order[np.unique(found.owners[order], return_index=True)[1]]
    filled = _with(fitted, found.rows, found.dataset.conditions.values[best])
    return replace(filled, notes=(*found.rows.notes, *notes_on_unknown(found, "filled in as the most probable")))


def _evidence(terms: Terms, fitted: FittedModel) -> Float[np.ndarray, " m"]:
    found = terms.iwae if fitted.model.posterior.has_density else terms.reconstruction
    return np.asarray(found, np.float64)


def notes_on_unknown(found: Completions, what: str) -> list[str]:
    """A sentence for each of what is given that is unknown of some examples.

    Args:
        found: The completions.
        what: What was done with it.
    """
    columns = found.rows.schema.given_columns
    counts = found.unknown.sum(axis=0).tolist()
    return [
        f"{column.name!r} is unknown in {count} of {len(found.rows)} rows, {what}"
        for column, count in zip(columns, counts, strict=True) if count
    ]  # fmt: skip


def averaged_terms(found: Completions, terms: Terms, *, has_density: bool) -> Terms:
    """The terms of the bound on log sum_c p(c) p(x | c), whose latent variable is what is unknown, c, and z.

    With q(c | x) in proportion to p(c) exp(ELBO_c), log sum_c p(c) exp(ELBO_c) is the ELBO: the reconstruction is the
    mean of theirs, the KL is the mean of theirs plus that of q(c | x) to p(c).

    Args:
        found: The completions.
        terms: The terms of each of them.
        has_density: Whether the model has a density; without one, all completions count as often as in the fit.
    """
    reconstruction, kl, bounds = (np.asarray(part, np.float64) for part in (terms.reconstruction, terms.kl, terms.iwae))
    elbo = reconstruction - kl if has_density else np.zeros_like(kl)
    q = found.posterior(elbo)
    to_prior = np.where(q > 0, np.log(np.maximum(q, 1e-300)) - found.log_weights, 0.0) if has_density else 0.0 * q
    by_column = None if terms.by_column is None else np.asarray(terms.by_column, np.float64)
    weights = found.posterior(bounds) if has_density else q
    return Terms(
        found.log_sum(bounds),
        found.mean(q, reconstruction),
        found.mean(q, kl + to_prior),
        found.mean(q, np.asarray(terms.mean, np.float64)),
        None if by_column is None else found.mean(weights, by_column),
    )
