"""Fits to files that are read in blocks."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import optax
import polars as pl
import pyarrow as pa
import pytest

import reparax as rx
from reparax import applications
from reparax.applications import _job
from reparax.data import Stream, opened
from reparax.data.sources import describe, npy, source, stream
from reparax.errors import DataError, RecipeError
from reparax.recipe import build

SMALL = {"width": 8, "depth": 1, "latent_dim": 2, "epochs": 3, "batch_size": 32, "prior": "standard-normal"}

PLAIN = SMALL | {"likelihood": "normal", "relations": "none", "memory": 1}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(stream, "SAMPLE_ROWS", 900)
    monkeypatch.setattr(stream, "FEWEST_SAMPLED", 500)
    monkeypatch.setattr(stream, "BUFFER_VALUES", 1500)
    monkeypatch.setattr(source, "PIECE_ROWS", 170)
    monkeypatch.setattr(describe, "MOST_LEVELS", 500)
    monkeypatch.setattr(describe, "FEWEST_LEVELS", 100)
    monkeypatch.setattr(npy, "BLOCK_BYTES", 4096)


def table(n: int = 2000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    return pl.DataFrame(
        {"x": x, "y": x + 0.5 * rng.normal(size=n), "word": rng.choice(["a", "b", "none"], n), "k": rng.poisson(3, n)}
    ).with_columns(gap=pl.when(pl.col("k") > 2).then(pl.col("x")))


@pytest.fixture
def path(tmp_path):
    table().write_parquet(tmp_path / "t.parquet", row_group_size=150)
    return str(tmp_path / "t.parquet")


@pytest.fixture
def numbers(tmp_path):
    np.save(tmp_path / "n.npy", np.random.default_rng(0).normal(size=(2000, 3)))
    return str(tmp_path / "n.npy")


def bits(fitted):
    leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fitted.model) if hasattr(leaf, "dtype")]
    return leaves, [(each.step, each.train, each.valid) for each in fitted.history], fitted.schema


@pytest.mark.full
def test_a_stream_learns_as_much_as_memory(path, small):
    in_memory = rx.fit(path, **SMALL | {"epochs": 12}, seed=1)
    streamed = rx.fit(path, **SMALL | {"epochs": 12}, seed=1, memory=1)
    assert streamed.schema.num_examples == 1800
    found, expected = (fitted.history[-1].valid["bound"] for fitted in (streamed, in_memory))
    before = in_memory.history[0].valid["bound"]
    assert before + 1 < expected
    assert abs(found - expected) < 0.2 * (expected - before) + 0.2  # other rows are held out


@pytest.mark.parametrize("kind", ["npy", pytest.param("parquet", marks=pytest.mark.full)])
def test_the_same_seed_gives_the_same_bits_and_a_fit_goes_on(kind, path, small, tmp_path):
    options = SMALL
    if kind == "npy":
        path, options = tmp_path / "x.npy", SMALL | {"likelihood": "normal", "relations": "none"}
        np.save(path, np.random.default_rng(0).normal(size=(2000, 3)))
    expected = rx.fit(path, **options, memory=1)
    asked = iter([False] * 2 + [True] * 99)
    saves = {"checkpoints": tmp_path / "c", "checkpoint_seconds": 0.0}
    first = rx.fit(path, **options, memory=1, **saves, stop=lambda: next(asked))
    assert first.status == "interrupted"
    again = rx.fit(path, **options, memory=1, **saves, resume=True)
    assert bits(again) == bits(expected)


def test_other_rows_are_not_gone_on_with(tmp_path, small):
    path, rows = str(tmp_path / "n.parquet"), table().select("x", "y", "k")
    options = SMALL | {"likelihood": "normal", "relations": "none", "memory": 1, "checkpoints": tmp_path / "c"}
    rows.write_parquet(path, row_group_size=150)
    rx.fit(path, **options)
    rows.with_columns(pl.col("k").reverse()).write_parquet(path, row_group_size=150)  # the same moments
    with pytest.raises(rx.errors.ArtifactError, match="data of 1800 examples"):
        rx.fit(path, **options, resume=True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"trim": 0.1}, "--trim"), ({"rows": 100}, "--rows"), ({"objective": "semi-supervised"}, "takes labels"),
        ({"given": ["word"]}, "--given"),
    ],
)  # fmt: skip
def test_what_needs_all_rows_is_refused(options, named, path, small):
    with pytest.raises((RecipeError, DataError), match=named) as error:
        rx.fit(path, **SMALL | options, memory=1)
    assert "memory=" in error.value.cure


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps of plain gradient descent: Adam would divide differences of rounding by their own size."""
    descent = optax.sgd(1e-3)
    monkeypatch.setattr(_job, "cosine_adam", lambda *numbers: descent)


