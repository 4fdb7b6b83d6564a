"""The anomaly score of one row of a table: how improbable its cells are, with the other columns and without them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.likelihoods import Likelihood
from reparax.tables._distribution import RowDistribution
from reparax.tables._layout import Layout

RADII = (0.5, 1.0, 2.0, 4.0)
"""The radii of the neighborhood of a number, in units of `Column.spread`: no single scale fits every column."""

MARGINAL_WEIGHT = 1 / 3
"""The weight of each column's marginal surprise; below one, as dependent columns repeat the same surprise."""

LEAST_SURPRISE = 0.01
"""The scale of the logarithm, in nats: differences between surprises well below it hardly count."""

LARGE_SURPRISE = 4.0
"""The excess of a cell's surprise over this many nats counts in full."""


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


def score_row(likelihood: Likelihood, layout: Layout, x: Float[Array, " d"], z: Float[Array, "k *latent"]) -> RowScore:
    """The score of one row under draws of z from its posterior.

    Args:
        likelihood: The likelihood of a table.
        layout: Its columns.
        x: The row.
        z: The draws.
    """
    near = layout.neighborhood(x, RADII)

    def of_sample(one: Array) -> tuple[Array, Array, Array]:
        distribution = likelihood(one)
        return distribution.log_prob(x), distribution.log_prob_near(near), distribution.log_prob_of_gaps(x)

    log_prob, joint, of_gaps = jax.vmap(of_sample)(z)
    joint = jax.tree.map(lambda given: -jnp.mean(given, axis=0), joint)
    alone = RowDistribution.of_data(layout)
    marginal = jax.tree.map(jnp.negative, alone.log_prob_near(near))
    surprise = layout.over_radii(jax.tree.map(_sum, joint, marginal))
    total = _total(layout.over_radii(jax.tree.map(_sum_of_logs, joint, marginal)), surprise)
    if layout.gaps.groups:
        t, a = -jnp.mean(of_gaps, axis=0), -alone.log_prob_of_gaps(x)
        total = total + _total(_sum_of_logs(t, a), _sum(t, a))
        surprise = surprise + layout.gaps.shared_out(_sum(t, a), layout.size)
    return RowScore(log_prob, total, surprise * (total / jnp.maximum(jnp.sum(surprise), 1e-9)))


def _sum(joint: Float[Array, "*c"], marginal: Float[Array, "*c"]) -> Float[Array, "*c"]:
    return joint + MARGINAL_WEIGHT * marginal


def _sum_of_logs(joint: Float[Array, "*c"], marginal: Float[Array, "*c"]) -> Float[Array, "*c"]:
    return jnp.log(1 + joint / LEAST_SURPRISE) + MARGINAL_WEIGHT * jnp.log(1 + marginal / LEAST_SURPRISE)


def _total(logs: Float[Array, " c"], surprise: Float[Array, " c"]) -> Float[Array, ""]:
    return jnp.sum(logs + jnp.maximum(surprise - LARGE_SURPRISE, 0.0))
