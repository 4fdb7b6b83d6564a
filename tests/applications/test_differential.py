"""Differentially private fits: the accounting against closed forms, what is in the folder, and what is refused."""

import json

import dp_accounting
import jax
import numpy as np
import polars as pl
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm

import reparax as rx
from reparax.applications._differential import Budget, _all, _histograms, _least_noise, described_for
from reparax.cli import main
from reparax.data import Release
from reparax.errors import DataError, RecipeError, ReparaxError

EPSILON, DELTA = 8.0, 1e-5
FAST = {"epochs": 4, "width": 4, "depth": 1, "latent_dim": 1, "batch_size": 100}
# No digits of a simple fraction, such as the 1/81 of evenly spread numbers.
SECRET = ("Atlantis", 837460925.5)


def exact_delta(epsilon: float, noise: float) -> float:
    """Of a Gaussian mechanism of sensitivity one: Balle & Wang (2018), theorem 8."""
    at = 1 / (2 * noise)
    return norm.cdf(at - epsilon * noise) - np.exp(epsilon) * norm.cdf(-at - epsilon * noise)


@pytest.mark.parametrize(("epsilon", "count"), [(0.3, 1), (1.0, 30), (4.0, 7)])
def test_the_noise_of_counts_is_the_least_that_suffices(epsilon, count):
    found = _least_noise(lambda noise: _histograms(noise, count), epsilon, DELTA)
    exact = np.sqrt(count) * brentq(lambda noise: exact_delta(epsilon, noise) - DELTA, 0.05, 200)
    assert exact * (1 - 1e-3) <= found <= exact * 1.01


def test_steps_on_all_rows_are_a_gaussian_mechanism_too():
    release = Release(30.0, 12)
    found = _least_noise(lambda noise: _all(noise, 1.0, 50, release), 2.0, DELTA)
    # The precisions of Normal noise add up.
    precision = 50 / found**2 + 12 / 30.0**2
    assert exact_delta(2.0, 1 / np.sqrt(precision)) == pytest.approx(DELTA, rel=0.05)


def test_one_drawn_step_is_a_mixture():
    """By quadrature: N(0, s^2) against (1 - q) N(0, s^2) + q N(1, s^2), for a row that is drawn with probability q."""
    rate, noise = 0.1, 0.8
    x = np.linspace(-12, 13, 400_001)
    without = norm.pdf(x, 0, noise)
    with_row = (1 - rate) * without + rate * norm.pdf(x, 1, noise)
    for epsilon in (0.1, 0.5):
        exact = max(
            np.trapezoid(np.maximum(one - np.exp(epsilon) * other, 0), x)
            for one, other in ((with_row, without), (without, with_row))
        )
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
        accountant = dp_accounting.pld.PLDAccountant().compose(event)
        assert accountant.get_delta(epsilon) == pytest.approx(exact, rel=0.02)


