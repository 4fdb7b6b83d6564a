"""What follows a run: the numbers of each look, files of them, TensorBoard, MLflow; and that nothing changes by it."""

import csv
import struct
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import polars as pl
import pytest

import reparax as rx
from reparax.errors import OutputError
from reparax.training import Checkpoints, HistoryFile, Record, TensorBoard, Watch, cosine_adam, fit

from .test_fit import Terms, noisy_squares, weights

DATA = np.random.default_rng(0).normal(1.0, 1.0, (40, 3)).astype(np.float32)


class Listener:
    """Notes all that it is told."""

    def __init__(self):
        self.told = []

    def start(self, settings, history):
        self.told.append(("start", dict(settings), len(history)))

    def record(self, record):
        self.told.append(("record", record))

    def end(self, status):
        self.told.append(("end", status))


def train(watchers=(), folder=None, stop=None, *, resume=False, **more):
    settings = {"epochs": 400, "batch_size": 8, "optimizer": cosine_adam(0.02, 2000), "valid": DATA[:9] - 0.7} | more
    return fit(
        weights(3), noisy_squares, DATA, key=jax.random.key(0), stop=stop, watch=Watch(watchers, {"epochs": 400}),
        checkpoints=folder and Checkpoints(folder, {}, 0.0, resume), **settings,
    )  # fmt: skip


def without_times(record):
    return replace(record, seconds=0.0, examples_per_second=None, outside=None)


class Two(eqx.Module):
    """A model of two parts."""

    slope: jax.Array
    inner: dict


def test_norms_of_gradients_and_the_rate_are_those_of_the_steps():
    """One step of gradient ascent on -(3 a - 4)^2 / 2 - |b - (1, 2)|^2 from zero: gradients 12, and 2 (1, 2)."""

    def objective(model, x, *, key, step):
        value = -((3 * model.slope - 4) ** 2) / 2 - jnp.sum((model.inner["b"] - jnp.array([1.0, 2.0])) ** 2)
        return Terms(value + 0 * x, value)

    model = Two(jnp.zeros(()), {"b": jnp.zeros(2)})
    optimizer = cosine_adam(0.5, 1)
    result = fit(
        model, objective, np.zeros(4, np.float32), key=jax.random.key(0), optimizer=optimizer, epochs=1, batch_size=4
    )
    (record,) = result.history
    assert record.gradients == {"slope": pytest.approx(12.0), "inner": pytest.approx(2 * np.sqrt(5.0))}
    assert record.examples_per_second > 0
    assert 0 <= record.outside < 1
    plain = fit(
        model, objective, np.zeros(4, np.float32), key=jax.random.key(0), optimizer=optax.sgd(0.1), epochs=1,
        batch_size=4,
    )  # fmt: skip
    assert plain.history[0].learning_rate is None


@pytest.mark.parametrize(("steps", "expected"), [(1, 0.0), (11, 5.0), (25, 10.0)])
def test_norms_are_the_mean_over_every_tenth_step(steps, expected):
    """The gradient of step number times a is the number of the step."""

    def objective(model, x, *, key, step):
        value = model.slope * step.astype(jnp.float32) + 0 * x
        return Terms(value, value)

    result = fit(
        Two(jnp.zeros(()), {}), objective, np.zeros(4, np.float32), key=jax.random.key(0), optimizer=optax.sgd(0.1),
        epochs=steps, batch_size=4,
    )  # fmt: skip
    assert result.history[-1].gradients == {"slope": expected}


def test_the_rate_is_the_one_that_the_next_step_takes():
    """The rate of a record, from a step of the optimizer itself: Adam's first steps have the length of the rate."""
    optimizer = cosine_adam(0.25, 2000)
    result = train(optimizer=optimizer, epochs=100)
    record = result.history[-1]
    state = optimizer.init(jnp.zeros(1))
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(record.step):
            _, state = jax.jit(optimizer.update)(jnp.ones(1), state)
        update, _ = optimizer.update(jnp.ones(1), state)
    assert record.learning_rate == pytest.approx(-float(update[0]), rel=1e-4)


def test_watchers_are_told_everything_and_change_nothing():
    first, second = Listener(), Listener()
    watched, plain = train([first, second]), train()
    assert first.told == second.told
    assert first.told[0] == ("start", {"epochs": 400}, 0)
    assert [record for _, record in first.told[1:-1]] == watched.history
    assert first.told[-1] == ("end", watched.status)
    assert [without_times(each) for each in watched.history] == [without_times(each) for each in plain.history]
    assert np.array_equal(watched.model.w, plain.model.w)


