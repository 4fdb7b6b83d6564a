"""The distribution of each cell of a row given the others, by importance sampling of the latent variable.

For each column j, z is drawn from the encoder's posterior given the row without cell j, q(z | x_-j). All draws, and
some from the prior, are used for all columns: with the mixture m(z) of what they were drawn from, the weight of z for
column j is p(z) p(x_-j | z) / m(z), and p(x_j | x_-j) is the weighted mean of p(x_j | z). This is multiple importance
sampling with the balance heuristic, Veach & Guibas (1995), "Optimally combining sampling techniques for Monte Carlo
rendering", equation 9. The prior among the proposals keeps weights bounded where the encoder is too sure. If the
density of a posterior is known at its own draws only, each column has draws of its own, as in
`reparax.applications.impute`.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from reparax.errors import NoClosedForm
from reparax.estimators import sample_with_log_prob
from reparax.model import Model
from reparax.tables import RowDistribution, TableAdapter, adapter_of

DRAWS = 2048
"""Draws of z in total, if there are not too many columns."""
FEWEST = 32
"""Draws from the posterior without one of the cells."""
PRIOR_DRAWS = 256
SEED = 0


class Weighted(NamedTuple):
    """Draws of z, and what they say of each cell given the others; arrays of jax or of NumPy.

    Attributes:
        z: The draws; shape (n, *latent).
        weights: For each column, the weight of each draw; they sum to one; shape (d, n).
        rows: One random row for each draw; shape (n, d).
        typical: The expected number, or the code of the most probable category, of each cell; shape (d,).
        log_base: For each column, log p(z) / m(z) of each draw, minus infinity for draws that do not serve it; shape
            (d, n).
    """

    z: Any
    weights: Any
    rows: Any
    typical: Any
    log_base: Any


class Conditional(eqx.Module):
    """Draws of z for the conditional distributions of a row; a function that is compiled once for a model.

    Attributes:
        pools: Whether all draws serve all columns.
        num_cells: The number of columns of the user's table.
    """

    pools: bool = eqx.field(static=True)
    num_cells: int = eqx.field(static=True)

    @classmethod
    def of(cls, model: Model) -> "Conditional":
        """The way of drawing that a model allows.

        Args:
            model: A plain model of a table.
        """
        adapter = adapter_of(model.likelihood)
        assert isinstance(adapter, TableAdapter)
        layout = adapter.layout.value
        if not model.posterior.has_density:
            return cls(False, layout.num_cells)
        row = jax.ShapeDtypeStruct((layout.size,), jnp.float32)
        z = jax.ShapeDtypeStruct(model.posterior.latent_shape, jnp.float32)
        try:
            jax.eval_shape(lambda x, z: model.posterior(x).log_prob(z), row, z)
        except (NoClosedForm, NotImplementedError):
            return cls(False, layout.num_cells)
        return cls(True, layout.num_cells)

    def __call__(self, model: Model, context: Array | None, x: Array) -> Weighted:
        """The draws for one row.

        Args:
            model: The model.
            context: What is given.
            x: The row as stored for the model, NaN where cells are missing.
        """
        plain = model if context is None else model.given(context)
        adapter = adapter_of(plain.likelihood)
        assert isinstance(adapter, TableAdapter)
        layout = adapter.layout.value
        hidden = jax.vmap(layout.hidden)(jnp.eye(self.num_cells, dtype=bool))
        rows = jnp.where(hidden, jnp.nan, x[None])
        for_z, for_prior, for_rows = jax.random.split(jax.random.key(SEED), 3)
        if not plain.posterior.has_density:
            z = jax.vmap(plain.posterior.code)(rows)
            log_base = log_weights = jnp.log(jnp.eye(self.num_cells))
        else:
            z, log_base, of_cells = self._drawn(plain, rows, for_z, for_prior)
            log_weights = log_base + of_cells
        weights = jax.nn.softmax(log_weights, axis=1)
        distributions = jax.vmap(lambda one: plain.likelihood(one).parameters)(z)
        keys = jax.random.split(for_rows, len(z))
        sampled = jax.vmap(lambda p, key: RowDistribution(p, layout).sample_whole(key))(distributions, keys)
        statistics = jax.vmap(lambda p: RowDistribution(p, layout).statistics())(distributions)
        typical = jax.vmap(lambda of_column: _typical(plain, statistics, of_column))(weights)
        return Weighted(z, weights, sampled, jnp.diagonal(typical[:, : self.num_cells]), log_base)

    def _drawn(
        self, model: Model, rows: Float[Array, "d c"], for_z: Array, for_prior: Array
    ) -> tuple[Float[Array, "n *latent"], Float[Array, "d n"], Float[Array, "d n"]]:
        """Draws of z; for each column, the log of p(z) over their density, and of p(x_-j | z)."""
        count = max(FEWEST, -(-DRAWS // len(rows)))
        prior = model.prior(model.posterior)
        keys = jax.random.split(for_z, len(rows))
        drawn, log_q = jax.vmap(lambda row, key: sample_with_log_prob(model.posterior(row), key, (count,)))(rows, keys)
        z = drawn.reshape(-1, *drawn.shape[2:])
        if not self.pools:
            log_prior = jax.vmap(prior.log_prob)(z).reshape(len(rows), count)
            of_cells = jax.vmap(lambda row, z: _log_prob(model, row[None], z)[0])(rows, drawn)
            own = jnp.where(jnp.eye(len(rows), dtype=bool)[:, :, None], (log_prior - log_q)[None], -jnp.inf)
            return z, own.reshape(len(rows), -1), jnp.broadcast_to(of_cells.reshape(1, -1), (len(rows), len(z)))
        from_prior = prior.sample(for_prior, (PRIOR_DRAWS,))
        z = jnp.concatenate([z, jnp.asarray(from_prior, z.dtype)])
        log_prior = jax.vmap(prior.log_prob)(z)
        of_rows = jax.vmap(lambda row: jax.vmap(model.posterior(row).log_prob)(z))(rows)
        total = len(rows) * count + PRIOR_DRAWS
        parts = jnp.concatenate([
            of_rows + np.log(count / total).astype(np.float32),
            log_prior[None] + np.log(PRIOR_DRAWS / total).astype(np.float32),
        ])  # fmt: skip
        log_base = log_prior - jax.nn.logsumexp(parts, axis=0)
        return z, jnp.broadcast_to(log_base, (len(rows), len(z))), _log_prob(model, rows, z)


def typical(model: Model, context: Array | None, z: Array, weights: Array) -> Float[Array, " d"]:
    """The expected number, or the code of the most probable category, of each column under weighted draws of z."""
    plain = model if context is None else model.given(context)
    return _typical(plain, jax.vmap(lambda one: plain.likelihood(one).statistics())(z), weights)


def _typical(model: Model, statistics: PyTree[Array], weights: Float[Array, " n"]) -> Float[Array, " d"]:
    mean = jax.tree.map(lambda of_z: jnp.tensordot(weights, of_z, axes=1), statistics)
    return adapter_of(model.likelihood).typical(mean)


def _log_prob(model: Model, rows: Float[Array, "d c"], z: Float[Array, "n *latent"]) -> Float[Array, "d n"]:
    """log p(x | z) of the observed cells of each row, whichever these are, under each z."""

    def of_z(one: Array) -> Float[Array, " d"]:
        distribution = model.likelihood(one)
        return jax.vmap(distribution.log_prob_of_cells)(rows)

    return jax.lax.map(of_z, z, batch_size=64).T


def effective(weights: Float[np.ndarray, "d n"]) -> Float[np.ndarray, " d"]:
    """The effective number of draws of each column, Kong (1992): 1 / sum_n w_n^2."""
    return 1 / np.maximum((np.asarray(weights, np.float64) ** 2).sum(axis=1), 1e-30)
