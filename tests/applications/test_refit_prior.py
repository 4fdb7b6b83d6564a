"""Priors fitted after the model: beside scikit-learn's mixture, in samples, and in the bound."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest
from sklearn.mixture import GaussianMixture

import reparax as rx
from reparax.applications import _refit, code_log_density, dataset_of
from reparax.applications._parts import parts_of
from reparax.applications._refit import _codes
from reparax.errors import RecipeError

SIZE = 400
MIXTURE = {"name": "normal-mixture", "num_components": 4}
MATCHING = {"name": "flow-matching", "width": 64}
CHOICES = [pytest.param(MIXTURE, id="mixture"), pytest.param(MATCHING, id="flow-matching", marks=pytest.mark.full)]


@pytest.fixture(autouse=True, scope="module")
def user_climate():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def two_groups(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 2, SIZE)[:, None]
    return np.where(group, 4.0, -4.0) * np.array([[1.0, -1.0, 0.5]]) + 0.3 * rng.normal(size=(SIZE, 3))


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(two_groups(), likelihood="normal", network="linear", latent_dim=2, epochs=30, learning_rate=1e-2)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_density_of_the_codes_is_that_of_a_mixture_fitted_by_scikit_learn(fitted, choice):
    found = rx.refit_prior(fitted, two_groups(), prior=choice)
    codes = np.asarray(_codes(fitted, dataset_of(fitted, two_groups()), 0), np.float64)
    mixture = GaussianMixture(4, covariance_type="diag", random_state=0, n_init=4).fit(codes.reshape(-1, 2))
    assert code_log_density(found, two_groups()) == pytest.approx(mixture.score(codes.reshape(-1, 2)), abs=0.12)
    assert code_log_density(found, two_groups()) > code_log_density(fitted, two_groups()) + 0.1
    prior = found.model.prior(found.model.posterior)
    # The reported density is that of the prior in the model.
    by_hand = np.mean(np.asarray(jax.jit(jax.vmap(prior.log_prob))(jnp.asarray(codes.reshape(-1, 2), jnp.float32))))
    assert code_log_density(found, two_groups()) == pytest.approx(float(by_hand), abs=1e-3)


@pytest.mark.parametrize(
    "prior",
    ["normal-mixture", pytest.param(MATCHING, marks=pytest.mark.full), pytest.param(None, marks=pytest.mark.full)],
)
def test_the_bound_rises_and_codes_and_reconstructions_stay(fitted, tmp_path, prior):
    rows = two_groups(1)
    found = rx.refit_prior(fitted, two_groups(), prior=prior)
    assert rx.evaluate(found, rows).elbo > rx.evaluate(fitted, rows).elbo
    np.testing.assert_array_equal(rx.encode(found, rows), rx.encode(fitted, rows))
    np.testing.assert_array_equal(rx.reconstruct(found, rows), rx.reconstruct(fitted, rows))
    rx.save(found, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    assert again.recipe == found.recipe
    key = jax.random.key(0)
    np.testing.assert_array_equal(rx.sample(again, 20, key=key), rx.sample(found, 20, key=key))


def test_a_few_steps_of_regression_raise_the_density_of_held_out_codes(fitted, monkeypatch):
    monkeypatch.setattr(_refit, "REGRESSION_STEPS", 600)
    choice = {"name": "flow-matching", "width": 16, "num_steps": 8}
    found = rx.refit_prior(fitted, two_groups(), prior=choice)
    assert code_log_density(found, two_groups(1)) > code_log_density(fitted, two_groups(1)) + 0.1
    codes = np.concatenate(_codes(fitted, dataset_of(fitted, two_groups()), 0))
    # The moments by which codes are standardized are those of the rows of the fit, a tenth of which is held out.
    np.testing.assert_allclose(found.model.prior.scale.value, codes.std(axis=0), rtol=0.05)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_deterministic_autoencoder_no_longer_draws_rows_between_the_groups(choice):
    plain = rx.fit(
        two_groups(), likelihood="normal", network="linear", latent_dim=2, epochs=40, learning_rate=1e-2,
        posterior="deterministic", objective="reconstruction",
    )  # fmt: skip
    found = rx.refit_prior(plain, two_groups(), prior=choice)
    between = [
        float(np.mean(np.abs(rx.sample(model, 2000, key=jax.random.key(1))[:, 0]) < 2.0)) for model in (plain, found)
    ]
    assert between[0] > 0.2
    assert between[1] < 0.05


def test_the_moments_of_the_codes_are_a_refit_too():
    """A prior without weights to train is fitted, not left as it starts."""
    plain = rx.fit(
        two_groups(), likelihood="normal", network="linear", latent_dim=2, epochs=1, valid=0.0,
        posterior="deterministic", objective="reconstruction",
    )  # fmt: skip
    codes = rx.encode(plain, two_groups())
    found = rx.refit_prior(plain, two_groups(1), prior="fitted-normal", seed=1).model.prior
    np.testing.assert_allclose(found.loc.value, codes.mean(axis=0), atol=0.5)
    np.testing.assert_allclose(found.scale_tril.value @ found.scale_tril.value.T, np.cov(codes.T), rtol=0.3, atol=0.05)


def test_the_same_seed_gives_the_same_bits(fitted):
    choice = {"name": "normal-mixture", "num_components": 2}
    first, second = (rx.refit_prior(fitted, two_groups(), prior=choice, seed=3).model.prior for _ in range(2))
    assert eqx.tree_equal(first, second)


@pytest.mark.parametrize(("prior", "match"), [
    ("vamp", "rows that the encoder sees"), ("uniform-bernoulli", "latent space"), ("fitted-normal", "density"),
])  # fmt: skip
def test_priors_that_cannot_be_fitted_to_these_codes_are_refused(fitted, prior, match):
    with pytest.raises(RecipeError, match=match):
        rx.refit_prior(fitted, two_groups(), prior=prior)


def test_a_custom_model_is_refused(fitted):
    custom = rx.FittedModel(fitted.model, fitted.schema)
    with pytest.raises(RecipeError, match="custom"):
        rx.refit_prior(custom, two_groups())


LAYERED = ["ladder", *(pytest.param(name, marks=pytest.mark.full) for name in ("top-down-residual", "codebook-ladder"))]


@pytest.mark.parametrize("posterior", LAYERED)
def test_layers_that_prior_and_posterior_share_see_the_context_of_each_row(posterior, monkeypatch):
    monkeypatch.setattr(_refit, "STEPS", 20)
    monkeypatch.setattr(_refit, "CANDIDATES", ("normal-mixture", "independent-codes"))
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], 60)
    rows = pl.DataFrame({"group": group, "x": rng.normal(size=60), "y": rng.normal(size=60) + 5 * (group == "a")})
    conditional = rx.fit(
        rows, given="group", posterior=posterior, likelihood="normal", latent_dim=4, epochs=1, learning_rate=0.05
    )
    dataset = dataset_of(conditional, rows)
    codes, contexts = _codes(conditional, dataset, 0)

    @jax.jit
    def density(z, context):
        plain = conditional.model.given(context)
        return jax.vmap(plain.prior(plain.posterior).log_prob)(z)

    by_hand = np.mean([density(z, context) for z, context in zip(codes, contexts, strict=True)])
    of_others = np.mean([density(z, 1 - context) for z, context in zip(codes, contexts, strict=True)])
    assert code_log_density(conditional, rows) == pytest.approx(by_hand, abs=1e-4)
    assert abs(by_hand - of_others) > 0.01
    found = rx.refit_prior(conditional, rows)
    parts = parts_of(conditional, dataset)
    assert parts is not None
    # The better of the two by the log density of held-out codes, whichever that is.
    assert code_log_density(found, parts[1]) >= code_log_density(conditional, parts[1])
