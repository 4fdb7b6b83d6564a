"""How much each latent dimension says of the data."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from reparax.applications._encode import drawn_std, encode_std
from reparax.compiler import in_float32
from reparax.data import Dataset, dense
from reparax.distributions import has_analytic_kl, has_conditional_kl, kl_per_dimension, kl_terms
from reparax.errors import NoClosedForm
from reparax.estimators import sample_with_log_prob
from reparax.model import Model
from reparax.recipe import FittedModel

KL_DRAWS = 16


def information(
    fitted: FittedModel, dataset: Dataset, codes: Float[np.ndarray, "n latent"]
) -> tuple[Float[np.ndarray, " k"], bool]:
    """The information in each latent dimension, in nats, and whether it is the KL to the prior.

    Of layers of Normals, it is the KL of each dimension given the layers before it, averaged over draws of these. If
    the KL to the prior is not a sum over dimensions (a flow, a mixture), it is instead
    0.5 (log Var z_j - E log Var(z_j | x)), the mutual information of x and z_j if z_j were normal. A deterministic
    model has the variances of the codes.

    Args:
        fitted: A single model.
        dataset: Rows, as `dataset_of` gives them.
        codes: Their codes.
    """
    kl = _kl_of(fitted, dataset)
    if kl is not None and kl.ndim == 2:
        return kl.mean(axis=0), True
    means = codes.astype(np.float64)
    if not fitted.model.posterior.has_density:
        return means.var(axis=0), False
    within = np.maximum(posterior_std(fitted, dataset).astype(np.float64) ** 2, 1e-30)
    total = means.var(axis=0) + within.mean(axis=0)
    return 0.5 * (np.log(total) - np.log(within).mean(axis=0)), False


def posterior_std(fitted: FittedModel, dataset: Dataset) -> Float[np.ndarray, "n latent"]:
    """The posterior standard deviations of rows, from draws if they have no closed form.

    Args:
        fitted: A single model whose posterior has a density.
        dataset: The rows.
    """
    try:
        return encode_std(fitted, dataset)
    except NoClosedForm:
        return drawn_std(fitted, dataset)


def _kl_of(fitted: FittedModel, dataset: Dataset) -> np.ndarray | None:
    """The KL of each row and dimension; None if it has no known closed form, and is no sum of such."""
    if not fitted.model.posterior.has_density:
        return None
    rows = jnp.asarray(dense(fitted.units.stored(dataset.values)))
    contexts = None if dataset.context is None else jnp.asarray(dataset.context)
    plain = fitted.model if contexts is None else fitted.model.given(contexts[0])
    posterior = eqx.filter_eval_shape(lambda x: plain.posterior(fitted.units.expected(x, _key())), rows[0])
    prior = eqx.filter_eval_shape(lambda: plain.prior(plain.posterior))
    if not has_analytic_kl(posterior, prior) and not has_conditional_kl(posterior, prior):
        return None
    return np.asarray(_kl_of_rows(fitted.model, rows, contexts, fitted.units.expected))


def _key() -> Array:
    return jax.random.key(0)


@eqx.filter_jit
@in_float32
def _kl_of_rows(model: Model, rows: Array, contexts: Array | None, expected: Any) -> Array:
    def one(example: tuple[Array, Array | None]) -> Array:
        x, context = example
        plain = model if context is None else model.given(context)
        posterior, prior = plain.posterior(expected(x, _key())), plain.prior(plain.posterior)
        if has_analytic_kl(posterior, prior):
            return kl_per_dimension(posterior, prior)
        z, log_q = sample_with_log_prob(posterior, _key(), (KL_DRAWS,))
        terms = jax.vmap(lambda z, log_q: kl_terms(posterior, prior, z, log_q))(z, log_q)
        return jnp.mean(terms, axis=0)

    return jax.lax.map(one, (rows, contexts), batch_size=256)
