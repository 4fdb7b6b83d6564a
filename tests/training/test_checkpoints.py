"""Runs that are ended and resumed give the same bits, and nothing else is ever taken for a checkpoint."""

import errno
import json
import random
import warnings
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import jax
import numpy as np
import optax
import pytest

from reparax.errors import ArtifactError, CheckpointWarning, OutputError
from reparax.training import Checkpoints, _checkpoints, _schedule, fit, has_checkpoints, remove

from .test_fit import noisy_squares, weights

DATA = np.random.default_rng(0).normal(1.0, 1.0, (40, 3)).astype(np.float32)
ADAM = optax.adam(0.02)
IDENTITY = {"recipe": {"epochs": 60, "prior": "vamp"}, "data": "0123"}


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    """Compiled calls of few steps, and a checkpoint after each, however long it takes to write."""
    monkeypatch.setattr(_schedule, "FIRST_PIECE", 31)
    monkeypatch.setattr(_schedule, "FASTEST_GROWTH", 1)
    monkeypatch.setattr(_checkpoints, "LEAST_RATIO", 0)


def train(folder=None, *, resume=False, stop=None, identity=None, seconds=0.0, **more):
    checkpoints = folder and Checkpoints(folder, identity or IDENTITY, seconds, resume)
    settings = {"epochs": 60, "batch_size": 8, "optimizer": ADAM, "valid": DATA[:9] - 0.7} | more
    return fit(
        weights(3), noisy_squares, DATA, key=jax.random.key(0), stop=stop, checkpoints=checkpoints or None, **settings
    )  # fmt: skip


def bits(result):
    history = [replace(record, seconds=0.0, examples_per_second=None, outside=None) for record in result.history]
    return (
        [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.model)],
        history,
        result.status,
        result.best_step,
    )


@pytest.fixture(scope="module")
def whole():
    return bits(train())


def after(calls):
    """Asks to stop when it has been asked a number of times."""
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_checkpoints_change_no_bit_and_the_last_two_are_kept(whole, tmp_path):
    assert bits(train(tmp_path / "run")) == whole
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert len([name for name in names if name.startswith("checkpoint-")]) == 2
    assert names[-1] == "lock"
    remove(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_the_clock_moves_no_look(whole, monkeypatch):
    for steps in (1, 13, 1000):
        monkeypatch.setattr(_schedule, "FIRST_PIECE", steps)
        assert bits(train()) == whole


@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_is_stopped_anywhere_and_resumed_gives_the_same_bits(whole, tmp_path, seed):
    rng = random.Random(seed)
    result = train(tmp_path, stop=after(rng.randrange(1, 9)))
    stops = 1
    while result.status == "interrupted":
        calls = rng.randrange(1, 6)
        result = train(tmp_path, resume=True, stop=after(calls))
        stops += 1
    assert stops > 2
    assert bits(result) == whole
    assert bits(train(tmp_path, resume=True)) == whole  # of a run that is over, the result


def test_a_resumed_run_is_told_where_it_is(tmp_path):
    seen = []
    train(tmp_path, stop=after(6))
    train(tmp_path, resume=True, progress=seen.append)
    assert [record.step for record in seen] == [100, 200, 300]
    assert all(a.seconds < b.seconds for a, b in pairwise(seen))


def spoiled(path, rng):
    """Does to a checkpoint what crashes, disks and people do."""
    file = rng.choice(sorted(path.iterdir()))
    content = bytearray(file.read_bytes())
    way = rng.choice(["flip", "cut", "longer", "empty", "gone"])
    if way == "gone":
        file.unlink()
        return
    place = rng.randrange(len(content))
    if way == "flip":
        content[place] ^= rng.randrange(1, 256)
    file.write_bytes({"flip": content, "cut": content[:place], "longer": content + b"x", "empty": b""}[way])


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(12, 200))])
def test_of_a_torn_or_altered_checkpoint_the_one_before_is_taken(whole, tmp_path, seed):
    rng = random.Random(seed)
    train(tmp_path, stop=after(rng.randrange(3, 12)))
    before, newest = sorted(tmp_path.glob("checkpoint-*"))
    spoiled(newest, rng)
    with pytest.warns(CheckpointWarning, match="is damaged"):
        assert bits(train(tmp_path, resume=True)) == whole
    newest = sorted(tmp_path.glob("checkpoint-*"))
    for path in newest:
        spoiled(path, rng)
    with pytest.warns(CheckpointWarning), pytest.raises(ArtifactError, match="got 2 damaged; start from the beginning"):
        train(tmp_path, resume=True)
    assert before not in newest


