"""What is trained beside a model: trained and saved with it, not served."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reparax as rx
from reparax.errors import ArtifactError, RecipeError
from reparax.networks import Affine
from reparax.objectives import ELBO, AbstractCompanionObjective, Accompanied
from reparax.parts import option

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 1)) @ np.array([[1.0, -2.0, 0.5]]) + 0.1 * RNG.normal(size=(200, 3))
SMALL = {"latent_dim": 2, "width": 8, "depth": 1, "epochs": 40, "batch_size": 50, "learning_rate": 0.02}


class Readout(AbstractCompanionObjective):
    """The evidence lower bound, and a linear readout of the first column from codes, which the model does not see."""

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    weight: float = option(1.0, low=0, high=100)

    def companion(self, model, *, key):
        return Affine(*model.posterior.latent_shape, 1, key=key)

    def terms(self, model, companion, x, *, key, step):
        terms = ELBO()(model, x, key=key, step=step)
        error = (companion(jax.lax.stop_gradient(model.posterior.code(x)))[0] - x[0]) ** 2
        return eqx.tree_at(lambda made: made.objective, terms, terms.objective - self.weight * error)


@pytest.fixture(scope="module")
def fitted():
    return rx.fit(ROWS, objective=Readout(), likelihood="normal", **SMALL)


def test_the_companion_is_trained_and_the_model_is_as_without_it(fitted):
    codes = rx.encode(fitted, ROWS)
    read = codes @ np.asarray(fitted.companion.weight) + np.asarray(fitted.companion.bias)
    assert np.corrcoef(read[:, 0], ROWS[:, 0])[0, 1] > 0.9
    alone = rx.fit(ROWS, likelihood="normal", **SMALL)
    assert alone.companion is None
    np.testing.assert_allclose(rx.encode(alone, ROWS), codes, atol=2e-3)


def test_the_companion_is_saved_and_left_where_it_is_not_asked_for(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    served = rx.load(tmp_path / "model")
    assert served.companion is None
    np.testing.assert_array_equal(rx.encode(served, ROWS), rx.encode(fitted, ROWS))
    fresh = Readout().companion(fitted.model, key=jax.random.key(9))
    again = rx.load(tmp_path / "model", companion=fresh)
    np.testing.assert_array_equal(again.companion.weight, fitted.companion.weight)
    with pytest.raises(ArtifactError, match="weight to be float32 of shape"):
        rx.load(tmp_path / "model", companion=Affine(5, 1, key=jax.random.key(0)))
    rx.save(rx.fit(ROWS, likelihood="normal", **SMALL | {"epochs": 1}), tmp_path / "model")
    assert not (tmp_path / "model" / "companion.safetensors").exists()
    with pytest.raises(ArtifactError, match="companion"):
        rx.load(tmp_path / "model", companion=fresh)


def test_a_damaged_companion_is_seen(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    file = tmp_path / "model" / "companion.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    fresh = Readout().companion(fitted.model, key=jax.random.key(9))
    with pytest.raises(ArtifactError, match="changed after it was written"):
        rx.load(tmp_path / "model", companion=fresh)


def test_hidden_cells_are_refused_and_not_suggested_with_a_companion():
    assert rx.plan(ROWS, objective=Readout()).hide == 0 < rx.plan(ROWS).hide
    with pytest.raises(RecipeError, match="hide"):
        rx.fit(ROWS, objective=Readout(), hide=0.5, **SMALL | {"epochs": 1})


def test_a_companion_in_a_context():
    context = RNG.normal(size=(200, 2))
    fitted = rx.fit(ROWS, objective=Readout(), context=context, **SMALL | {"epochs": 1})
    assert fitted.companion.weight.shape == (2, 1)
    assert isinstance(fitted.companion, Affine)
    assert np.isfinite(rx.score(fitted, ROWS[:3], context=context[:3]).log_density).all()


def test_the_reported_bound_is_the_model_s(fitted):
    both, x = Accompanied(fitted.model, fitted.companion), jnp.asarray(ROWS[0], jnp.float32)
    terms = Readout()(both, x, key=jax.random.key(0), step=jnp.asarray(0))
    alone = ELBO()(fitted.model, x, key=jax.random.key(0), step=jnp.asarray(0))
    assert float(terms.bound) == pytest.approx(float(alone.bound), rel=1e-5)
    assert float(terms.objective) < float(terms.bound)
