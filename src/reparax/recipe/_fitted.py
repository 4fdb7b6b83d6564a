"""The fitted model, the only thing that is saved, applied and served; and the user's units."""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Num, PyTree
from msgspec import structs

from reparax.data import Schema
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.recipe._recipe import Binarize, Recipe
from reparax.summary import Column, Summary
from reparax.training import Record

MOST_AS_NUMBERS = 2**27
"""Values that training keeps as float32: half a gigabyte."""


class Transform(NamedTuple):
    """One stored example as the model sees it: float32, binarized where the recipe says so.

    Attributes:
        binarize: Whether intensities become bits.
        low: The intensity of a sure 0.
        high: The intensity of a sure 1.
    """

    binarize: Binarize
    low: float
    high: float

    def __call__(self, x: Num[Array, "*event"], key: jax.Array) -> Num[Array, "*event"]:
        """The example; the key draws the bits of a dynamic binarization."""
        x = jnp.asarray(x, jnp.float32)
        if self.binarize == "none":
            return x
        share = (x - self.low) / (self.high - self.low)
        bits = share > 0.5 if self.binarize == "threshold" else jax.random.bernoulli(key, share)
        return bits.astype(jnp.float32)


class Expected(NamedTuple):
    """One stored example as the encoder sees it outside training: where bits are drawn, their expectation instead.

    Attributes:
        transform: What training sees.
    """

    transform: Transform

    def __call__(self, x: Num[Array, "*event"], key: jax.Array) -> Num[Array, "*event"]:
        """The example; nothing is drawn."""
        if self.transform.binarize != "dynamic":
            return self.transform(x, key)
        return (jnp.asarray(x, jnp.float32) - self.transform.low) / (self.transform.high - self.transform.low)


class BesideContext(NamedTuple):
    """One stored example with its context as the model sees it.

    Attributes:
        transform: What is done to the example; the context stays.
    """

    transform: Transform

    def __call__(self, x: tuple[Num[Array, "*event"], Array], key: jax.Array) -> tuple[Num[Array, "*event"], Array]:
        """The example, and its context as it is."""
        values, context = x
        return self.transform(values, key), context


@dataclass(frozen=True)
class Units:
    """How stored values become a model's, without changing any density.

    A shift has Jacobian one, so it is taken where float32 would lose digits (a column of dates in seconds); all other
    scaling is inside the likelihood, with its Jacobian. Binarization changes the data themselves: the model is then
    one of bits.

    Attributes:
        summary: What the model sees of the data.
        offset: What is subtracted first, per dimension, float64; None for nothing.
        binarize: Whether intensities become bits.
        low: The intensity of a sure 0.
        high: The intensity of a sure 1.
    """

    summary: Summary
    offset: np.ndarray | None
    binarize: Binarize
    low: float
    high: float

    @classmethod
    def of(cls, schema: Schema, binarize: Binarize = "none") -> Self:
        """The units of a schema's data.

        Raises:
            RecipeError: Binarization is asked of data that are not intensities.
        """
        summary = schema.summary()
        low, high = float(summary.low.min()), float(summary.high.max())
        if binarize != "none":
            return cls(_binary(summary, binarize), None, binarize, low, high)
        if schema.dtype == "float64":
            offset = _offset(summary)
            shifted = replace(
                summary, low=summary.low - offset, high=summary.high - offset, mean=summary.mean - offset,
                columns=tuple(map(_shifted, summary.columns, offset.ravel().tolist())),
            )  # fmt: skip
            return cls(shifted, offset, binarize, low, high)
        return cls(summary, None, binarize, low, high)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """The values as they go to the device: shifted where needed, else in their own compact dtype."""
        return values if self.offset is None else (values - self.offset).astype(np.float32)

    def trained_on(self, values: np.ndarray) -> np.ndarray:
        """The values as training keeps them on the device: numbers already, where they are not too many.

        Turning levels into numbers at every step costs a twentieth of an epoch (measured on MNIST).
        """
        stored = self.stored(values)
        return stored.astype(np.float32) if stored.size <= MOST_AS_NUMBERS else stored

    @property
    def transform(self) -> "Transform":
        """What is done on the device to each stored example before the model sees it."""
        if self.binarize == "none":  # the same for all such data, so that programs compile once
            return Transform("none", 0.0, 1.0)
        return Transform(self.binarize, self.low, self.high)

    @property
    def expected(self) -> Expected:
        """The same without drawing anything: what codes and reconstructions are made from."""
        return Expected(self.transform)

    def restored(self, values: np.ndarray) -> np.ndarray:
        """The model's values in the user's units (bits stay bits)."""
        return values if self.offset is None else values + self.offset


def _offset(summary: Summary) -> np.ndarray:
    """The mean of each dimension, as a whole multiple of its step; 0 for codes of categories, which are no amounts."""
    offset = np.array(summary.mean, np.float64)
    for index, column in enumerate(summary.columns):
        if column.is_category:
            offset[index] = 0.0
        elif column.step > 0:
            offset[index] = np.rint(offset[index] / column.step) * column.step
    return offset


def _shifted(column: Column, offset: float) -> Column:
    return structs.replace(
        column,
        low=column.low - offset,
        high=column.high - offset,
        mean=column.mean - offset,
        quantiles=tuple(quantile - offset for quantile in column.quantiles),
        atoms=tuple(atom - offset for atom in column.atoms),
    )


def _binary(summary: Summary, binarize: Binarize) -> Summary:
    low, high = float(summary.low.min()), float(summary.high.max())
    if low < 0 or high <= low:
        raise RecipeError(
            expected=f"intensities from 0 up for --binarize {binarize}",
            got=f"values between {low:g} and {high:g}",
            cure="leave --binarize out and choose --likelihood normal",
        )
    mean = np.clip((summary.mean - low) / (high - low), 1e-3, 1 - 1e-3)
    shape = np.shape(mean)
    return replace(
        summary, kind="binary", low=np.zeros(shape), high=np.ones(shape), mean=mean, std=np.sqrt(mean * (1 - mean))
    )


@dataclass(frozen=True)
class FittedModel:
    """A trained model with all that is needed to apply it to new data.

    Attributes:
        model: Posterior, prior and likelihood.
        schema: What the data are.
        recipe: How it was made; None for a model built by hand from the user's own parts.
        history: One record per chunk of training.
        status: How training ended.
        companion: What was trained beside the model and is not served: a critic, a classifier; None for nothing.
    """

    model: Model
    schema: Schema
    recipe: Recipe | None = None
    history: list[Record] = field(default_factory=list)
    status: Literal["all epochs done", "stopped early", "interrupted", "diverged"] = "all epochs done"
    companion: PyTree = None

    @property
    def binarize(self) -> Binarize:
        """Whether the data are binarized on their way to the model."""
        return "none" if self.recipe is None else self.recipe.binarize

    @property
    def units(self) -> Units:
        """How the user's values become the model's."""
        return Units.of(self.schema, self.binarize)
