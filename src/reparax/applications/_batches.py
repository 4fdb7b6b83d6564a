"""Scores and codes of tables that come in arrow batches, as plain functions for Ray, Dask and Spark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from reparax.applications._encode import encode
from reparax.applications._score import Scores, score
from reparax.artifact import load
from reparax.recipe import FittedModel
from reparax.tables import adapter_of

if TYPE_CHECKING:
    import pyarrow as pa

Rows = TypeVar("Rows", "pa.RecordBatch", "pa.Table")
MOST_MODELS = 4


@dataclass(frozen=True)
class ScoreBatches:
    """The scores of the rows of an arrow batch: ``log_density``, ``anomaly_score`` and the shares of the columns.

    It holds the path of the model and no more, so that it can be sent to other processes, which load the model when
    they are given their first batch. A row has the same scores in any batch and in any process.

    Attributes:
        model: The model folder.
        num_samples: As of `score`.
        seed: As of `score`.
        keep: Columns of the batch that the result has too, such as an identifier.
    """

    model: str
    num_samples: int = 100
    seed: int = 0
    keep: tuple[str, ...] = ()

    def __call__(self, batch: Rows) -> Rows:
        """The scores of the rows of a record batch, or of a table.

        Raises:
            DataError: The columns are not those of the fit.
        """
        fitted = _loaded(self.model)

        def scored(table: "pa.Table") -> Mapping[str, np.ndarray]:
            if not len(table):
                return _no_scores(fitted)
            return columns_of(score(fitted, table, num_samples=self.num_samples, seed=self.seed))

        return _mapped(scored, batch, fitted, self.keep)


@dataclass(frozen=True)
class EncodeBatches:
    """The codes of the rows of an arrow batch, ``z0``, ``z1``, ...; see `ScoreBatches`.

    Attributes:
        model: The model folder.
        keep: Columns of the batch that the result has too, such as an identifier.
    """

    model: str
    keep: tuple[str, ...] = ()

    def __call__(self, batch: Rows) -> Rows:
        """The codes of the rows of a record batch, or of a table.

        Raises:
            DataError: The columns are not those of the fit.
            RecipeError: The model is an ensemble.
        """
        fitted = _loaded(self.model)

        def encoded(table: "pa.Table") -> Mapping[str, np.ndarray]:
            names = fitted.model.posterior.latent_names
            if not len(table):
                return dict.fromkeys(names, np.zeros(0, np.float32))
            return dict(zip(names, encode(fitted, table).T, strict=True))

        return _mapped(encoded, batch, fitted, self.keep)


def columns_of(scores: Scores) -> dict[str, np.ndarray]:
    """Scores as the columns of a table."""
    columns = {} if scores.log_density is None else {"log_density": scores.log_density}
    columns["anomaly_score"] = scores.anomaly_score
    if scores.shares is not None:
        columns |= {f"share_{name}": share for name, share in zip(scores.names, scores.shares.T, strict=True)}
    return columns


def _no_scores(fitted: FittedModel) -> dict[str, np.ndarray]:
    """The columns of the scores of no rows."""
    nothing = np.zeros(0, np.float32)
    names = [column.name for column in fitted.schema.columns or ()]
    shares = np.zeros((0, len(names)), np.float32) if adapter_of(fitted.model.likelihood).is_table else None
    return columns_of(Scores(nothing if fitted.model.posterior.has_density else None, nothing, shares, tuple(names)))


@lru_cache(maxsize=MOST_MODELS)
def _loaded(folder: str) -> FittedModel:
    return load(folder)


def _mapped(
    function: "Callable[[pa.Table], Mapping[str, np.ndarray]]", batch: Rows, fitted: FittedModel, keep: tuple[str, ...]
) -> Rows:
    """The kept columns of a batch, and those that a function of the table computes."""
    import pyarrow as pa

    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    kept = {name: table.column(name) for name in keep}
    schema = fitted.schema
    known = {column.name for column in (*(schema.joint.columns or ()), *schema.given_columns)}
    known |= {name for name, _ in schema.excluded} | {str(schema.label)}
    columns = function(table.drop_columns([name for name in keep if name not in known]))
    result = pa.table(kept | {name: np.ascontiguousarray(column) for name, column in columns.items()})
    if isinstance(batch, pa.Table):
        return result
    return pa.RecordBatch.from_arrays([_one(column) for column in result.columns], names=result.column_names)


def _one(column: "pa.ChunkedArray") -> "pa.Array":
    """A column in one piece."""
    whole = column.combine_chunks()
    return whole.chunk(0) if hasattr(whole, "chunk") else whole
