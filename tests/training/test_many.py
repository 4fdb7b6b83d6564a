"""Many models at once: each as if it had been trained alone."""

from collections.abc import Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reparax.errors import TrainingError, TrainingWarning
from reparax.pytrees import Frozen
from reparax.training import Run, cosine_adam, fit, fit_many
from reparax.training._many import _groups

DATA = np.random.default_rng(0).normal(1.0, 1.0, (45, 3)).astype(np.float32)
KEPT = np.random.default_rng(1).normal(0.5, 1.0, (9, 3)).astype(np.float32)
SGD = optax.sgd(0.01)


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


class Net(eqx.Module):
    """A small perceptron, an array that is not trained, and a whole number."""

    layers: eqx.nn.MLP
    shift: Frozen
    count: jax.Array


def net(seed: int, width: int = 5) -> Net:
    mlp = eqx.nn.MLP(3, 3, width, 1, key=jax.random.key(seed))
    return Net(mlp, Frozen(jnp.full(3, 0.1 * seed)), jnp.arange(3))


class Squares(eqx.Module):
    """Minus the squared error of noisy examples, and a penalty with a weight."""

    weight: float = 1.0

    def __call__(self, model: Net, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
        noisy = x + 0.1 * jax.random.normal(key, x.shape)
        error = jnp.sum((model.layers(noisy) + model.shift.value - x) ** 2)
        size = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(eqx.filter(model.layers, eqx.is_inexact_array)))
        return Terms(-error - 0.01 * self.weight * size, -error)


