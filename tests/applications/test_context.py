"""Conditional models: p(x | context) through fit, score, sample, evaluate and the rest, against exact conditionals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import reparax as rx
from reparax.errors import DataError, RecipeError, ReparaxError
from reparax.posteriors import DiagonalNormal

RNG = np.random.default_rng(0)
COUNT = 1500
CONTEXT = np.column_stack([RNG.normal(5.0, 3.0, COUNT), RNG.integers(0, 2, COUNT)])
SHIFT = np.array([[0.5, -1.0, 0.2], [3.0, 0.0, -2.0]])
WEIGHT = np.array([[1.0, -0.6, 0.8]])
ROWS = CONTEXT @ SHIFT + RNG.normal(size=(COUNT, 1)) @ WEIGHT + 0.3 * RNG.normal(size=(COUNT, 3))
COVARIANCE = WEIGHT.T @ WEIGHT + 0.09 * np.eye(3)
LINEAR = {"network": "linear", "likelihood": "normal", "latent_dim": 1, "depth": 0, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(ROWS, context=CONTEXT, epochs=200, patience=200, batch_size=100, prior="standard-normal", **LINEAR)


def test_a_conditional_linear_model_reaches_the_exact_conditional_likelihood(fitted):
    exact = stats.multivariate_normal(np.zeros(3), COVARIANCE).logpdf(ROWS - CONTEXT @ SHIFT)
    scores = rx.score(fitted, ROWS, context=CONTEXT)
    assert abs(scores.log_density.mean() - exact.mean()) < 0.05
    found = rx.evaluate(fitted, ROWS, context=CONTEXT)
    assert found.iwae == pytest.approx(scores.log_density.mean(), abs=1e-3)
    # Rows in the context of others are odd.
    assert rx.score(fitted, ROWS, context=CONTEXT[::-1]).log_density.mean() < exact.mean() - 5


def test_samples_in_a_context_have_its_moments(fitted):
    context = np.array([8.0, 1.0])
    drawn = rx.sample(fitted, 4000, key=jax.random.key(1), context=context)
    np.testing.assert_allclose(drawn.mean(0), context @ SHIFT, atol=0.2)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov((ROWS - CONTEXT @ SHIFT).T), atol=0.12)
    each = rx.sample(fitted, COUNT, key=jax.random.key(1), context=CONTEXT)
    assert np.corrcoef(each[:, 0], (CONTEXT @ SHIFT)[:, 0])[0, 1] > 0.8


def test_a_model_given_a_context_is_a_plain_model(fitted):
    plain = fitted.model.given(jnp.asarray(CONTEXT[3], jnp.float32))
    x, z = jnp.asarray(ROWS[3], jnp.float32), jnp.array([0.7])
    code = rx.encode(fitted, ROWS[:5], context=CONTEXT[:5])[3]
    np.testing.assert_allclose(plain.posterior.code(x), code, rtol=1e-4)
    assert np.isfinite(float(plain.log_joint(x, z)))
    np.testing.assert_allclose(
        rx.decode(fitted, np.array([[0.7]]), context=CONTEXT[3])[0], plain.expected(z), rtol=1e-4
    )  # fmt: skip
    with pytest.raises(RecipeError, match="given"):
        fitted.model.posterior(x)
    with pytest.raises(RecipeError, match="2 numbers"):
        fitted.model.given(jnp.zeros(3))


def test_a_row_and_its_context_stay_together(fitted):
    order = RNG.permutation(200)
    whole = rx.score(fitted, ROWS[:200], context=CONTEXT[:200]).log_density
    mixed = rx.score(fitted, ROWS[:200][order], context=CONTEXT[:200][order]).log_density
    np.testing.assert_array_equal(mixed, whole[order])
    dataset = rx.read(ROWS[:200], context=CONTEXT[:200])
    np.testing.assert_array_equal(rx.score(fitted, dataset.take(order)).log_density, mixed)


def test_a_conditional_model_is_saved_with_the_standardization_of_its_context(fitted, tmp_path):
    assert fitted.recipe.context_dim == 2
    rx.save(fitted, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    np.testing.assert_array_equal(
        rx.encode(again, ROWS[:50], context=CONTEXT[:50]), rx.encode(fitted, ROWS[:50], context=CONTEXT[:50])
    )


@pytest.mark.parametrize("apply", [rx.score, rx.encode, rx.encode_std, rx.reconstruct, rx.evaluate])
def test_a_context_that_is_missing_or_too_much_is_refused(fitted, apply):
    for context in (None, CONTEXT[:10, :1], CONTEXT[:9], np.full((10, 2), np.nan), [["a", "b"]] * 10):
        with pytest.raises(DataError, match="context"):
            apply(fitted, ROWS[:10], context=context)
    for context in (None, np.zeros(3), CONTEXT[:9]):
        with pytest.raises(DataError, match="context"):
            rx.sample(fitted, 10, key=jax.random.key(0), context=context)
    plain = rx.fit(ROWS[:100], epochs=1, **LINEAR)
    with pytest.raises(DataError, match="no context"):
        apply(plain, ROWS[:10], context=CONTEXT[:10])


@pytest.mark.parametrize("network", ["mlp", "convolutional"])
def test_images_have_contexts(network):
    images = RNG.integers(0, 2, (40, 6, 6, 1))
    context = np.eye(3)[RNG.integers(0, 3, 40)]
    fitted = rx.fit(images, context=context, network=network, width=4, depth=1, epochs=1, latent_dim=2)
    assert rx.reconstruct(fitted, images, context=context).shape == images.shape
    assert rx.sample(fitted, 5, key=jax.random.key(0), context=context[0]).shape == (5, 6, 6, 1)


def test_tables_with_gaps_have_contexts():
    rows = ROWS[:300].copy()
    rows[RNG.random(rows.shape) < 0.1] = np.nan
    fitted = rx.fit(rows, context=CONTEXT[:300], epochs=2, width=8, depth=1, latent_dim=1, hide=0.0)
    filled = rx.impute(fitted, rows, context=CONTEXT[:300])
    assert np.isfinite(filled).all()
    assert not np.allclose(filled, rx.impute(fitted, rows, context=CONTEXT[:300][::-1]))
    with pytest.raises(ReparaxError, match="context"):
        rx.sample(fitted, 10, key=jax.random.key(0), where={"column_0": 1.0}, context=CONTEXT[0])


def test_a_report_of_a_conditional_model_is_refused(fitted, tmp_path):
    with pytest.raises(RecipeError, match="conditional model"):
        rx.report(fitted, rx.read(ROWS, context=CONTEXT), tmp_path / "page.html")


def test_a_ready_model_without_contexts_refuses_them():
    plain = rx.fit(ROWS[:100], epochs=1, posterior=DiagonalNormal(), **LINEAR)
    with pytest.raises(DataError, match="no context"):
        rx.fit(ROWS[:100], model=plain.model, context=CONTEXT[:100], epochs=1)
