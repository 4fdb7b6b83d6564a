"""A fitted model on disk: the same bits come back, and nothing else is ever taken for a model."""

import errno
import hashlib
import json
import math
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array
from safetensors.numpy import load, save

import reparax as rx
from reparax.artifact import check_folder, describe
from reparax.data import split
from reparax.errors import ArtifactError, OutputError
from reparax.likelihoods import Likelihood
from reparax.model import Model
from reparax.posteriors import AbstractFamily, Encoder
from reparax.priors import StandardNormal
from reparax.pytrees import Frozen, combine, partition
from reparax.recipe import FittedModel, build
from reparax.training import Record

DATA = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
FILES = ("model.json", "weights.safetensors")
CARD = "README.md"


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def untrained(seed=0, **chosen):
    dataset = rx.read(DATA)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        recipe = rx.plan(dataset, **({"width": 4, "latent_dim": 2} | chosen))
        part, _ = split(dataset, recipe.valid, recipe.seed)
        model = build(recipe, part.schema, key=jax.random.key(seed))
    history = [Record(1.0, 2, {"bound": -1.5}, {"bound": math.nan, "kl": math.inf}, 0.25)]
    return FittedModel(model, part.schema, recipe, history, "stopped early")


@pytest.fixture(scope="module")
def fitted():
    return untrained()


@pytest.fixture(scope="module")
def folder(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "model"
    rx.save(fitted, path)
    return path


def leaves(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if eqx.is_array(leaf)]


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"prior": "vamp", "num_components": 3, "likelihood": "normal"},
        {"objective": "reconstruction"},
        {"network": "linear"},
    ],
    ids=["default", "vamp", "autoencoder", "linear"],
)
def test_a_round_trip_gives_the_same_bits(chosen, tmp_path):
    before = untrained(**chosen)
    rx.save(before, tmp_path / "model")
    after = rx.load(tmp_path / "model")
    assert jax.tree.structure(after.model) == jax.tree.structure(before.model)
    for a, b in zip(leaves(before.model), leaves(after.model), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert (after.schema, after.recipe, after.status) == (before.schema, before.recipe, before.status)


def test_a_loaded_model_encodes_scores_and_samples_the_same_bits(fitted, folder):
    after = rx.load(folder)
    np.testing.assert_array_equal(rx.encode(fitted, DATA), rx.encode(after, DATA))
    a, b = (rx.score(model, DATA, num_samples=3) for model in (fitted, after))
    np.testing.assert_array_equal(a.log_density, b.log_density)
    a, b = (rx.sample(model, 4, key=jax.random.key(1)) for model in (fitted, after))
    np.testing.assert_array_equal(a, b)


def test_the_history_comes_back_with_numbers_that_json_has_not(fitted, folder):
    (found,) = rx.load(folder).history
    (wrote,) = fitted.history
    assert (found.epoch, found.step, found.train, found.seconds) == (1.0, 2, wrote.train, 0.25)
    assert math.isnan(found.valid["bound"])
    assert found.valid["kl"] == math.inf
    json.loads((folder / "model.json").read_text(), parse_constant=pytest.fail)


def test_the_description_says_what_the_model_is(folder):
    found = describe(folder)
    assert found["recipe"]["posterior"] == "diagonal-normal"
    assert found["training"]["status"] == "stopped early"
    assert set(found["libraries"]) == {"reparax", "jax", "equinox", "numpyro", "numpy"}


def damaged(folder, tmp_path_factory, name, content):
    copy = tmp_path_factory.mktemp("damaged")
    for file in FILES:
        (copy / file).write_bytes(content if file == name else (folder / file).read_bytes())
    return copy


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed(folder, tmp_path_factory, name, place, flip):
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= flip
    with pytest.raises(ArtifactError):
        rx.load(damaged(folder, tmp_path_factory, name, bytes(content)))


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(FILES), place=st.floats(0, 1, exclude_max=True), more=st.booleans())
def test_a_truncated_or_longer_file_is_noticed(folder, tmp_path_factory, name, place, more):
    content = (folder / name).read_bytes()
    changed = content + content[: 1 + int(place * 9)] if more else content[: int(place * len(content))]
    with pytest.raises(ArtifactError):
        rx.load(damaged(folder, tmp_path_factory, name, changed))