@pytest.fixture
def reads(monkeypatch):
    """What is read of files in blocks while models are trained."""
    read, seen = stream.Reader.read, []
    monkeypatch.setattr(
        stream.Reader, "read", lambda self, *place: (seen.append(place), read(self, *place))[1]
    )  # fmt: skip
    return seen


def assert_same_fit(fitted, own):
    assert fitted.schema == own.schema
    for leaf, other in zip(
        *(jax.tree.leaves(eqx.filter(one.model, eqx.is_array)) for one in (fitted, own)), strict=True
    ):
        np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-5)
    assert [each.step for each in fitted.history] == [each.step for each in own.history]


@pytest.mark.usefixtures("plain_descent")
def test_an_ensemble_reads_a_file_once_and_its_first_member_is_the_single_model(numbers, small, reads, tmp_path):
    own = rx.fit(numbers, **PLAIN)
    of_one = sorted(reads)
    reads.clear()
    saves = {"checkpoints": tmp_path / "c", "checkpoint_seconds": 0.0}
    fitted = rx.fit(numbers, **PLAIN, ensemble=3, **saves)
    assert sorted(reads) == of_one
    assert_same_fit(fitted.members[0], own)
    weights = [np.concatenate([np.ravel(leaf) for leaf in bits_of(member)]) for member in fitted.members]
    assert all(np.nanmax(np.abs(weights[0] - other)) > 0.01 for other in weights[1:])
    asked = iter([False] * 2 + [True] * 99)
    saves["checkpoints"] = tmp_path / "d"
    first = rx.fit(numbers, **PLAIN, ensemble=3, **saves, stop=lambda: next(asked))
    assert first.status == "interrupted"
    again = rx.fit(numbers, **PLAIN, ensemble=3, **saves, resume=True)
    assert [bits(member) for member in again.members] == [bits(member) for member in fitted.members]


def bits_of(fitted):
    return jax.tree.leaves(eqx.filter(fitted.model, eqx.is_inexact_array))


@pytest.mark.usefixtures("plain_descent")
def test_a_sweep_of_a_file_in_blocks(numbers, small, reads, tmp_path):
    options = {"beta": [0.5, 2.0]}
    swept = rx.sweep(numbers, options, seeds=2, folder=tmp_path / "s", **PLAIN)
    found = len(reads)
    reads.clear()
    own = [rx.fit(numbers, **PLAIN, beta=0.5, seed=seed) for seed in range(2)]
    assert found == len(reads)
    for place, fitted in enumerate(own):
        assert_same_fit(rx.load(tmp_path / "s" / "models" / f"{place + 1:04}"), fitted)
    bounds = {
        trial.seed: trial.bound for one in swept.leaderboard if one.options["beta"] == 0.5 for trial in one.trials
    }
    for seed, fitted in enumerate(own):
        assert bounds[seed] == pytest.approx(max(each.valid["bound"] for each in fitted.history), rel=1e-4)
    reads.clear()
    again = rx.sweep(numbers, options, seeds=2, folder=tmp_path / "s", resume=True, **PLAIN)
    assert not reads
    assert again.leaderboard == swept.leaderboard
    with pytest.raises(rx.errors.ArtifactError, match="data"):
        rx.sweep(numbers, options, seeds=2, folder=tmp_path / "s", resume=True, **PLAIN | {"memory": "1GB"})


def test_images_are_read_in_blocks(tmp_path, small):
    images = np.random.default_rng(0).integers(0, 256, (1200, 6, 6), np.uint8)
    np.save(tmp_path / "x.npy", images)
    data = opened(tmp_path / "x.npy", memory=1)
    assert isinstance(data, Stream)
    fitted = rx.fit(data, width=8, depth=1, epochs=1, latent_dim=2, valid=0)
    assert fitted.schema.event_shape == (6, 6, 1)
    assert np.isfinite(rx.score(fitted, images[:5], num_samples=2).log_density).all()


