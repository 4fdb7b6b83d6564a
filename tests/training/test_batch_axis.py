"""Objectives that see their batch: random programs of collectives, and training beside a loop by hand in NumPy."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import reparax as rx
from reparax.errors import TrainingError
from reparax.estimators import AssumedContinuous, expectation
from reparax.training import BATCH, fit, sees_batch
from reparax.training._program import LARGEST_EVALUATED, Program, keys_of


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


def both(value: jax.Array) -> Terms:
    return Terms(value, value)


# Random programs of collectives: each operation for one example of the axis, and for the whole batch in NumPy.


def pmean_squared(v):
    return jax.lax.pmean(v, BATCH) ** 2


@jax.custom_jvp
def with_own_rule(v):
    """A collective under a derivative rule of its own."""
    return pmean_squared(v)


with_own_rule.defjvp(lambda v, tangent: jax.jvp(pmean_squared, v, tangent))


def centered_thrice(v):
    return jax.lax.scan(lambda c, _: (jnp.tanh(c - jax.lax.pmean(c, BATCH)) + 0.3 * c, None), v, None, length=3)[0]


def centered_thrice_of_all(V):
    for _ in range(3):
        V = np.tanh(V - V.mean(0)) + 0.3 * V
    return V


def kernel(v):
    return jnp.mean(jnp.exp(-((v[None] - jax.lax.all_gather(v, BATCH)) ** 2)), axis=0)


def neighbor(v):
    count = jax.lax.axis_size(BATCH)
    return jax.lax.ppermute(v, BATCH, [(i, (i + 1) % count) for i in range(count)])


def share(v):
    """The log share of an example in the batch, as total correlation has it."""
    return v - jax.nn.logsumexp(jax.lax.all_gather(v, BATCH), axis=0)


def same(V, value):
    return np.broadcast_to(value, V.shape)


OPERATIONS = {
    "center": (lambda v: v - jax.lax.pmean(v, BATCH), lambda V: V - V.mean(0)),
    "sum": (lambda v: jnp.tanh(jax.lax.psum(v, BATCH)), lambda V: same(V, np.tanh(V.sum(0)))),
    "kernel": (kernel, lambda V: np.exp(-((V[:, None] - V[None]) ** 2)).mean(1)),
    "share": (share, lambda V: V - np.log(np.exp(V).sum(0))),
    "neighbor": (neighbor, lambda V: np.roll(V, 1, axis=0)),
    "place": (
        lambda v: v * (1.0 + jax.lax.axis_index(BATCH).astype(v.dtype)),
        lambda V: V * (1.0 + np.arange(len(V))[:, None]),
    ),
    "compiled": (jax.jit(pmean_squared), lambda V: same(V, V.mean(0) ** 2)),
    "checkpoint": (jax.checkpoint(kernel), lambda V: np.exp(-((V[:, None] - V[None]) ** 2)).mean(1)),
    "own rule": (with_own_rule, lambda V: same(V, V.mean(0) ** 2)),
    "loop": (centered_thrice, centered_thrice_of_all),
    "branch": (
        lambda v: jax.lax.cond(jax.lax.pmean(v[0], BATCH) > 0, pmean_squared, jnp.tanh, v),
        lambda V: same(V, V.mean(0) ** 2) if V[:, 0].mean() > 0 else np.tanh(V),
    ),
    "own": (jnp.tanh, np.tanh),
}


def composed(names: list[str]):
    """The mean objective of a program of operations, in NumPy, and the objective itself."""

    def objective(model, x, *, key, step):
        v = jnp.tanh(model * x)
        for name in names:
            v = OPERATIONS[name][0](v)
        return both(jnp.sum(v * x))

    def of_all(weights, data):
        V = np.tanh(weights * data)
        for name in names:
            V = OPERATIONS[name][1](V)
        return np.mean(np.sum(V * data, axis=1))

    return objective, of_all


def check_values_and_gradients(names: list[str], count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights, data = rng.normal(size=3), rng.normal(size=(count, 3))
    objective, of_all = composed(names)
    with jax.enable_x64(True):
        program = Program.of(jnp.asarray(weights), objective, optax.identity(), lambda x, key: x)
        loss = jax.jit(jax.value_and_grad(program.loss, has_aux=True))
        (value, _), gradient = loss(
            jnp.asarray(weights), jnp.asarray(data), keys_of(jax.random.key(0), count), jnp.asarray(0)
        )
        value, gradient = float(value), np.asarray(gradient)
    assert value == pytest.approx(-of_all(weights, data), rel=1e-9, abs=1e-9)
    width = 1e-5
    slopes = [(of_all(weights + width * e, data) - of_all(weights - width * e, data)) / (2 * width) for e in np.eye(3)]
    np.testing.assert_allclose(-gradient, slopes, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(slopes).max()))


REPRODUCIBLE = settings(deadline=None, derandomize=True, database=None)
CASES = st.tuples(
    st.lists(st.sampled_from(sorted(OPERATIONS)), min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 2**31 - 1)
)


@settings(REPRODUCIBLE, max_examples=12)
@given(CASES)
@example((["center", "sum", "kernel", "share"], 5, 0))
@example((["neighbor", "place", "compiled", "checkpoint"], 5, 0))
@example((["own rule", "loop", "branch", "own"], 5, 0))
def test_values_and_gradients_through_collectives_are_those_of_the_whole_batch(case):
    check_values_and_gradients(*case)


@pytest.mark.full
@settings(REPRODUCIBLE, max_examples=80)
@given(CASES)
def test_more_values_and_gradients_through_collectives(case):
    check_values_and_gradients(*case)


def test_the_gradient_of_a_batch_s_variance_is_the_one_known_by_hand():
    data = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    weights = np.asarray([1.0, -2.0, 0.5, 3.0], np.float32)

    def variance(model, x, *, key, step):
        z = jnp.dot(model, x)
        return both((z - jax.lax.pmean(z, BATCH)) ** 2)

    program = Program.of(jnp.asarray(weights), variance, optax.identity(), lambda x, key: x)
    gradient, means = jax.grad(program.loss, has_aux=True)(
        jnp.asarray(weights), jnp.asarray(data), keys_of(jax.random.key(0), len(data)), jnp.asarray(0)
    )
    covariance = np.cov(data.T, bias=True)
    np.testing.assert_allclose(-gradient, 2 * covariance @ weights, rtol=1e-5)
    assert float(means.bound) == pytest.approx(weights @ covariance @ weights, rel=1e-5)


@pytest.mark.parametrize("make", [dist.Normal, dist.Gamma], ids=lambda kind: kind.__name__)
def test_samples_with_implicit_derivatives_pass_their_gradient_through_collectives(make):
    data = np.random.default_rng(0).uniform(0.5, 2.0, size=(6, 2)).astype(np.float32)

    def z_of(weights, x, key):
        return rx.rsample(make(weights[0] * x[0], weights[1] * x[1]), key)

    def objective(model, x, *, key, step):
        z = z_of(model, x, key)
        return both(jnp.mean(jnp.exp(-((z - jax.lax.all_gather(z, BATCH)) ** 2))) + jax.lax.pmean(z, BATCH))

    def of_all(weights):
        keys = jax.random.split(jax.random.key(0), (len(data), 2))[:, 1]
        z = jax.vmap(z_of, in_axes=(None, 0, 0))(weights, jnp.asarray(data), keys)
        return jnp.mean(jnp.exp(-((z[:, None] - z[None, :]) ** 2))) + jnp.mean(z)

    weights = jnp.asarray([1.2, 0.7])
    program = Program.of(weights, objective, optax.identity(), lambda x, key: x)
    gradient, _ = jax.grad(program.loss, has_aux=True)(
        weights, jnp.asarray(data), keys_of(jax.random.key(0), len(data)), jnp.asarray(0)
    )
    np.testing.assert_allclose(-gradient, jax.grad(of_all)(weights), rtol=1e-4)


# Training and held-out looks beside a loop by hand.

PULL = 0.7


def spread(model, x, *, key, step):
    """A batch's mean squared and squared mean: the second is what an objective of one example cannot have."""
    z = jnp.dot(model, x) + jax.random.normal(key)
    return both(-(z**2) - PULL * jax.lax.pmean(z, BATCH) ** 2)


