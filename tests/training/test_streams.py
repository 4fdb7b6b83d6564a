"""Examples that are read while they are trained on: the same loop, whatever is read when, and wherever it begins."""

import threading
from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reparax.errors import DataError
from reparax.training import Checkpoints, Run, Streamed, _feed, _schedule, fit, fit_many

ROWS, BATCH, EPOCHS = 230, 8, 7
SGD = optax.sgd(0.01)
DATA = np.random.default_rng(0).normal(1.0, 1.0, (ROWS, 3)).astype(np.float32)


class Terms(eqx.Module):
    objective: jax.Array
    bound: jax.Array


def squares(model: jax.Array, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    value = -jnp.sum((model - x - 0.1 * jax.random.normal(key, x.shape)) ** 2)
    return Terms(value, value)


def sometimes_nan(model: jax.Array, x: jax.Array, *, key: jax.Array, step: jax.Array) -> Terms:
    terms = squares(model, x, key=key, step=step)
    return Terms(jnp.where(step % 83 == 50, jnp.nan, terms.objective), terms.bound)


def ordered(seed: tuple[int, ...], epoch: int) -> np.ndarray:
    return DATA[np.random.default_rng([*seed, epoch]).permutation(ROWS)]


@dataclass(frozen=True)
class Reading:
    seed: tuple[int, ...]
    seen: list

    def read(self, epoch, start, stop):
        self.seen.append((epoch, start, stop, threading.current_thread() is threading.main_thread()))
        if self.seed == ("broken",):
            raise DataError(expected="a file", got="none", cure="bring it back")
        return ordered(self.seed, epoch)[start:stop]


@dataclass(frozen=True, eq=False)
class Rows(Streamed):
    seen: list = field(default_factory=list)
    is_broken: bool = False

    @property
    def num_examples(self):
        return ROWS

    def some(self):
        return DATA[:1]

    def opened(self, seed):
        return Reading(("broken",) if self.is_broken else seed, self.seen)


def trained(data, objective=squares, **options):
    return fit(
        jnp.zeros(3), objective, data, key=jax.random.key(3), optimizer=optax.sgd(0.01), epochs=EPOCHS,
        batch_size=BATCH, valid=DATA[:20], **options,
    )  # fmt: skip


def bits(result):
    return np.asarray(result.model).tobytes(), [(each.step, each.train, each.valid) for each in result.history]


def test_it_takes_the_steps_of_a_plain_loop():
    order, noise, _ = jax.random.split(jax.random.key(3), 3)
    seed = tuple(np.ravel(jax.random.key_data(order)).tolist())
    w, step = np.zeros(3, np.float32), 0
    for epoch in range(EPOCHS):
        rows = ordered(seed, epoch)
        for first in range(0, ROWS // BATCH * BATCH, BATCH):
            keys = jax.random.split(jax.random.fold_in(noise, step), (BATCH, 2))
            draws = np.stack([np.asarray(jax.random.normal(key, (3,))) for key in keys[:, 1]])
            w = w + 0.01 * 2 * np.mean(rows[first : first + BATCH] + 0.1 * draws - w, axis=0)
            step += 1
    result = fit(
        jnp.zeros(3), squares, Rows(), key=jax.random.key(3), optimizer=optax.sgd(0.01), epochs=EPOCHS, batch_size=BATCH
    )
    np.testing.assert_allclose(result.model, w, rtol=1e-5)


@pytest.mark.parametrize(("values", "steps", "first"), [(1, 500, 20), (200, 500, 3), (1 << 23, 5, 20), (100, 2, 1)])
def test_what_is_read_at_once_changes_no_bit(values, steps, first, monkeypatch):
    expected = bits(trained(Rows()))
    monkeypatch.setattr(_feed, "WINDOW_VALUES", values)
    monkeypatch.setattr(_feed, "MOST_STEPS", steps)
    monkeypatch.setattr(_schedule, "FIRST_PIECE", first)
    rows = Rows()
    assert bits(trained(rows)) == expected
    assert not any(is_main for *_, is_main in rows.seen)
    assert max(stop - start for _, start, stop, _ in rows.seen) <= max(BATCH, min(values // 3, steps * BATCH))


@pytest.mark.filterwarnings("ignore:.*steps were not finite")
@pytest.mark.parametrize(("objective", "calls"), [(squares, 1), (squares, 9), (sometimes_nan, 4)])
def test_an_interrupted_run_goes_on_with_the_same_bits(objective, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(_schedule, "FIRST_PIECE", 11)
    monkeypatch.setattr(_schedule, "FASTEST_GROWTH", 1)
    monkeypatch.setattr(_feed, "MOST_STEPS", 9)
    expected = trained(Rows(), objective)
    left = [calls]

    def stop():
        left[0] -= 1
        return left[0] < 0

    first = trained(Rows(), objective, stop=stop, checkpoints=Checkpoints(tmp_path / "c", seconds=0.0))
    assert first.status == "interrupted"
    again = trained(Rows(), objective, checkpoints=Checkpoints(tmp_path / "c", seconds=0.0, resume=True))
    assert bits(again) == bits(expected)
    assert (again.status, again.best_step) == (expected.status, expected.best_step)


def test_only_what_is_needed_is_read_after_an_interrupt(tmp_path, monkeypatch):
    monkeypatch.setattr(_feed, "MOST_STEPS", 9)
    trained(Rows(), checkpoints=Checkpoints(tmp_path / "c"), stop=iter([False] * 8 + [True] * 9).__next__)
    rows = Rows()
    trained(rows, checkpoints=Checkpoints(tmp_path / "c", resume=True))
    whole = Rows()
    trained(whole)
    assert rows.seen == whole.seen[-len(rows.seen) :]
    assert len(rows.seen) < len(whole.seen)


def test_an_error_while_reading_is_that_of_the_fit():
    with pytest.raises(DataError, match="bring it back"):
        trained(Rows(is_broken=True))
    assert not any(thread.name.startswith("reparax-reader") for thread in threading.enumerate())


def a_run(seed, data, order=None, objective=squares):
    return Run(
        jnp.full(3, 0.1 * seed), objective, data, jax.random.key(seed), SGD, EPOCHS, BATCH,
        valid=DATA[:20], order=order,
    )  # fmt: skip


def assert_each_is_its_own_fit(results, runs):
    for result, run in zip(results, runs, strict=True):
        own = fit(**vars(run))
        np.testing.assert_allclose(result.model, own.model, rtol=0, atol=1e-5)
        assert (result.status, result.best_step) == (own.status, own.best_step)
        assert [each.step for each in result.history] == [each.step for each in own.history]


@pytest.mark.parametrize(("values", "steps"), [(1 << 23, 500), (200, 500), (1 << 23, 9)])
def test_many_models_in_one_order_read_once_what_one_model_reads(values, steps, monkeypatch):
    monkeypatch.setattr(_feed, "WINDOW_VALUES", values)
    monkeypatch.setattr(_feed, "MOST_STEPS", steps)
    order, rows = jax.random.key(7), Rows()
    runs = [a_run(seed, rows, order) for seed in range(4)]
    results = fit_many(runs)
    read = list(rows.seen)
    rows.seen.clear()
    fit(**vars(runs[0]))
    assert sorted(read) == sorted(rows.seen)
    assert_each_is_its_own_fit(results, runs)
    assert not any(thread.name.startswith("reparax-reader") for thread in threading.enumerate())


def test_many_models_in_their_own_orders_and_on_their_own_rows(monkeypatch):
    monkeypatch.setattr(_feed, "MOST_STEPS", 9)
    rows, others = Rows(), Rows()
    runs = [a_run(0, rows), a_run(1, rows), a_run(2, others), a_run(0, rows), a_run(4, DATA)]
    results = fit_many(runs)
    # Those of one seed read the same once.
    assert len(rows.seen) == 2 * len(others.seen)
    assert_each_is_its_own_fit(results, runs)


@pytest.mark.filterwarnings("ignore:.*steps were not finite")
def test_many_models_one_of_which_goes_on_alone(monkeypatch):
    monkeypatch.setattr(_feed, "MOST_STEPS", 9)

    def nan_far_out(model, x, *, key, step):
        terms = squares(model, x, key=key, step=step)
        return Terms(jnp.where((step == 150) & (model[0] > 50), jnp.nan, terms.objective), terms.bound)

    rows = Rows()
    runs = [a_run(seed, rows, jax.random.key(7), nan_far_out) for seed in (0, 1, 20_000)]
    results = fit_many(runs)
    assert [any(record.skipped for record in result.history) for result in results] == [False, False, True]
    assert_each_is_its_own_fit(results, runs)


@pytest.mark.parametrize("calls", [1, 7])
def test_many_interrupted_models_go_on_with_the_same_bits(calls, tmp_path, monkeypatch):
    monkeypatch.setattr(_schedule, "FIRST_PIECE", 11)
    monkeypatch.setattr(_schedule, "FASTEST_GROWTH", 1)
    monkeypatch.setattr(_feed, "MOST_STEPS", 9)
    rows = Rows()
    runs = [a_run(0, rows, jax.random.key(7)), a_run(1, rows, jax.random.key(7)), a_run(2, rows)]
    expected = fit_many(runs)
    left = [calls]

    def stop():
        left[0] -= 1
        return left[0] < 0

    first = fit_many(runs, stop=stop, checkpoints=Checkpoints(tmp_path / "c", seconds=0.0))
    assert {result.status for result in first} == {"interrupted"}
    again = fit_many(runs, checkpoints=Checkpoints(tmp_path / "c", seconds=0.0, resume=True))
    assert list(map(bits, again)) == list(map(bits, expected))


def test_an_error_while_reading_is_that_of_many_fits():
    with pytest.raises(DataError, match="bring it back"):
        fit_many([a_run(seed, Rows(is_broken=True)) for seed in range(2)])
    assert not any(thread.name.startswith("reparax-reader") for thread in threading.enumerate())
