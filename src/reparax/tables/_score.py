"""The anomaly score of one row of a table: how improbable its cells are, with the other columns and without them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.likelihoods import Likelihood
from reparax.tables._distribution import RowDistribution
from reparax.tables._layout import Layout

REACHES = (0.5, 1.0, 2.0, 4.0)
"""How far what is near a number reaches, in units of `Column.spread`: no one scale fits every column."""

MARGINAL_WEIGHT = 1 / 3
"""The weight of how odd a row's cells are one by one; below one, as columns that go together repeat one oddity."""

LEAST_SURPRISE = 0.01
"""Surprises well below so many nats are as good as none."""

LARGE_SURPRISE = 4.0
"""What a cell's surprise exceeds this many nats by counts in full."""


class RowScore(NamedTuple):
    """The score of one row.

    Attributes:
        log_prob: log p(x | z) of each z.
        anomaly_score: Higher is odder; see `reparax.applications.score`.
        shares: Each column's share of it; 0 for missing cells.
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
    near = layout.neighborhood(x, REACHES)

    def of_sample(one: Array) -> tuple[Array, Array]:
        distribution = likelihood(one)
        return distribution.log_prob(x), distribution.log_prob_near(near)

    log_prob, joint = jax.vmap(of_sample)(z)
    joint = jax.tree.map(lambda given: -jnp.mean(given, axis=0), joint)
    marginal = jax.tree.map(jnp.negative, RowDistribution.of_data(layout).log_prob_near(near))
    logs = jax.tree.map(
        lambda t, a: jnp.log(1 + t / LEAST_SURPRISE) + MARGINAL_WEIGHT * jnp.log(1 + a / LEAST_SURPRISE),
        joint,
        marginal,
    )
    surprise = layout.over_reaches(jax.tree.map(lambda t, a: t + MARGINAL_WEIGHT * a, joint, marginal))
    total = jnp.sum(layout.over_reaches(logs) + jnp.maximum(surprise - LARGE_SURPRISE, 0.0))
    return RowScore(log_prob, total, surprise * (total / jnp.maximum(jnp.sum(surprise), 1e-9)))
