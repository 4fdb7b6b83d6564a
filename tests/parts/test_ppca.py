"""The linear variational autoencoder reaches the exact marginal likelihood of probabilistic PCA and factor analysis."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from scipy import stats
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis

from reparax.distributions import Pushforward
from reparax.likelihoods import Likelihood
from reparax.likelihoods.real import NormalDecoder
from reparax.model import Model
from reparax.networks import Linear, Standardized
from reparax.objectives import ELBO, IWAE
from reparax.posteriors import AbstractPosterior, DiagonalNormal, Encoder, Posterior
from reparax.priors import StandardNormal
from reparax.pytrees import Frozen
from reparax.training import cosine_adam, fit

LATENT_DIM = 2
ROWS = load_wine().data
MEAN, STD = ROWS.mean(axis=0), ROWS.std(axis=0)
STANDARD = (ROWS - MEAN) / STD
LOG_JACOBIAN = -np.log(STD).sum()
STEPS = 2000


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


class Triangular(eqx.Module):
    """z = L e, with a positive diagonal; its inverse is not needed."""

    below: jax.Array
    log_diagonal: jax.Array

    def forward_and_log_det(self, e):
        scale_tril = jnp.tril(self.below, -1) + jnp.diag(jnp.exp(self.log_diagonal))
        return scale_tril @ e, jnp.sum(self.log_diagonal)


class LinearFlow(AbstractPosterior):
    """A Normal of unit scale around a linear function of x, pushed through one triangular matrix."""

    latent_space = "real"
    default_prior = "standard-normal"
    has_density = True

    def create(self, make_encoder, latent_dim, *, key):
        triangular = Triangular(jnp.zeros((latent_dim, latent_dim)), jnp.zeros(latent_dim))
        return LinearFlowEncoder(self, make_encoder(latent_dim, key=key), triangular, (latent_dim,))


class LinearFlowEncoder(Posterior):
    part: LinearFlow
    network: Linear
    triangular: Triangular
    latent_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x):
        return Pushforward(dist.Normal(self.network(x), 1.0).to_event(1), self.triangular)


class KnownDecoder(Likelihood):
    """p(x | z) = N(x; z W, 0.5^2 I), which is not trained."""

    weight: Frozen

    def __call__(self, z):
        return dist.Normal(z @ self.weight.value, 0.5).to_event(1)


@pytest.mark.parametrize("objective", [ELBO(num_samples=4), IWAE(num_samples=4)], ids=["elbo", "iwae"])
def test_a_linear_pushforward_reaches_the_exact_marginal_likelihood(objective):
    """The posterior given W has correlations, which a diagonal one has not: without the map a nat is lost."""
    rng = np.random.default_rng(3)
    weight = np.array([[1.0, 0.9, 0.3], [0.8, 1.1, 0.5]])
    rows = (rng.normal(size=(200, 2)) @ weight + 0.5 * rng.normal(size=(200, 3))).astype(np.float32)
    best = stats.multivariate_normal(np.zeros(3), weight.T @ weight + 0.25 * np.eye(3)).logpdf(rows).mean()
    bounds = {}
    for part in (LinearFlow(), DiagonalNormal()):
        posterior = part.create(partial(Linear().encoder, (3,)), 2, key=jax.random.key(0))
        model = Model(posterior, StandardNormal(), KnownDecoder(Frozen(jnp.asarray(weight, jnp.float32))))
        trained = fit(model, objective, rows, key=jax.random.key(1), optimizer=optax.adam(0.01), epochs=1500,
                      batch_size=200).model  # fmt: skip
        terms = jax.vmap(lambda x, key, trained=trained: objective(trained, x, key=key, step=jnp.asarray(0)).bound)
        keys = jax.random.split(jax.random.key(2), (50, 200))
        bounds[type(part)] = float(jax.jit(jax.vmap(lambda keys, terms=terms: terms(rows, keys)))(keys).mean())
    assert best - 0.05 < bounds[LinearFlow] < best + 0.02
    assert bounds[DiagonalNormal] < bounds[LinearFlow] - 0.1
