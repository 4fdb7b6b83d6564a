"""The anomaly score of one row of a table: how improbable its cells are, given the rest, alone, and all together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.likelihoods import Likelihood
from reparax.tables._distribution import RowDistribution
from reparax.tables._layout import Layout

RADII = (0.5, 1.0, 2.0, 4.0)
"""The radii of the neighborhood of a number, in units of `Column.spread`: no single scale fits every column."""

MARGINAL_WEIGHT = 1 / 3
"""The weight of each column's marginal surprise; below one, as dependent columns repeat the same surprise."""

LEAST_SURPRISE = 0.1
"""The scale of the logarithm, in nats: differences between surprises well below it hardly count. Chosen among twelve
scores on 22 tables, where 0.01 is as good: leaving one table out, each is chosen 9 times (three seeds)."""

LARGE_SURPRISE = 4.0
"""The excess of a cell's surprise over this many nats counts in full."""

ROW_WEIGHT = 1 / 2
"""The weight of the row's surprise, beside the sum over its columns. With 1, groups of anomalies are found better (of
22 tables, ROC AUC 0.915 instead of 0.877 on cardio), columns that do not fit together worse (vowels, 0.809 instead of
0.837); the mean is the same."""

NUM_PRIOR_DRAWS = 64
"""Draws of z for the probability of rows near a row; probabilities well below one in so many count as zero."""

MOST_TOGETHER = 32
"""In rows of more cells, the geometric mean over sets of so many of them: none is ever drawn near all of a long row."""


class RowScore(NamedTuple):
    """The score of one row.

    Attributes:
        log_prob: log p(x | z) of each z.
        anomaly_score: Higher is more anomalous; see `reparax.applications.score`.
        shares: The part of it that each column contributes; 0 for missing cells of columns that had none in the fit.
    """

    log_prob: Float[Array, " k"]
    anomaly_score: Float[Array, ""]
    shares: Float[Array, " d"]


class OfRow(NamedTuple):
    """How improbable rows near one row are, without its posterior; see `reparax.applications.score`.

    Attributes:
        surprise: m.
        cells: -log P_j(r) of each column under the draws of z that are the likeliest for the row.
        gaps: The same for each variable of `reparax.tables.Gaps`.
    """

    surprise: Float[Array, ""]
    cells: Float[Array, " d"]
    gaps: Float[Array, " g"]


class Surprises(NamedTuple):
    """How improbable one row and its cells are, radius by radius; see `reparax.applications.score`.

    Attributes:
        log_prob: log p(x | z) of each z.
        joint: t, given the rest of the row.
        marginal: a, in the data of the fit.
        joint_of_gaps: The same as ``joint`` for each variable of `reparax.tables.Gaps`.
        marginal_of_gaps: The same as ``marginal``.
        row: How improbable the row is.
    """

    log_prob: Float[Array, " k"]
    joint: Float[Array, "r d"]
    marginal: Float[Array, "r d"]
    joint_of_gaps: Float[Array, " g"]
    marginal_of_gaps: Float[Array, " g"]
    row: OfRow


def prior_draws(prior: dist.Distribution) -> Float[Array, "m *latent"]:
    """Draws from the prior, the same for every row, so that scores do not depend on luck; decoded once for a batch."""
    return prior.sample(jax.random.key(0), (NUM_PRIOR_DRAWS,))


