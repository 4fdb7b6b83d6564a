"""Models with a class: exact in the class, bounds of labeled and unlabeled examples, labels as classes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparax import registry
from reparax.data import UNLABELED, from_array, label_names, repeated_labels, with_classes
from reparax.distributions import ClassNormal, kl_divergence, with_class
from reparax.errors import DataError, RecipeError
from reparax.estimators import AssumedContinuous, base_of, expectation, iwae_estimate
from reparax.likelihoods import Normal as NormalLikelihood
from reparax.model import Model, check_latent_space
from reparax.networks import MLP
from reparax.objectives import ELBO, IWAE, SemiSupervised, check_objective
from reparax.objectives.labels import OfLabel
from reparax.posteriors import ClassNormal as ClassPosterior
from reparax.posteriors import CodebookLadder, DiagonalNormal
from reparax.priors import StandardNormal, UniformClass, Vamp

RNG = np.random.default_rng(0)
LOGITS, LOC, SCALE = RNG.normal(size=3), RNG.normal(size=(3, 2)), RNG.uniform(0.3, 1.2, (3, 2))
PRIOR = ClassNormal(jnp.array([0.2, -0.3, 0.5]), jnp.array(RNG.normal(size=(3, 2)), jnp.float32), jnp.ones((3, 2)))
SUMMARY = from_array(RNG.normal(size=(20, 2))).schema.summary()
X = jnp.array([0.4, -0.9])


def q_of(logits=LOGITS, loc=LOC, scale=SCALE) -> ClassNormal:
    return ClassNormal(*(jnp.asarray(part, jnp.float32) for part in (logits, loc, scale)))


def test_the_divergence_is_the_mean_of_log_ratios_and_the_moments_are_those_of_draws():
    q = q_of()
    z = q.sample(jax.random.key(0), (40_000,))
    ratios = np.asarray(jax.jit(lambda z: q.log_prob(z) - PRIOR.log_prob(z))(z), np.float64)
    assert abs(ratios.mean() - kl_divergence(q, PRIOR)) < 5 * ratios.std() / np.sqrt(len(ratios))
    draws = np.asarray(z, np.float64)
    assert np.all(np.abs(draws.mean(axis=0) - q.mean) < 5 * draws.std(axis=0) / np.sqrt(len(draws)))
    fourth = ((draws - draws.mean(axis=0)) ** 2).std(axis=0)
    assert np.all(np.abs(draws.var(axis=0) - q.variance) < 5 * fourth / np.sqrt(len(draws)))


def test_expectations_are_exact_in_the_class_and_their_gradients_are_those_of_the_sum():
    """E of a function of the class and the mean of u, whose value and gradient have a closed form."""
    values = jnp.array([1.0, -2.0, 0.5])

    def estimate(parameters):
        base, push = base_of(q_of(*parameters))
        return expectation(lambda e: push(e)[0][:3] @ values, base, key=jax.random.key(1), num_samples=1)

    def exact(parameters):
        return jax.nn.softmax(parameters[0]) @ values

    parameters = tuple(jnp.asarray(part, jnp.float32) for part in (LOGITS, LOC, SCALE))
    (value, slope), (right, right_slope) = (jax.value_and_grad(f)(parameters) for f in (estimate, exact))
    np.testing.assert_allclose(value, right, rtol=1e-5)
    np.testing.assert_allclose(slope[0], right_slope[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("num_samples", [1, pytest.param(3, marks=pytest.mark.full)])
def test_gradients_of_the_bounds_are_unbiased(num_samples):
    """Against enumeration and quadrature: every class, with the noise on a grid of Gauss and Hermite."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    grid = jnp.asarray(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(-1, 2), jnp.float32)
    mass = jnp.asarray((weights[:, None] * weights).ravel() / (2 * np.pi), jnp.float32)
    weight = jnp.array([[0.5, -1.0, 0.3, 0.8, 0.2], [1.0, 0.4, -0.6, 0.1, -0.9]])

    def log_joint(z):
        return dist.Normal(jnp.tanh(weight @ z), 0.7).to_event(1).log_prob(X) + PRIOR.log_prob(z)

    def exact(parameters):
        q = q_of(*parameters)

        def at(y, noise):
            return log_joint(q.push({"class": y, "noise": noise})[0])

        each = jax.vmap(lambda y: jax.vmap(lambda noise: at(y, noise))(grid) @ mass)
        entropy = -jnp.sum(jax.nn.log_softmax(q.logits) * q.classes.probs)
        entropy += q.classes.probs @ jnp.sum(jnp.log(q.scale) + 0.5 * jnp.log(2 * jnp.pi * jnp.e), axis=1)
        return q.classes.probs @ each(jnp.eye(3)) + entropy

    def estimate(parameters, key):
        q = q_of(*parameters)
        base, push = base_of(q)

        def f(e):
            z, log_q = push(e)
            return log_joint(z) - log_q

        return expectation(AssumedContinuous(f), base, key=key, num_samples=num_samples)

    parameters = tuple(jnp.asarray(part, jnp.float32) for part in (LOGITS, LOC, SCALE))
    keys = jax.random.split(jax.random.key(3), 3000)
    slopes = jax.jit(jax.vmap(jax.grad(estimate), in_axes=(None, 0)))(parameters, keys)
    right = jax.grad(exact)(parameters)
    for draws, mean in zip(slopes, right, strict=True):
        error = np.std(np.asarray(draws, np.float64), axis=0) / np.sqrt(len(keys))
        assert np.all(np.abs(np.asarray(draws, np.float64).mean(axis=0) - mean) < 5 * error + 2e-4)
    bound = jax.jit(jax.vmap(lambda k: iwae_estimate(AssumedContinuous(log_joint), q_of(), key=k, num_samples=20)))(
        keys[:500]
    )
    assert bound.mean() > exact(parameters)


