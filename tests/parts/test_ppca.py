"""The linear variational autoencoder reaches the exact marginal likelihood of probabilistic PCA and factor analysis."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis

from reparax.likelihoods.normal import NormalDecoder
from reparax.model import Model
from reparax.networks import Linear, Standardized
from reparax.objectives import ELBO
from reparax.posteriors import DiagonalNormal, Encoder
from reparax.priors import StandardNormal
from reparax.pytrees import Frozen
from reparax.training import cosine_adam, fit

LATENT_DIM = 2
ROWS = load_wine().data
MEAN, STD = ROWS.mean(axis=0), ROWS.std(axis=0)
STANDARD = (ROWS - MEAN) / STD
LOG_JACOBIAN = -np.log(STD).sum()
STEPS = 4000


def noise_scale(model: Model) -> np.ndarray:
    """exp of the log-scale, which the likelihood bounds softly within (-7, 3), for every column."""
    log_scale = np.asarray(model.likelihood.log_scale, np.float64)
    return np.exp(-7 + np.logaddexp(0, log_scale + 7) - np.logaddexp(0, log_scale - 3)) * np.ones(STANDARD.shape[1])


def maximum_likelihood_of_ppca() -> float:
    """Tipping & Bishop (1999), equations 4 to 8: nats per row, in standard units."""
    size = STANDARD.shape[1]
    spectrum = np.linalg.eigvalsh(np.cov(STANDARD.T, bias=True))[::-1]
    noise = spectrum[LATENT_DIM:].mean()
    log_determinant = np.log(spectrum[:LATENT_DIM]).sum() + (size - LATENT_DIM) * np.log(noise)
    return -0.5 * (size * np.log(2 * np.pi) + log_determinant + size)


def linear_model(scale_shape: tuple[int, ...]) -> Model:
    size = STANDARD.shape[1]
    encoder_key, decoder_key = jax.random.split(jax.random.key(0))
    encoder = Linear().encoder((size,), 2 * LATENT_DIM, key=encoder_key)
    decoder = Linear().decoder(LATENT_DIM, (1, size), key=decoder_key)
    mean, std = (Frozen(jnp.asarray(moment, jnp.float32)) for moment in (MEAN, STD))
    likelihood = NormalDecoder(decoder, jnp.zeros(scale_shape), mean, std)
    posterior = Encoder(DiagonalNormal(), Standardized(encoder, MEAN, STD), LATENT_DIM)
    return Model(posterior, StandardNormal(), likelihood)


def elbo_in_closed_form(model: Model) -> float:
    """E_q[log p(x | z)] - KL, nats per row in the user's units, in float64, from the trained arrays alone."""
    with jax.numpy_rank_promotion("allow"):
        law = jax.vmap(lambda x: (model.posterior(x).mean, model.posterior(x).variance))
        mean, variance = (np.asarray(moment, np.float64) for moment in law(jnp.asarray(ROWS, jnp.float32)))
    (layer,) = model.likelihood.network.layers
    weight, bias = np.asarray(layer.weight, np.float64), np.asarray(layer.bias, np.float64)
    noise = noise_scale(model) ** 2
    misfit = (STANDARD - mean @ weight - bias) ** 2 + variance @ weight**2
    reconstruction = -0.5 * (misfit / noise + np.log(2 * np.pi * noise)).sum(axis=1) + LOG_JACOBIAN
    kl = 0.5 * (mean**2 + variance - 1 - np.log(variance)).sum(axis=1)
    return float((reconstruction - kl).mean())


def trained(scale_shape: tuple[int, ...]) -> Model:
    return fit(
        linear_model(scale_shape), ELBO(num_samples=4), ROWS.astype(np.float32), key=jax.random.key(1),
        optimizer=cosine_adam(0.02, STEPS), epochs=STEPS, batch_size=len(ROWS),
    ).model  # fmt: skip


@pytest.mark.parametrize("scale_shape", [(), (STANDARD.shape[1],)], ids=["ppca", "factor analysis"])
def test_trained_bound_reaches_the_exact_marginal_likelihood(scale_shape):
    if scale_shape:
        best = FactorAnalysis(LATENT_DIM, tol=1e-9, max_iter=20_000, svd_method="lapack").fit(STANDARD).score(STANDARD)
    else:
        best = maximum_likelihood_of_ppca()
        witness = PCA(LATENT_DIM).fit(STANDARD).score(STANDARD)
        assert abs(best - witness) < 5e-3  # scikit-learn divides by n - 1
    model = trained(scale_shape)
    gap = best + LOG_JACOBIAN - elbo_in_closed_form(model)
    assert -1e-3 < gap < 0.05
    # The model's own density, integrated over its prior, is the same number: no hidden constant in the likelihood.
    (layer,) = model.likelihood.network.layers
    z = np.random.default_rng(0).normal(size=(5, LATENT_DIM))
    with jax.numpy_rank_promotion("allow"):
        found = jax.vmap(lambda x, z: model.likelihood(z).log_prob(x))(
            jnp.asarray(ROWS[:5], jnp.float32), jnp.asarray(z, jnp.float32)
        )
    noise = noise_scale(model) ** 2
    misfit = STANDARD[:5] - z @ np.asarray(layer.weight, np.float64) - np.asarray(layer.bias, np.float64)
    expected = -0.5 * (misfit**2 / noise + np.log(2 * np.pi * noise)).sum(axis=1) + LOG_JACOBIAN
    np.testing.assert_allclose(found, expected, rtol=3e-3)