KILLS = 3

LIMITED = """
import resource, sys
import numpy as np
import reparax as rx

megabytes, path, memory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
fitted = rx.fit(path, width=16, depth=1, latent_dim=2, epochs=1, likelihood="normal", relations="none", memory=memory)
print(fitted.schema.num_examples, fitted.status)
"""


def limited(path, megabytes, memory):
    command = [sys.executable, "-W", "ignore", "-c", LIMITED, str(megabytes), str(path), memory]
    return subprocess.run(command, capture_output=True, text=True)


def write_npy(path, rows, columns):
    """Writes rows a few at a time, so that this process needs no memory for them."""
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, columns))
    for first in range(0, rows, 100_000):
        array[first : first + 100_000] = rng.normal(size=(min(100_000, rows - first), columns)).astype(np.float32)
    array.flush()


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_a_file_larger_than_the_memory_of_the_process(tmp_path):
    write_npy(tmp_path / "x.npy", 12_000_000, 40)  # 1.9 GB
    done = limited(tmp_path / "x.npy", 1400, "100MB")
    assert done.stdout.strip() == "11999000 all epochs done", done.stderr


@pytest.fixture
def applied(tmp_path):
    """A model of rows, its folder, and the rows with a number of each."""
    rows = table(90).with_columns(row=pl.int_range(90))
    fitted = rx.plan(rows.drop("row"), **SMALL)
    part = rx.read(rows.drop("row"))
    model = rx.FittedModel(build(fitted, part.schema, key=jax.random.key(0)), part.schema, fitted)
    rx.save(model, tmp_path / "model")
    return model, str(tmp_path / "model"), rows.to_arrow()


CUTS = [(0, 13), (13, 14), (14, 60), (60, 90)]


def test_codes_of_arrow_batches_are_those_of_one_process(applied):
    fitted, folder, rows = applied
    encode = pickle.loads(pickle.dumps(applications.EncodeBatches(folder, keep=("row",))))
    found = [encode(rows.slice(a, b - a).combine_chunks().to_batches()[0]) for a, b in CUTS]
    assert all(isinstance(batch, pa.RecordBatch) for batch in found)
    together = pa.Table.from_batches(found)
    assert together.column_names == ["row", "z0", "z1"]
    np.testing.assert_array_equal(together["row"], np.arange(90))
    codes = rx.encode(fitted, rows.drop_columns(["row"]))
    np.testing.assert_array_equal(np.stack([together["z0"], together["z1"]], axis=1), codes)
    nothing = encode(rows.slice(0, 0))
    assert (nothing.column_names, len(nothing)) == (together.column_names, 0)


@pytest.mark.full
def test_scores_of_arrow_batches_are_those_of_one_process(applied):
    fitted, folder, rows = applied
    score = pickle.loads(pickle.dumps(applications.ScoreBatches(folder, 2, keep=("row",))))
    together = pa.concat_tables([score(rows.slice(a, b - a)) for a, b in CUTS])
    scores = rx.score(fitted, rows.drop_columns(["row"]), num_samples=2)
    assert together.column_names[:3] == ["row", "log_density", "anomaly_score"]
    np.testing.assert_array_equal(together["anomaly_score"], scores.anomaly_score)
    np.testing.assert_array_equal(together["share_y"], scores.shares[:, scores.names.index("y")])
    assert score(rows.slice(0, 0)).schema.names == together.schema.names


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="needs SIGKILL")
def test_a_fit_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2000, 3)))
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(Path(__file__).with_name("killed_stream.py")),
        str(tmp_path / "x.npy"),
    ]
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    options = {"stdout": subprocess.PIPE, "text": True, "env": os.environ | cache}
    expected = subprocess.run([*command, str(tmp_path / "whole")], **options, check=True).stdout
    rng, kills = np.random.default_rng(0), 0

    def newest():
        return max((path.name for path in (tmp_path / "c").glob("checkpoint-*")), default="")

    while True:
        process, before = subprocess.Popen([*command, str(tmp_path / "c")], **options), newest()
        while process.poll() is None and newest() == before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        if kills == KILLS or process.poll() is not None:
            break
        process.kill()
        kills += 1
        process.communicate()
    assert kills == KILLS
    assert process.communicate()[0] == expected
