"""What the statistical tests share: many keys at once, and distances in standard errors."""

import jax
import numpy as np


def many(function, number, seed=0):
    """``function(key)`` for many keys, compiled."""
    return jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(seed), number))


def z_score(draws, exact):
    """The largest distance of the mean from its exact value, in standard errors; rounding is forgiven."""
    draws = np.asarray(draws, np.float64)
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    rounding = 2e-6 * (1 + np.abs(draws).mean(axis=0))
    return np.max(np.abs(draws.mean(axis=0) - np.asarray(exact)) / np.hypot(error, rounding))


def variance_z_score(draws, exact):
    """The largest distance of the sample variance from its exact value, in its own standard errors."""
    draws = np.asarray(draws, np.float64)
    return z_score((draws - draws.mean(axis=0)) ** 2 * len(draws) / (len(draws) - 1), exact)
