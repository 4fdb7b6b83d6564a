"""Differentially private steps: no example moves a gradient by more than the clip; noise and batches are as said."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparax.training import AT_ONCE, Private
from reparax.training import fit as train
from reparax.training._private import NOISE, Poisson

SIZE = 3
EXTREMES = [0.0, 1.0, -1e3, 1e18, -3e38, np.inf, -np.inf, np.nan, 1e-38]


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


class Squares(eqx.Module):
    """A linear map beside a vector, so that there are two leaves of other shapes."""

    matrix: jax.Array
    vector: jax.Array


def objective(model, x, *, key, step):
    value = -jnp.sum((model.matrix @ x - model.vector) ** 2)
    return Terms(value, value)


MODEL = Squares(jnp.full((2, SIZE), 0.5), jnp.array([0.3, -0.2]))


def private(clip=1.0, noise=0.0, batch_size=10, num_examples=40, most=AT_ONCE) -> Private:
    return Private(clip, noise, batch_size, num_examples, most)


def gradient(mechanism: Private, data, rows=None, seed=0):
    rows = np.arange(len(data)) if rows is None else rows
    data = np.concatenate([data, np.ones((AT_ONCE - len(data), SIZE))])  # of one shape, so that it is compiled once
    rows = np.concatenate([rows, np.full(mechanism.most - len(rows), len(data))]).astype(np.int32)
    return _gradient(mechanism, jnp.asarray(data, jnp.float32), jnp.asarray(rows), jax.random.key(seed))


@eqx.filter_jit
def _gradient(mechanism, *arguments):
    return mechanism.gradient(lambda model, x, keys: objective(model, x, key=keys[1], step=0), MODEL, *arguments)


def flat(tree) -> np.ndarray:
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


rows_of_data = st.lists(
    st.lists(st.one_of(st.sampled_from(EXTREMES), st.floats(-10, 10, width=32)), min_size=SIZE, max_size=SIZE),
    min_size=1, max_size=AT_ONCE,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_data, clip=st.sampled_from([0.1, 1.0, 30.0]))
def test_no_example_moves_the_gradient_by_more_than_the_clip(rows, clip):
    mechanism = private(clip=clip)
    data = np.asarray(rows, np.float32)
    whole, _ = gradient(mechanism, data)
    for place in range(min(3, len(data))):
        without, _ = gradient(mechanism, data, np.delete(np.arange(len(data)), place))
        moved = np.linalg.norm(flat(whole) - flat(without))
        assert np.isfinite(flat(whole)).all()
        assert moved <= clip / mechanism.batch_size * (1 + 1e-4)


def test_without_noise_and_clipping_it_is_the_gradient_of_the_sum():
    data = np.random.default_rng(0).normal(size=(7, SIZE)).astype(np.float32)
    found, means = gradient(private(clip=1e6), data)

    def loss(model):
        values = jax.vmap(lambda x: objective(model, x, key=None, step=0).objective)(jnp.asarray(data))
        return -jnp.sum(values) / 10, -jnp.mean(values)

    (_, mean), exact = jax.value_and_grad(loss, has_aux=True)(MODEL)
    np.testing.assert_allclose(flat(found), flat(exact), rtol=1e-5)
    np.testing.assert_allclose(-means.objective, mean, rtol=1e-5)


def test_an_example_that_is_clipped_keeps_its_direction():
    data = np.random.default_rng(1).normal(size=(1, SIZE)).astype(np.float32)
    clipped, plain = flat(gradient(private(clip=0.01), data)[0]), flat(gradient(private(clip=1e6), data)[0])
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.01 / 10, rtol=1e-5)
    np.testing.assert_allclose(clipped / np.linalg.norm(clipped), plain / np.linalg.norm(plain), rtol=1e-4)


def test_the_noise_has_the_deviation_that_it_is_said_to_have():
    mechanism, data = private(clip=2.0, noise=1.5, batch_size=4), np.zeros((5, SIZE), np.float32)
    quiet = flat(gradient(private(clip=2.0, batch_size=4), data)[0])
    drawn = np.stack([flat(gradient(mechanism, data, seed=seed)[0]) for seed in range(400)]) - quiet
    count, deviation = drawn.size, 1.5 * 2.0 / 4
    assert abs(drawn.mean()) < 5 * deviation / np.sqrt(count)
    assert abs(drawn.std() / deviation - 1) < 5 / np.sqrt(2 * count)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(drawn.shape[1])).max() < 5 / np.sqrt(len(drawn))


def test_the_noise_of_a_gradient_is_not_that_of_an_example():
    key = jax.random.key(3)
    keys = jax.random.split(key, (AT_ONCE, 2)).ravel()
    keys, of_noise = (np.asarray(jax.random.key_data(each)) for each in (keys, jax.random.fold_in(key, NOISE)))
    assert not (keys == of_noise).all(axis=1).any()


def test_batches_have_every_example_with_the_same_probability_independently():
    steps, count, rate = 3000, 20, 0.3
    drawn = np.asarray(Poisson(rate, AT_ONCE, count).batches(jax.random.key(0), jnp.arange(steps)))
    there = np.stack([(drawn == place).sum(axis=1) for place in range(count)], axis=1)
    assert there.max() == 1
    assert ((drawn == count).sum(axis=1) + there.sum(axis=1) == AT_ONCE).all()
    error = np.sqrt(rate * (1 - rate) / steps)
    assert np.abs(there.mean(axis=0) - rate).max() < 5 * error
    between = np.corrcoef(there.T)[np.tril_indices(count, -1)]
    assert np.abs(between).max() < 5 / np.sqrt(steps)
    assert np.abs(np.corrcoef(there.ravel()[:-count], there.ravel()[count:])[0, 1]) < 5 / np.sqrt(there.size)


def test_training_takes_the_steps_that_are_accounted_for():
    data = np.random.default_rng(0).normal(size=(33, SIZE)).astype(np.float32)
    mechanism = private(clip=1.0, noise=0.1, batch_size=10, num_examples=40)

    def run():
        return train(
            MODEL, objective, data, key=jax.random.key(1), optimizer=optax.sgd(0.05), epochs=30, batch_size=10,
            private=mechanism,
        )  # fmt: skip

    result = run()
    assert result.history[-1].step == 30 * (40 // 10)
    assert result.history[-1].train["objective"] > result.history[0].train["objective"]
    np.testing.assert_array_equal(flat(run().model), flat(result.model))


def test_a_largest_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        private(most=AT_ONCE + 1)
