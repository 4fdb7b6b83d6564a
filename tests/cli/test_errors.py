"""What the user can mend: one sentence, exit code 2, and nothing half-written."""

import errno
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from reparax.cli import main
from reparax.cli.outputs import check_picture
from reparax.errors import OutputError, ReparaxError


def table(path, rows):
    pl.DataFrame(rows, schema=["a", "b"], orient="row").write_csv(path)
    return path


@pytest.fixture
def bad(tmp_path, data):
    """Makes data that no model can be fitted to, by name."""
    rng = np.random.default_rng(0)

    def make(name):
        path = tmp_path / f"{name}.csv"
        if name == "empty":
            path.write_text("")
        elif name == "one row":
            table(path, [(1.0, 2.0)])
        elif name == "constant":
            table(path, [(1.0, 2.0)] * 9)
        elif name == "infinity":
            path = tmp_path / "infinity.npy"
            np.save(path, np.array([[1.0, np.inf], [2.0, 3.0]]))
        elif name == "absent":
            path = tmp_path / "absent.npy"
        elif name == "unknown set":
            path = "builtin:nothing"
        else:
            path = tmp_path / "photos"
            path.mkdir()
            for photo in sorted((data / "photos").iterdir())[:3]:
                (path / photo.name).write_bytes(photo.read_bytes())
            if name == "corrupt image":
                (path / "photo01.png").write_bytes(photo.read_bytes()[:40])
            else:
                from PIL import Image

                Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8)).save(path / "photo01.png")
        return path

    return make


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "empty"),
        ("one row", "at least 2 examples"),
        ("constant", "examples that differ"),
        ("infinity", "infinit"),
        ("absent", "absent.npy"),
        ("unknown set", "builtin:digits"),
        ("corrupt image", "photo01.png"),
        ("image sizes", "photo01.png"),
    ],
)
def test_data_that_no_model_can_be_fitted_to(bad, refused, tmp_path, name, words):
    sentence = refused("fit", bad(name), "--out", tmp_path / "model")
    assert words in sentence
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--likelihood", "bernoulli"), "continuous-bernoulli"),
        (("--posterior", "bernoulli", "--prior", "standard-normal"), "uniform-bernoulli"),
        (("--posterior", "deterministic"), "--objective reconstruction"),
        (("--latent-dim", "0"), "--latent-dim"),
        (("--valid", "2"), "--valid"),
        (("--binarize", "dynamic"), "--likelihood normal"),
        (("--posterior", "diagonal-norml"), 'Did you mean "diagonal-normal"?'),
        (("--estimator", "score"), "score-function"),
        (("--latent-dims", "3"), "Did you mean --latent-dim?"),
        (("--epochs", "many"), "--epochs"),
        (("another.csv",), "Unexpected 'another.csv'"),
        (("--label", "kinds"), "kind"),
    ],
)
def test_settings_that_do_not_go_together(data, refused, tmp_path, options, words):
    sentence = refused("fit", data / "table.csv", "--out", tmp_path / "model", *options)
    assert words in sentence
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--device", "gpu"), "expected a device of kind gpu that jax can use; got only cpu"),
        (("--devices", 2), "expected 1 of the devices of kind cpu; got 2"),
        (("--devices", 0), "Must be >= 1"),
    ],
)
def test_devices_that_are_not_there(data, refused, tmp_path, options, words):
    assert words in refused("fit", data / "table.csv", "--out", tmp_path / "model", *options)
    assert not (tmp_path / "model").exists()


def test_a_wrong_command_names_a_near_one(refused):
    assert 'Did you mean "fit"?' in refused("fti", "data.csv")


def test_an_option_that_is_required(refused, data):
    assert "--out" in refused("fit", data / "table.csv")


@pytest.mark.parametrize("command", ["encode", "reconstruct", "score", "evaluate"])
def test_other_columns_than_at_fitting(model, refused, tmp_path, command):
    other = table(tmp_path / "other.csv", [(1.0, 2.0), (3.0, 4.5)])
    out = () if command == "evaluate" else ("-o", tmp_path / "out.csv")
    assert "the 3 columns the model was fitted on" in refused(command, model, other, *out)
    assert not (tmp_path / "out.csv").exists()


