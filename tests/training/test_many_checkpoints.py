"""Many models that are ended and resumed at once give the same bits as those that were not."""

import random
import warnings
from dataclasses import replace

import jax
import numpy as np
import pytest

from reparax.errors import ArtifactError, CheckpointWarning, OutputError
from reparax.training import Checkpoints, _checkpoints, _schedule, fit, fit_many, has_checkpoints, remove

from .test_many import a_run, net, with_trouble

IDENTITY = {"recipe": {"ensemble": 3}, "data": "0123"}
pytestmark = pytest.mark.filterwarnings("ignore:.*were not finite")


@pytest.fixture(autouse=True)
def _often(monkeypatch):
    monkeypatch.setattr(_schedule, "FIRST_PIECE", 29)
    monkeypatch.setattr(_schedule, "FASTEST_GROWTH", 1)
    monkeypatch.setattr(_checkpoints, "LEAST_RATIO", 0)


def runs():
    """Three models: one stops early, and one goes on alone after a step that is not finite."""
    return [with_trouble(0, 0, 0), replace(with_trouble(1, 12, 13), epochs=100), with_trouble(2, 0, 0)]


def train(folder=None, *, resume=False, stop=None, identity=None, some=None, **more):
    checkpoints = None if folder is None else Checkpoints(folder, identity or IDENTITY, 0.0, resume)
    return fit_many([replace(run, **more) for run in some or runs()], stop=stop, checkpoints=checkpoints)


def bits(results):
    return [
        (
            [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.model)],
            [replace(record, seconds=0.0, examples_per_second=None, outside=None) for record in result.history],
            result.status,
            result.best_step,
        )
        for result in results
    ]


@pytest.fixture(scope="module")
def whole():
    """The bits of three models; the second one left out steps, alone."""
    results = train()
    assert sum(record.skipped for record in results[1].history) == 10
    assert not any(record.skipped for record in results[0].history)
    return bits(results)


def after(calls):
    left = iter(range(calls))
    return lambda: next(left, None) is None


def test_checkpoints_change_no_bit_and_each_group_has_a_folder(whole, tmp_path):
    assert bits(train(tmp_path / "c")) == whole
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["models-1-3", "models-2"]
    for part in (tmp_path / "c").iterdir():
        assert len(list(part.glob("checkpoint-*"))) == 2
    assert has_checkpoints(tmp_path / "c")
    remove(tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full), pytest.param(2, marks=pytest.mark.full)])
def test_models_that_are_stopped_anywhere_and_resumed_give_the_same_bits(whole, tmp_path, seed):
    rng, resume, ended = random.Random(seed), False, 0
    while True:
        found = train(tmp_path / "c", resume=resume, stop=after(rng.randrange(1, 7)))
        resume, ended = True, ended + 1
        if not any(result.status == "interrupted" for result in found):
            break
        if rng.random() < 0.3:  # the newest checkpoint is torn
            newest = max((tmp_path / "c").glob("models-*/checkpoint-*"), key=lambda path: path.stat().st_mtime)
            (newest / "state.safetensors").write_bytes(b"")
            warnings.filterwarnings("ignore", message=".*is damaged")
    assert ended > 2
    assert bits(found) == whole
    assert bits(train(tmp_path / "c", resume=True)) == whole  # over, and resumed once more


def test_what_a_model_alone_left_of_another_run_is_not_taken(tmp_path):
    assert any(result.status != "interrupted" for result in train(tmp_path / "c"))
    assert (tmp_path / "c" / "models-2").is_dir()
    with pytest.warns(CheckpointWarning, match="they will be replaced"):
        train(tmp_path / "c", stop=after(1))
    assert not (tmp_path / "c" / "models-2").exists()


def test_checkpoints_of_others_are_refused(tmp_path, whole):
    train(tmp_path / "c", stop=after(2))
    with pytest.raises(ArtifactError, match="data"):
        train(tmp_path / "c", resume=True, identity=IDENTITY | {"data": "other"})
    one = a_run(0)
    with pytest.raises(ArtifactError, match="of several models"):
        fit(
            net(0), one.objective, one.data, key=one.key, optimizer=one.optimizer, epochs=1, batch_size=8,
            checkpoints=Checkpoints(tmp_path / "c", IDENTITY, 0.0, resume=True),
        )  # fmt: skip
    with pytest.warns(CheckpointWarning, match="nothing to resume"):
        train(tmp_path / "d", resume=True, stop=after(2))
    fit(
        net(0), one.objective, one.data, key=one.key, optimizer=one.optimizer, epochs=1, batch_size=8,
        checkpoints=Checkpoints(tmp_path / "e", IDENTITY, 0.0),
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="of a single model"):
        train(tmp_path / "e", resume=True)


def test_a_second_fit_with_the_same_folder_is_refused(tmp_path):
    def stop():
        with pytest.raises(OutputError, match="another fit"):
            train(tmp_path / "c", epochs=1)
        return True

    train(tmp_path / "c", stop=stop)
