"""How good a model is on data: bounds and their terms, from rows in memory or in blocks."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.applications._codes import is_active
from reparax.applications._door import dataset_of
from reparax.applications._mixture import mixed
from reparax.applications._rows import Terms, terms_of
from reparax.applications._score import Unknown, is_averaged
from reparax.applications._unknown import averaged_terms, completions_of
from reparax.data import Blocks, Dataset, Spread
from reparax.errors import DataError
from reparax.networks import context_size
from reparax.notebook import table
from reparax.recipe import FittedModel
from reparax.reparameterization import is_discrete
from reparax.tables import adapter_of


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on data: means over the examples, in nats.

    Attributes:
        num_examples: The number of examples.
        elbo: The evidence lower bound; None for a model without a density.
        elbo_standard_error: Its standard error over the examples.
        iwae: The importance-weighted bound of ``num_samples`` samples.
        iwae_standard_error: Its standard error over the examples.
        num_samples: K of the importance-weighted bound.
        kl: KL(q(z | x) || p(z)).
        reconstruction: E_q[log p(x | z)].
        active_units: The number of latent dimensions whose posterior mean varies over the data, Burda et al. (2016),
            section 5; of codes, the number of indices with more than one value.
        latent_dim: The number of latent dimensions, or of indices.
        bits_per_dim: For images, -iwae / (values per image) in bits; None for a model without a density, and for one of
            real numbers, whose density is not a probability and has the unit of the pixels in it.
        columns: For tables, E[log p(x_j | z)] of each column j under the importance-weighted posterior, averaged over
            the rows where it is observed; without the probability of gaps. For several views, the same of each view.
        members: Of an ensemble, the figures of each member; else None.
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
    members: tuple["Evaluation", ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The numbers by name; of an ensemble, those of each member under ``members``."""
        numbers = asdict(self)
        members = numbers.pop("members")
        if members is None:
            return numbers
        same = ("num_examples", "num_samples", "members")
        own = [{name: value for name, value in member.items() if name not in same} for member in members]
        return numbers | {"members": own}

    def _repr_html_(self) -> str:
        """The numbers with their standard errors, for notebooks."""
        pairs = (
            ("importance-weighted bound", self.iwae, self.iwae_standard_error),
            ("evidence lower bound", self.elbo, self.elbo_standard_error),
            ("KL to the prior", self.kl, None),
            ("reconstruction", self.reconstruction, None),
            ("bits per value", self.bits_per_dim, None),
        )
        rows = [
            (name, f"{value:.2f}", "" if error is None else f"\u00b1 {error:.2f}")
            for name, value, error in pairs if value is not None
        ]  # fmt: skip
        note = f"means over {self.num_examples:,} examples; {self.active_units} of {self.latent_dim} dimensions active"
        return table("Evaluation", ("", "nats", "standard error"), rows, note=note, numbers=True)


def evaluate(
    fitted: FittedModel,
    data: Any,
    *,
    num_samples: int = 100,
    seed: int = 0,
    context: Any = None,
    unknown: Unknown = "refuse",
) -> Evaluation:
    """The bounds on data and their terms, with standard errors.

    Of an ensemble they are those of the mixture, whose latent variable is the number i of a member and its z: the ELBO
    is log 1/N sum_i exp(ELBO_i), with q(i | x) in proportion to exp(ELBO_i), and the KL contains that of q(i | x) to
    1/N. The active units and the latent dimensions are those of all members.

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`. Of rows that are too many for memory, what
            `reparax.data.blocks_of` gives, or an iterator of any of these: the means are over all rows.
        num_samples: K of the importance-weighted bound; also the number of samples for ELBO, KL and reconstruction.
        seed: The seed of the samples of z.
        context: For a conditional model, one row of numbers for each example.
        unknown: What to do where something given is missing, as of `score`; ``"average"`` is for a single model, and
            for rows in memory.

    Raises:
        DataError: The data have another shape or kind than in the fit, or there are none.
        RecipeError: The number of samples is below 1.
    """
    if is_averaged(unknown):
        fitted.require_one("to average over what is given")
        could = completions_of(fitted, data, context)
        terms = terms_of(fitted, could.dataset, num_samples, seed)[0]
        averaged = averaged_terms(could, terms, has_density=fitted.model.posterior.has_density)
        return _Sums.of(fitted, could.rows, averaged).evaluation(fitted, num_samples)
    total: list[_Sums] = []
    for rows in data if isinstance(data, Blocks | Iterator) else (data,):
        dataset = dataset_of(fitted, rows, context)
        if not len(dataset):
            continue
        found = terms_of(fitted, dataset, num_samples, seed)
        whole = mixed(found, has_density=fitted.model.posterior.has_density)
        new = [_Sums.of(fitted, dataset, terms) for terms in ((whole,) if len(found) == 1 else (whole, *found))]
        total = [old.joined(more) for old, more in zip(total, new, strict=True)] if total else new
    if not total:
        raise DataError(expected="at least one example to evaluate", got="none", cure="give some")
    of_all, *members = [sums.evaluation(fitted, num_samples) for sums in total]
    return replace(of_all, members=tuple(members)) if members else of_all


