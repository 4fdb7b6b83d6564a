"""Objectives against models whose marginal likelihood is known exactly."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import reparax as rx
from reparax import registry
from reparax.errors import InvalidEstimator
from reparax.estimators import expectation
from reparax.likelihoods.bounded import BernoulliDecoder
from reparax.likelihoods.real import NormalDecoder
from reparax.model import Model
from reparax.objectives import (
    CIWAE,
    DIP,
    ELBO,
    IWAE,
    PIWAE,
    AbstractCompanionObjective,
    Accompanied,
    Capacity,
    InfoVAE,
    MultipleIWAE,
    Reconstruction,
    TotalCorrelation,
)
from reparax.parts import option_names
from reparax.posteriors import Bernoulli as BernoulliPosterior
from reparax.posteriors import Categorical, DiagonalNormal, Encoder
from reparax.priors import StandardNormal, UniformCategorical
from reparax.priors.learned import LearnedLogits, LearnedMixture
from reparax.pytrees import BATCH, Frozen

STEP = jnp.asarray(0)
RNG = np.random.default_rng(0)
W, B = RNG.normal(size=(2, 3)), np.array([0.5, -1.0, 2.0])
A, C = RNG.normal(size=(3, 2)) * 0.4, np.array([0.1, -0.3])
LOG_SCALE, LOG_VARIANCE = -0.3, np.array([-0.4, 0.6])
# The likelihood bounds its log-scale softly within (-7, 3): this is the one it has.
BOUNDED_LOG_SCALE = -7 + np.logaddexp(0, LOG_SCALE + 7) - np.logaddexp(0, LOG_SCALE - 3)
X = RNG.normal(size=(4, 3)) + B


@eqx.filter_jit
def run(objective, model: Model, x: jax.Array, key: jax.Array, step: jax.Array = STEP):
    return objective(model, x, key=key, step=step)


class Linear(eqx.Module):
    matrix: jax.Array
    bias: jax.Array
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        return (x @ self.matrix + self.bias).reshape(self.out_shape)


def linear(matrix: np.ndarray, bias: np.ndarray, out_shape: tuple[int, ...]) -> Linear:
    return Linear(jnp.asarray(matrix, jnp.float32), jnp.asarray(bias, jnp.float32), out_shape)


def linear_gaussian(prior=None) -> Model:
    """z ~ N(0, I), x | z ~ N(z W + B, s^2), with a diagonal q(z | x) that is not the exact posterior."""
    encoder = linear(np.hstack([A, np.zeros((3, 2))]), np.concatenate([C, LOG_VARIANCE]), (4,))
    likelihood = NormalDecoder(linear(W, B, (1, 3)), jnp.asarray(LOG_SCALE), Frozen(jnp.zeros(3)), Frozen(jnp.ones(3)))
    return Model(Encoder(DiagonalNormal(), encoder, 2), prior or StandardNormal(), likelihood)


def exact() -> tuple[np.ndarray, np.ndarray]:
    """log p(x) and the ELBO of every row, both in closed form."""
    variance = np.exp(2 * BOUNDED_LOG_SCALE)
    log_marginal = stats.multivariate_normal(B, W.T @ W + variance * np.eye(3)).logpdf(X)
    mean, spread = X @ A + C, np.exp(LOG_VARIANCE)
    misfit = ((X - mean @ W - B) ** 2).sum(axis=1) + spread @ (W**2).sum(axis=1)
    reconstruction = -0.5 * misfit / variance - 1.5 * np.log(2 * np.pi * variance)
    kl = 0.5 * (mean**2 + spread - 1 - LOG_VARIANCE).sum(axis=1)
    return log_marginal, reconstruction - kl


def values(objective, model: Model, count: int) -> dict[str, np.ndarray]:
    """The terms of every row, shape (count, rows), each with its own noise."""

    @jax.jit
    def all_rows(keys: jax.Array):
        one = lambda x, key: objective(model, x, key=key, step=STEP)  # noqa: E731
        return jax.vmap(jax.vmap(one))(jnp.broadcast_to(jnp.asarray(X, jnp.float32), (count, *X.shape)), keys)

    terms = all_rows(jax.random.split(jax.random.key(11), (count, len(X))))
    return {name: np.asarray(getattr(terms, name), np.float64) for name in terms.__dataclass_fields__}


def error(samples: np.ndarray) -> np.ndarray:
    return samples.std(axis=0) / np.sqrt(len(samples))


def test_elbo_is_its_closed_form_and_below_the_log_marginal():
    log_marginal, elbo = exact()
    found = values(ELBO(), linear_gaussian(), 4000)
    assert np.all(elbo < log_marginal)
    assert np.all(np.abs(found["bound"].mean(axis=0) - elbo) <= 5 * error(found["bound"]))
    np.testing.assert_allclose(found["objective"], found["bound"], rtol=1e-6)
    np.testing.assert_allclose(found["reconstruction"] - found["kl"], found["bound"], rtol=1e-5, atol=1e-5)


def test_importance_weighted_bound_rises_from_the_elbo_and_never_passes_the_log_marginal():
    log_marginal, elbo = exact()
    before, error_before = None, None
    for count in (1, 4, 64):
        found = values(IWAE(num_samples=count), linear_gaussian(), 2000)["bound"]
        mean, se = found.mean(axis=0), error(found)
        if count == 1:
            assert np.all(np.abs(mean - elbo) <= 5 * se)
        else:
            assert np.all(mean >= before - 5 * np.hypot(se, error_before))
            assert mean.sum() > before.sum()
        assert np.all(mean <= log_marginal + 5 * se)
        before, error_before = mean, se
    assert np.all(log_marginal - before < 0.2 * (log_marginal - elbo))


# A model whose latent variable has few states: log p(x) and every expectation are finite sums.
BITS = 3
V, D = RNG.normal(size=(BITS, 4)) * 2, RNG.normal(size=4)
ENCODER, PRIOR = RNG.normal(size=(4, BITS)), np.array([0.4, -1.0, 0.0])
BIT_ROWS = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])


def discrete() -> Model:
    posterior = Encoder(BernoulliPosterior(), linear(ENCODER, np.zeros(BITS), (BITS,)), BITS)
    likelihood = BernoulliDecoder(linear(V, D, (1, 4)))
    return Model(posterior, LearnedLogits(jnp.asarray(PRIOR, jnp.float32)), likelihood)


def log_bernoulli(logits: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return np.where(bits == 1, special.log_expit(logits), special.log_expit(-logits)).sum(axis=-1)


STATES = np.array(list(itertools.product((0, 1), repeat=BITS)))


def log_weights(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q of every state, and log p(x, z) - log q(z | x), in float64 without the code under test."""
    log_q = log_bernoulli(x @ ENCODER, STATES)
    log_joint = log_bernoulli(PRIOR, STATES) + log_bernoulli(STATES @ V + D, np.broadcast_to(x, (len(STATES), 4)))
    return np.exp(log_q), log_joint - log_q


