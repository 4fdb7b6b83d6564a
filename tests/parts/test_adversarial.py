"""Objectives with a critic: the gradients of both players, what the best critic says, and fits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import reparax as rx
from reparax.likelihoods.real import NormalDecoder
from reparax.model import Model
from reparax.objectives import ELBO, Accompanied, Adversarial, FactorVAE
from reparax.objectives.adversarial import _told_apart, reversed_gradient
from reparax.posteriors import DiagonalNormal, Encoder
from reparax.priors import StandardNormal
from reparax.pytrees import BATCH, Frozen

RNG = np.random.default_rng(0)
ROWS = 6
X = jnp.asarray(RNG.normal(size=(ROWS, 3)), jnp.float32)
STEP = jnp.asarray(0)


class Linear(eqx.Module):
    matrix: jax.Array
    out_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, x):
        return (x @ self.matrix).reshape(self.out_shape)


def model() -> Model:
    encoder = Linear(jnp.asarray(0.5 * RNG.normal(size=(3, 4)), jnp.float32), (4,))
    decoder = Linear(jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32), (1, 3))
    likelihood = NormalDecoder(decoder, jnp.zeros(()), Frozen(jnp.zeros(3)), Frozen(jnp.ones(3)))
    posterior = Encoder(DiagonalNormal(), encoder, 2)
    return Model(posterior, StandardNormal(), likelihood)


def players(objective) -> Accompanied:
    made = model()
    return Accompanied(made, objective.companion(made, key=jax.random.key(1)))


def mean_terms(both, objective, key=jax.random.key(5)):
    keys = jax.random.split(key, ROWS)
    terms = jax.vmap(lambda x, key: objective(both, x, key=key, step=STEP), axis_name=BATCH)(X, keys)
    return jax.tree.map(jnp.mean, terms)


def flat(tree) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_the_reversed_gradient_is_the_gradient_with_the_other_sign():
    tree = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.3), "text": "kept"}
    value = lambda tree: jnp.sum(jnp.sin(tree["a"])) * tree["b"]  # noqa: E731
    assert reversed_gradient(tree)["text"] == "kept"
    arrays = {name: tree[name] for name in ("a", "b")}
    plain, turned = jax.grad(value)(arrays), jax.grad(lambda tree: value(reversed_gradient(tree)))(arrays)
    np.testing.assert_array_equal(flat(turned), -flat(plain))
    assert value(reversed_gradient(arrays)) == value(arrays)


def test_both_players_of_the_game_have_gradients_of_one_function_with_opposite_signs():
    """Of weight * critic, with everything else the same: minus that for the model, plus that for the critic."""
    light, heavy = Adversarial(weight=1.0), Adversarial(weight=3.0)
    both = players(light)

    @jax.jit
    def slopes(both):
        game = jax.grad(lambda both: 2.0 * mean_terms(both, light).critic)(both)  # its D is reversed already
        more, less = (jax.grad(lambda both, of=of: mean_terms(both, of).objective)(both) for of in (heavy, light))
        return game, jax.tree.map(jnp.subtract, more, less)

    game, difference = slopes(both)
    of_posterior = flat(difference.model.posterior)
    np.testing.assert_allclose(of_posterior, -flat(game.model.posterior), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(flat(difference.companion), -flat(game.companion), rtol=1e-4, atol=1e-6)
    assert np.abs(of_posterior).max() > 0

    def plain(companion):  # without the reversal, by hand, for the same draws
        def one(x, key):
            for_code, for_prior = jax.random.split(key)
            q = both.model.posterior(x)
            z = q.base_dist.loc + q.base_dist.scale * jax.random.normal(for_code, (2,))
            return _told_apart(companion, jax.random.normal(for_prior, (2,)), z)

        return 2.0 * jnp.mean(jax.vmap(one)(X, jax.random.split(jax.random.key(5), ROWS)))

    np.testing.assert_allclose(flat(difference.companion), flat(jax.grad(plain)(both.companion)), rtol=1e-3, atol=1e-5)


def test_in_factor_vae_the_model_does_not_learn_from_the_critic_s_error_nor_the_critic_from_the_bound():
    light, heavy = FactorVAE(weight=0.0), FactorVAE(weight=4.0)
    both = players(light)
    slope = lambda of: jax.jit(jax.grad(lambda each: mean_terms(each, of).objective))(both)  # noqa: E731
    without, with_weight = slope(light), slope(heavy)
    np.testing.assert_allclose(flat(without.companion), flat(with_weight.companion), rtol=1e-5, atol=1e-7)
    bound = jax.jit(jax.grad(lambda b: mean_terms(b, light).bound))(both)
    np.testing.assert_allclose(flat(without.model), flat(bound.model), rtol=1e-4, atol=1e-6)
    assert np.abs(flat(with_weight.model.posterior) - flat(without.model.posterior)).max() > 0


@pytest.mark.parametrize("objective", [Adversarial(), FactorVAE()], ids=lambda objective: type(objective).__name__)
def test_the_reported_bound_is_that_of_the_model_whatever_the_critic(objective):
    both = players(objective)
    other = Accompanied(both.model, objective.companion(both.model, key=jax.random.key(7)))
    first, second = (mean_terms(each, objective) for each in (both, other))
    assert float(first.bound) == float(second.bound)
    assert float(first.critic) != float(second.critic)
    assert float(first.critic) <= 0
    if isinstance(objective, FactorVAE):
        for_bound = jax.vmap(lambda key: jax.random.split(key, 3)[0])(jax.random.split(jax.random.key(5), ROWS))
        plain = jax.vmap(lambda x, key: ELBO()(both.model, x, key=key, step=STEP).bound)(X, for_bound)
        assert float(first.bound) == pytest.approx(float(jnp.mean(plain)), rel=1e-5)


def test_the_best_critic_gives_the_total_correlation_of_a_known_normal():
    correlation, count, steps = 0.8, 256, 800
    exact = -0.5 * np.log(1 - correlation**2)
    cholesky = jnp.asarray(np.linalg.cholesky([[1, correlation], [correlation, 1]]), jnp.float32)
    critic, optimizer = players(FactorVAE()).companion, optax.adam(3e-3)

    def error(critic, key):
        one, two = jax.random.split(key)
        joint = jax.random.normal(one, (count, 2)) @ cholesky.T
        apart = jax.random.normal(two, (count, 2))
        return -jnp.mean(jax.vmap(lambda z, other: _told_apart(critic, z, other))(joint, apart))

    @jax.jit
    def trained(critic):
        def step(carry, key):
            updates, state = optimizer.update(jax.grad(error)(carry[0], key), carry[1])
            return (optax.apply_updates(carry[0], updates), state), None

        with jax.numpy_dtype_promotion("standard"):
            keys = jax.random.split(jax.random.key(0), steps)
            return jax.lax.scan(step, (critic, optimizer.init(critic)), keys)[0][0]

    critic = trained(critic)
    z = jax.random.normal(jax.random.key(1), (20_000, 2)) @ cholesky.T
    estimate = float(jnp.mean(jax.vmap(critic)(z)))
    assert estimate == pytest.approx(exact, abs=0.1)


@pytest.mark.full
@pytest.mark.parametrize("objective", ["adversarial", "factor-vae"])
def test_fits_do_what_their_critic_is_for(objective):
    """Two groups of rows: codes of a plain autoencoder are in two groups, those of an adversarial one are Normal."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 2)) + 4 * rng.integers(0, 2, (2000, 1))
    rows = z @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(2000, 6))
    settings = {"likelihood": "normal", "latent_dim": 2, "width": 64, "epochs": 60, "batch_size": 100}
    without, posterior = {
        "adversarial": ("reconstruction", "deterministic"),
        "factor-vae": ("elbo", "diagonal-normal"),
    }[objective]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        plain = rx.fit(rows, objective=without, posterior=posterior, **settings)
        fitted = rx.fit(rows, objective=objective, posterior=posterior, **settings)
        codes, of_plain = rx.encode(fitted, rows), rx.encode(plain, rows)
        drawn = rx.sample(fitted, 100, key=jax.random.key(0))
    assert fitted.companion is not None
    assert fitted.history[-1].train["critic"] > -1.5
    assert np.isfinite(np.asarray(drawn, np.float64)).all()
    if objective == "adversarial":
        away, of_plain_away = (
            max(stats.kstest(each[:, d], "norm").statistic for d in range(2)) for each in (codes, of_plain)
        )
        assert away < 0.12
        assert away < of_plain_away
    else:
        assert abs(np.corrcoef(codes.T)[0, 1]) < 0.2
