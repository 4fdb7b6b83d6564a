"""The functions that a page computes: what it shows of a latent vector, and draws of latent vectors."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from reparax.errors import RecipeError
from reparax.exports._convert import graph_of
from reparax.exports._functions import Function, functions_of, given_ports, plain_of, with_outputs
from reparax.exports._graph import Graph
from reparax.recipe import FittedModel
from reparax.tables import adapter_of
from reparax.tables.categories import Categories

NUM_DRAWS = 256
"""Draws from the prior that a page holds."""


def decoder_of(fitted: FittedModel) -> Function:
    """The mean, and for tables the probability of each category, from one latent vector and what is given."""
    decode = functions_of(fitted, 1)[1]
    if not adapter_of(fitted.model.likelihood).is_table:
        return decode._replace(call=lambda *inputs: {"mean": decode.call(*inputs)["mean"]})
    shape = fitted.model.posterior.latent_shape

    def call(z: Array, *given: Array) -> dict[str, Array]:
        row = plain_of(fitted, given).likelihood(z.reshape(shape))
        statistics = row.statistics()
        families = zip(row.layout.families, statistics, strict=True)
        groups = [group for family, made in families if isinstance(family, Categories) for group in made]
        flat = [jnp.ravel(group) for group in groups] or [jnp.zeros(1)]
        return {"mean": row.typical(statistics), "probabilities": jnp.concatenate(flat)}

    return decode._replace(call=call)


def places_of_categories(fitted: FittedModel) -> dict[int, tuple[int, bool]]:
    """Where the probabilities of each column of categories begin, and whether the last one is of several categories."""
    ports = given_ports(fitted)
    plain = plain_of(fitted, tuple(jnp.zeros(port.shape) for port in ports))
    places, start = {}, 0
    for family in plain.likelihood(jnp.zeros(fitted.model.posterior.latent_shape)).layout.families:
        for group in family.groups if isinstance(family, Categories) else ():
            for row, column in enumerate(group.columns):
                places[column] = (start + row * group.size, row in group.shared)
            start += group.log_fractions.size
    return places


def draws_of(fitted: FittedModel) -> Graph | np.ndarray | None:
    """Latent vectors drawn from the prior: an array, or a function of what is given, with the same noise for all of it.

    None where the prior is a function of what is given that graphs cannot express.
    """
    ports = given_ports(fitted)

    def call(*given: Array) -> dict[str, Array]:
        model = plain_of(fitted, given)
        z = model.prior(model.posterior).sample(jax.random.key(0), (NUM_DRAWS,))
        return {"draws": z.reshape(NUM_DRAWS, math.prod(model.posterior.latent_shape))}

    if not ports:
        return np.asarray(call()["draws"], np.float32)
    try:
        return graph_of(with_outputs("draws", call, ports, {}))
    except RecipeError:
        return None
