"""A user's own likelihood, posterior and network, in their own file, through the whole of the library."""

import importlib
import sys
from pathlib import Path

import jax
import msgspec
import numpy as np
import pytest
from scipy import special, stats

import reparax as rx
from reparax.applications._saves import _structure, identity_of
from reparax.errors import RecipeError
from reparax.likelihoods import Normal
from reparax.objectives import ELBO
from reparax.posteriors import Deterministic, Encoder
from reparax.priors import FittedNormal, StandardNormal
from reparax.recipe import build

ROWS = np.random.default_rng(0).normal(size=(60, 1)) @ np.array([[1.0, -2.0, 0.5]]) + 0.1


@pytest.fixture(scope="module")
def parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield importlib.import_module("my_parts")
        sys.modules.pop("my_parts")  # another test has a module of this name


@pytest.fixture(scope="module")
def fitted(parts):
    keys = jax.random.split(jax.random.key(0))
    model = rx.Model(
        posterior=Encoder(parts.LogisticNoise(), parts.Wave(3, (2,), key=keys[0]), 2),
        prior=StandardNormal(),
        likelihood=parts.LaplaceDecoder(parts.Wave(2, (1, 3), key=keys[1]), np.zeros((), np.float32)),
    )
    with jax.numpy_dtype_promotion("standard"):
        return rx.fit(ROWS, model=model, objective=ELBO(num_samples=2), epochs=200, learning_rate=0.02, seed=3)


def test_training_makes_it_better_and_reports_a_history(fitted):
    assert fitted.recipe is None
    bounds = [record.valid["bound"] for record in fitted.history]
    assert bounds[-1] > bounds[0] or max(bounds) > bounds[0]
    assert float(np.exp(fitted.model.likelihood.log_scale)) < 0.8  # it started at 1


def test_codes_are_the_posterior_means(fitted):
    codes = rx.encode(fitted, ROWS)
    network = fitted.model.posterior.network
    by_hand = np.sin(ROWS @ np.asarray(network.first, np.float64)) @ np.asarray(network.second, np.float64)
    np.testing.assert_allclose(codes, by_hand, atol=1e-4)
    np.testing.assert_allclose(rx.encode_std(fitted, ROWS), 0.2 * np.pi / np.sqrt(3), rtol=1e-5)


def test_log_density_is_the_importance_weighted_bound_done_by_hand(fitted):
    scores = rx.score(fitted, ROWS[:6], num_samples=2000)
    mean = rx.encode(fitted, ROWS[:6]).astype(np.float64)
    rng = np.random.default_rng(1)
    z = mean[:, None] + rng.logistic(size=(6, 20_000, 2)) * 0.2
    decoder = fitted.model.likelihood.network
    located = np.sin(z @ np.asarray(decoder.first, np.float64)) @ np.asarray(decoder.second, np.float64)
    noise = float(np.exp(fitted.model.likelihood.log_scale))
    log_w = (
        stats.laplace.logpdf(ROWS[:6, None], located, noise).sum(axis=2)
        + stats.norm.logpdf(z).sum(axis=2)
        - stats.logistic.logpdf(z, mean[:, None], 0.2).sum(axis=2)
    )
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    relative = w.std(axis=1) / w.mean(axis=1)
    by_hand = special.logsumexp(log_w, axis=1) - np.log(20_000)
    error = relative * np.sqrt(1 / 2000 + 1 / 20_000)
    assert np.all(np.abs(scores.log_density - by_hand) <= 5 * error + relative**2 / 2000)
    np.testing.assert_array_equal(scores.anomaly_score, -scores.log_density)


def test_evaluation_and_samples(fitted):
    found = rx.evaluate(fitted, ROWS, num_samples=50)
    assert found.num_examples == 60
    assert found.elbo == pytest.approx(found.reconstruction - found.kl, abs=1e-4)
    assert found.iwae > found.elbo
    assert found.bits_per_dim is None
    assert found.latent_dim == 2
    samples = rx.sample(fitted, 500, key=jax.random.key(0))
    assert samples.shape == (500, 3)
    assert np.corrcoef(samples[:, 0], samples[:, 1])[0, 1] < -0.3  # as in the data, whose columns are one line