@pytest.mark.parametrize("row", BIT_ROWS)
def test_bounds_of_a_discrete_model_are_the_enumerated_ones(row):
    q, log_w = log_weights(row)
    log_marginal = special.logsumexp(log_w + np.log(q))
    key, x = jax.random.key(0), jnp.asarray(row, jnp.float32)
    elbo = run(ELBO(estimator="enumeration"), discrete(), x, key)
    assert abs(float(elbo.bound) - q @ log_w) < 1e-4
    bounds = [float(elbo.bound)]
    for count in (1, 2, 3):
        terms = run(IWAE(num_samples=count, estimator="enumeration"), discrete(), x, key)
        draws = list(itertools.product(range(len(STATES)), repeat=count))
        expected = sum(q[list(i)].prod() * (special.logsumexp(log_w[list(i)]) - np.log(count)) for i in draws)
        assert abs(float(terms.bound) - expected) < 1e-4
        assert abs(float(terms.objective) - expected) < 1e-4
        bounds.append(float(terms.bound))
    assert np.all(np.diff(bounds) > -1e-4)
    assert bounds[-1] <= log_marginal + 1e-4


def brute_force_elbo(model: Model, x: jax.Array) -> jax.Array:
    """The ELBO as a plain sum over states, for exact gradients."""
    z = jnp.asarray(STATES, jnp.float32)
    posterior, prior = model.posterior(x), model.prior(model.posterior)
    log_q = jax.vmap(posterior.log_prob)(z)
    log_joint = jax.vmap(lambda z: prior.log_prob(z) + model.likelihood(z).log_prob(x))(z)
    return jnp.sum(jnp.exp(log_q) * (log_joint - log_q))