def test_checkpoints_of_another_fit_are_refused_by_name(tmp_path):
    train(tmp_path, stop=after(5))
    other = {"recipe": {"epochs": 60, "prior": "normal"}, "data": "4567"}
    with pytest.raises(ArtifactError) as caught:
        train(tmp_path, resume=True, identity=other)
    assert caught.value.expected == f"the fit whose checkpoints are in {tmp_path}: recipe.prior vamp; data 0123"
    assert caught.value.got == "recipe.prior normal; data 4567"
    assert "without resuming" in caught.value.cure


def test_another_format_is_refused_and_another_version_of_a_library_is_told(tmp_path, whole):
    train(tmp_path, stop=after(5))

    def rewrite(**changes):
        for path in tmp_path.glob("checkpoint-*/checkpoint.json"):
            content = json.loads(path.read_text()) | changes | {"checksum": "0" * 64}
            text = json.dumps(content).encode()
            path.write_bytes(text.replace(b"0" * 64, sha256(text).hexdigest().encode()))

    rewrite(format_version=7)
    with pytest.raises(ArtifactError, match=r"expected format version 3 .* version 7; resume with the version"):
        train(tmp_path, resume=True)
    rewrite(format_version=3, libraries={"jax": "0.1"})
    with pytest.warns(CheckpointWarning, match=r"jax 0\.1, now"):
        assert bits(train(tmp_path, resume=True)) == whole


def test_nothing_to_resume_and_something_not_resumed_are_told(tmp_path, whole):
    assert not has_checkpoints(tmp_path / "new")
    with pytest.warns(CheckpointWarning, match="nothing to resume in .*new: training starts from the beginning"):
        assert bits(train(tmp_path / "new", resume=True)) == whole
    assert has_checkpoints(tmp_path / "new")
    with pytest.warns(CheckpointWarning, match="resume would have gone on from there"):
        train(tmp_path / "new", stop=after(3), identity={"other": 1})
    assert len(list(tmp_path.glob("new/checkpoint-*"))) == 2
    with pytest.warns(CheckpointWarning, match="resume would"):
        train(tmp_path / "new", stop=after(0))


def test_a_full_disk_keeps_what_was_saved_and_training_goes_on(tmp_path, whole, monkeypatch):
    train(tmp_path, stop=after(6))
    saved = {path.name for path in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.warns(CheckpointWarning, match=r"could not be written .*\(a full disk\); those of before are kept"):
            assert bits(train(tmp_path, resume=True)) == whole
    assert {path.name for path in tmp_path.iterdir()} == saved
    assert bits(train(tmp_path, resume=True)) == whole


def test_a_second_fit_with_the_same_folder_is_refused(tmp_path):
    def second(record):
        with pytest.raises(OutputError, match="got another fit, which is running"):
            train(tmp_path)

    train(tmp_path, progress=second, epochs=20)
    assert has_checkpoints(tmp_path)


def test_the_default_interval_costs_little(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoints, "LEAST_RATIO", 10_000)
    train(tmp_path)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2  # the first, and after that only the last
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path / "other", seconds=60.0)
    assert len(list(tmp_path.glob("other/checkpoint-*"))) == 1
