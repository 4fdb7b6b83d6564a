"""How probable and how anomalous each example is under a model."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from reparax.applications._door import dataset_of
from reparax.applications._mixture import log_mean_exp_of, mean_of, mixed
from reparax.applications._rows import importance_samples, map_members, require_samples, terms_of
from reparax.applications._unknown import Completions, completions_of
from reparax.errors import RecipeError
from reparax.estimators import log_mean_exp
from reparax.model import Model
from reparax.notebook import MOST_ROWS, table
from reparax.recipe import FittedModel
from reparax.tables import NUM_PRIOR_DRAWS, adapter_of, prior_draws

Unknown = Literal["refuse", "average"]
"""What to do with examples of which something given is unknown; see `score`."""


@dataclass(frozen=True)
class Scores:
    """Numbers for each example.

    Attributes:
        log_density: A lower bound on log p(x), in nats and the user's units; None for a model without a density.
        anomaly_score: Higher is more anomalous. For tables, see `score`; else minus the log density, or minus
            log p(x | z) for a deterministic autoencoder.
        shares: For tables, how much each column contributes to the anomaly score: the sum over the columns is the
            score. Missing cells contribute 0 in columns without gaps in the fit. None for images and arrays.
        names: The columns of ``shares``.
    """

    log_density: Float[np.ndarray, " n"] | None
    anomaly_score: Float[np.ndarray, " n"]
    shares: Float[np.ndarray, "n d"] | None = None
    names: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """The most anomalous rows, for notebooks."""
        order = np.argsort(-self.anomaly_score, kind="stable")[:MOST_ROWS]
        header = ["row", "anomaly score"] + (["log density"] if self.log_density is not None else [])
        rows = []
        for place in order.tolist():
            cells = [f"{place + 1:,}", f"{self.anomaly_score[place]:.2f}"]
            cells += [f"{self.log_density[place]:.2f}"] if self.log_density is not None else []
            rows.append(cells + ([self._mostly(place)] if self.shares is not None else []))
        header += ["mostly from"] if self.shares is not None else []
        count = len(self.anomaly_score)
        return table("Scores", header, rows, note=f"the most anomalous of {count:,} rows", numbers=self.shares is None)

    def _mostly(self, place: int) -> str:
        """The columns that contribute most to the score of a row."""
        assert self.shares is not None
        shares = self.shares[place]
        return ", ".join(f"{self.names[column]} {shares[column]:.1f}" for column in (-shares).argsort()[:3].tolist())


def score(
    fitted: FittedModel,
    data: Any,
    *,
    num_samples: int = 100,
    seed: int = 0,
    context: Any = None,
    unknown: Unknown = "refuse",
    at_once: int | None = None,
) -> Scores:
    """log (1/K) sum_k p(x, z_k) / q(z_k | x) for each example, Burda et al. (2016), equation 8.

    The noise of a row depends only on the seed and the row, so its score does not depend on the other rows.

    For tables, the anomaly score is not a log density, which would depend on units and would call every value that
    many rows share normal. With P_j(r) the probability of the same category, or of numbers up to r standard deviations
    away (of `Column.spread`):

        sum_j mean_r [L(t_jr) + 1/3 L(a_jr)] + max(0, mean_r [t_jr + 1/3 a_jr] - 4) + d m / 2,  L(s) = log(1 + 10 s),
        t_jr = E_q[-log P_j(r | z)],  a_jr = -log P_j(r) in the data of the fit, without z,  r = 1/2, 1, 2, 4,
        m = mean_r -log((1/M + 1/M sum_k prod_j P_j(r | z_k)) / (1/M + 1)),  z_k from the prior, k = 1...M = 64.

    t is high if the columns of a row do not fit together, a if single cells are anomalous, and m if the model seldom
    draws rows near the row: a group of anomalies that the encoder recognizes has a low t, but a high m. Of more than
    32 cells and gaps, the product is raised to 32 over their number. Typical values of t and a differ between columns
    and radii by orders of magnitude; the logarithm keeps any of them from dominating, except cells that are grossly
    wrong, which count in full. The score is divided among the columns in proportion to mean_r [t_jr + 1/3 a_jr], and m
    in proportion to -log P_j under the likeliest of the z_k. Whether cells are missing counts like a category, once for
    each variable of `reparax.tables.Gaps`, whose part is divided equally among its columns; it is also in the log
    density.

    Of an ensemble, log p(x) is bounded by log 1/N sum_i exp of the members' bounds, and the anomaly score of a row of a
    table and its parts are the means of theirs.

    Of rows of which something given is unknown, ``unknown="average"`` bounds log sum_c p(c) p(x | c), p(c) the fraction
    of rows of the fit with c among those with what is known (of very many c, the sum is over the most frequent ones,
    which leaves it a bound). The anomaly score is the mean over p(c | x).

    Args:
        fitted: The fitted model.
        data: Anything `reparax.data.read` reads, or a `Dataset`.
        num_samples: K.
        seed: The seed of the importance samples.
        context: For a conditional model, one row of numbers for each example.
        unknown: What to do where something given is missing, or did not occur in the fit: ``"refuse"`` or
            ``"average"``.
        at_once: The most rows that are computed at once: few for an answer on single rows soon; by default many. The
            last digits of the numbers may depend on it.

    Raises:
        DataError: The data have another shape or kind than in the fit.
        RecipeError: The number of samples is below 1.
    """
    if is_averaged(unknown):
        found = completions_of(fitted, data, context)
        return _averaged(found, score(fitted, found.dataset, num_samples=num_samples, seed=seed, at_once=at_once))
    dataset = dataset_of(fitted, data, context)
    deterministic = not fitted.model.posterior.has_density
    if adapter_of(fitted.model.likelihood).is_table:
        require_samples(num_samples)
        work = num_samples + NUM_PRIOR_DRAWS
        found = map_members(_Score(num_samples), fitted, dataset, work, seed, at_once)
        log_densities, totals, of_columns = zip(*found, strict=True)
        log_density, total, shares = log_mean_exp_of(log_densities), mean_of(totals), mean_of(of_columns)
        names = tuple(column.name for column in fitted.schema.columns or ())
        return Scores(None if deterministic else log_density, total, shares, names)
    terms = mixed(terms_of(fitted, dataset, num_samples, seed, at_once), has_density=not deterministic)
    return Scores(None, -terms.reconstruction) if deterministic else Scores(terms.iwae, -terms.iwae)


def is_averaged(unknown: Unknown) -> bool:
    """Whether an average is taken over what is unknown.

    Raises:
        RecipeError: It is neither ``"refuse"`` nor ``"average"``.
    """
    if unknown not in get_args(Unknown):
        raise RecipeError(
            expected=f"one of {', '.join(get_args(Unknown))} for unknown", got=repr(unknown), cure="choose one of them"
        )  # fmt: skip
    return unknown == "average"


def _averaged(found: Completions, scores: Scores) -> Scores:
    """The scores of examples from those of their completions."""
    deterministic = scores.log_density is None
    density = np.zeros(len(found.owners)) if deterministic else scores.log_density
    of_rows, weights = found.log_sum(density), found.posterior(density)
    if scores.shares is None and not deterministic:
        return Scores(of_rows, -of_rows)
    shares = None if scores.shares is None else found.mean(weights, scores.shares)
    total = found.mean(weights, scores.anomaly_score)
    return Scores(None if deterministic else of_rows, total, shares, scores.names)


class _Score(eqx.Module):
    """The function of one row that gives its bound, its anomaly score and the contributions of the columns.

    Hashable, so that it is compiled once for each K.
    """

    num_samples: int = eqx.field(static=True)

    def __call__(self, model: Model, x: Array, key: Array) -> tuple[Array, Array, Array]:
        z, kl = importance_samples(model, model.posterior(x), key, self.num_samples)
        prior_z = prior_draws(model.prior(model.posterior))
        row = adapter_of(model.likelihood).score(model.likelihood, x, z, prior_z)
        return log_mean_exp(row.log_prob - kl), row.anomaly_score, row.shares
