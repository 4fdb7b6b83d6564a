"""Steps that are not finite: left out one by one, then taken again at half the rate, then the end of training."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reparax.errors import TrainingError, TrainingWarning
from reparax.pytrees import Frozen
from reparax.training import fit

STEPS, LOOK = 400, 100
ONES = np.ones((4, 1), np.float32)
ASCENT = optax.sgd(1e-3)
FINE, OBJECTIVE, GRADIENT = range(3)


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


class Spoiled(eqx.Module):
    """A weight, and what is not finite at each step."""

    w: jax.Array
    what: Frozen


def climb(model: Spoiled, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    """Its slope is 1, so that plain ascent counts the steps that are applied."""
    w = model.w[0]
    ways = (lambda w: w, lambda w: jnp.log(w - 1e9), lambda w: w + jnp.sqrt(w - w))
    value = jax.lax.switch(model.what.value[step], ways, w)
    return Terms(value, value)


def spoil(what: np.ndarray, **more) -> object:
    model = Spoiled(jnp.zeros(1), Frozen(jnp.asarray(what, jnp.int32)))
    settings = {"epochs": STEPS, "optimizer": ASCENT} | more
    return fit(model, climb, ONES, key=jax.random.key(0), batch_size=4, **settings)


def bad(first: int, what: int, last: int = STEPS) -> np.ndarray:
    steps = np.zeros(STEPS, int)
    steps[first:last] = what
    return steps


@pytest.mark.parametrize(("what", "word"), [(OBJECTIVE, "objective"), (GRADIENT, "gradient")])
@pytest.mark.parametrize("at", [0, 150, 199, 399])
def test_a_step_that_is_not_finite_is_left_out_and_told(at, what, word):
    with pytest.warns(TrainingWarning, match=rf"1 of 400 steps .* left out \(last: the {word} of step {at + 1}\)"):
        result = spoil(bad(at, what, at + 1))
    assert result.status == "all epochs done"
    assert [record.skipped for record in result.history] == [int(at // LOOK == look) for look in range(4)]
    assert float(result.model.w[0]) == pytest.approx(1e-3 * (STEPS - 1), rel=1e-4)
    assert all(np.isfinite(record.train["objective"]) for record in result.history)


def test_an_update_that_is_not_finite_is_left_out():
    spoiling = optax.stateless(
        lambda updates, params: jax.tree.map(lambda u, p: u + 1 / (p - 0.05 > 0), updates, params)
    )
    with pytest.raises(TrainingError, match="the update of step 1 is not"):
        spoil(bad(0, FINE), optimizer=spoiling)


@pytest.mark.parametrize("seed", range(5))
def test_any_few_steps_are_left_out(seed):
    rng = np.random.default_rng(seed)
    what = np.where(rng.random(STEPS) < 0.08, rng.integers(1, 3, STEPS), 0)
    with pytest.warns(TrainingWarning):
        result = spoil(what)
    assert float(result.model.w[0]) == pytest.approx(1e-3 * (what == 0).sum(), rel=1e-4)
    assert [record.skipped for record in result.history] == [
        int((part > 0).sum()) for part in np.split(what, STEPS // LOOK)
    ]


@pytest.mark.parametrize(("what", "word"), [(OBJECTIVE, "objective"), (GRADIENT, "gradient")])
def test_training_that_stays_bad_ends_with_the_last_good_model(what, word):
    with pytest.warns(TrainingWarning, match=f"diverged: the {word} of step 251 is not finite, at 0.125 of the"):
        result = spoil(bad(250, what))
    assert result.status == "diverged"
    assert result.best_step == 200
    assert float(result.model.w[0]) == pytest.approx(1e-3 * 200, rel=1e-4)
    assert [record.step for record in result.history] == [100, 200]


def test_what_is_bad_from_the_start_is_an_error():
    with pytest.raises(TrainingError, match="the objective of step 1 is not finite") as caught:
        spoil(bad(0, OBJECTIVE))
    assert "lower the learning rate" in caught.value.cure
    with pytest.raises(TrainingError):
        spoil(bad(0, OBJECTIVE), epochs=3)  # fewer steps in all than are allowed to be left out


def test_a_rate_that_is_too_high_is_halved_until_it_is_not():
    def bowl(model: Spoiled, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
        return Terms(-jnp.sum(model.w**2), -jnp.sum(model.w**2))

    # A step multiplies the weight by 1 - 2 rate: by -3, -1 and 0 for rates of 2, 1 and 1/2.
    model = Spoiled(jnp.full(1, 7.0), Frozen(jnp.zeros(STEPS, jnp.int32)))
    with pytest.warns(TrainingWarning, match=r"training went on at 0\.5 of the learning rate"):
        result = fit(model, bowl, ONES, key=jax.random.key(0), optimizer=optax.sgd(2.0), epochs=STEPS, batch_size=4)
    assert result.status == "all epochs done"
    assert abs(float(result.model.w[0])) == 7.0


def test_infinities_that_an_optimizer_begins_with_are_none():
    plateau = optax.contrib.reduce_on_plateau()
    optimizer = optax.chain(optax.sgd(1e-3), optax.GradientTransformation(plateau.init, lambda u, s, p: (u, s)))
    assert not np.isfinite(plateau.init(jnp.zeros(1)).best_value)
    assert spoil(bad(0, FINE), optimizer=optimizer).status == "all epochs done"