def test_the_kind_of_objective_must_suit_the_users_posterior(parts):
    keys = jax.random.split(jax.random.key(0))
    summary = rx.read(ROWS).schema.summary()
    posterior = Encoder(Deterministic(), parts.Wave(3, (2,), key=keys[0]), 2)
    likelihood = Normal().create(lambda count, key: parts.Wave(2, (count, 3), key=key), summary, key=keys[1])
    prior = FittedNormal().create(posterior, summary, parts.Wave, key=keys[0])
    model = rx.Model(posterior, prior, likelihood)
    with pytest.raises(RecipeError, match="reconstruction"):
        rx.fit(ROWS, model=model, epochs=1)
    with pytest.raises(RecipeError, match="reconstruction"):
        rx.fit(ROWS, model=model, objective=ELBO(), epochs=1)


@pytest.mark.parametrize("chosen", [{"posterior": "bernoulli"}, {"latent_dim": 3}, {"binarize": "dynamic"}])
def test_a_choice_of_parts_beside_a_ready_model_is_refused(parts, chosen):
    keys = jax.random.split(jax.random.key(0))
    model = rx.Model(
        posterior=Encoder(parts.LogisticNoise(), parts.Wave(3, (2,), key=keys[0]), 2),
        prior=StandardNormal(),
        likelihood=parts.LaplaceDecoder(parts.Wave(2, (1, 3), key=keys[1]), np.zeros((), np.float32)),
    )
    with pytest.raises(RecipeError, match=next(iter(chosen))):
        rx.fit(ROWS, model=model, epochs=1, **chosen)


def settings_of_the_prior():
    return {"prior": "my_parts:ShiftedNormal", "likelihood": "normal", "latent_dim": 2, "width": 8, "epochs": 3}


def test_a_prior_gets_networks_of_the_architecture_and_they_are_trained(parts, tmp_path):
    fitted = rx.fit(ROWS, **settings_of_the_prior(), seed=1)
    untrained = rx.fit(ROWS, **(settings_of_the_prior() | {"epochs": 1, "learning_rate": 1e-8}), seed=1)
    means = [np.asarray(one.model.prior(one.model.posterior).mean) for one in (fitted, untrained)]
    assert means[0].shape == (2,)
    assert np.abs(means[0] - means[1]).max() > 1e-3
    rx.save(fitted, tmp_path / "model")
    loaded = rx.load(tmp_path / "model", allow=["my_parts"])
    np.testing.assert_array_equal(loaded.model.prior(loaded.model.posterior).mean, means[0])


def test_the_network_of_a_prior_sees_the_context(parts):
    context = np.random.default_rng(1).normal(size=(60, 1))
    fitted = rx.fit(ROWS, context=context, **settings_of_the_prior(), seed=1)
    given = [fitted.model.given(np.full(1, value, np.float32)) for value in (-1.0, 1.0)]
    means = [np.asarray(model.prior(model.posterior).mean) for model in given]
    assert np.abs(means[0] - means[1]).max() > 1e-3


def test_a_ready_model_of_other_classes_is_not_gone_on_with():
    """Weights of the same shapes do not make it the same model; newly built weights do."""
    data = rx.read(ROWS)
    recipe = rx.plan(data, likelihood="normal", relations="none", width=4, depth=1)

    def identity(seed=0, **chosen):
        model = build(msgspec.structs.replace(recipe, **chosen), data.schema, key=jax.random.key(seed))
        return identity_of(model, recipe, data, None, is_custom=True)

    assert identity(seed=1) == identity()
    assert "0x" not in "".join(_structure(build(recipe, data.schema, key=jax.random.key(0))))
    for chosen in ({"posterior": "laplace"}, {"likelihood": "student-t"}):
        other = identity(**chosen)
        assert other["custom model"] != identity()["custom model"]
    assert identity(posterior="laplace")["weights"] == identity()["weights"]