def resealed(folder, tmp_path, change):
    """A copy of the folder with another description, its checksum right again, as another version might write it."""
    content = json.loads((folder / "model.json").read_text())
    change(content)
    content["checksum"] = "0" * 64
    text = json.dumps(content).encode()
    (tmp_path / "model.json").write_bytes(text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode()))
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(format_version=2), "format version 7"),
        (lambda content: content.update(format="another tool's"), "another tool's"),
        (lambda content: content["recipe"].update(posterior="from-the-future"), "from-the-future"),
        (lambda content: content["recipe"].update(dial=3), "dial"),
        (lambda content: content["recipe"].update(width=5), "to be float32 of shape"),
        (lambda content: content["recipe"].update(depth=3), "no "),
        (lambda content: content["recipe"].update(prior="uniform-bernoulli"), "latent space"),
        (lambda content: content["data"].pop("event_shape"), "event_shape"),
        (lambda content: content["training"].update(history=[{"epoch": 1}]), "invalid record of training"),
        (lambda content: content.update(files={}), "no checksum"),
        (lambda content: content["arrays"].clear(), "other arrays"),
    ],
)
def test_descriptions_of_other_models(folder, tmp_path, change, words):
    with pytest.raises(ArtifactError, match=words):
        rx.load(resealed(folder, tmp_path, change))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_neither_loaded_nor_saved(fitted, folder, tmp_path, value):
    weights = {name: array.copy() for name, array in load((folder / "weights.safetensors").read_bytes()).items()}
    name = next(name for name in weights if name.endswith("weight"))
    weights[name].flat[0] = value
    content = save(weights)
    seal = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    resealed(folder, tmp_path, lambda content: content["files"].update({"weights.safetensors": seal}))
    (tmp_path / "weights.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match=f"expected finite weights in .*; got others in {name}"):
        rx.load(tmp_path)
    trainable, rest = partition(fitted.model)
    spoiled = combine(jax.tree.map(lambda leaf: leaf + value, trainable), rest)
    with pytest.raises(ArtifactError, match="finite weights"):
        rx.save(replace(fitted, model=spoiled), tmp_path / "new")


def test_weights_that_are_no_safetensors_file(folder, tmp_path):
    weights = b"\x08\0\0\0\0\0\0\0{broken}"
    seal = {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()}
    resealed(folder, tmp_path, lambda content: content["files"].update({"weights.safetensors": seal}))
    (tmp_path / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match="not one of weights"):
        rx.load(tmp_path)


def test_places_that_are_no_model_folder(folder, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "model.json").write_bytes((folder / "model.json").read_bytes())
    cases = ((tmp_path, "without model.json"), (tmp_path / "no", "nothing there"), (tmp_path / "file", "a file"))
    for place, words in (*cases, (tmp_path / "half", "without weights.safetensors")):
        with pytest.raises(ArtifactError, match=words):
            rx.load(place)


def test_a_failed_save_leaves_the_old_model(fitted, tmp_path, monkeypatch):
    rx.save(fitted, tmp_path / "model")
    before = {name: (tmp_path / "model" / name).read_bytes() for name in FILES}

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="a full disk"):
            rx.save(untrained(seed=1), tmp_path / "model")
    assert {name: (tmp_path / "model" / name).read_bytes() for name in FILES} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    rx.save(untrained(seed=1), tmp_path / "model")
    assert (tmp_path / "model" / "weights.safetensors").read_bytes() != before["weights.safetensors"]


