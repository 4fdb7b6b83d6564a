"""``reparax sweep`` and ``fit --ensemble``: from the command line to folders, and wrong input."""

import json

import jax
import pytest

import reparax as rx
from reparax.cli import main

SMALL = ["--epochs", "2", "--width", "4", "--exclude", "kind", "--learning-rate", "0.01", "--prior", "standard-normal"]
SMALL += ["--hide", "0"]


@pytest.fixture(scope="module")
def ensemble(data, tmp_path_factory, _cache):
    """A fitted ensemble, and what its fit said."""
    out = tmp_path_factory.mktemp("models") / "ensemble"
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        assert main(["fit", str(data / "table.csv"), "--out", str(out), "--ensemble", "2", "--no-report", *SMALL]) == 0
    return out


def test_a_fitted_ensemble_is_a_usual_model_folder(ensemble, data, capsys):
    assert len(rx.load(ensemble).members) == 2
    assert not ensemble.with_name("ensemble.checkpoints").exists()
    assert main(["evaluate", str(ensemble), str(data / "table.csv"), "--samples", "3"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert len(numbers["members"]) == 2
    assert numbers["iwae"] >= min(member["iwae"] for member in numbers["members"])


def test_one_member_encodes(ensemble, data, tmp_path, refused):
    table, out = str(data / "table.csv"), str(tmp_path / "codes.npy")
    said = refused("encode", ensemble, table, "-o", out)
    assert "an ensemble of 2" in said
    assert "--member 1" in said
    assert "a member from 1 to 2" in refused("encode", ensemble, table, "-o", out, "--member", "3")
    assert main(["encode", str(ensemble), table, "-o", out, "--member", "2", "--quiet"]) == 0
    words = ["refit-prior", str(ensemble), table, "-o", str(tmp_path / "one"), "--prior", "standard-normal", "--quiet"]
    assert "--member 1" in refused(*words)
    assert main([*words, "--member", "2"]) == 0
    assert len(rx.load(tmp_path / "one").members) == 1


def test_a_sweep_prints_and_writes_its_leaderboard(data, tmp_path, capsys):
    out = tmp_path / "sweep"
    words = ["sweep", str(data / "table.csv"), "--out", str(out), "--seeds", "1", "--latent-dim", "1,2", *SMALL]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "2/2" in said.err
    assert "optimistic" in said.err
    assert "latent-dim" in said.out
    assert {path.name for path in out.iterdir()} == {
        "best", "leaderboard.csv", "leaderboard.json", "leaderboard.svg", "models", "sweep.json",
    }  # fmt: skip
    picture = (out / "leaderboard.svg").read_text()
    assert "latent-dim 1" in picture
    assert "latent-dim 2" in picture
    assert rx.load(out / "best").recipe.latent_dim in {1, 2}
    assert main([*words, "--resume"]) == 0
    again = capsys.readouterr()
    assert again.out == said.out
    assert "2/2" not in again.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latent-dim", "1,x"], "whole numbers for --latent-dim"),
        (["--latent-dim", "1,2,"], "different values"),
        (["--beta", "1,1"], "different values"),
        (["--beta", "0.5,-1"], "between 0 and"),
        (["--objective", "elbo,iwae"], "comparable"),
        (["--ensemble", "2"], "single models"),
        (["--seeds", "0"], "--seeds"),
        (["--latent-dimm", "1,2"], "--latent-dim"),
        (["--prior", '{"name": "normal-mixture", "num_components": 2},nonesuch'], "nonesuch"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(words, said, data, tmp_path, refused):
    assert said in refused("sweep", data / "table.csv", "--out", tmp_path / "sweep", "--quiet", *words)
    assert not (tmp_path / "sweep").exists()


def test_a_folder_with_something_in_it_is_refused(data, tmp_path, refused):
    (tmp_path / "mine.txt").write_text("mine")
    said = refused("sweep", data / "table.csv", "--out", tmp_path, "--quiet")
    assert "new folder" in said
    assert "a sweep in" in refused("sweep", data / "table.csv", "--out", tmp_path, "--quiet", "--resume")
