"""Ensembles: members that are fits of their own, and the mixture of their densities."""

from dataclasses import replace

import equinox as eqx
import jax
import msgspec
import numpy as np
import optax
import polars as pl
import pytest

import reparax as rx
from reparax.applications import _job
from reparax.applications._job import Job
from reparax.applications._rows_of_fit import rows_of
from reparax.errors import ArtifactError, RecipeError
from reparax.training import HistoryFile, _schedule
from reparax.training import fit as train

ROWS, SAMPLES = 160, 5
SMALL = {"epochs": 4, "width": 6, "latent_dim": 2, "prior": "standard-normal", "hide": 0.0}


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, ROWS)
    gaps = np.where(rng.random(ROWS) < 0.2, np.nan, rng.normal(size=ROWS) + kind)
    return pl.DataFrame({
        "a": rng.normal(size=ROWS) + 3 * kind,
        "kind": np.where(kind == 1, "yes", "no"),
        "gaps": pl.Series(gaps).fill_nan(None),
    })  # fmt: skip


def relaxed():
    return jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow")


@pytest.fixture(scope="module")
def ensemble(table):
    promotion, rank = relaxed()
    with promotion, rank:
        return rx.fit(table, ensemble=3, **SMALL)


def arrays(model) -> list:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))]


def test_each_member_is_what_it_would_be_alone(table, monkeypatch):
    """A few steps of plain gradient descent: Adam would divide differences of rounding by their own size."""
    descent = optax.sgd(1e-4)
    monkeypatch.setattr(_job, "cosine_adam", lambda *numbers: descent)
    fitted = rx.fit(table, ensemble=3, **SMALL)
    first = rx.fit(table, **SMALL)
    dataset = rx.read(table)
    recipe = rx.plan(dataset, **SMALL)
    for number, member in enumerate(fitted.members):
        job = Job.of(rows_of(dataset, recipe), recipe, member=number)
        alone = job.done(train(**vars(job.run())))
        for leaf, other in zip(arrays(member.model), arrays(alone.model), strict=True):
            np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-5)
        assert [record.step for record in member.history] == [record.step for record in alone.history]
        for record, other in zip(member.history, alone.history, strict=True):
            assert record.valid["bound"] == pytest.approx(other.valid["bound"], rel=1e-5)
    for leaf, other in zip(arrays(fitted.model), arrays(first.model), strict=True):
        np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-5)


def test_members_differ_in_weights_and_have_the_same_rows_held_out(ensemble, table):
    one, two, three = ensemble.members
    assert not np.allclose(arrays(one.model)[0], arrays(two.model)[0])
    assert not np.allclose(arrays(two.model)[0], arrays(three.model)[0])
    held_out = [rx.applications.held_out_of(member, rx.applications.dataset_of(member, table)) for member in (one, two)]
    np.testing.assert_array_equal(held_out[0].values, held_out[1].values)
    assert [member.recipe.ensemble for member in ensemble.members] == [1, 1, 1]
    assert ensemble.recipe.ensemble == 3


def test_an_ensemble_of_one_is_the_single_model(table):
    one, single = rx.fit(table, ensemble=1, **SMALL), rx.fit(table, **SMALL)
    assert one.others == ()
    assert one.members == (one,)
    for leaf, other in zip(arrays(one.model), arrays(single.model), strict=True):
        np.testing.assert_array_equal(leaf, other)