@pytest.mark.parametrize("estimator", ["score-function", "leave-one-out", "disarm", "auto"])
def test_gradients_with_bits_are_unbiased(estimator):
    x = jnp.asarray(BIT_ROWS[0], jnp.float32)
    exact_gradient = eqx.filter_grad(brute_force_elbo)(discrete(), x)
    objective = ELBO(num_samples=2, estimator=estimator)

    @jax.jit
    @jax.vmap
    def gradient(key: jax.Array):
        return eqx.filter_grad(lambda model: objective(model, x, key=key, step=STEP).objective)(discrete())

    sampled = gradient(jax.random.split(jax.random.key(1), 8_000 if estimator != "auto" else 4))
    for found, expected in zip(jax.tree.leaves(sampled), jax.tree.leaves(exact_gradient), strict=True):
        found = np.asarray(found, np.float64)
        assert np.abs(expected).max() > 1e-3
        assert np.all(np.abs(found.mean(axis=0) - expected) <= 5 * error(found) + 1e-5)


def test_beta_free_bits_and_warm_up_change_the_objective_and_nothing_that_is_reported():
    model, key, x = linear_gaussian(), jax.random.key(5), jnp.asarray(X[0], jnp.float32)
    plain = run(ELBO(), model, x, key)
    mean = X[0] @ A + C
    kl = 0.5 * (mean**2 + np.exp(LOG_VARIANCE) - 1 - LOG_VARIANCE)
    assert kl.min() < 0.2 < kl.max()  # so that free bits of 0.2 nats bind for one dimension only
    objective = ELBO(beta=4.0, warmup_steps=100, free_bits=0.2)
    for step, beta in ((0, 0.0), (25, 1.0), (100, 4.0), (10_000, 4.0)):
        terms = run(objective, model, x, key, jnp.asarray(step))
        expected = float(plain.reconstruction) - beta * np.maximum(kl, 0.2).sum()
        assert abs(float(terms.objective) - expected) < 1e-3  # the soft bound of the log-variance
        for name in ("bound", "reconstruction", "kl"):
            assert float(getattr(terms, name)) == float(getattr(plain, name))
    assert abs(float(plain.kl) - kl.sum()) < 1e-3


def test_the_weight_of_the_kl_rises_in_a_straight_line():
    rising = ELBO(beta=3.0, warmup_steps=10)
    assert [float(rising.weight(jnp.asarray(step))) for step in (0, 5, 10, 99)] == [0.0, 1.5, 3.0, 3.0]
    assert float(ELBO(beta=0.7).weight(jnp.asarray(12))) == pytest.approx(0.7)


@pytest.fixture
def mixture() -> LearnedMixture:
    rng = np.random.default_rng(3)
    loc, log_scale = rng.normal(size=(2, 2)), rng.normal(size=(2, 2)) * 0.2
    return LearnedMixture(jnp.asarray([0.3, -0.5]), jnp.asarray(loc, jnp.float32), jnp.asarray(log_scale, jnp.float32))


def test_an_estimated_kl_is_never_clamped(mixture):
    """A single draw of log q - log p is negative now and then: pressing that at 0 would bias the objective."""
    found = values(ELBO(), linear_gaussian(mixture), 2000)
    assert found["kl"].min() < -0.1
    np.testing.assert_array_equal(found["objective"], found["bound"])