def test_folders_that_hold_other_things_are_not_replaced(fitted, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    for attempt in (lambda: check_folder(tmp_path / "thesis"), lambda: rx.save(fitted, tmp_path / "thesis")):
        with pytest.raises(OutputError, match=r"chapter\.tex"):
            attempt()
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_what_a_killed_report_left_in_the_folder_is_no_obstacle(fitted, tmp_path):
    rx.save(fitted, tmp_path / "model")
    (tmp_path / "model" / ".report.html.0123456789ab.tmp").mkdir()
    rx.save(fitted, tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == sorted([*FILES, CARD, "history.csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


class Own(Likelihood):
    """A likelihood of the user's own, with every kind of leaf that a module may have."""

    network: eqx.nn.Linear
    scale: Frozen
    half: Array
    seed: jax.Array
    table: np.ndarray
    transposed: Array
    power: float
    extra: dict

    def __call__(self, z):
        return dist.Normal(self.network(z), self.scale.value).to_event(1)


class OwnPosterior(AbstractFamily):
    """A posterior of the user's own."""

    latent_space = "real"
    default_prior = "standard-normal"

    def num_outputs(self, latent_dim):
        return latent_dim

    def distribution(self, outputs, latent_dim):
        return dist.Normal(outputs, 1.0).to_event(1)


def own_parts(seed=0, size=3, power=0.1, extra=None):
    key = jax.random.key(seed)
    likelihood = Own(
        network=eqx.nn.Linear(2, 3, key=key),
        scale=Frozen(jnp.full(3, 0.5 + seed)),
        half=jnp.asarray([1.5, seed], ml_dtypes.bfloat16),
        seed=jax.random.key(seed + 7),
        table=np.arange(4, dtype=np.int16) + seed,
        transposed=jnp.arange(2.0 * size).reshape(2, size).T + seed,
        power=power,
        extra=extra or {"a": jnp.zeros(1)},
    )
    return Model(Encoder(OwnPosterior(), eqx.nn.Linear(3, 2, key=key), 2), StandardNormal(), likelihood)


def test_a_model_of_own_parts_needs_its_class_to_load(tmp_path):
    before = FittedModel(own_parts(seed=1, power=0.25), rx.read(DATA).schema)
    rx.save(before, tmp_path / "model")
    with pytest.raises(ArtifactError, match="model=your_model"):
        rx.load(tmp_path / "model")
    after = rx.load(tmp_path / "model", model=own_parts(seed=2))
    a, b = before.model.likelihood, after.model.likelihood
    np.testing.assert_array_equal(a.scale.value, b.scale.value)
    assert b.half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(a.half, b.half)
    np.testing.assert_array_equal(jax.random.key_data(a.seed), jax.random.key_data(b.seed))
    assert isinstance(b.table, np.ndarray)
    np.testing.assert_array_equal(a.table, b.table)
    np.testing.assert_array_equal(a.transposed, b.transposed)
    assert b.power == 0.25
    np.testing.assert_array_equal(rx.encode(before, DATA), rx.encode(after, DATA))


class Narrow(OwnPosterior):
    def distribution(self, outputs, latent_dim):
        return dist.Normal(outputs, 0.1).to_event(1)


def test_a_model_of_other_classes_with_equal_shapes_is_refused(tmp_path):
    saved = own_parts()
    rx.save(FittedModel(saved, rx.read(DATA).schema), tmp_path / "model")
    other = eqx.tree_at(lambda model: model.posterior.part, saved, Narrow())
    with pytest.raises(ArtifactError, match=r"OwnPosterior at \.posterior\.part; got one with Narrow there"):
        rx.load(tmp_path / "model", model=other)


def test_a_model_of_another_structure_is_refused(tmp_path):
    rx.save(FittedModel(own_parts(), rx.read(DATA).schema), tmp_path / "model")
    with pytest.raises(ArtifactError, match=r"transposed to be float32 of shape \(4, 2\)"):
        rx.load(tmp_path / "model", model=own_parts(size=4))
    with pytest.raises(ArtifactError, match=r"no .*likelihood\.extra\.b"):
        rx.load(tmp_path / "model", model=own_parts(extra={"a": jnp.zeros(1), "b": jnp.zeros(1)}))


def test_two_arrays_with_one_path_are_refused(tmp_path):
    same = {"a.b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}}
    with pytest.raises(ArtifactError, match="two arrays at"):
        rx.save(FittedModel(own_parts(extra=same), rx.read(DATA).schema), tmp_path / "model")


def test_arrays_are_written_contiguous(fitted, tmp_path):
    model = own_parts()
    rx.save(FittedModel(model, rx.read(DATA).schema), tmp_path / "model")
    stored = load((tmp_path / "model" / "weights.safetensors").read_bytes())
    np.testing.assert_array_equal(stored["likelihood.transposed"], model.likelihood.transposed)
    assert save(stored)  # nothing but plain arrays
