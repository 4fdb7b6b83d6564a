"""Many fits at once: each is its own fit, and the leaderboard is what their held-out bounds say."""

import csv
import dataclasses
import itertools
import json
import math

import equinox as eqx
import jax
import numpy as np
import optax
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reparax as rx
from reparax import registry
from reparax.applications import _job, _sweep
from reparax.applications._rows_of_fit import rows_of
from reparax.applications._sweep import _standings
from reparax.errors import ArtifactError, OutputError, RecipeError, TrainingError
from reparax.priors import NormalMixture
from reparax.training._many import _groups, _tasks

ROWS = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32) @ np.asarray(
    [[1, 2, 0], [0, 1, 1], [0, 0, 0.3]], np.float32
)
SMALL = {"epochs": 3, "width": 5, "likelihood": "normal", "relations": "none"}


def arrays(fitted) -> list:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(fitted.model, eqx.is_inexact_array))]


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps of plain gradient descent: Adam would divide differences of rounding by their own size."""
    descent = optax.sgd(1e-3)
    monkeypatch.setattr(_job, "cosine_adam", lambda *numbers: descent)


@pytest.mark.usefixtures("plain_descent")
def test_each_of_many_is_its_own_fit():
    many = [{"seed": 3}, {"latent_dim": 1}, {"beta": 2.0, "seed": 1}, {"objective": "iwae", "num_samples": 2}]
    said = []
    found = rx.fit_many(ROWS, many, ended=lambda place, fitted: said.append((place, fitted)), **SMALL)
    assert sorted(place for place, _ in said) == [0, 1, 2, 3]
    assert all(found[place] is fitted for place, fitted in said)
    for fitted, chosen in zip(found, many, strict=True):
        own = rx.fit(ROWS, **(SMALL | chosen))
        assert fitted.recipe == own.recipe
        assert fitted.schema == own.schema
        assert [record.step for record in fitted.history] == [record.step for record in own.history]
        for leaf, other in zip(arrays(fitted), arrays(own), strict=True):
            np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-5)
        for record, other in zip(fitted.history, own.history, strict=True):
            assert record.valid["bound"] == pytest.approx(other.valid["bound"], rel=1e-5)


def weights() -> list[tuple[str, str]]:
    """The options of objectives that are real numbers."""
    found = [(name, option) for name in registry.names("objectives") for option in dataclasses.fields(
        registry.load("objectives", name)
    )]  # fmt: skip
    return [(name, option.name) for name, option in found if isinstance(option.default, float)]


# Free bits of 0 are other code; labels are needed for the last.
@pytest.mark.parametrize(
    ("name", "option"), sorted({*weights()} - {("elbo", "free_bits"), ("semi-supervised", "weight")})
)
def test_fits_that_differ_in_a_weight_are_one_program(name, option):
    dataset = rx.read(ROWS)
    recipes = [rx.plan(dataset, **SMALL, objective={"name": name, option: weight}) for weight in (0.25, 0.75)]
    runs = [_job.Job.of(rows_of(dataset, recipe), recipe).run() for recipe in recipes]
    assert [run.objective == runs[0].objective for run in runs] == [True, False]
    assert list(_groups(runs, _tasks(runs), None)) == [[0, 1]]


@pytest.mark.full
def test_an_ensemble_among_many():
    one, other = rx.fit_many(ROWS, [{"ensemble": 2}, {"latent_dim": 1}], **SMALL)
    assert len(one.members) == 2
    assert len(other.members) == 1
    assert one.recipe.ensemble == 2


def test_many_refuse_what_is_no_recipe():
    with pytest.raises(RecipeError, match="custom model"):
        rx.fit_many(ROWS, [{"model": 3}], **SMALL)
    with pytest.raises(RecipeError, match="latent_dimm"):
        rx.fit_many(ROWS, [{"latent_dimm": 3}], **SMALL)
    assert rx.fit_many(ROWS, [], **SMALL) == []


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    seen = []
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = rx.sweep(ROWS, {"latent_dim": [1, 2]}, seeds=2, folder=folder, ended=seen.append, **SMALL)
    return folder, result, seen


def test_the_leaderboard_is_that_of_the_held_out_bounds(swept):
    folder, result, seen = swept
    assert len(seen) == 4
    assert {(trial.options["latent_dim"], trial.seed) for trial in seen} == {(1, 0), (1, 1), (2, 0), (2, 1)}
    bounds = [standing.bound for standing in result.leaderboard]
    assert bounds == sorted(bounds, reverse=True)
    for standing in result.leaderboard:
        of_it = [trial.bound for trial in seen if trial.options == standing.options]
        assert standing.bound == pytest.approx(np.mean(of_it))
        assert standing.standard_error == pytest.approx(np.std(of_it, ddof=1) / math.sqrt(2))
    best = result.leaderboard[0]
    recipe = result.best.recipe
    assert recipe.latent_dim == best.options["latent_dim"]
    assert recipe.seed == max(best.trials, key=lambda trial: trial.bound).seed
    for place in range(1, 5):
        fitted = rx.load(folder / "models" / f"{place:04}")
        trial = next(
            t for t in seen if (t.options["latent_dim"], t.seed) == (fitted.recipe.latent_dim, fitted.recipe.seed)
        )
        assert max(record.valid["bound"] for record in fitted.history) == trial.bound


def test_the_folder_has_the_numbers_the_warning_and_the_best_model(swept):
    folder, result, _ = swept
    with (folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["held_out_bound"]) for row in rows] == [standing.bound for standing in result.leaderboard]
    assert [int(row["latent_dim"]) for row in rows] == [one.options["latent_dim"] for one in result.leaderboard]
    numbers = json.loads((folder / "leaderboard.json").read_text())
    assert "optimistic" in numbers["note"]
    assert numbers["leaderboard"][0]["bound"] == result.leaderboard[0].bound
    for leaf, other in zip(arrays(rx.load(folder / "best")), arrays(result.best), strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_a_killed_sweep_goes_on_with_what_was_not_finished(swept, tmp_path, monkeypatch):
    _, whole, _ = swept
    folder, done = tmp_path / "sweep", []

    def kill(trial) -> None:
        done.append(trial)
        if len(done) == 3:
            raise SystemExit

    with pytest.raises(SystemExit):
        rx.sweep(ROWS, {"latent_dim": [1, 2]}, seeds=2, folder=folder, ended=kill, **SMALL)
    broken = folder / "models" / "0001" / "model.json"
    broken.write_text(broken.read_text().replace("all epochs done", "all epochs DONE"))
    torn = folder / "models" / "0002" / "weights.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    with pytest.raises(OutputError, match="new folder"):
        rx.sweep(ROWS, {"latent_dim": [1, 2]}, seeds=2, folder=folder, **SMALL)
    again = []
    result = rx.sweep(ROWS, {"latent_dim": [1, 2]}, seeds=2, folder=folder, resume=True, ended=again.append, **SMALL)
    assert [(trial.options["latent_dim"], trial.seed) for trial in again] == [(1, 0), (1, 1), (2, 1)]
    for one, other in zip(result.leaderboard, whole.leaderboard, strict=True):
        assert one.options == other.options
        assert one.bound == pytest.approx(other.bound, rel=1e-3)
    for other, name in (({"rows": ROWS[:80]}, "data"), ({"epochs": 4}, "recipes")):
        with pytest.raises(ArtifactError, match=f"other {name}"):
            rx.sweep(
                other.pop("rows", ROWS), {"latent_dim": [1, 2]}, seeds=2, folder=folder, resume=True, **(SMALL | other)
            )


def test_options_of_any_type_are_known_again(tmp_path):
    options = {"prior": [NormalMixture(num_components=2)], "width": np.asarray([4]), "beta": [np.float32(0.5)]}
    chosen = {"seeds": 1, "folder": tmp_path / "sweep"} | {name: SMALL[name] for name in SMALL if name != "width"}
    first, again = (rx.sweep(ROWS, options, resume=resume, **chosen) for resume in (False, True))
    assert again.leaderboard == first.leaderboard
    assert again.leaderboard[0].options["prior"] == NormalMixture(num_components=2)
    for leaf, other in zip(arrays(again.best), arrays(first.best), strict=True):
        np.testing.assert_array_equal(leaf, other)


FRAME = pl.DataFrame({"a": ROWS[:, 0], "k": [1, 2, 3] * 30, "sex": ["F", "M", "F"] * 30})


@pytest.mark.parametrize(
    ("other", "options", "named"),
    [
        (FRAME.rename({"a": "b"}), {}, "schema"),
        (rx.read(FRAME, schema={"k": "categorical"}, given=["sex"]), {"given": []}, "data"),
        (rx.read(FRAME, schema={"k": "continuous"}, given=["sex"]), {"given": []}, "schema"),
        (FRAME, {"given": []}, "data"),
        (FRAME.with_columns(pl.col("sex").shuffle(1)), {}, "given columns"),
        (FRAME.with_columns(pl.col("sex").replace("F", "W")), {}, "schema"),
        (FRAME.with_columns(a=-pl.col("a")), {}, "data"),
    ],
)
def test_a_sweep_of_other_data_is_not_gone_on_with(other, options, named, tmp_path, monkeypatch):
    monkeypatch.setattr(_sweep, "fit_planned", lambda *arguments, **options: [])
    chosen = {"options": {"latent_dim": [1]}, "folder": tmp_path / "sweep", "given": ["sex"], "epochs": 2}
    assert not rx.sweep(FRAME, resume=True, **chosen).is_complete  # nothing to resume
    rx.sweep(FRAME, resume=True, **chosen)
    with pytest.raises(ArtifactError, match=f"other {named}"):
        rx.sweep(other, resume=True, **chosen | options)


def test_a_second_sweep_in_one_folder_is_refused_and_one_killed_at_the_start_goes_on(tmp_path, monkeypatch):
    said = []

    def second(*arguments, **options):
        for resume in (False, True):
            with pytest.raises(OutputError) as error:
                rx.sweep(ROWS, {"latent_dim": [1]}, folder=tmp_path / "s", resume=resume, **SMALL)
            said.append(str(error.value))
        return []

    (tmp_path / "s" / "models").mkdir(parents=True)  # of one that was killed before it wrote anything
    (tmp_path / "s" / "lock").touch()
    monkeypatch.setattr(_sweep, "fit_planned", second)
    rx.sweep(ROWS, {"latent_dim": [1]}, folder=tmp_path / "s", **SMALL)
    assert "new folder" in said[0]
    assert "the only sweep" in said[1]
    assert not (tmp_path / "s" / "lock").exists()
    (tmp_path / "s" / "sweep.json").write_text('{"identity": 1, "trials": []}')
    with pytest.raises(ArtifactError, match="none that can be read"):
        rx.sweep(ROWS, {"latent_dim": [1]}, folder=tmp_path / "s", resume=True, **SMALL)


def test_a_fit_that_fails_is_last_and_the_others_go_on(monkeypatch, tmp_path):
    finished = _job.Job.done

    def done(job, result):
        if job.recipe.latent_dim == 2:
            raise TrainingError(expected="a model that makes sense", got="another", cure="none")
        return finished(job, result)

    monkeypatch.setattr(_job.Job, "done", done)
    result = rx.sweep(ROWS, {"latent_dim": [2, 1]}, seeds=1, folder=tmp_path / "sweep", **SMALL)
    best, last = result.leaderboard
    assert (best.options, best.failed) == ({"latent_dim": 1}, 0)
    assert (last.options, last.failed, last.bound) == ({"latent_dim": 2}, 1, None)
    assert "makes sense" in last.trials[0].status
    assert result.best.recipe.latent_dim == 1
    again = rx.sweep(ROWS, {"latent_dim": [2, 1]}, seeds=1, folder=tmp_path / "sweep", resume=True, **SMALL)
    assert [one.trials for one in again.leaderboard] == [one.trials for one in result.leaderboard]


def test_interrupted_it_keeps_what_is_finished():
    result = rx.sweep(ROWS, {"latent_dim": [1, 2]}, seeds=1, stop=lambda: True, **SMALL)
    assert not result.is_complete
    assert result.leaderboard == ()
    assert result.best is None


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({"objective": ["elbo", "iwae"]}, {}, "bounds of different objectives"),
        ({"seed": [1, 2]}, {}, "repeats every combination"),
        ({"latent_dim": []}, {}, "a list of values"),
        ({"prior": "vamp"}, {}, "a list of values"),
        ({"latent_dim": 2}, {}, "a list of values"),
        ("folder", {}, "a mapping from settings"),
        ({"latent_dim": [1, 2]}, {"seeds": 0}, "number of seeds"),
        ({"latent_dim": [1, 2]}, {"ensemble": 2}, "single models"),
        ({"latent_dim": [1, 2]}, {"valid": 0.0}, "held-out rows"),
        ({"latent_dim": [1, 2]}, {"resume": True}, "folder"),
        ({"latent_dim": [0]}, {}, "latent_dim"),
        ({"posterior": ["deterministic", "diagonal-normal"]}, {}, "have a density"),
        ({"width": list(range(1, 5000))}, {"seeds": 3}, "at most 10,000"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, more, said):
    with pytest.raises(RecipeError, match=said):
        rx.sweep(ROWS, options, **(SMALL | more))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_any_leaderboard_is_ordered_and_its_errors_are_those_of_the_mean(num_options, seeds, data):
    combinations = [{"width": index} for index in range(num_options)]
    bounds = data.draw(
        st.lists(st.one_of(st.none(), st.floats(-1e3, 1e3)), min_size=num_options * seeds, max_size=num_options * seeds)
    )
    trials = {
        place: _sweep.Trial(combinations[place // seeds], place % seeds, bound, "all epochs done")
        for place, bound in enumerate(bounds)
    }
    board = _standings(combinations, trials, seeds)
    assert {one.options["width"] for one in board} == set(range(num_options))
    keys = [(one.failed, -np.inf if one.bound is None else one.bound) for one in board]
    for (failed, bound), (next_failed, next_bound) in itertools.pairwise(keys):
        assert failed < next_failed or (failed == next_failed and bound >= next_bound)
    assert board[0].behind in (0.0, None)
    for one in board:
        found = [trial.bound for trial in one.trials if trial.bound is not None]
        assert one.failed == seeds - len(found)
        if len(found) > 1:
            assert one.standard_error == pytest.approx(np.std(found, ddof=1) / math.sqrt(len(found)))