def test_an_error_ends_the_run_of_those_that_began():
    class Broken(Listener):
        def record(self, record):
            raise RuntimeError("full")

    first, broken = Listener(), Broken()
    with pytest.raises(RuntimeError, match="full"):
        train([first, broken])
    assert first.told[-1] == broken.told[-1] == ("end", None)
    with pytest.raises(OutputError):
        train([first, HistoryFile("/dev/null/none.csv")])
    assert first.told[-1] == ("end", None)


def test_a_resumed_history_has_all_looks(tmp_path):
    whole = train([HistoryFile(tmp_path / "whole.csv")])
    looks = iter(range(len(whole.history) // 2))
    path = tmp_path / "parts.csv"
    listener = Listener()

    class Stopping(Listener):
        over = False

        def record(self, record):
            self.over = next(looks, None) is None

    stopping = Stopping()
    train([HistoryFile(path), stopping], tmp_path / "saved", lambda: stopping.over)
    train([HistoryFile(path), listener], tmp_path / "saved", resume=True)
    assert 0 < listener.told[0][2] < len(whole.history)
    wanted, found = (list(csv.DictReader(each.read_text().splitlines())) for each in (tmp_path / "whole.csv", path))
    depend = ("seconds", "examples_per_second", "outside")
    assert [{k: v for k, v in row.items() if k not in depend} for row in found] == [
        {k: v for k, v in row.items() if k not in depend} for row in wanted
    ]
    assert {"epoch", "held_out/bound", "train/bound", "gradient/w", "learning_rate"} <= set(found[0])
    assert [float(row["held_out/bound"]) for row in found] == [each.valid["bound"] for each in whole.history]


def scalars(folder):
    """The scalars in TensorBoard's event files: records of length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in folder.glob("events*"):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            event = Event.FromString(content[place + 12 : place + 12 + length])
            place += 16 + length
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def test_tensorboard_has_the_numbers_of_each_look(tmp_path):
    result = train([TensorBoard(tmp_path / "board")], epochs=200)
    found = scalars(tmp_path / "board")
    for record in result.history:
        assert found["held_out/bound"][record.step] == pytest.approx(record.valid["bound"], rel=1e-6)
        assert found["gradient/w"][record.step] == pytest.approx(record.gradients["w"], rel=1e-6)
    assert len(found["learning_rate"]) == len(result.history)


def test_mlflow_has_the_settings_and_the_numbers(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(tmp_path.as_uri())
    result = train([rx.training.MLflow("trial")], epochs=200)
    (run,) = mlflow.search_runs(experiment_names=["trial"], output_format="list")
    assert run.data.params["epochs"] == "400"
    assert run.data.metrics["held_out/bound"] == pytest.approx(result.history[-1].valid["bound"])
    assert run.info.status == "FINISHED"


def test_a_record_survives_json():
    record = Record(1.0, 2, {"bound": -1.0}, {}, 0.5, 3, {"w": float("inf")}, 0.25, 100.0, 0.125)
    assert Record.from_json(record.as_json()) == record
    assert Record.from_json({"epoch": 1.0, "step": 2, "train": {}, "valid": {}, "seconds": 0.5}).gradients == {}


@pytest.mark.parametrize("ensemble", [pytest.param(1, marks=pytest.mark.full), 2])
def test_a_fit_tells_its_recipe_and_its_parts(ensemble):
    listener = Listener()
    model = rx.fit(DATA, epochs=2, width=4, depth=1, ensemble=ensemble, watchers=[listener])
    assert listener.told[0][1]["width"] == 4
    assert {"posterior", "likelihood"} <= set(listener.told[1][1].gradients)
    assert listener.told[-1] == ("end", model.status)


# In layers the KL is that of a draw, and so is the one of an adversarial objective, from few rows.
@pytest.mark.parametrize(
    ("settings", "count", "error"),
    [
        ({"posterior": "ladder", "latent_dim": 4}, 4, 0.3),
        ({"ensemble": 2, "given": ["c"]}, 2, 1e-4),
        ({"objective": "adversarial", "prior": "standard-normal"}, 2, None),
        ({"prior": "normal-mixture"}, 0, None),
        ({"posterior": "deterministic", "objective": "reconstruction"}, 0, None),
    ],
)
def test_looks_have_the_kl_of_each_dimension_where_it_is_known(settings, count, error):
    listener = Listener()
    table = pl.DataFrame(DATA, schema=["a", "b", "c"])
    rx.fit(table, epochs=1, width=4, depth=1, **({"latent_dim": 2} | settings), watchers=[listener])
    look = listener.told[1][1].valid
    each = [number for name, number in look.items() if name.startswith("kl_per_dimension[")]
    assert len(each) == count
    assert error is None or sum(each) == pytest.approx(look["kl"], rel=error)
    assert "held_out/kl_per_dimension[0]" in listener.told[1][1].flat() or not count
