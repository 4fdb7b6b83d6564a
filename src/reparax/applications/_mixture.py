"""The mixture of the members of an ensemble, p(x) = 1/N sum_i p_i(x): its density and its terms from theirs."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from reparax.applications._rows import Terms
from reparax.pytrees import Derived


def log_mean_exp_of(values: Sequence[Float[np.ndarray, " n"]]) -> Float[np.ndarray, " n"]:
    """log (1/N sum_i exp v_i): of lower bounds on the log densities of the members, one on that of the mixture."""
    if len(values) == 1:
        return values[0]
    total = np.logaddexp.reduce(np.asarray(values, np.float64), axis=0)
    return (total - np.log(len(values))).astype(values[0].dtype)


def mean_of(values: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over the members."""
    return values[0] if len(values) == 1 else np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype)


def mixed(terms: Sequence[Terms], *, has_density: bool) -> Terms:
    """The terms of the bound of the mixture, whose latent variable is the number i of a member and its z.

    With q(i | x) in proportion to exp(ELBO_i), which is the best for the members as they are, log 1/N sum_i
    exp(ELBO_i) is the ELBO: the reconstruction is that of the members weighted with q(i | x), the KL is theirs plus
    that of q(i | x) to 1/N. The members of a model without a density count alike.

    Args:
        terms: The terms of each member, stacked over examples.
        has_density: Whether the members have densities.
    """
    if len(terms) == 1:
        return terms[0]
    reconstruction, kl = (np.asarray([getattr(one, name) for one in terms], np.float64) for name in (
        "reconstruction", "kl"))  # fmt: skip
    elbo = reconstruction - kl if has_density else np.zeros_like(kl)
    log_q = elbo - np.logaddexp.reduce(elbo, axis=0)
    q = np.exp(log_q)
    to_prior = np.sum(np.where(q > 0, q * (log_q + np.log(len(terms))), 0.0), axis=0)
    bounds = np.asarray([one.iwae for one in terms], np.float64)
    weights = np.exp(bounds - np.logaddexp.reduce(bounds, axis=0)) if has_density else q
    columns = None if terms[0].by_column is None else sum(
        weight[:, None] * one.by_column for weight, one in zip(weights, terms, strict=True)
    )  # fmt: skip
    return Terms(
        log_mean_exp_of([one.iwae for one in terms]),
        (q * reconstruction).sum(axis=0),
        (q * kl).sum(axis=0) + (to_prior if has_density else 0.0),
        np.concatenate([one.mean for one in terms], axis=1),
        columns,
    )


def over_members(models: Sequence[Any], function: Callable[[Any], PyTree[Array]]) -> PyTree[Array]:
    """A function of one model, of all members at once: what it gives, stacked.

    Args:
        models: Models of the same structure, fitted to the same data.
        function: The function; vectorized over the weights.
    """
    parts = [eqx.partition(model, eqx.is_array, is_leaf=_is_derived) for model in models]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(arrays for arrays, _ in parts))
    rest = parts[0][1]
    return jax.vmap(lambda arrays: function(eqx.combine(arrays, rest, is_leaf=_is_derived)))(stacked)


def _is_derived(leaf: Any) -> bool:
    return isinstance(leaf, Derived)
