"""The training loop on models small enough that what it must do is known exactly."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reparax.pytrees import Frozen
from reparax.training import cosine_adam, fit


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


class Weights(eqx.Module):
    """A vector to train, an array that is frozen and one that is not floating-point."""

    w: jax.Array
    frozen: Frozen
    count: jax.Array


def weights(size: int) -> Weights:
    return Weights(jnp.zeros(size), Frozen(jnp.full(3, 2.5)), jnp.arange(4))


def visits(model: Weights, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    """Its slope is 1 at the entry of the example: plain ascent at rate ``batch_size`` counts the visits."""
    value = model.w[x[0]] * jnp.sum(model.frozen.value) / 7.5
    return Terms(value, value)


def noisy_squares(model: Weights, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    target = x + 0.1 * jax.random.normal(key, x.shape)
    value = -jnp.sum((model.w - target) ** 2)
    return Terms(value, value)


def counted(num_examples: int, batch_size: int, epochs: int) -> tuple[np.ndarray, object]:
    data = np.arange(num_examples)[:, None]
    result = fit(
        weights(num_examples), visits, data, key=jax.random.key(0),
        optimizer=optax.sgd(float(min(batch_size, num_examples))), epochs=epochs, batch_size=batch_size,
    )  # fmt: skip
    return np.asarray(result.model.w), result


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "epochs"),
    [(12, 4, 1), (12, 1, 33), (7, 64, 3), (2, 64, 201), (1006, 2, 2), (1202, 1, 1)],
)
def test_every_epoch_visits_each_example_once_when_the_batches_fill_it(num_examples, batch_size, epochs):
    seen, result = counted(num_examples, batch_size, epochs)
    np.testing.assert_allclose(seen, epochs, rtol=1e-4)
    steps = epochs * num_examples // min(batch_size, num_examples)
    assert result.history[-1].step == steps
    assert result.history[-1].epoch == pytest.approx(epochs)
    assert result.best_step == steps
    assert result.status == "all epochs done"


def test_the_effort_of_the_compiler_changes_no_result_beyond_rounding(monkeypatch):
    data = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    found = []
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    for effort in ("full", "some", "little"):
        monkeypatch.setattr("reparax.training._fit.effort_for", lambda values, effort=effort: effort)
        result = fit(
            weights(3), noisy_squares, data, key=jax.random.key(0), optimizer=optax.sgd(0.05), epochs=4, batch_size=8,
            valid=data[:9],
        )  # fmt: skip
        found.append((result.model.w, result.history[-1].valid["bound"]))
    for weights_found, bound in found[1:]:
        np.testing.assert_allclose(weights_found, found[0][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(bound, found[0][1], rtol=1e-5)


@pytest.mark.parametrize(("num_examples", "batch_size"), [(13, 4), (65, 64)])
def test_a_remainder_is_dropped_and_no_example_is_seen_twice_in_an_epoch(num_examples, batch_size):
    seen, _ = counted(num_examples, batch_size, 1)
    full = num_examples // batch_size * batch_size
    np.testing.assert_allclose(np.sort(seen), [0] * (num_examples - full) + [1] * full, atol=1e-5)
    many, _ = counted(num_examples, batch_size, 40)
    assert many.min() > 0  # another remainder in every epoch


def test_frozen_and_whole_numbers_stay_and_the_model_given_is_not_consumed():
    start = weights(12)
    optimizer = optax.sgd(1.0)
    data = np.arange(12)[:, None]
    result = fit(start, visits, data, key=jax.random.key(0), optimizer=optimizer, epochs=2, batch_size=4)
    np.testing.assert_array_equal(result.model.frozen.value, np.full(3, 2.5))
    np.testing.assert_array_equal(result.model.count, np.arange(4))
    np.testing.assert_array_equal(start.w, np.zeros(12))  # donated buffers are copies


def noisy(seed: int, **more) -> object:
    data = np.random.default_rng(0).normal(1.0, 1.0, (40, 3)).astype(np.float32)
    settings = {"epochs": 50, "batch_size": 8, "optimizer": optax.adam(0.02)} | more
    return fit(weights(3), noisy_squares, data, key=jax.random.key(seed), valid=data[:9] - 0.7, **settings)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    one, same, other = noisy(0), noisy(0), noisy(1)
    np.testing.assert_array_equal(one.model.w, same.model.w)
    for record, again in zip(one.history, same.history, strict=True):
        assert (record.train, record.valid) == (again.train, again.valid)
    assert one.best_step == same.best_step
    assert not np.array_equal(one.model.w, other.model.w)


def climb(model: Weights, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    """Training pulls the weight to the example's value: it passes the held-out optimum on its way."""
    value = -jnp.sum((model.w - x) ** 2)
    return Terms(value, value)