def surprises(
    likelihood: Likelihood,
    layout: Layout,
    x: Float[Array, " d"],
    z: Float[Array, "k *latent"],
    prior_z: Float[Array, "m *latent"],
) -> Surprises:
    """How improbable the cells of one row are under draws of z from its posterior, and the row under the prior.

    Args:
        likelihood: The likelihood of a table.
        layout: Its columns.
        x: The row.
        z: Draws from its posterior.
        prior_z: `prior_draws`.
    """
    near = layout.neighborhood(x, RADII)

    def surprise(parameters: Array) -> tuple[Array, Array]:
        row = RowDistribution(parameters, layout)
        return -row.log_prob_near(near), -row.log_prob_of_gaps(x)

    parameters, of_prior = (jax.vmap(lambda one: likelihood(one).parameters)(draws) for draws in (z, prior_z))
    log_prob = jax.vmap(lambda given: RowDistribution(given, layout).log_prob(x))(parameters)
    alone = RowDistribution.of_data(layout).parameters
    # All at once, so that the program has the columns' distributions only once.
    cells, gaps = jax.vmap(surprise)(jnp.concatenate([parameters, of_prior, alone[None]]))
    given, last = slice(len(z)), slice(len(z), -1)
    return Surprises(
        log_prob,
        jnp.mean(cells[given], axis=0),
        cells[-1],
        jnp.mean(gaps[given], axis=0),
        gaps[-1],
        _of_row(cells[last], gaps[last]),
    )


def _of_row(cells: Float[Array, "m r d"], gaps: Float[Array, "m g"]) -> OfRow:
    """The surprise of a row from those of its cells and gaps under draws of z from the prior."""
    count, _, size = cells.shape
    power = min(1.0, MOST_TOGETHER / (size + gaps.shape[1]))
    log_mass = -power * (jnp.sum(cells, axis=2) + jnp.sum(gaps, axis=1)[:, None])
    none = jnp.log(float(count))
    surprise = jnp.log1p(1 / count) - jnp.logaddexp(jax.nn.logsumexp(log_mass, axis=0) - none, -none)
    weights = jax.nn.softmax(log_mass, axis=0)
    of_cells = jnp.mean(jnp.einsum("mr,mrd->rd", weights, cells), axis=0)
    return OfRow(jnp.mean(surprise), of_cells, jnp.mean(jnp.einsum("mr,mg->rg", weights, gaps), axis=0))


def score_row(
    likelihood: Likelihood,
    layout: Layout,
    x: Float[Array, " d"],
    z: Float[Array, "k *latent"],
    prior_z: Float[Array, "m *latent"],
) -> RowScore:
    """The score of one row; the arguments are those of `surprises`."""
    found = surprises(likelihood, layout, x, z, prior_z)
    surprise = jnp.mean(_sum(found.joint, found.marginal), axis=0)
    total = _total(jnp.mean(_sum_of_logs(found.joint, found.marginal), axis=0), surprise)
    log_prob, row = found.log_prob, found.row
    of_row = row.cells
    if layout.gaps.groups:
        t, a = found.joint_of_gaps, found.marginal_of_gaps
        total = total + _total(_sum_of_logs(t, a), _sum(t, a))
        surprise = surprise + layout.gaps.shared_out(_sum(t, a), layout.size)
        of_row = of_row + layout.gaps.shared_out(row.gaps, layout.size)
    together = ROW_WEIGHT * layout.num_cells * row.surprise
    return RowScore(log_prob, total + together, _divided(total, surprise) + _divided(together, of_row))


def _divided(total: Float[Array, ""], parts: Float[Array, " d"]) -> Float[Array, " d"]:
    """A sum divided in proportion to parts."""
    return parts * (total / jnp.maximum(jnp.sum(parts), 1e-9))


def _sum(joint: Float[Array, "*c"], marginal: Float[Array, "*c"]) -> Float[Array, "*c"]:
    return joint + MARGINAL_WEIGHT * marginal


def _sum_of_logs(joint: Float[Array, "*c"], marginal: Float[Array, "*c"]) -> Float[Array, "*c"]:
    return jnp.log(1 + joint / LEAST_SURPRISE) + MARGINAL_WEIGHT * jnp.log(1 + marginal / LEAST_SURPRISE)


def _total(logs: Float[Array, " c"], surprise: Float[Array, " c"]) -> Float[Array, ""]:
    return jnp.sum(logs + jnp.maximum(surprise - LARGE_SURPRISE, 0.0))