def _gives_probabilities(fitted: FittedModel) -> bool:
    """Whether p(x | z) is a probability, and not a density."""
    size = context_size(fitted.model)
    model = fitted.model.given(jnp.zeros(size)) if size else fitted.model
    found = []

    def look(z: Array) -> Array:
        found.append(is_discrete(model.likelihood(z)))
        return z

    jax.eval_shape(look, jax.ShapeDtypeStruct(model.posterior.latent_shape, jnp.float32))  # computes nothing
    return found[0]


@dataclass(frozen=True)
class _Sums:
    """What an evaluation needs of the terms of rows, a few at a time.

    Attributes:
        terms: The means and deviations of the ELBO, the importance-weighted bound, the KL and the reconstruction.
        codes: Those of the codes.
        low: The smallest of each number of the codes.
        high: The largest.
        by_column: The sums of log p(x_j | z) over the rows where column j is observed, and the number of these; None
            where there are no columns.
    """

    terms: Spread
    codes: Spread
    low: Float[np.ndarray, " latent"]
    high: Float[np.ndarray, " latent"]
    by_column: Float[np.ndarray, "2 d"] | None

    @classmethod
    def of(cls, fitted: FittedModel, dataset: Dataset, terms: Terms) -> Self:
        """Those of the terms of one model, or of the mixture."""
        elbo = terms.reconstruction - terms.kl
        numbers = np.stack([elbo, terms.iwae, terms.kl, terms.reconstruction], axis=1)
        by_column = None
        if terms.by_column is not None:
            observed = adapter_of(fitted.model.likelihood).observed(dataset.values).sum(axis=0)
            by_column = np.stack([terms.by_column.sum(axis=0, dtype=np.float64), observed])
        low, high = terms.mean.min(axis=0), terms.mean.max(axis=0)
        return cls(Spread.of(numbers), Spread.of(terms.mean), low, high, by_column)

    def joined(self, other: Self) -> Self:
        """Those of both."""
        columns = None if self.by_column is None or other.by_column is None else self.by_column + other.by_column
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return type(self)(self.terms.joined(other.terms), self.codes.joined(other.codes), low, high, columns)

    def evaluation(self, fitted: FittedModel, num_samples: int) -> Evaluation:
        """The figures."""
        variances = self.codes.squares / self.codes.count
        active = is_active(fitted.model.posterior, variances, self.high - self.low)
        elbo, iwae, kl, reconstruction = self.terms.mean.tolist()
        density = fitted.model.posterior.has_density
        in_bits = density and fitted.schema.kind == "images" and _gives_probabilities(fitted)
        return Evaluation(
            num_examples=self.terms.count,
            elbo=elbo if density else None,
            elbo_standard_error=self._standard_error(0) if density else None,
            iwae=iwae if density else None,
            iwae_standard_error=self._standard_error(1) if density else None,
            num_samples=num_samples,
            kl=kl if density else None,
            reconstruction=reconstruction,
            active_units=int(active.sum()),
            latent_dim=len(active),
            bits_per_dim=-iwae / (fitted.units.summary.size * np.log(2)) if in_bits else None,
            columns=self._of_columns(fitted),
        )

    def _standard_error(self, place: int) -> float | None:
        """The standard error of the mean of a term; None of a single row."""
        count = self.terms.count
        return float(np.sqrt(self.terms.squares[place] / (count - 1) / count)) if count > 1 else None

    def _of_columns(self, fitted: FittedModel) -> dict[str, float] | None:
        if self.by_column is None:
            return None
        total, observed = self.by_column
        names = [name for name, _ in fitted.schema.views] or [column.name for column in fitted.schema.columns or ()]
        return dict(zip(names, (total / np.maximum(1, observed)).tolist(), strict=True))