def test_scores_are_those_of_the_mixture(ensemble, table):
    found = rx.score(ensemble, table, num_samples=SAMPLES)
    members = [rx.score(member, table, num_samples=SAMPLES) for member in ensemble.members]
    densities = np.exp([member.log_density.astype(np.float64) for member in members])
    np.testing.assert_allclose(found.log_density, np.log(densities.mean(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(found.anomaly_score, np.mean([one.anomaly_score for one in members], axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.shares.sum(axis=1), found.anomaly_score, rtol=1e-3)


def test_the_figures_are_those_of_one_model_with_the_number_of_the_member_as_a_latent_variable(ensemble, table):
    found = rx.evaluate(ensemble, table, num_samples=SAMPLES)
    members = [rx.evaluate(member, table, num_samples=SAMPLES) for member in ensemble.members]
    assert found.members == tuple(members)
    assert found.iwae == pytest.approx(rx.score(ensemble, table, num_samples=SAMPLES).log_density.mean(), rel=1e-5)
    # log 1/N sum exp of the members' bounds is above their mean, and at most log N below the largest.
    for name in ("elbo", "iwae"):
        bounds = [getattr(one, name) for one in members]
        assert np.mean(bounds) <= getattr(found, name) <= max(bounds) + np.log(3)
    assert found.elbo == pytest.approx(found.reconstruction - found.kl)
    assert found.elbo <= found.iwae
    assert found.latent_dim == sum(one.latent_dim for one in members)


def test_an_ensemble_of_equal_members_is_its_member(ensemble, table):
    member = ensemble.members[0]
    same = replace(member, others=(member, member))
    for name in ("elbo", "iwae", "kl", "reconstruction"):
        one, other = (getattr(rx.evaluate(each, table, num_samples=SAMPLES), name) for each in (same, member))
        assert one == pytest.approx(other, rel=1e-4)
    filled, its = (rx.impute(each, table, num_samples=20)["gaps"].to_numpy() for each in (same, member))
    np.testing.assert_allclose(filled, its, rtol=1e-4)
    one, other = (rx.reconstruct(each, table) for each in (same, member))
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_imputed_numbers_are_means_over_the_members(ensemble, table):
    filled = rx.impute(ensemble, table, num_samples=20)["gaps"].to_numpy()
    members = [rx.impute(member, table, num_samples=20)["gaps"].to_numpy() for member in ensemble.members]
    np.testing.assert_allclose(filled, np.mean(members, axis=0), rtol=1e-3, atol=1e-4)


def test_each_imputed_draw_is_that_of_a_member(ensemble, table):
    tables = rx.impute_draws(ensemble, table, 4, num_samples=20)
    members = [rx.impute_draws(member, table, 4, num_samples=20) for member in ensemble.members]
    gaps = table["gaps"].is_null().to_numpy()
    used = set()
    for index, drawn in enumerate(tables):
        cells = drawn["gaps"].to_numpy()[gaps]
        of_members = np.stack([member[index]["gaps"].to_numpy()[gaps] for member in members])
        near = np.abs(of_members - cells) < 1e-3
        assert near.any(axis=0).all()
        used |= set(near.argmax(axis=0).tolist())
    assert used == {0, 1, 2}


def test_rows_are_drawn_from_all_members(ensemble):
    """Members that always draw one category each: the mixture draws each of them as often as chance has it."""
    drawn = rx.applications.sample_values(ensemble, 400, key=jax.random.key(3))
    again = rx.applications.sample_values(ensemble, 400, key=jax.random.key(3))
    np.testing.assert_array_equal(drawn, again)
    found = np.zeros(3)
    for number, member in enumerate(ensemble.members):
        alone = rx.applications.sample_values(member, 400, key=jax.random.key(3))
        found[number] = np.isclose(drawn[:, 0], alone[:, 0], rtol=1e-6).sum()
    assert found.sum() >= 400
    assert (np.abs(found - 400 / 3) < 5 * np.sqrt(400 * 2 / 9)).all()


def test_a_condition_weighs_the_members_by_its_probability(ensemble, table):
    """P(member | cells) is in proportion to the member's probability of the cells: the mixture's conditional."""
    values = rx.applications.sample_values(ensemble, 300, key=jax.random.key(0), where={"kind": "yes"})
    assert len(np.unique(values[:, 1])) == 1
    wanted = table.filter(pl.col("kind") == "yes")["a"].mean()
    assert wanted - 2 < values[:, 0].mean() < wanted + 2


def test_what_has_no_meaning_for_a_mixture_is_refused(ensemble, table):
    for refused in (
        lambda: rx.encode(ensemble, table),
        lambda: rx.encode_std(ensemble, table),
        lambda: rx.decode(ensemble, np.zeros((1, 2))),
        lambda: rx.refit_prior(ensemble, table),
    ):
        with pytest.raises(RecipeError, match=r"an ensemble of 3.*members\[0\]"):
            refused()
    assert rx.encode(ensemble.members[1], table).shape == (ROWS, 2)


def test_a_custom_model_is_refused(ensemble, table):
    with pytest.raises(RecipeError, match="custom model for an ensemble"):
        rx.fit(table, model=ensemble.model, ensemble=2)
    with pytest.raises(RecipeError, match="ensemble"):
        rx.fit(table, ensemble=0)


def test_an_ensemble_that_is_ended_and_resumed_is_the_same_to_the_last_bit(table, tmp_path, monkeypatch):
    monkeypatch.setattr(_schedule, "FEWEST_BETWEEN_LOOKS", 4)
    monkeypatch.setattr(_schedule, "FIRST_PIECE", 3)
    monkeypatch.setattr(_schedule, "FASTEST_GROWTH", 1)
    asked = iter([False] * 5 + [True])
    saves = {"checkpoints": tmp_path / "c", "checkpoint_seconds": 0.0, "ensemble": 3, **SMALL}
    looks = [tmp_path / "whole.csv", tmp_path / "looks.csv"]
    whole = rx.fit(table, ensemble=3, watchers=[HistoryFile(looks[0])], **SMALL)
    first = rx.fit(table, **saves, stop=lambda: next(asked), watchers=[HistoryFile(looks[1])])
    assert first.status == "interrupted"
    assert 0 < len(first.history) < len(whole.history)
    with pytest.raises(ArtifactError, match="latent_dim"):
        rx.fit(table, **saves | {"latent_dim": 3}, resume=True)
    again = rx.fit(table, **saves, resume=True, watchers=[HistoryFile(looks[1])])
    for member, other in zip(again.members, whole.members, strict=True):
        for array, expected in zip(arrays(member.model), arrays(other.model), strict=True):
            np.testing.assert_array_equal(array, expected)
        assert [record.valid for record in member.history] == [record.valid for record in other.history]
    steps = [pl.read_csv(path)["step"].to_list() for path in looks]
    assert steps[0] == steps[1] == sorted(set(steps[1]))


def test_saved_and_loaded_it_is_the_same_to_the_last_bit(ensemble, table, tmp_path):
    rx.save(ensemble, tmp_path / "model")
    loaded = rx.load(tmp_path / "model")
    assert loaded.recipe == ensemble.recipe
    assert len(loaded.members) == 3
    for member, its in zip(loaded.members, ensemble.members, strict=True):
        assert (member.history, member.status, member.recipe) == (its.history, its.status, its.recipe)
        for leaf, other in zip(arrays(member.model), arrays(its.model), strict=True):
            np.testing.assert_array_equal(leaf, other)
    one, other = (rx.score(each, table, num_samples=SAMPLES) for each in (loaded, ensemble))
    np.testing.assert_array_equal(one.log_density, other.log_density)
    np.testing.assert_array_equal(one.anomaly_score, other.anomaly_score)
    rx.save(loaded.members[1], tmp_path / "member")
    alone = rx.load(tmp_path / "member")
    assert alone.others == ()
    for leaf, other in zip(arrays(alone.model), arrays(ensemble.members[1].model), strict=True):
        np.testing.assert_array_equal(leaf, other)


@pytest.mark.full
def test_images_arrays_and_given_columns(table):
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 3, (40, 4, 4)).astype(np.float64)
    fitted = rx.fit(pictures, ensemble=2, **SMALL)
    members = [rx.reconstruct(member, pictures) for member in fitted.members]
    np.testing.assert_allclose(rx.reconstruct(fitted, pictures), np.mean(members, axis=0), rtol=1e-4, atol=1e-4)
    scores = rx.score(fitted, pictures, num_samples=2)
    np.testing.assert_array_equal(scores.anomaly_score, -scores.log_density)
    assert rx.sample(fitted, 3, key=jax.random.key(0)).shape == (3, 4, 4, 1)
    assert rx.sample_means(fitted, 3, key=jax.random.key(0)).shape == (3, 4, 4, 1)

    given = rx.fit(table, ensemble=2, given=["kind"], **SMALL)
    drawn = rx.sample(given, 6, key=jax.random.key(0), where={"kind": "yes"})
    assert drawn["kind"].to_list() == ["yes"] * 6
    found = rx.score(given, table, num_samples=2).log_density
    its = [rx.score(member, table, num_samples=2).log_density for member in given.members]
    np.testing.assert_allclose(found, np.logaddexp(*its) - np.log(2), rtol=1e-5)
    assert msgspec.to_builtins(given.recipe)["ensemble"] == 2


@pytest.mark.full
def test_a_deterministic_autoencoder_has_no_density(table):
    fitted = rx.fit(table, ensemble=2, objective="reconstruction", **(SMALL | {"prior": None}))
    assert rx.score(fitted, table).log_density is None
    found = rx.evaluate(fitted, table)
    assert found.elbo is None
    assert found.reconstruction == pytest.approx(np.mean([one.reconstruction for one in found.members]), rel=1e-5)