def model_of(prior, classes: int = 3, kind=ClassPosterior) -> Model:
    def make_encoder(out_size, *, key):
        return MLP(8, 1).encoder((2,), out_size, key=key)

    posterior = kind(num_classes=classes, hidden_units=8).create(make_encoder, 2, key=jax.random.key(0))

    def make_decoder(parameters, shape=None, *, key):
        return MLP(8, 1).decoder(classes + 2, (parameters, 2), key=key)

    likelihood = NormalLikelihood().create(make_decoder, SUMMARY, key=jax.random.key(1))
    made = prior.create(posterior, SUMMARY, MLP(8, 1).decoder, key=jax.random.key(2))
    return Model(posterior, made, likelihood)


OF_CLASSES = [
    name for name in registry.names("priors") if "class and real" in registry.load("priors", name).latent_spaces
]
QUICK_PRIORS = {"uniform-class", "class-mixture", "vamp"}


@pytest.mark.parametrize("kind", [ClassPosterior, pytest.param(CodebookLadder, marks=pytest.mark.full)])
@pytest.mark.parametrize(
    "prior",
    [pytest.param(name, marks=[] if name == "vamp" else pytest.mark.full) for name in OF_CLASSES],
)
def test_the_bound_of_an_unlabeled_example_is_that_of_all_classes(prior, kind):
    """sum_y q(y) (bound of (x, y) - log q(y)), equation 7 of Kingma et al. (2014), from the same noise.

    So of a prior that is made of the posterior too, whose class must not become the known one.
    """
    part = Vamp(num_components=3) if prior == "vamp" else registry.load("priors", prior)()
    model, key, step = model_of(part, kind=kind), jax.random.key(5), jnp.asarray(1)
    log_q = jax.nn.log_softmax(model.posterior(X).logits)
    objective = SemiSupervised(weight=0.0, num_rows=1, num_labeled=1)
    of_label = jax.jit(lambda y: OfLabel(objective, y)(model, X, key=key, step=step))
    bounds = np.asarray([of_label(jnp.asarray(y)).bound for y in range(3)])
    expected = np.exp(log_q) @ (bounds - log_q)
    np.testing.assert_allclose(of_label(jnp.asarray(-1)).bound, expected, rtol=1e-4)
    np.testing.assert_allclose(ELBO()(model, X, key=key, step=step).bound, expected, rtol=1e-4)
    draws = jax.jit(jax.vmap(lambda k: IWAE(num_samples=50)(model, X, key=k, step=step).bound))
    log_x = draws(jax.random.split(key, 200))
    elbos = jax.jit(jax.vmap(lambda k: ELBO()(model, X, key=k, step=step).bound))(jax.random.split(key, 2000))
    assert log_x.mean() > elbos.mean() - 5 * elbos.std() / np.sqrt(2000)