class Branching(Squares):
    """The same, with a branch that depends on the weight."""

    def __call__(self, model: Net, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
        terms = super().__call__(model, x, key=key, step=step)
        return terms if self.weight > 1 else Terms(terms.bound, terms.bound)


def a_run(seed: int, **more) -> Run:
    first = Run(net(seed), Squares(), DATA, jax.random.key(seed), SGD, 6, 8, valid=KEPT)
    return replace(first, **more)


def alone(run: Run) -> object:
    return fit(
        run.model, run.objective, run.data, key=run.key, optimizer=run.optimizer, epochs=run.epochs,
        batch_size=run.batch_size, valid=run.valid, patience=run.patience, warmup=run.warmup, judge=run.judge,
        transform=run.transform,
    )  # fmt: skip


def assert_same(result, own, atol: float = 1e-5) -> None:
    """The same weights, records and end."""
    for leaf, other in zip(jax.tree.leaves(result.model), jax.tree.leaves(own.model), strict=True):
        if eqx.is_array(leaf):
            np.testing.assert_allclose(leaf, other, rtol=0, atol=atol)
        else:
            assert leaf == other
    assert (result.status, result.best_step, result.is_worse_than_untrained) == (
        own.status, own.best_step, own.is_worse_than_untrained,
    )  # fmt: skip
    assert len(result.history) == len(own.history)
    for record, its in zip(result.history, own.history, strict=True):
        assert (record.epoch, record.step, record.skipped) == (its.epoch, its.step, its.skipped)
        for name in its.train:
            np.testing.assert_allclose(record.train[name], its.train[name], rtol=1e-4)
        for name in its.valid:
            np.testing.assert_allclose(record.valid[name], its.valid[name], rtol=1e-4)


def sizes(runs: Sequence[Run], most: int | None = None) -> list[int]:
    return [len(group) for group in _groups(runs, [run.task() for run in runs], most)]


def test_models_that_differ_in_seeds_numbers_and_data_are_one_program_and_each_is_its_own_fit():
    runs = [
        a_run(0),
        a_run(1, objective=Squares(5.0)),
        a_run(2, data=DATA[::-1].copy()),
        a_run(3, valid=KEPT + 1),
        a_run(0, key=jax.random.key(9)),
    ]
    assert sizes(runs) == [5]
    for result, run in zip(fit_many(runs), runs, strict=True):
        assert_same(result, alone(run))


def test_models_of_other_structure_are_other_groups_and_results_keep_their_places():
    runs = [a_run(0), a_run(1, model=net(1, width=7)), a_run(2), a_run(3, epochs=3), a_run(4, data=DATA[:30])]
    assert sizes(runs) == [2, 1, 1, 1]
    said = []
    results = fit_many(runs, ended=lambda place, result: said.append((place, result)))
    assert [place for place, _ in said] == [0, 2, 1, 3, 4]
    assert all(results[place] is result for place, result in said)
    for result, run in zip(results, runs, strict=True):
        assert_same(result, alone(run))


def test_numbers_on_which_a_branch_depends_are_in_different_programs():
    runs = [a_run(seed, objective=Branching(weight)) for seed in (0, 1) for weight in (0.5, 2.0)]
    assert sizes(runs) == [2, 2]
    for result, run in zip(fit_many(runs), runs, strict=True):
        assert_same(result, alone(run))


def test_learning_rates_are_in_one_program():
    runs = [a_run(seed, optimizer=cosine_adam(rate, 30)) for seed, rate in enumerate((1e-3, 1e-2, 3e-2))]
    assert sizes(runs) == [3]
    for result, run in zip(fit_many(runs), runs, strict=True):
        assert_same(result, alone(run), atol=2e-3)  # Adam divides by what may be close to 0


def test_groups_too_large_are_divided_into_equal_parts():
    runs = [a_run(seed) for seed in range(7)]
    assert sizes(runs, most=3) == [2, 2, 3]
    for result, other in zip(fit_many(runs), fit_many(runs, most=3), strict=True):
        assert_same(result, other)


def test_nothing_held_out():
    runs = [a_run(seed, valid=None) for seed in range(2)]
    for result, run in zip(fit_many(runs), runs, strict=True):
        assert_same(result, alone(run))


def stopping(seed: int, patience: int | None) -> Run:
    """Training passes the held-out optimum on its way, and stops after it."""
    ones = np.ones((4, 3), np.float32)
    return a_run(seed, data=ones, valid=0.2 * ones, epochs=1000, batch_size=4, patience=patience)


def test_each_stops_by_itself_and_the_stop_of_one_does_not_change_the_others_by_a_bit():
    runs = [stopping(0, 100), stopping(1, None), stopping(2, 300)]
    results = fit_many(runs)
    assert [result.status for result in results] == ["stopped early", "all epochs done", "stopped early"]
    assert results[0].history[-1].step < results[2].history[-1].step < 1000
    for result, run in zip(results, runs, strict=True):
        assert_same(result, alone(run))
    none_stops = fit_many([replace(run, patience=None) for run in runs])
    for leaf, other in zip(jax.tree.leaves(results[1].model), jax.tree.leaves(none_stops[1].model), strict=True):
        if eqx.is_array(leaf):
            np.testing.assert_array_equal(leaf, other)


def exploding(model: Net, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    """Not finite from a step on that the model knows."""
    terms = Squares()(model, x, key=key, step=step)
    bad = (step >= 10 * model.count[1]) & (step < 10 * model.count[2])
    return Terms(terms.objective + jnp.where(bad, jnp.nan, 0.0), terms.bound)


def with_trouble(seed: int, begin: int, end: int) -> Run:
    model = replace(net(seed), count=jnp.asarray([0, begin, end]))
    return a_run(seed, model=model, objective=exploding, epochs=100)


@pytest.mark.filterwarnings("ignore:.*were not finite")
def test_a_model_with_steps_that_are_not_finite_goes_on_alone_and_changes_no_other():
    fine, troubled = with_trouble(0, 0, 0), with_trouble(1, 15, 16)
    results = fit_many([fine, troubled, with_trouble(2, 0, 0)])
    assert sum(record.skipped for record in results[1].history) == 10
    for result, run in zip(results, (fine, troubled), strict=False):
        assert_same(result, alone(run))


def test_an_error_of_one_is_its_result():
    with pytest.warns(TrainingWarning):
        results = fit_many([with_trouble(0, 0, 0), with_trouble(1, 0, 100), with_trouble(2, 30, 100)])
    assert results[0].status == "all epochs done"
    assert isinstance(results[1], TrainingError)
    assert "objective of step 1" in str(results[1])
    assert results[2].status == "diverged"
    assert results[2].best_step > 0


def test_stop_ends_all_with_their_best_models():
    asked = iter([False] * 6 + [True] * 100)
    runs = [a_run(seed, epochs=1000) for seed in range(3)]
    results = fit_many(runs, stop=lambda: next(asked))
    assert {result.status for result in results} == {"interrupted"}
    assert all(result.history for result in results)


def test_progress_is_the_mean_of_the_models():
    runs, seen = [a_run(seed, epochs=60) for seed in range(3)], []
    results = fit_many(runs, progress=seen.append)
    for index, record in enumerate(seen):
        for kind in ("train", "valid"):
            mean = np.mean([getattr(result.history[index], kind)["bound"] for result in results])
            assert getattr(record, kind)["bound"] == pytest.approx(mean)
    assert len(seen) == len(results[0].history)


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from((3, 5)), st.sampled_from((0.0, 1.0)), st.sampled_from((1, 3))),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_any_mixture_of_models_gives_each_its_own_fit(chosen):
    runs = [
        a_run(seed, model=net(seed, width), objective=Squares(weight), epochs=epochs)
        for seed, width, weight, epochs in chosen
    ]
    for result, run in zip(fit_many(runs), runs, strict=True):
        assert_same(result, alone(run))
