"""A ladder with a codebook on top: its layers by hand, the exact bound, and codes of groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import reparax as rx
from reparax.applications import dataset_of
from reparax.data import from_array
from reparax.errors import RecipeError
from reparax.likelihoods import Normal as NormalLikelihood
from reparax.model import Model
from reparax.networks import MLP
from reparax.objectives import ELBO
from reparax.posteriors import CodebookLadder
from reparax.priors import ClassTopDown

ROWS = np.random.default_rng(0).normal(size=(30, 3))
X = jnp.asarray(ROWS[0], jnp.float32)


def model_of(classes: int = 3) -> Model:
    summary = from_array(ROWS).schema.summary()

    def encoder(size: int, *, key: jax.Array):
        return MLP(8, 1).encoder((3,), size, key=key)

    part = CodebookLadder(num_classes=classes, code_dim=2, hidden_units=8)
    posterior = part.create(encoder, 1, key=jax.random.key(0))
    prior = ClassTopDown().create(posterior, summary, MLP(8, 1).decoder, key=jax.random.key(1))
    prior = jax.tree.map(lambda leaf: leaf + jnp.arange(classes, dtype=leaf.dtype), prior)

    def decoder(size: int, *, key: jax.Array):
        made = MLP(8, 1).decoder(1, (size, 3), key=key)
        return lambda z: made(z[-1:])

    return Model(posterior, prior, NormalLikelihood().create(decoder, summary, key=jax.random.key(2)))


def test_codes_are_drawn_by_distance_and_the_layer_below_is_a_product_of_normals():
    model = model_of()
    posterior = model.posterior
    q, p = posterior(X), model.prior(posterior)
    said, loc, log_scale = np.split(np.asarray(posterior.network(X), np.float64), (2, 3))
    log_scale = -6 + np.logaddexp(0, log_scale + 6) - np.logaddexp(0, log_scale - 4)  # softly bounded
    away = np.exp(-((said - np.asarray(posterior.codebook, np.float64)) ** 2).sum(axis=1))
    np.testing.assert_allclose(q.classes.probs, away / away.sum(), rtol=1e-3)
    for k in range(3):
        precisions = np.array([p.scale[k, 0] ** -2.0, np.exp(-2 * log_scale[0])])
        means = np.array([p.loc[k, 0], loc[0]])
        np.testing.assert_allclose(q.scale[k, 0] ** -2.0, precisions.sum(), rtol=1e-3)
        np.testing.assert_allclose(q.loc[k, 0], precisions @ means / precisions.sum(), rtol=1e-3, atol=1e-4)


def test_the_kl_and_the_bound_are_the_sums_over_codes():
    """Beside quadrature over u for each code; the bound is below log p(x), the sum of integrals."""
    model = model_of()
    q, p = model.posterior(X), model.prior(model.posterior)
    u = np.linspace(-12, 12, 4001)
    step = u[1] - u[0]
    log_x = np.asarray(jax.vmap(lambda z: model.likelihood(jnp.concatenate([jnp.zeros(3), z])).log_prob(X))(
        jnp.asarray(u[:, None], jnp.float32)), np.float64)  # fmt: skip
    q_k, p_k = (np.asarray(law.classes.probs, np.float64) for law in (q, p))
    bound, evidence, kl = 0.0, 0.0, 0.0
    for k in range(3):
        log_q = stats.norm.logpdf(u, float(q.loc[k, 0]), float(q.scale[k, 0])) + np.log(q_k[k])
        log_p = stats.norm.logpdf(u, float(p.loc[k, 0]), float(p.scale[k, 0])) + np.log(p_k[k])
        kl += (np.exp(log_q) * (log_q - log_p)).sum() * step
        bound += (np.exp(log_q) * (log_x + log_p - log_q)).sum() * step
        evidence += np.exp(log_x + log_p).sum() * step
    keys = jax.random.split(jax.random.key(3), 4000)
    terms = jax.jit(jax.vmap(lambda key: ELBO()(model, X, key=key, step=jnp.asarray(0))))(keys)
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-3)
    found = np.asarray(terms.bound, np.float64)
    assert abs(found.mean() - bound) < 5 * found.std() / np.sqrt(len(found)) + 1e-4
    assert bound < np.log(evidence)


def test_groups_of_rows_have_codes_and_all_verbs_work(tmp_path):
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 300)
    rows = np.array([[4.0, -4.0], [-4.0, -4.0], [0.0, 5.0]])[group] + 0.3 * rng.normal(size=(300, 2))
    fitted = rx.fit(
        rows, likelihood="normal", posterior={"name": "codebook-ladder", "num_classes": 3}, latent_dim=2, epochs=150,
        width=32, depth=1, learning_rate=1e-2,
    )  # fmt: skip
    assert fitted.recipe.name("prior") == "class-top-down"
    with jax.numpy_dtype_promotion("standard"):
        values = jnp.asarray(dataset_of(fitted, rows).values, jnp.float32)
        probs = jax.vmap(lambda x: fitted.model.posterior(x).classes.probs)(values)
    codes = np.asarray(probs).argmax(axis=1)
    purity = sum(np.bincount(group[codes == k]).max() for k in np.unique(codes)) / 300
    assert purity > 0.95
    rx.save(fitted, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    np.testing.assert_array_equal(
        rx.sample(again, 20, key=jax.random.key(0)), rx.sample(fitted, 20, key=jax.random.key(0))
    )
    assert rx.evaluate(again, rows).elbo > -6


@pytest.mark.parametrize(
    ("posterior", "prior"), [("ladder", "uniform-codes"), ("vq", "top-down"), ("bottom-up", "uniform-categorical")]
)
def test_layers_of_another_kind_are_refused_naming_the_ladder_with_a_codebook(posterior, prior):
    with pytest.raises(RecipeError, match="codebook-ladder"):
        rx.fit(ROWS, posterior=posterior, prior=prior, latent_dim=2, epochs=1)
