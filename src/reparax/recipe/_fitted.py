"""The fitted model, which is what is saved and applied; and the conversion of the user's units."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num, PyTree
from msgspec import structs
from scipy import sparse

from reparax.data import Extension, FrameKind, Schema, SparseRows, rounded
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.notebook import table
from reparax.recipe._guarantee import Guarantee
from reparax.recipe._recipe import Binarize, Recipe
from reparax.summary import Column, Summary, joint_summary
from reparax.training import Record, kept_record

MAX_AS_FLOATS = 2**27
"""The largest number of values that training stores as float32: half a gigabyte."""


class Transform(NamedTuple):
    """Maps a stored example to what the model sees: float32, binarized if the recipe says so.

    Attributes:
        binarize: Whether intensities become bits; drawn ones have their probability to the nearest multiple of 2^-16.
        low: The intensity that is always 0.
        high: The intensity that is always 1.
    """

    binarize: Binarize
    low: float
    high: float

    def __call__(self, x: Num[Array, "*event"], key: jax.Array) -> Num[Array, "*event"]:
        """The example; the key draws the bits of a dynamic binarization."""
        x = jnp.asarray(x, jnp.float32)
        if self.binarize == "none":
            return x
        probability = (x - self.low) / (self.high - self.low)
        bits = probability > 0.5 if self.binarize == "threshold" else _drawn_bits(key, probability)
        return bits.astype(jnp.float32)


def _drawn_bits(key: jax.Array, probability: Float[Array, "*event"]) -> Bool[Array, "*event"]:
    """Independent bits; each has its probability to the nearest multiple of 2^-16.

    A random number of 32 bits is enough for two: drawing them is most of what they cost.
    """
    words = jax.random.bits(key, (-(-probability.size // 2),), jnp.uint32)
    halves = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: probability.size]
    least = jnp.round(probability * 65536.0).astype(jnp.uint32)
    return halves.reshape(probability.shape).astype(jnp.uint32) < least


class Expected(NamedTuple):
    """Maps a stored example to what the encoder sees outside training: the expectation of bits instead of draws.

    Attributes:
        transform: The transform of training.
    """

    transform: Transform

    def __call__(self, x: Num[Array, "*event"], key: jax.Array) -> Num[Array, "*event"]:
        """The example; the key is not used."""
        if self.transform.binarize != "dynamic":
            return self.transform(x, key)
        return (jnp.asarray(x, jnp.float32) - self.transform.low) / (self.transform.high - self.transform.low)


class FromSparse(NamedTuple):
    """Maps a row of a sparse matrix to what the model sees.

    Attributes:
        transform: The transform of the row with its zeros.
        size: The number of columns.
    """

    transform: Transform
    size: int

    def __call__(self, x: SparseRows, key: jax.Array) -> Num[Array, " d"]:
        """The row with its zeros; padding is at a place that it does not have."""
        places, numbers = x
        row = jnp.zeros(self.size, jnp.float32).at[places].add(jnp.asarray(numbers, jnp.float32), mode="drop")
        return self.transform(row, key)


class BesideContext(NamedTuple):
    """Maps a stored example with its context, or its label, to what the model sees.

    Attributes:
        transform: The transform of the example; the context or label is unchanged.
    """

    transform: Any

    def __call__(self, x: tuple[Any, Array], key: jax.Array) -> tuple[Any, Array]:
        """The transformed example, and its context."""
        values, context = x
        return self.transform(values, key), context


@dataclass(frozen=True)
class Units:
    """The conversion between the user's values and those of the model, which leaves densities unchanged.

    A shift has Jacobian one and is applied where float32 would lose digits (a column of dates in seconds); all other
    scaling is inside the likelihood, with its Jacobian. Binarization changes the data: the model is then one of bits.

    Attributes:
        summary: The summary of the data that the model sees.
        offset: Subtracted first, per dimension, float64; None for no shift.
        extension: Adds the remainders of relations between columns; None where there are none.
        binarize: Whether intensities become bits.
        low: The intensity that is always 0.
        high: The intensity that is always 1.
        views: The units of each view, if examples have several.
    """

    summary: Summary
    offset: np.ndarray | None
    extension: Extension | None
    binarize: Binarize
    low: float
    high: float
    views: tuple["Units", ...] = ()

    @classmethod
    def of(cls, schema: Schema, binarize: Binarize = "none") -> Self:
        """The units of a schema's data.

        Raises:
            RecipeError: Binarization is chosen for data that are not intensities.
        """
        if schema.views:
            return cls._of_views(schema, binarize)
        summary = schema.extended_summary()
        extension = schema.extension if schema.relations else None
        low, high = float(summary.low.min()), float(summary.high.max())
        if binarize != "none":
            return cls(_binary(summary, binarize), None, None, binarize, low, high)
        if schema.dtype == "float64":
            offset = _offset(summary)
            shifted = replace(
                summary, low=summary.low - offset, high=summary.high - offset, mean=summary.mean - offset,
                columns=tuple(map(_shifted, summary.columns, offset.ravel().tolist())),
            )  # fmt: skip
            return cls(shifted, offset, extension, binarize, low, high)
        return cls(summary, None, extension, binarize, low, high)

    @classmethod
    def _of_views(cls, schema: Schema, binarize: Binarize) -> Self:
        """The units of examples with several views."""
        if binarize != "none":
            raise RecipeError(
                expected="intensities of one kind to binarize", got="data with several views",
                cure="leave --binarize out, and binarize a view before reading it",
            )  # fmt: skip
        views = tuple(cls.of(view) for _, view in schema.views)
        names = (name for name, _ in schema.views)
        summary = joint_summary(
            [(name, view.summary) for name, view in zip(names, views, strict=True)], schema.num_examples
        )
        return cls(summary, None, None, binarize, 0.0, 1.0, views)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """The values for the device: extended and shifted if needed, else in the compact dtype of the data."""
        if self.views:
            pieces = [view.stored(block) for view, block in self._by_view(values)]
            return np.concatenate([piece.reshape(len(values), -1) for piece in pieces], axis=1).astype(np.float32)
        if self.extension is not None:
            values = self.extension.extended(values)
        if self.offset is not None:
            values = values - self.offset
        return values if self.offset is None and self.extension is None else values.astype(np.float32)

    def trained_on(self, values: np.ndarray) -> np.ndarray | SparseRows:
        """The values that training stores on the device: as float32, if there are not too many.

        Converting integers to float32 in every step costs a twentieth of an epoch (measured on MNIST).
        """
        if isinstance(values, sparse.csr_array):
            return SparseRows.of(values)
        stored = self.stored(values)
        return stored.astype(np.float32) if stored.size <= MAX_AS_FLOATS else stored

    def transform_of(self, values: np.ndarray) -> "Transform | FromSparse":
        """The map from an example that training stores to what the model sees."""
        return FromSparse(self.transform, self.summary.size) if isinstance(values, sparse.csr_array) else self.transform

    @property
    def transform(self) -> "Transform":
        """The map from a stored example to what the model sees, applied on the device."""
        if self.binarize == "none":  # equal for all such data, so that programs are compiled once
            return Transform("none", 0.0, 1.0)
        return Transform(self.binarize, self.low, self.high)

    @property
    def expected(self) -> Expected:
        """The same without random draws, for codes and reconstructions."""
        return Expected(self.transform)

    def restored(self, values: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
        """Values of the model in the user's units; bits stay bits.

        A shift back loses the last digits of float32, so that numbers are moved to the nearest value that the data
        could have: a multiple of the step, or a spike. Columns that follow from others are put together again.

        Args:
            values: Values of the model.
            given: For rows of a table, cells that are known and keep their values, NaN elsewhere.
        """
        if self.views:
            known = [None] * len(self.views) if given is None else [block for _, block in self._by_view(given)]
            pieces = [
                view.reconciled(block, some) for (view, block), some in zip(self._by_view(values), known, strict=True)
            ]
            return np.concatenate([piece.reshape(len(values), -1) for piece in pieces], axis=1)
        shifted = self.shifted_back(values)
        if self.extension is None:
            return shifted if given is None else np.where(np.isnan(given), shifted, given)
        whole = self.extension.collapsed(shifted, given)
        return whole if self.offset is not None or given is not None else whole.astype(values.dtype)

    def reconciled(self, values: np.ndarray, given: np.ndarray | None) -> np.ndarray:
        """`restored` where no importance weights account for relations: missing parents are solved for.

        Args:
            values: Values of the model.
            given: For rows of a table, cells that are known and keep their values, NaN elsewhere.
        """
        if given is None or self.extension is None:
            return self.restored(values, given)
        return self.extension.reconciled(self.shifted_back(values), given)

    def _by_view(self, values: np.ndarray) -> "list[tuple[Units, np.ndarray]]":
        """The units of each view, and its values in their shape."""
        shapes = [view.summary.event_shape for view in self.views]
        ends = np.cumsum([view.summary.size for view in self.views])[:-1]
        blocks = np.split(values, ends, axis=1)
        return [
            (view, block.reshape(len(values), *shape))
            for view, block, shape in zip(self.views, blocks, shapes, strict=True)
        ]

    def shifted_back(self, values: np.ndarray) -> np.ndarray:
        """Values of the model without the shift; columns that follow from others are not put together.

        Args:
            values: Values of the model.
        """
        if self.offset is None:
            return values
        shifted = values + self.offset
        if values.ndim != 2 or not self.summary.columns:
            return shifted
        columns = zip(shifted.T, values.T, self.offset.ravel(), self.summary.columns, strict=True)
        return np.stack([_exact(x, stored, offset, column) for x, stored, offset, column in columns], axis=1)


def _offset(summary: Summary) -> np.ndarray:
    """The mean of each dimension, rounded to a multiple of its step; 0 for codes of categories and remainders."""
    offset = np.array(summary.mean, np.float64)
    if summary.remainders:
        offset[-len(summary.remainders) :] = 0.0
    for index, column in enumerate(summary.columns):
        if column.is_category:
            offset[index] = 0.0
        elif column.step > 0:
            offset[index] = np.rint(offset[index] / column.step) * column.step
    return offset


def _exact(
    x: Float[np.ndarray, " n"], stored: Float[np.ndarray, " n"], offset: float, column: Column
) -> Float[np.ndarray, " n"]:
    """Numbers of a column without the rounding error of a shift."""
    if column.is_category:
        return x
    x = rounded(x, column.step)
    if not column.step and column.spikes:
        spikes = np.asarray(column.spikes) + offset
        nearest = spikes[np.abs(x[:, None] - spikes).argmin(axis=1)]
        error = 4 * np.finfo(np.float32).eps * np.maximum(np.abs(stored), np.abs(x))
        x = np.where(np.abs(x - nearest) <= error, nearest, x)
    return x + 0.0  # no negative zeros


def _shifted(column: Column, offset: float) -> Column:
    return structs.replace(
        column,
        low=column.low - offset,
        high=column.high - offset,
        mean=column.mean - offset,
        coarse_start=column.coarse_start - offset,
        quantiles=tuple(quantile - offset for quantile in column.quantiles),
        spikes=tuple(spike - offset for spike in column.spikes),
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
    """A trained model with everything that is needed to apply it to new data.

    Attributes:
        model: Posterior, prior and likelihood.
        schema: What the data are.
        recipe: The choices of the fit; None for a custom model.
        history: One record for each chunk of training.
        status: How training ended.
        companion: What was trained along with the model but is not used to apply it, such as a critic or a classifier.
        frame_kind: The library of the frame that the model was fitted to; None for no frame, and after loading.
        frame_labels: The labels of the columns of a pandas frame that it was fitted to; None likewise.
        others: The other members of an ensemble, of which ``model`` is the first: models of the same recipe, with other
            random numbers. The fitted model is then their mixture, p(x) = 1/N sum_i p_i(x).
        guarantee: What a differentially private fit guarantees; its history is empty, as figures of training are not
            private.
        fingerprint: What distinguishes the rows that were held out, or those of the fit if none were, from others; see
            `reparax.applications.fingerprint_of`. None where it is not known, and of a differentially private fit.
    """

    model: Model
    schema: Schema
    recipe: Recipe | None = None
    history: list[Record] = field(default_factory=list)
    status: Literal["all epochs done", "stopped early", "interrupted", "diverged"] = "all epochs done"
    companion: PyTree = None
    frame_kind: FrameKind | None = None
    frame_labels: Any = field(default=None, compare=False)
    others: tuple["FittedModel", ...] = ()
    guarantee: Guarantee | None = None
    fingerprint: str | None = None

    def __repr__(self) -> str:
        """What the model is and how its fit ended, in a few lines."""
        recipe, shape = self.recipe, self.schema.event_shape
        rows = f"{self.schema.num_examples} examples of shape {shape}"
        if recipe is None:
            return f"FittedModel(custom model of {rows}; {self.status})"
        if self.others:
            rows = f"ensemble of {len(self.members)}; {rows}"
        parts = ", ".join(f"{part} {recipe.name(part)}" for part in ("posterior", "prior", "likelihood", "objective"))
        epochs = f" after {self.history[-1].epoch:.0f} epochs" if self.history else ""
        return f"FittedModel({parts}; {recipe.latent_dim} latent dimensions; {rows}; {self.status}{epochs})"

    def _repr_html_(self) -> str:
        """What the model is, for notebooks."""
        recipe, shape = self.recipe, "x".join(map(str, self.schema.event_shape))
        rows = [("data", f"{self.schema.num_examples:,} examples of shape {shape}")]
        if recipe is None:
            rows.append(("parts", "custom"))
        else:
            parts = ("posterior", "prior", "likelihood", "network", "objective")
            rows += [(part, recipe.name(part)) for part in parts]
            rows.append(("latent dimensions", str(recipe.latent_dim)))
        kept = kept_record(self.history)
        if kept is not None:
            terms, where = (kept.valid, "held-out") if kept.valid else (kept.train, "training")
            error = terms.get("bound_standard_error")
            spread = "" if error is None else f" \u00b1 {error:.2f}"
            rows.append((f"{where} bound", f"{terms['bound']:.2f}{spread} nats, epoch {kept.epoch:g}"))
        return table("FittedModel", ("", ""), [*rows, ("training", self.status)])

    @property
    def members(self) -> tuple["FittedModel", ...]:
        """The models of an ensemble, each by itself; of any other model, this one."""
        if not self.others:
            return (self,)
        recipe = None if self.recipe is None else structs.replace(self.recipe, ensemble=1)
        return (replace(self, others=(), recipe=recipe), *self.others)

    def require_one(self, purpose: str) -> None:
        """Refuses an ensemble where only a single model has a meaning.

        Args:
            purpose: For what, in words.

        Raises:
            RecipeError: It is an ensemble.
        """
        if self.others:
            raise RecipeError(
                expected=f"a single model {purpose}",
                got=f"an ensemble of {len(self.members)}, each with latent variables of its own",
                cure="use one of them: fitted.members[0] (on the command line: --member 1)",
            )

    def refuse_views(self, purpose: str, cure: str) -> None:
        """Refuses a model of several views where only one of a single kind of data has a meaning.

        Args:
            purpose: For what, in words.
            cure: What to do instead.

        Raises:
            RecipeError: It is a model of several views.
        """
        if self.schema.views:
            names = ", ".join(name for name, _ in self.schema.views)
            raise RecipeError(
                expected=f"a model of one kind of data {purpose}", got=f"one of the views {names}", cure=cure
            )

    @property
    def binarize(self) -> Binarize:
        """Whether the data are binarized for the model."""
        return "none" if self.recipe is None else self.recipe.binarize

    @property
    def units(self) -> Units:
        """The conversion of the user's values."""
        return Units.of(self.schema, self.binarize)