def table(rows: int = 1200) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, rows)
    town = np.where(kind == 1, "Rome", "Oslo").astype(object)
    amount = rng.normal(100, 10, rows) + 50 * kind
    town[0], amount[0] = SECRET
    return pl.DataFrame({"town": town.astype(str), "amount": amount})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A private model that the command line has fitted, in a table of which one row is a secret."""
    path = tmp_path_factory.mktemp("private")
    table().write_csv(path / "table.csv")
    words = [word for name, value in FAST.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    given = ["--dp", str(EPSILON), "--dp-delta", str(DELTA), "--no-report", "--history", str(path / "history.csv")]
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert main(["fit", str(path / "table.csv"), "--out", str(path / "model"), *given, *words]) == 0
    return path


def test_the_folder_holds_nothing_of_single_rows(folder):
    names = {each.name for each in (folder / "model").iterdir()}
    assert names == {"model.json", "weights.safetensors", "README.md", "history.csv"}
    texts = [(folder / "model" / name).read_text("utf-8") for name in ("model.json", "README.md", "history.csv")]
    assert not any("Atlantis" in text or "8374609" in text for text in texts)
    description = json.loads(texts[0])
    assert description["training"]["history"] == []
    assert len(texts[2].splitlines()) <= 1
    assert "differentially private" in texts[1]
    assert len((folder / "history.csv").read_text().splitlines()) > 1  # what the user asked for is theirs


def test_the_guarantee_is_kept_and_holds(folder, capsys):
    fitted = rx.load(folder / "model")
    kept = fitted.guarantee
    assert (kept.epsilon, kept.delta) == (EPSILON, DELTA)
    assert kept.steps == 4 * (fitted.schema.num_examples // 100)
    assert kept.sampling_rate == pytest.approx(100 / fitted.schema.num_examples)
    release = Release(kept.description_noise, kept.num_histograms)
    event = _all(kept.noise_multiplier, kept.sampling_rate, kept.steps, release)
    spent = dp_accounting.pld.PLDAccountant().compose(event).get_epsilon(0.89 * DELTA)
    assert EPSILON * 0.98 <= spent <= EPSILON
    assert main(["info", str(folder / "model")]) == 0
    assert "(8, 1e-05)-differentially private" in " ".join(capsys.readouterr().out.split())
    drawn = rx.sample(fitted, 50, key=jax.random.key(0))
    assert set(drawn["town"]) <= {"Rome", "Oslo"}
    with pytest.raises(RecipeError, match="lose its guarantee"):
        rx.refit_prior(fitted, table())


@pytest.fixture(scope="module")
def private_rows() -> rx.data.Dataset:
    return described_for(rx.read(table()), {"dp": EPSILON, "dp_delta": DELTA})


def test_the_noise_is_a_secret_and_not_that_of_the_seed(private_rows):
    again = described_for(rx.read(table()), {"dp": EPSILON, "dp_delta": DELTA})
    assert again.schema != private_rows.schema
    recipe = rx.plan(private_rows, dp=EPSILON, dp_delta=DELTA, seed=1, **FAST)
    first, second = (jax.random.key_data(Budget.of(recipe, private_rows).key) for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_description_is_made_once(private_rows):
    assert described_for(private_rows, {"dp": EPSILON}) is private_rows
    assert described_for(rx.read(table()), {}).release is None


REFUSED = {
    "held out": {"valid": 0.1},
    "trimmed": {"trim": 0.1},
    "hidden": {"hide": 0.5},
    "ensemble": {"ensemble": 2},
    "relations": {"relations": "found"},
    "checkpoints": {"checkpoints": "somewhere"},
    "batch": {"objective": "total-correlation"},
    "large delta": {"dp_delta": 0.01},
    "no noise": {"dp": 51.0},
    "negative": {"dp": -1.0},
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_break_the_guarantee_is_refused(case, private_rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError):
        rx.fit(private_rows, **({"dp": EPSILON, "dp_delta": DELTA} | FAST | REFUSED[case]))
    assert not list(tmp_path.iterdir())


def test_many_fits_and_other_data_are_refused(private_rows):
    with pytest.raises(ReparaxError, match="one differentially private fit at a time"):
        rx.fit_many(private_rows, [{"dp": EPSILON, "dp_delta": DELTA} | FAST] * 2)
    with pytest.raises(DataError, match="leave --dp out"):
        rx.fit(np.arange(480.0).reshape(30, 4, 4), dp=EPSILON)
    with pytest.raises(DataError, match="--given"):
        rx.fit(table(300), dp=EPSILON, given=["town"])


def test_batches_are_hardly_ever_larger_than_the_largest(private_rows):
    recipe = rx.plan(private_rows, dp=EPSILON, dp_delta=DELTA, **FAST)
    budget = Budget.of(recipe, private_rows)
    assert budget.private.most < 400
    beyond = binom.sf(budget.private.most, len(private_rows), budget.guarantee.sampling_rate)
    assert budget.guarantee.steps * beyond * (1 + np.exp(EPSILON)) <= 0.01 * DELTA