def passing(**more) -> object:
    settings = {"epochs": 1000, "progress": None} | more
    ones = np.ones((4, 1), np.float32)
    return fit(
        weights(1), climb, ones, key=jax.random.key(0), optimizer=optax.sgd(5e-4), batch_size=4, valid=0.5 * ones,
        **settings,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> object:
    return passing()


def test_the_model_with_the_best_held_out_bound_is_kept(whole):
    result = whole
    bounds = [record.valid["bound"] for record in result.history]
    best = int(np.argmax(bounds))
    assert 0 < best < len(bounds) - 1
    assert result.best_step == result.history[best].step
    exact = 1 - (1 - 2 * 5e-4) ** result.best_step
    assert abs(float(result.model.w[0]) - exact) < 1e-4
    assert abs(bounds[best] + (exact - 0.5) ** 2) < 1e-5
    assert result.status == "all epochs done"


def test_without_held_out_data_the_last_model_is_kept():
    result = fit(
        weights(1), climb, np.ones((4, 1), np.float32), key=jax.random.key(0), optimizer=optax.sgd(5e-4),
        batch_size=4, epochs=300,
    )  # fmt: skip
    assert result.best_step == 300
    assert abs(float(result.model.w[0]) - (1 - (1 - 1e-3) ** 300)) < 1e-4
    assert result.history[-1].valid == {}


def test_training_stops_early_after_the_patience(whole):
    stopped = passing(patience=150)
    assert stopped.status == "stopped early"
    assert stopped.best_step == whole.best_step
    waited = stopped.history[-1].epoch - stopped.best_step
    assert 150 <= waited < 150 + 100  # one chunk is 100 epochs of one step
    np.testing.assert_array_equal(stopped.model.w, whole.model.w)


def test_bounds_of_the_warm_up_neither_choose_the_model_nor_end_training(whole):
    # The best bound of all is before the warm-up's end: with it, training would stop, and with its model.
    warmup = int(whole.history[-1].epoch * 0.8)
    assert whole.best_step < warmup
    result = passing(warmup=warmup, patience=50)
    assert result.history[-1].epoch >= warmup
    counted = [record for record in result.history if record.epoch > warmup]
    best = max(counted, key=lambda record: record.valid["bound"])
    assert result.best_step == best.step
    assert abs(float(result.model.w[0]) - (1 - (1 - 1e-3) ** best.step)) < 1e-4


def test_a_judge_gives_the_held_out_bound_and_the_objective_trains():
    def judge(model: Weights, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
        return Terms(jnp.asarray(0.0), -jnp.sum((model.w - 0.25) ** 2))

    result = passing(judge=judge)
    bounds = [record.valid["bound"] for record in result.history]
    assert result.best_step == result.history[int(np.argmax(bounds))].step
    assert float(result.model.w[0]) < 0.35
    assert result.history[-1].train["objective"] > -0.2


def test_control_c_ends_training_and_keeps_the_best_so_far():
    seen = []

    def press(record) -> None:
        seen.append(record)
        if len(seen) == 3:
            raise KeyboardInterrupt

    result = passing(progress=press)
    shorter = passing(epochs=300)
    assert result.status == "interrupted"
    assert [record.step for record in result.history] == [100, 200, 300]
    assert result.history == seen
    np.testing.assert_array_equal(result.model.w, shorter.model.w)
    assert result.best_step == shorter.best_step


def test_the_transform_is_what_the_objective_sees():
    def shifted(x: jax.Array, key: jax.Array) -> jax.Array:
        return x.astype(jnp.float32) + jax.random.bernoulli(key, 0.25).astype(jnp.float32)

    data = np.full((400, 1), 3, np.uint8)
    result = fit(
        weights(1), climb, data, key=jax.random.key(0), optimizer=cosine_adam(0.05, 400), epochs=100, batch_size=100,
        valid=data, transform=shifted,
    )  # fmt: skip
    assert abs(float(result.model.w[0]) - 3.25) < 0.06  # the mean of 400 coins, 5 standard errors with training noise
    # The same held-out noise every time: the variance of the coins at least, whatever the weight.
    assert -0.25 < result.history[-1].valid["bound"] < -0.14


def test_held_out_terms_are_means_over_every_example_whatever_their_number():
    for count in (1, 513):
        valid = np.arange(count, dtype=np.float32)[:, None] / count
        result = fit(
            weights(1), climb, np.zeros((2, 1), np.float32), key=jax.random.key(0), optimizer=optax.sgd(0.0),
            epochs=1, batch_size=2, valid=valid,
        )  # fmt: skip
        assert result.history[0].valid["bound"] == pytest.approx(-float(np.mean(valid**2)), rel=1e-5, abs=1e-9)
        if count == 1:
            assert "bound_standard_error" not in result.history[0].valid
        else:
            error = float(np.std(valid**2, ddof=1) / np.sqrt(count))
            assert result.history[0].valid["bound_standard_error"] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 10_000])
def test_cosine_adam_rises_and_falls_to_a_hundredth(steps):
    optimizer = cosine_adam(0.1, steps)
    state = optimizer.init(jnp.zeros(1))

    def step(state, _):
        update, state = optimizer.update(jnp.ones(1), state)
        return state, -update[0]

    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
        _, rates = jax.lax.scan(step, state, None, length=steps)
    # Adam's update of a constant gradient is the rate itself.
    assert float(jnp.max(rates)) <= 0.1 * (1 + 1e-4)
    if steps > 2:
        assert float(jnp.max(rates)) > 0.0999
        assert float(rates[0]) == pytest.approx(0.01, rel=1e-3)
        assert float(rates[-1]) < 0.0013