def test_images_of_another_size_than_at_fitting(picture_model, refused, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((3, 6, 9)))
    sentence = refused("score", picture_model, tmp_path / "wide.npy", "-o", tmp_path / "out.npy")
    assert "images of 6x5x1" in sentence
    assert "images of 6x9x1" in sentence


def test_infinity_at_scoring(model, refused, tmp_path):
    rows = pl.DataFrame({"a": [1.0, float("inf")], "b": [1.0, 2.0], "c": [0.0, 1.0]})
    rows.write_parquet(tmp_path / "rows.parquet")
    assert "'a', row 2" in refused("score", model, tmp_path / "rows.parquet", "-o", tmp_path / "out.csv")


@pytest.mark.parametrize("command", ["encode", "reconstruct", "score", "evaluate", "sample", "info"])
def test_a_folder_that_is_no_model(data, refused, tmp_path, command):
    source = () if command in {"sample", "info"} else (data / "table.csv",)
    out = () if command in {"evaluate", "info"} else ("-o", tmp_path / "out.csv")
    assert "a model folder" in refused(command, data, *source, *out)
    assert "nothing there" in refused(command, tmp_path / "nowhere", *source, *out)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("codes.docx", ".parquet"),
        ("codes.png", ".parquet"),
        ("nowhere/codes.csv", "mkdir -p"),
        (".", "a file"),
        ("table.csv/codes.csv", "no folder"),
    ],
)
def test_outputs_that_cannot_be_written(model, data, refused, out, words):
    assert words in refused("encode", model, data / "table.csv", "-o", data / out)


def test_a_picture_of_a_table(model, data, refused, tmp_path):
    for command in (("sample", model), ("reconstruct", model, data / "table.csv")):
        assert "not of images" in refused(*command, "-o", tmp_path / "out.png")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_pictures_have_one_three_or_four_channels(channels):
    fitted = SimpleNamespace(schema=SimpleNamespace(kind="images", event_shape=(9, 9, channels)))
    check_picture(fitted, "x.npy")
    if channels in {1, 3, 4}:
        check_picture(fitted, "x.png")
    else:
        with pytest.raises(OutputError, match=f"its images have {channels} channels"):
            check_picture(fitted, "x.png")


def test_a_model_folder_with_other_things_in_it_is_left_alone(data, refused, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.tex").write_text("years of work")
    assert "thesis.tex" in refused("fit", data / "table.csv", "--out", tmp_path / "model")
    assert (tmp_path / "model" / "thesis.tex").read_text() == "years of work"


def test_fewer_than_one_sample(model, refused, tmp_path):
    assert "at least one" in refused("sample", model, "-n", 0, "-o", tmp_path / "out.csv")


def test_a_full_disk(model, data, refused, tmp_path, monkeypatch):
    (tmp_path / "codes.csv").write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for command in ("encode", "reconstruct", "score"):
        assert "a full disk" in refused(command, model, data / "table.csv", "-o", tmp_path / "codes.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["codes.csv"]
    assert (tmp_path / "codes.csv").read_text() == "before"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "enough memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), "enough memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "a full disk"),
        (PermissionError(errno.EACCES, "Permission denied", "secret.csv"), "secret.csv"),
    ],
)
def test_what_the_machine_refuses(model, data, refused, tmp_path, monkeypatch, error, words):
    def fail(*arguments):
        raise error

    monkeypatch.setattr("reparax.applications.encode", fail)
    assert words in refused("encode", model, data / "table.csv", "-o", tmp_path / "codes.csv")


def test_a_bug_is_not_hidden(model, data, tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr("reparax.applications.encode", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["encode", str(model), str(data / "table.csv"), "-o", str(tmp_path / "codes.csv")])


def test_every_error_says_what_was_expected_what_came_and_the_cure():
    for kind in ReparaxError.__subclasses__():
        assert str(kind(expected="a", got="b", cure="c")) == "expected a; got b; c"