def test_free_bits_of_a_joint_kl_count_every_dimension(mixture):
    """Where the KL is one number for all dimensions, so are the free bits: latent_dim times as many."""
    model, x, key = linear_gaussian(mixture), jnp.asarray(X[0], jnp.float32), jax.random.key(0)
    terms = run(ELBO(free_bits=7.0, num_samples=50), model, x, key)
    assert abs(float(terms.kl)) < 7.0
    assert abs(float(terms.objective) - (float(terms.reconstruction) - 2 * 7.0)) < 1e-4


def test_bound_with_a_mixture_prior_and_its_gradient_are_those_of_quadrature(mixture):
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    eps = np.stack(np.meshgrid(points, points, indexing="ij"), -1).reshape(-1, 2)
    mass = np.outer(weights, weights).ravel() / (2 * np.pi)
    x = jnp.asarray(X[1], jnp.float32)

    def quadrature(model: Model) -> jax.Array:
        posterior = model.posterior(x)
        z = posterior.mean[None] + jnp.sqrt(posterior.variance)[None] * jnp.asarray(eps, jnp.float32)
        weights = jax.vmap(lambda z: model.log_joint(x, z) - posterior.log_prob(z))(z)
        return jnp.sum(jnp.asarray(mass, jnp.float32) * weights)

    model = linear_gaussian(mixture)
    expected = eqx.filter_jit(eqx.filter_value_and_grad(quadrature))(model)

    @jax.jit
    @jax.vmap
    def sampled(key: jax.Array):
        objective = lambda model: ELBO()(model, x, key=key, step=STEP).objective  # noqa: E731
        return eqx.filter_value_and_grad(objective)(model)

    found = sampled(jax.random.split(jax.random.key(2), 20_000))
    for draws, exact_value in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        draws = np.asarray(draws, np.float64)
        assert np.all(np.abs(draws.mean(axis=0) - exact_value) <= 5 * error(draws) + 2e-5)


def test_reconstruction_objective_is_the_expected_log_likelihood():
    _, elbo = exact()
    mean = X @ A + C
    kl = 0.5 * (mean**2 + np.exp(LOG_VARIANCE) - 1 - LOG_VARIANCE).sum(axis=1)
    found = values(Reconstruction(), linear_gaussian(), 4000)
    assert np.all(np.abs(found["objective"].mean(axis=0) - (elbo + kl)) <= 5 * error(found["objective"]))
    assert not found["kl"].any()


def test_one_hot_latents_enumerate_to_the_hand_made_sum():
    posterior = Encoder(Categorical(num_classes=3), linear(RNG.normal(size=(4, 6)), np.zeros(6), (6,)), 2)
    likelihood = BernoulliDecoder(linear(RNG.normal(size=(6, 4)), np.zeros(4), (1, 4)))
    model = Model(posterior, UniformCategorical(), likelihood)
    x = jnp.asarray(BIT_ROWS[1], jnp.float32)
    logits = np.asarray(posterior.network(x), np.float64).reshape(2, 3)
    total = 0.0
    for i, j in itertools.product(range(3), repeat=2):
        z = np.concatenate([np.eye(3)[i], np.eye(3)[j]])
        log_q = special.log_softmax(logits, axis=1)[[0, 1], [i, j]].sum()
        decoded = np.asarray(likelihood.network(jnp.asarray(z, jnp.float32)), np.float64)[0]
        total += np.exp(log_q) * (log_bernoulli(decoded, BIT_ROWS[1]) - 2 * np.log(3) - log_q)
    found = run(ELBO(estimator="enumeration"), model, x, jax.random.key(0))
    assert abs(float(found.bound) - total) < 1e-4


