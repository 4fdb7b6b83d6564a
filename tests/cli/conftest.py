"""Small data, and one small model of them, fitted through the command line."""

import io
from contextlib import contextmanager, redirect_stderr

import jax
import numpy as np
import polars as pl
import pytest

import reparax as rx
from reparax.applications import known_by
from reparax.cli import main
from reparax.data import split
from reparax.recipe import build

# The compilation cache belongs to a process; the tests of one process leave it alone, those of subprocesses use it.
jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with a table (and a label column), images, and a folder of image files."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 120)
    rows = rng.normal(size=(120, 3)) + 3 * kind[:, None]
    pl.DataFrame({"a": rows[:, 0], "b": rows[:, 1], "kind": kind, "c": rows[:, 2]}).write_csv(folder / "table.csv")
    np.save(folder / "labels.npy", kind)
    np.save(folder / "pictures.npy", rng.integers(0, 17, (40, 6, 5)).astype(np.float64))
    (folder / "photos").mkdir()
    for index in range(12):
        picture = rng.integers(0, 256, (6, 5), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "photos" / f"photo{index:02}.png")
    return folder


@pytest.fixture(autouse=True)
def _settings_of_a_user():
    """A user's process runs with jax's own settings, and numpyro needs them."""
    with relaxed():
        yield


@contextmanager
def relaxed():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def untrained(folder, source, **chosen):
    """A model folder without the time that training takes."""
    dataset = rx.read(source)
    with relaxed():
        recipe = rx.plan(dataset, **({"width": 4, "latent_dim": 2} | chosen))
        part, rest = split(dataset, recipe.valid, recipe.seed)
        model = build(recipe, part.schema, key=jax.random.key(0))
        rx.save(known_by(rx.FittedModel(model, part.schema, recipe), rest), folder)
    return folder


@pytest.fixture(scope="session")
def model(data, tmp_path_factory, _cache):
    """A model of the table, its label column left out, fitted through the command line."""
    out = tmp_path_factory.mktemp("models") / "table"
    source, size = str(data / "table.csv"), ["--width", "8", "--latent-dim", "2", "--epochs", "30", "--no-report"]
    said = io.StringIO()
    with relaxed(), redirect_stderr(said):
        assert main(["fit", source, "--out", str(out), "--label", "kind", *size, "--learning-rate", "0.01"]) == 0
    out.with_suffix(".txt").write_text(said.getvalue())
    return out


@pytest.fixture(scope="session")
def picture_model(data, tmp_path_factory):
    """A model of the images."""
    return untrained(tmp_path_factory.mktemp("models") / "pictures", data / "pictures.npy")


@pytest.fixture(scope="session")
def make_model():
    """The function that makes an untrained model folder."""
    return untrained


@pytest.fixture
def refused(capsys):
    """Runs a command that the user must mend: code 2, one sentence, no traceback; gives the sentence."""

    def run(*argv):
        capsys.readouterr()
        assert main([str(word) for word in argv]) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert "Traceback" not in said.err
        assert said.err.count("error: ") == 1
        sentence = said.err.splitlines()[-1]
        assert sentence.startswith("error: ")
        return sentence

    return run