def alone(model, x, *, key, step):
    return both(-((jnp.dot(model, x) + jax.random.normal(key)) ** 2))


@partial(jax.jit, static_argnums=1)
def noise_of_step(key, size):
    return jax.vmap(jax.random.normal)(jax.random.split(key, (size, 2))[:, 1])


@partial(jax.jit, static_argnums=1)
def noise_of_rows(key, count):
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(jnp.arange(count))
    return jax.vmap(jax.random.normal)(keys[:, 1])


def slope_and_value(weights, batch, noise, pull):
    z = batch @ weights + noise
    slope = -2 * np.mean(z[:, None] * batch, axis=0) - 2 * pull * z.mean() * batch.mean(0)
    return slope, -np.mean(z**2) - pull * z.mean() ** 2


def parts(count: int, size: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + size, count)) for start in range(0, count, size)]


def looked_at(weights, valid, key, size, pull):
    """The held-out value; a batch's own value counts once for each row that no batch before has counted."""
    noise, total = np.asarray(noise_of_rows(key, len(valid)), np.float64), 0.0
    for new in parts(len(valid), size):
        shown = np.arange(max(0, new[-1] + 1 - size), new[-1] + 1)
        z, z_new = valid[shown] @ weights + noise[shown], valid[new] @ weights + noise[new]
        total += np.sum(-(z_new**2) - pull * z.mean() ** 2)
    return total / len(valid)