@pytest.mark.parametrize("name", registry.names("objectives"))
def test_every_objective_takes_its_options_and_reports_terms_that_agree(name):
    kind = registry.load("objectives", name)
    objective = kind(num_samples=3) if "num_samples" in option_names(kind) else kind()
    x = jnp.asarray(X[:1], jnp.float32)
    model = linear_gaussian()
    if isinstance(objective, AbstractCompanionObjective):
        model = Accompanied(model, objective.companion(model, key=jax.random.key(1)))

    @jax.jit
    def run_in_batch(key: jax.Array):
        return jax.vmap(lambda one: objective(model, one, key=key, step=STEP), axis_name=BATCH)(x)

    terms = jax.tree.map(lambda term: term[0], run_in_batch(jax.random.key(0)))
    assert all(np.shape(getattr(terms, field)) == () for field in terms.__dataclass_fields__)
    assert np.isfinite([float(getattr(terms, field)) for field in terms.__dataclass_fields__]).all()
    if name == "elbo":
        assert objective.num_samples == 3
    # The same key, the same bits.
    again = run_in_batch(jax.random.key(0))
    assert float(again.objective[0]) == float(terms.objective)


def test_the_front_door_agrees_with_the_objective_on_the_same_key():
    model, x, key = linear_gaussian(), jnp.asarray(X[2], jnp.float32), jax.random.key(8)
    posterior = model.posterior(x)
    by_hand = expectation(lambda z: model.likelihood(z).log_prob(x), posterior, key=key, num_samples=4)
    terms = run(ELBO(num_samples=4), model, x, key)
    assert float(terms.reconstruction) == pytest.approx(float(by_hand), rel=1e-6)


@pytest.mark.parametrize(
    ("posterior", "estimator"),
    [
        ("diagonal-normal", "doubly-reparameterized"),
        ("bernoulli", "vimco"),
        pytest.param("categorical", "vimco", marks=pytest.mark.full),
    ],
)
def test_the_estimators_of_bounds_train_the_importance_weighted_objective(posterior, estimator):
    fitted = rx.fit(
        "builtin:iris", likelihood="normal", objective="iwae", posterior=posterior, estimator=estimator, num_samples=3,
        latent_dim=2, width=8, epochs=60,
    )  # fmt: skip
    first, last = fitted.history[0].train["bound"], fitted.history[-1].train["bound"]
    assert last > first + 0.1


def test_sticking_the_landing_is_the_pathwise_elbo_with_log_q_through_z_alone():
    model, x = linear_gaussian(), jnp.asarray(X[2], jnp.float32)
    trainable, rest = eqx.partition(model, eqx.is_inexact_array)
    keys = jax.random.split(jax.random.key(4), 4000)

    def gradients(estimator):
        objective = ELBO(num_samples=1, estimator=estimator)

        def loss(trainable, key):
            return run(objective, eqx.combine(trainable, rest), x, key).objective

        found = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(trainable, keys)
        return np.concatenate([np.asarray(leaf).reshape(len(keys), -1) for leaf in jax.tree.leaves(found)], axis=1)

    landed, plain = gradients("sticking-the-landing"), gradients("auto")
    error = np.hypot(landed.std(0), plain.std(0)) / np.sqrt(len(keys))
    assert (np.abs(landed.mean(0) - plain.mean(0)) <= 5 * error + 1e-5).all()
    assert np.abs(landed - plain).max() > 0.1


@pytest.mark.parametrize("estimator", ["sticking-the-landing", "doubly-reparameterized"])
def test_the_value_of_sticking_the_landing_is_the_elbo(estimator):
    bounds = values(ELBO(num_samples=2, estimator=estimator), linear_gaussian(), 4000)["bound"]
    assert (np.abs(bounds.mean(0) - exact()[1]) <= 5 * bounds.std(0) / np.sqrt(4000)).all()


def test_an_estimator_of_another_bound_is_refused():
    with pytest.raises(InvalidEstimator, match="valid for elbo only"):
        rx.fit("builtin:iris", objective="iwae", estimator="sticking-the-landing", num_samples=3, epochs=2)


