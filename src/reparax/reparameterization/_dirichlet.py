"""Dirichlet draws in log space."""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from reparax.reparameterization._gamma import log_gamma_sample


def log_dirichlet_sample(
    key: Key[Array, ""],
    concentration: Float[Array, "... k"],
    shape: tuple[int, ...] | None = None,
    dtype: DTypeLike | None = None,
) -> Float[Array, "*shape k"]:
    r"""log x of a draw from Dirichlet(concentration), differentiable in the concentration to every order.

    $\log x_i = \log g_i - \log \sum_j g_j$ with $g_i$ from Gamma(concentration_i, 1): no component underflows.

    Args:
        key: A typed random key.
        concentration: Positive concentrations, the k components last; the other axes broadcast to ``shape``.
        shape: Shape of the result without its last axis; by default the batch shape of ``concentration``.
        dtype: Floating type of the result; by default that of ``concentration``.

    Reference: Figurnov, Mohamed and Mnih (2018), section 4.2.
    """
    concentration = jnp.asarray(concentration, dtype)
    shape = concentration.shape[:-1] if shape is None else shape
    log_gamma = log_gamma_sample(key, concentration, (*shape, concentration.shape[-1]))
    return jax.nn.log_softmax(log_gamma, axis=-1)