def trained_by_hand(data, key, batch_size, epochs, rate, pull):
    """Plain ascent, one step at a time; the order and the noise are the documented ones."""
    order_key, noise_key, valid_key = jax.random.split(key, 3)
    size = min(batch_size, len(data))
    weights, values, step = np.zeros(data.shape[1]), [], 0
    for epoch in range(epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(order_key, epoch), len(data)))
        for rows in parts(len(data) // size * size, size):
            noise = np.asarray(noise_of_step(jax.random.fold_in(noise_key, step), size), np.float64)
            slope, value = slope_and_value(weights, data[order[rows]], noise, pull)
            weights, step = weights + rate * slope, step + 1
            values.append(value)
    return weights, np.mean(values), valid_key


def check_training(sees: bool, count: int, held_out: int, batch_size: int, epochs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, valid = rng.normal(1.0, 1.0, (count, 3)).astype(np.float32), rng.normal(size=(held_out, 3)).astype(np.float32)
    key, rate = jax.random.key(seed), 0.01
    objective, pull = (spread, PULL) if sees else (alone, 0.0)
    result = fit(
        jnp.zeros(3), objective, data, key=key, optimizer=optax.sgd(rate), epochs=epochs, batch_size=batch_size,
        valid=valid,
    )  # fmt: skip
    weights, value, valid_key = trained_by_hand(data, key, batch_size, epochs, rate, pull)
    np.testing.assert_allclose(result.model, weights, rtol=1e-4, atol=1e-5)
    assert len(result.history) == 1
    assert result.history[0].train["objective"] == pytest.approx(value, rel=1e-4, abs=1e-5)
    looked = looked_at(weights, valid, valid_key, min(batch_size, count), pull)
    assert result.history[0].valid["bound"] == pytest.approx(looked, rel=1e-4, abs=1e-5)


TRAININGS = st.tuples(
    st.booleans(), st.integers(1, 30), st.integers(1, 40), st.integers(1, 12), st.integers(1, 3),
    st.integers(0, 2**31 - 1),
)  # fmt: skip


@settings(REPRODUCIBLE, max_examples=2)
@given(TRAININGS)
@example((True, 30, 25, 12, 2, 0))
@example((True, 5, 9, 12, 3, 1))
@example((True, 9, 13, 4, 1, 2))
def test_training_and_looking_agree_with_a_loop_by_hand(case):
    check_training(*case)


@pytest.mark.full
@settings(REPRODUCIBLE, max_examples=20)
@given(TRAININGS)
def test_more_training_and_looking_agree_with_a_loop_by_hand(case):
    check_training(*case)


@partial(jax.jit, static_argnums=0)
def mean_of_rows(objective, model, valid, key):
    """The old formula: the mean of the terms over all rows, each with its own noise."""
    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(jnp.arange(len(valid)))
    terms = jax.vmap(lambda x, k: objective(model, x, key=k[1], step=jnp.asarray(0)))(valid, keys)
    return jax.tree.map(jnp.mean, terms)


@settings(REPRODUCIBLE, max_examples=4)
@given(st.integers(1, 3 * LARGEST_EVALUATED), st.integers(1, 50), st.integers(0, 2**31 - 1))
@example(LARGEST_EVALUATED, 7, 0)
@example(LARGEST_EVALUATED + 1, 7, 0)
@example(2 * LARGEST_EVALUATED - 1, 7, 0)
def test_held_out_terms_of_an_ordinary_objective_are_means_over_all_rows_whatever_the_batch(count, batch_size, seed):
    rng = np.random.default_rng(seed)
    valid, model = jnp.asarray(rng.normal(size=(count, 3)), jnp.float32), jnp.asarray(rng.normal(size=3), jnp.float32)
    program = Program.of(model, alone, optax.identity(), lambda x, key: x)
    key = jax.random.key(seed)
    found, _ = program.evaluate(model, valid, key, 3, batch_size)
    wanted = mean_of_rows(alone, model, valid, key)
    assert float(found.bound) == pytest.approx(float(wanted.bound), rel=1e-5)
    assert float(found.objective) == float(found.bound)


def test_a_judge_that_does_not_see_its_batch_looks_at_all_rows_alike():
    rng = np.random.default_rng(0)
    data, valid = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=(33, 3)).astype(np.float32)
    key = jax.random.key(0)
    result = fit(
        jnp.ones(3), spread, data, key=key, optimizer=optax.sgd(0.0), epochs=1, batch_size=8, valid=valid, judge=alone
    )
    wanted = mean_of_rows(alone, jnp.ones(3), jnp.asarray(valid), jax.random.split(key, 3)[2])
    assert result.history[0].valid["bound"] == pytest.approx(float(wanted.bound), rel=1e-5)


def test_no_batch_shows_a_row_twice():
    """The variance of a batch of different numbers, and how many it has of each, seen by the objective."""

    def copies(model, x, *, key, step):
        equal = jnp.sum((jax.lax.all_gather(x[0], BATCH) == x[0]).astype(jnp.float32))
        return both(model[0] * 0.0 - (equal - 1.0))

    for count, held_out, batch_size in ((10, 17, 4), (10, 3, 4), (5, 1, 64), (7, 13, 1)):
        result = fit(
            jnp.zeros(1), copies, np.arange(count)[:, None], key=jax.random.key(0), optimizer=optax.sgd(0.1), epochs=2,
            batch_size=batch_size, valid=np.arange(held_out)[:, None],
        )  # fmt: skip
        assert result.history[0].valid["bound"] == 0.0
        assert result.history[0].train["bound"] == 0.0


def test_the_same_seed_gives_the_same_bits_and_nothing_given_is_consumed():
    rng = np.random.default_rng(0)
    data, valid = jnp.asarray(rng.normal(size=(30, 3)), jnp.float32), jnp.asarray(rng.normal(size=(9, 3)), jnp.float32)
    start = jnp.ones(3)

    def run(seed):
        return fit(
            start, spread, data, key=jax.random.key(seed), optimizer=optax.adam(0.01), epochs=40, batch_size=8,
            valid=valid,
        )  # fmt: skip

    one, same_seed, other = run(0), run(0), run(1)
    np.testing.assert_array_equal(one.model, same_seed.model)
    assert [(r.train, r.valid) for r in one.history] == [(r.train, r.valid) for r in same_seed.history]
    assert not np.array_equal(one.model, other.model)
    np.testing.assert_array_equal(start, np.ones(3))
    assert not data.is_deleted()
    assert not valid.is_deleted()


# Whether an objective sees its batch.

DATA = np.zeros((5, 3), np.float32)


def looks(operation):
    def objective(model, x, *, key, step):
        return both(jnp.sum(model * operation(x)))

    return objective


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_whether_an_objective_sees_its_batch_is_found_out(name):
    objective = looks(OPERATIONS[name][0])
    for _ in range(2):  # again after it was traced with the axis: no cache of that is used
        assert sees_batch(jnp.ones(3), objective, DATA, batch_size=2) == (name != "own")
        fit(jnp.ones(3), objective, DATA, key=jax.random.key(0), optimizer=optax.sgd(0.0), epochs=1, batch_size=2)


def test_an_axis_of_the_objective_s_own_is_not_the_batch():
    own = looks(lambda x: jax.vmap(lambda c: c - jax.lax.pmean(c, BATCH), axis_name=BATCH)(x))
    assert not sees_batch(jnp.ones(3), own, DATA, batch_size=2)


def test_an_axis_used_inside_an_expectation_is_found():
    def objective(model, x, *, key, step):
        value = expectation(
            AssumedContinuous(lambda z: z * jax.lax.pmean(x[0], BATCH)), dist.Normal(model[0], 1.0), key=key
        )
        return both(value)

    assert sees_batch(jnp.ones(3), objective, DATA, batch_size=2)


def test_a_transform_that_looks_at_the_batch_counts():
    assert sees_batch(jnp.ones(3), alone, DATA, batch_size=2, transform=lambda x, key: x - jax.lax.pmean(x, BATCH))
    assert not sees_batch(jnp.ones(3), alone, DATA, batch_size=2, transform=lambda x, key: x - 1.0)


def test_errors_of_other_names_are_not_taken_for_the_axis():
    with pytest.raises(NameError, match="not defined"):
        sees_batch(jnp.ones(3), looks(lambda x: batch), DATA, batch_size=2)
    with pytest.raises(NameError, match="unbound axis name: batches"):
        sees_batch(jnp.ones(3), looks(lambda x: jax.lax.psum(x, "batches")), DATA, batch_size=2)


# Where JAX gives a collective a wrong gradient.


@jax.custom_vjp
def reverse_rule(v):
    return pmean_squared(v)


reverse_rule.defvjp(lambda v: jax.vjp(pmean_squared, v), lambda pull, cotangent: pull(cotangent))


def branch(predicate, within=pmean_squared):
    return lambda v: jax.lax.cond(predicate(v), within, jnp.tanh, v)


def looped(operation):
    return lambda v: jax.lax.scan(lambda c, _: (operation(c), None), v, None, length=2)[0]


def positive(v):
    return v[0] > 0


def all_positive(v):
    return jax.lax.pmean(v[0], BATCH) > 0


def carried(v):
    """A branch on a value that is the same for all examples before the loop, and not in it."""
    return jax.lax.scan(lambda c, _: (branch(positive)(c) + v, None), jnp.zeros_like(v), None, length=3)[0]


WRONG = {
    "branch on a carried value": carried,
    "reverse rule": reverse_rule,
    "compiled reverse rule": jax.jit(reverse_rule),
    "branch": branch(positive),
    "switch": lambda v: jax.lax.switch(v[0].astype(int), [jnp.tanh, kernel, jnp.sin], v),
    "compiled branch": jax.jit(branch(jax.jit(positive))),
    "branch in a branch": branch(all_positive, branch(positive, neighbor)),
    "branch in a loop": looped(branch(positive)),
    "branch in a checkpoint": jax.checkpoint(branch(positive)),
    "branch on a place": branch(lambda v: jax.lax.axis_index(BATCH) == 0),
    "loop in a branch": branch(positive, looped(pmean_squared)),
}
RIGHT = {
    "branch on the batch": branch(all_positive),
    "branch on the batch, compiled": jax.jit(branch(jax.jit(all_positive))),
    "branch without collectives": lambda v: branch(positive, jnp.sin)(v - jax.lax.pmean(v, BATCH)),
    "reverse rule without collectives": lambda v: rx.rsample(dist.Gamma(jax.lax.pmean(jnp.exp(v), BATCH)), KEY),
}
KEY = jax.random.key(0)


@pytest.mark.parametrize("name", sorted(WRONG))
def test_collectives_whose_gradient_would_be_wrong_are_refused(name):
    objective, ones = looks(WRONG[name]), jnp.ones(3)
    with pytest.raises(TrainingError, match=r"custom_vjp|only some examples"):
        sees_batch(ones, objective, DATA, batch_size=2)
    with pytest.raises(TrainingError, match=r"custom_vjp|only some examples"):
        fit(ones, objective, DATA, key=KEY, optimizer=optax.sgd(0.0), epochs=1, batch_size=2)


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_collectives_whose_gradient_is_right_are_not_refused(name):
    assert sees_batch(jnp.ones(3), looks(RIGHT[name]), DATA, batch_size=2)


def test_a_branch_on_the_step_or_the_parameters_may_hold_collectives():
    def objective(model, x, *, key, step):
        first = jax.lax.cond(step % 4 == 0, pmean_squared, jnp.tanh, x)
        return both(jnp.sum(jax.lax.cond(model[0] > 0, pmean_squared, jnp.tanh, first * model)))

    assert sees_batch(jnp.ones(3), objective, DATA, batch_size=2)


def test_jax_still_gives_them_a_wrong_gradient():
    """When this fails, the refusal can go."""
    data, cotangents = jnp.asarray([1.0, -2.0, 3.0]), jnp.asarray([1.0, 2.0, 4.0])

    def slope(operation):
        along = jax.vmap(lambda w, x: operation(jnp.stack([w * x]))[0], in_axes=(None, 0), axis_name=BATCH)
        return float(jax.grad(lambda w: jnp.sum(cotangents * along(w, data)))(1.0))

    def of_all(w):
        return jnp.sum(cotangents * jnp.where(data > 0, jnp.mean(w * data) ** 2, jnp.tanh(w * data)))

    shared = jnp.sum(cotangents) * 2 * jnp.mean(data) ** 2
    assert slope(pmean_squared) == pytest.approx(float(shared), rel=1e-5)
    assert slope(reverse_rule) == pytest.approx(3 * float(shared), rel=1e-5)
    assert abs(slope(branch(positive)) - float(jax.grad(of_all)(1.0))) > 0.1
