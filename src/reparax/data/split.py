"""Splitting a dataset into one to fit on and one that is held out, and checking that a model can be fitted to it."""

from dataclasses import replace

import msgspec
import numpy as np
from scipy import sparse

from reparax.data.columns import refitted
from reparax.data.dataset import Dataset
from reparax.data.given import described_rows
from reparax.data.schema import Schema, describe_shape
from reparax.data.sparse import moments_of
from reparax.data.values import SMALLEST_STD, moments, plain
from reparax.data.views import by_view, described_views
from reparax.errors import DataError


def require_fit(dataset: Dataset) -> None:
    """Checks that a model can be fitted to the data: at least two examples that are not all equal.

    Raises:
        DataError: There is only one example, or all are equal.
    """
    if len(dataset) < 2:
        raise DataError(expected="at least 2 examples to fit a model", got=f"{len(dataset)}", cure="use more data")
    for name, view in by_view(dataset).items() if dataset.schema.views else ():
        if len(view.rows) < 2 or not _varies(view.dataset.values):
            raise DataError(
                expected=f"at least 2 different examples of the view {name!r}",
                got=f"{len(view.rows)}{' equal ones' if len(view.rows) > 1 else ''}",
                cure="leave this view out, as there is nothing to learn from it",
            )
    if dataset.schema.views and len(dataset.schema.views) < 2:
        raise DataError(
            expected="at least 2 views to fit a model of views", got="one",
            cure="add another one, or fit a model of these data alone: without --view, without rx.Views",
        )  # fmt: skip
    if not _varies(dataset.values):
        raise DataError(
            expected="examples that differ",
            got=f"{len(dataset)} equal {'rows' if dataset.schema.kind == 'table' else 'examples'} of "
            f"{describe_shape(dataset.schema.event_shape)}",
            cure="check that these are the right data, as there is nothing to learn from them",
        )


def _varies(values: np.ndarray) -> bool:
    """Whether two examples differ; missing cells are equal."""
    if isinstance(values, sparse.csr_array):
        moments = moments_of(values)
        return bool((moments.low < moments.high).any())
    first = values[0]
    gaps = np.isnan(first) if first.dtype.kind == "f" else np.zeros(first.shape, bool)
    blocks = (chunk for chunk in np.array_split(values, 16) if len(chunk))
    return not all(bool(((block == first) | (gaps & (block != block))).all()) for block in blocks)


def num_held_out(count: int, fraction: float) -> int:
    """How many of some examples are held out: at least one, and not all."""
    return min(max(1, round(count * fraction)), count - 1)


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Splits a dataset at random into one to fit on and one that is held out, each in the original order.

    In the schema of both, the kind and the bounds of the values (``low``, ``high``) describe all data; the mean and the
    standard deviation are those of the first one, so that no held-out values enter a standardization.

    Args:
        dataset: At least two examples.
        fraction: The fraction to hold out, in (0, 1); at least one example goes to each side.
        seed: The random seed; the same seed gives the same split.

    Raises:
        DataError: The fraction is outside (0, 1), or there are fewer than two examples.
    """
    if not 0 < fraction < 1:
        raise DataError(
            expected="a held-out fraction above 0 and below 1", got=f"{fraction}", cure="0.1 holds out every tenth row"
        )
    if len(dataset) < 2:
        raise DataError(expected="at least 2 examples to split", got=f"{len(dataset)}", cure="use more data")
    order, count = np.random.default_rng(seed).permutation(len(dataset)), num_held_out(len(dataset), fraction)
    train, valid = dataset.take(np.sort(order[count:])), dataset.take(np.sort(order[:count]))
    schema = described(train)
    return with_schema(train, schema), with_schema(valid, schema)


def with_schema(dataset: Dataset, schema: Schema) -> Dataset:
    """The dataset with another schema, and with that of what is given of its examples."""
    if dataset.conditions is None or schema.given is None:
        return replace(dataset, schema=schema)
    return replace(dataset, schema=schema, conditions=replace(dataset.conditions, schema=schema.given))


def described(train: Dataset) -> Schema:
    """The schema with the shares, moments and quantiles of these rows; kinds, ranges and levels stay."""
    if train.schema.views:
        given = None if train.conditions is None else _described_conditions(train.conditions)
        return msgspec.structs.replace(described_views(train, described), given=given)
    columns = train.schema.columns
    if columns is not None:
        columns = tuple(refitted(column, train.values[:, index]) for index, column in enumerate(columns))
    if train.schema.value_kind == "mixed" and columns is not None:
        mean, std = np.asarray([column.mean for column in columns]), np.asarray([column.std for column in columns])
    elif train.is_sparse:
        _, _, mean, std = moments_of(sparse.csr_array(train.values))
    else:
        mean, std = moments(train.values, per_dimension=train.schema.kind != "images")
        axis = None if train.schema.kind == "images" else 0
        constant = (train.values.min(axis=axis) == train.values.max(axis=axis)) | (std < SMALLEST_STD)
        std = np.where(constant, 1.0, std)
    given = None if train.conditions is None else _described_conditions(train.conditions)
    return msgspec.structs.replace(
        train.schema, given=given, mean=plain(mean), std=plain(std), num_examples=len(train), columns=columns
    )


def _described_conditions(conditions: Dataset) -> Schema:
    return described_rows(replace(conditions, schema=described(conditions))).schema
