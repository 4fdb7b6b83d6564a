"""What a fitted model gives through the command line."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest
from PIL import Image

import reparax as rx
from reparax.cli import main


def run(*argv):
    assert main([str(word) for word in argv]) == 0


def test_encode_names_its_columns(model, data, tmp_path):
    out = tmp_path / "codes.csv"
    run("encode", model, data / "table.csv", "-o", out, "--std")
    table = pl.read_csv(out)
    assert table.columns == ["z0", "z1", "z0_std", "z1_std"]
    assert len(table) == 120
    assert np.all(table.select("z0_std", "z1_std").to_numpy() > 0)


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_encode_gives_the_posterior_means_in_every_format(model, data, tmp_path, suffix):
    out = tmp_path / f"codes.{suffix}"
    run("encode", model, data / "table.csv", "-o", out)
    expected = rx.encode(rx.load(model), data / "table.csv")
    if suffix == "npy":
        found = np.load(out)
    elif suffix == "npz":
        found = np.load(out)["z"]
    else:
        found = pl.read_parquet(out).select("z0", "z1").to_numpy()
    np.testing.assert_array_equal(found, expected)


def test_names_of_images_come_along(data, tmp_path, make_model):
    model = make_model(tmp_path / "model", data / "photos")
    run("score", model, data / "photos", "-o", tmp_path / "scores.csv", "--samples", 2)
    table = pl.read_csv(tmp_path / "scores.csv")
    assert table.columns == ["id", "log_density", "anomaly_score"]
    assert table["id"][0] == "photo00.png"
    np.testing.assert_allclose(table["log_density"], -table["anomaly_score"], rtol=1e-6)


def test_labels_are_no_values(model, data, tmp_path):
    without = tmp_path / "without.csv"
    pl.read_csv(data / "table.csv").drop("kind").write_csv(without)
    for source, out in ((data / "table.csv", "with.npy"), (without, "without.npy")):
        run("encode", model, source, "-o", tmp_path / out)
    np.testing.assert_array_equal(np.load(tmp_path / "with.npy"), np.load(tmp_path / "without.npy"))


def test_reconstructions_keep_the_columns(model, data, tmp_path):
    run("reconstruct", model, data / "table.csv", "-o", tmp_path / "again.csv")
    table = pl.read_csv(tmp_path / "again.csv")
    assert table.columns == ["a", "b", "c"]
    expected = rx.reconstruct(rx.load(model), data / "table.csv")
    np.testing.assert_allclose(table.to_numpy(), expected, rtol=1e-5)


def test_samples_repeat_with_the_seed_and_have_the_dtype_of_the_data(picture_model, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("sample", picture_model, "-n", 5, "-o", tmp_path / f"{name}.npy", "--seed", seed)
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert a.shape == (5, 6, 5, 1)
    assert a.dtype == np.uint8
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_pictures(picture_model, data, tmp_path):
    run("sample", picture_model, "-n", 6, "-o", tmp_path / "samples.png")
    run("reconstruct", picture_model, data / "pictures.npy", "--held-out", "-o", tmp_path / "pairs.png")
    samples, pairs = (np.asarray(Image.open(tmp_path / name)) for name in ("samples.png", "pairs.png"))
    # Tiles of 6x5 pixels, each pixel ten times as large, in frames of two, lines of one between: two rows of three.
    assert samples.shape == (2 * 65 - 1, 3 * 55 - 1)
    # The first tile holds an original of the data, and its reconstruction to the right.
    originals = np.load(data / "pictures.npy")
    seen = pairs[7:62:10, 7:52:10].astype(float)
    shown = np.rint(originals * 255 / originals.max())
    assert min(np.abs(image - seen).max() for image in shown) == 0


def test_evaluate_prints_json_and_nothing_else(model, data, capsys):
    run("evaluate", model, data / "table.csv", "--samples", 5)
    found = json.loads(capsys.readouterr().out)
    assert {"elbo", "iwae", "iwae_standard_error", "kl", "reconstruction", "active_units", "bits_per_dim"} <= set(found)
    assert found["num_samples"] == 5
    assert found["num_examples"] == 120
    assert found["bits_per_dim"] is None
    assert found["iwae"] >= found["elbo"]


def test_evaluate_on_held_out_rows(model, data, tmp_path, refused):
    out = tmp_path / "evaluation.json"
    run("evaluate", model, data / "table.csv", "--held-out", "--samples", 2, "-o", out)
    assert json.loads(out.read_text())["num_examples"] == 12
    shorter = tmp_path / "shorter.csv"
    pl.read_csv(data / "table.csv").head(50).write_csv(shorter)
    assert "the data of the fit" in refused("evaluate", model, shorter, "--held-out")


def test_held_out_rows_of_a_model_without_any(model, data, tmp_path, refused):
    fitted = rx.load(model)
    rx.save(replace(fitted, recipe=msgspec.structs.replace(fitted.recipe, valid=0)), tmp_path / "m")
    assert "held out" in refused("evaluate", tmp_path / "m", data / "table.csv", "--held-out")


def test_cells_that_are_no_numbers_are_gaps_at_scoring(model, tmp_path):
    rows = pl.DataFrame({"a": [1.0, float("nan")], "b": [1.0, 2.0], "c": [0.0, 1.0]})
    rows.write_parquet(tmp_path / "rows.parquet")
    run("score", model, tmp_path / "rows.parquet", "-o", tmp_path / "scores.csv")
    scores = pl.read_csv(tmp_path / "scores.csv")
    assert np.isfinite(scores["log_density"].to_numpy()).all()
    shares = scores.select("share_a", "share_b", "share_c").to_numpy()
    assert shares[1, 0] == 0
    assert (shares[0] > 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), scores["anomaly_score"], rtol=1e-5)


def test_info(model, capsys):
    run("info", model)
    text = capsys.readouterr().out
    assert "diagonal-normal" in text
    assert "c  continuous" in text
    run("info", model, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"]["latent_dim"] == 2
    assert found["data"]["names"] == ["a", "b", "c"]
    assert found["training"]["status"] in {"all epochs done", "stopped early"}


def test_info_of_parts_with_options(tmp_path, capsys):
    options = {"objective": {"name": "elbo", "beta": 2.0}, "posterior": {"name": "low-rank-normal", "rank": 1}}
    fitted = rx.fit(np.random.default_rng(0).normal(size=(20, 3)), likelihood="normal", epochs=1, width=4, **options)
    rx.save(fitted, tmp_path / "model")
    run("info", tmp_path / "model")
    text = capsys.readouterr().out
    assert "low-rank-normal (rank=1)" in text
    assert "ELBO" in text


def test_quiet_says_nothing(model, data, tmp_path, capsys):
    run("encode", model, data / "table.csv", "-o", tmp_path / "codes.npy", "--quiet")
    assert capsys.readouterr() == ("", "")


def test_a_deterministic_autoencoder_scores_without_a_density(data, tmp_path, capsys, refused, make_model):
    model = make_model(tmp_path / "model", data / "table.csv", objective="reconstruction")
    run("score", model, data / "table.csv", "-o", tmp_path / "scores.csv")
    assert pl.read_csv(tmp_path / "scores.csv").columns == [
        "anomaly_score",
        "share_a",
        "share_b",
        "share_kind",
        "share_c",
    ]
    assert "no density" in capsys.readouterr().err
    run("evaluate", model, data / "table.csv")
    assert json.loads(capsys.readouterr().out)["elbo"] is None
    assert "standard deviation" in refused("encode", model, data / "table.csv", "-o", tmp_path / "z.npy", "--std")
    assert not (tmp_path / "z.npy").exists()


def test_binarized_pictures(data, tmp_path, make_model, capsys):
    model = make_model(tmp_path / "model", data / "pictures.npy", binarize="dynamic")
    run("sample", model, "-n", 3, "-o", tmp_path / "bits.npy")
    assert set(np.unique(np.load(tmp_path / "bits.npy"))) <= {0, 1}
    run("sample", model, "-n", 1, "--no-means", "-o", tmp_path / "bits.png")
    assert set(np.unique(np.asarray(Image.open(tmp_path / "bits.png"))[2:-2, 2:-2])) <= {0, 255}
    run("sample", model, "-n", 1, "-o", tmp_path / "means.png")
    assert "--no-means" in capsys.readouterr().err
    assert not set(np.unique(np.asarray(Image.open(tmp_path / "means.png"))[2:-2, 2:-2])) <= {0, 255}