def in_batch(objective, model: Model, rows: np.ndarray, seed: int = 0):
    """The terms of every row of one batch."""

    @jax.jit
    def of_rows(x: jax.Array, keys: jax.Array):
        one = lambda x, key: objective(model, x, key=key, step=STEP)  # noqa: E731
        return jax.vmap(one, axis_name=BATCH)(x, keys)

    return of_rows(jnp.asarray(rows, jnp.float32), jax.random.split(jax.random.key(seed), len(rows)))


def correlated(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which the codes of `linear_gaussian` are correlated Normals; the covariance of z over all rows."""
    codes = np.random.default_rng(3).normal(size=(size, 2)) @ np.array([[2.0, 1.8], [0.0, 0.9]])
    rows = codes @ np.linalg.pinv(A)
    return rows, np.cov(rows @ A, rowvar=False) + np.diag(np.exp(LOG_VARIANCE))


def test_total_correlation_is_that_of_a_known_normal_and_the_parts_add_up_to_the_kl():
    rows, covariance = correlated(1500)
    terms = in_batch(TotalCorrelation(), linear_gaussian(), rows)
    exact = -0.5 * np.log(np.linalg.det(covariance) / np.diag(covariance).prod())
    found = np.asarray(terms.total_correlation, np.float64)
    assert exact > 0.2
    assert abs(found.mean() - exact) < 5 * found.std() / np.sqrt(len(found)) + 0.02  # the mixture is of few rows
    parts = terms.mutual_information + terms.total_correlation + terms.dimensions
    np.testing.assert_allclose(parts, terms.kl, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(terms.bound - terms.objective, 5.0 * terms.total_correlation, rtol=1e-3, atol=1e-3)


def test_the_weights_of_the_rows_make_a_small_batch_unbiased_for_the_mixture_over_all_rows():
    """exp of the estimate of log q(z), averaged over random batches with the same first row, beside all rows."""
    rows, _ = correlated(40)
    size, codes = 4, rows @ A + C
    z = np.array([0.3, -0.5])
    of_rows = stats.norm(codes, np.exp(LOG_VARIANCE / 2)).pdf(z).prod(axis=1)
    rng, objective = np.random.default_rng(0), TotalCorrelation(num_rows=40)
    weigh = jax.jit(jax.vmap(lambda _: objective._log_weights(size), axis_name=BATCH))
    own = np.exp(np.asarray(weigh(jnp.zeros(size))[0], np.float64))
    chosen = np.array([[0, *(1 + rng.permutation(39)[: size - 1])] for _ in range(20_000)])
    found = of_rows[chosen] @ own
    assert abs(found.mean() - of_rows.mean()) < 5 * found.std() / np.sqrt(len(found))


def test_covariances_of_the_codes_are_penalized_as_their_formula_says():
    rows, _ = correlated(300)
    terms = in_batch(DIP(weight=2.0, variance_weight=3.0), linear_gaussian(), rows)
    off = np.cov(rows @ A, rowvar=False, bias=True) - np.eye(2)
    of_variances = (np.diag(off) ** 2).sum()
    penalty = 2.0 * ((off**2).sum() - of_variances) + 3.0 * of_variances
    np.testing.assert_allclose(terms.bound - terms.objective, penalty, rtol=1e-3)


def test_maximum_mean_discrepancy_is_zero_for_codes_that_follow_the_prior_and_grows_as_they_leave_it():
    """Over many batches the unbiased estimate has the mean of its closed form: zero for equal distributions."""

    @jax.jit
    @jax.vmap
    def distance(shift: jax.Array, key: jax.Array) -> jax.Array:
        encoder = Linear(jnp.zeros((3, 4)), jnp.zeros(4).at[0].set(shift), (4,))
        plain = linear_gaussian()
        model = Model(Encoder(DiagonalNormal(), encoder, 2), plain.prior, plain.likelihood)
        one = lambda x, key: InfoVAE(weight=1.0)(model, x, key=key, step=STEP)  # noqa: E731
        terms = jax.vmap(one, axis_name=BATCH)(jnp.zeros((64, 3)), jax.random.split(key, 64))
        return terms.reconstruction[0] - terms.objective[0]

    shifts = np.repeat([0.0, 0.7, 2.0], 12)
    found = distance(jnp.asarray(shifts, jnp.float32), jax.random.split(jax.random.key(0), len(shifts)))
    same, near, far = np.asarray(found, np.float64).reshape(3, 12)
    assert abs(same.mean()) < 5 * same.std() / np.sqrt(len(same))
    assert same.mean() < near.mean() < far.mean()
    assert near.mean() > 5 * near.std() / np.sqrt(len(near))


def test_the_capacity_grows_with_the_steps_and_the_kl_is_drawn_to_it():
    objective, model, x = (
        Capacity(weight=3.0, capacity=2.0, capacity_steps=100),
        linear_gaussian(),
        jnp.asarray(X[0], jnp.float32),
    )
    for step, capacity in ((0, 0.0), (50, 1.0), (100, 2.0), (5000, 2.0)):
        terms = run(objective, model, x, jax.random.key(0), jnp.asarray(step))
        assert float(terms.objective) == pytest.approx(
            float(terms.reconstruction - 3.0 * abs(terms.kl - capacity)), rel=1e-5
        )
        assert float(terms.bound) == pytest.approx(float(terms.reconstruction - terms.kl), rel=1e-5)


def test_combined_bounds_lie_where_they_must_and_never_pass_the_log_marginal():
    log_marginal, elbo = exact()
    found = {
        "elbo": elbo,
        "multiple": values(MultipleIWAE(4, 4), linear_gaussian(), 800)["bound"],
        "iwae of 4": values(IWAE(4), linear_gaussian(), 3000)["bound"],
        "combined": values(CIWAE(0.5, 4), linear_gaussian(), 3000)["bound"],
        "partial": values(PIWAE(4, 4), linear_gaussian(), 800)["bound"],
        "iwae of 16": values(IWAE(16), linear_gaussian(), 800)["bound"],
    }
    mean = {name: value.mean(axis=0) if value.ndim == 2 else value for name, value in found.items()}
    spread = {name: error(value) if value.ndim == 2 else 0.0 for name, value in found.items()}

    def same(one: str, other: np.ndarray, its: np.ndarray) -> None:
        assert np.all(np.abs(mean[one] - other) <= 5 * np.hypot(spread[one], its))

    same("multiple", mean["iwae of 4"], spread["iwae of 4"])
    same("combined", (elbo + mean["iwae of 4"]) / 2, spread["iwae of 4"])
    same("partial", mean["iwae of 16"], spread["iwae of 16"])
    for name in found:
        assert np.all(mean[name] <= log_marginal + 5 * spread[name])


def test_the_parts_of_a_model_learn_from_the_bounds_that_they_should():
    """PIWAE: the decoder's gradient is that of the IWAE of all samples, the encoder's that of the mean of several."""
    x, count = jnp.asarray(X[1], jnp.float32), 3000

    def slopes(objective):
        def bound(model, key):
            return objective(model, x, key=key, step=STEP).objective

        keys = jax.random.split(jax.random.key(5), count)
        model = linear_gaussian()
        found = jax.jit(jax.vmap(eqx.filter_grad(bound), in_axes=(None, 0)))(model, keys)
        picked = found.posterior.network.bias, found.likelihood.network.bias
        return [(np.asarray(s).mean(axis=0), np.asarray(s).std(axis=0) / np.sqrt(count)) for s in picked]

    (encoder, e_error), (decoder, d_error) = slopes(PIWAE(2, 8))
    (several, s_error), _ = slopes(MultipleIWAE(2, 8))
    _, (whole, w_error) = slopes(IWAE(16))
    assert np.all(np.abs(encoder - several) <= 5 * np.hypot(e_error, s_error))
    assert np.all(np.abs(decoder - whole) <= 5 * np.hypot(d_error, w_error))