def test_a_label_adds_its_log_probability_and_copies_share_the_bound():
    model, key, step = model_of(UniformClass()), jax.random.key(5), jnp.asarray(1)
    log_q = jax.nn.log_softmax(model.posterior(X).logits)
    plain = OfLabel(SemiSupervised(weight=0.0), jnp.asarray(2))(model, X, key=key, step=step)
    objective = SemiSupervised(weight=0.5, repeats=4, num_rows=120, num_labeled=10)
    terms = OfLabel(objective, jnp.asarray(2))(model, X, key=key, step=step)
    np.testing.assert_allclose(terms.objective, plain.bound / 4 + 0.5 * 120 / 40 * log_q[2], rtol=1e-5)
    np.testing.assert_allclose(terms.bound, plain.bound)
    unlabeled = OfLabel(objective, jnp.asarray(-1))(model, X, key=key, step=step)
    assert unlabeled.objective == unlabeled.bound
    slopes = jax.grad(lambda logits: with_class(q_of(logits), 1).log_prob(jnp.array([0.0, 1, 0, 0.3, 0.4])))(
        jnp.asarray(LOGITS, jnp.float32)
    )
    assert not np.any(slopes)


def test_labels_need_a_posterior_with_a_class():
    def make(size, *, key):
        return MLP(8, 1).encoder((2,), size, key=key)

    with pytest.raises(RecipeError, match="class-normal"):
        check_objective(
            SemiSupervised(),
            Model(
                DiagonalNormal().create(
                    lambda n, *, key: MLP(8, 1).encoder((2,), n, key=key), 2, key=jax.random.key(0)
                ),
                StandardNormal(),
                model_of(UniformClass()).likelihood,
            ),
        )
    with pytest.raises(RecipeError, match="uniform-class"):
        check_latent_space(ClassPosterior(), StandardNormal())


NAMES = st.one_of(st.integers(0, 30), st.text("abc", min_size=1, max_size=3))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), NAMES), min_size=1, max_size=30), st.sampled_from([0, 1, 3]))
def test_labels_become_numbers_of_classes(labels, repeats):
    rows = np.random.default_rng(0).normal(size=(len(labels), 2)).round(3)
    array = np.asarray(["" if label is None else str(label) for label in labels], object).astype(str)
    known = {str(label) for label in labels if label is not None}
    data = from_array(rows, labels=array)
    if len(known) < 2:
        with pytest.raises(DataError, match="classes"):
            with_classes(data)
        return
    found = with_classes(data)
    names = [found.schema.classes[code] if code >= 0 else None for code in found.classes.tolist()]
    assert names == [None if label is None else str(label) for label in labels] == label_names(array)
    again, copies = repeated_labels(found, 0.3, repeats)
    assert np.array_equal(again.classes[: len(labels)], found.classes)
    count = int((found.classes >= 0).sum())
    assert (again.classes >= 0).sum() == copies * count
    assert copies == repeats or repeats == 0
    assert np.array_equal(again.take(np.arange(len(labels))).values, rows.astype(again.values.dtype))


def test_numbers_and_gaps_as_labels():
    rows = np.zeros((4, 2)) + np.arange(4)[:, None]
    for labels in (
        [3, -1, 10, 3],
        [3.0, np.nan, 10.0, 3.0],
        [3.0, -1.0, 10.0, 3.0],
        [20240101.0, np.nan, 20240102.0, 20240101.0],
    ):
        found = with_classes(from_array(rows, labels=np.array(labels)))
        assert found.schema.classes == tuple(str(int(label)) for label in (labels[0], labels[2]))
        assert found.classes.tolist() == [0, UNLABELED, 1, 0]
    with pytest.raises(DataError, match="measurements"):
        with_classes(from_array(rows, labels=np.array([0.5, 1.0, 2.0, 3.0])))
    with pytest.raises(DataError, match="--label"):
        with_classes(from_array(rows))
