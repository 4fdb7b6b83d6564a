"""The density of the data's own marginals, and models that are refused because they are worse."""

import jax
import numpy as np
import pytest
import scipy.stats as stats

import reparax as rx
from reparax.applications import known_by, marginal_bound, marginal_log_density
from reparax.applications._job import Job
from reparax.applications._marginals import require_sense
from reparax.applications._rows_of_fit import rows_of
from reparax.data import split
from reparax.errors import TrainingError
from reparax.recipe import build

RNG = np.random.default_rng(0)
BITS = (RNG.random((200, 5, 4)) < 0.3).astype(np.uint8)
COUNTS = RNG.integers(0, 17, (200, 5, 4))
NUMBERS = RNG.normal(3.0, 2.0, (200, 5, 4, 2, 2))
TABLE = RNG.normal(3.0, 2.0, (200, 3))


def untrained(data, **chosen):
    dataset = rx.read(data)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        recipe = rx.plan(dataset, **({"width": 4, "latent_dim": 2} | chosen))
        part, rest = split(dataset, recipe.valid, recipe.seed)
        fitted = rx.FittedModel(build(recipe, part.schema, key=jax.random.key(0)), part.schema, recipe)
        return known_by(fitted, rest), part, rest


def flat(dataset):
    return dataset.values.reshape(len(dataset), -1).astype(np.float64)


def test_of_bits_counts_and_numbers():
    fitted, part, rest = untrained(BITS)
    expected = stats.bernoulli(flat(part).mean(axis=0)).logpmf(flat(rest)).sum(axis=1)
    np.testing.assert_allclose(marginal_log_density(fitted, part, rest), expected)
    fitted, part, rest = untrained(NUMBERS)
    expected = stats.norm(flat(part).mean(axis=0), flat(part).std(axis=0)).logpdf(flat(rest)).sum(axis=1)
    np.testing.assert_allclose(marginal_log_density(fitted, part, rest), expected, rtol=1e-5)
    fitted, part, rest = untrained(COUNTS)
    expected = np.zeros(len(rest))
    for x, given in zip(flat(rest).T, flat(part).T, strict=True):
        expected += np.log([(np.sum(given == value) + 1) / (len(given) + 17) for value in x])
    np.testing.assert_allclose(marginal_log_density(fitted, part, rest), expected)
    assert marginal_bound(fitted, rx.read(COUNTS)) == pytest.approx(expected.mean())


@pytest.mark.parametrize(
    "context", [{"kind": np.tile(["a", "b"], 100)}, RNG.normal(size=(200, 1))], ids=["names", "numbers"]
)
def test_sense_is_asked_in_the_context_of_each_row(context):
    dataset = rx.read(TABLE, context=context)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        recipe = rx.plan(dataset, width=4, latent_dim=2, likelihood="normal")
        job = Job.of(rows_of(dataset, recipe), recipe)
        require_sense(job.fitted, job.part, job.held_out, chosen=1e-3)


@pytest.mark.parametrize("data", [COUNTS, TABLE], ids=["images", "table"])
def test_only_nonsense_is_refused(data):
    fitted, part, rest = untrained(data)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        if data is TABLE:
            density = marginal_log_density(fitted, part, rest)
            expected = stats.norm(flat(part).mean(axis=0), flat(part).std(axis=0)).logpdf(flat(rest)).sum(axis=1)
            assert abs(float(np.mean(density - expected))) < 0.3
            require_sense(fitted, part, rest, chosen=1e-3)
            assert marginal_bound(fitted, rx.read(TABLE)) is None
        wild = jax.tree.map(lambda leaf: leaf * 1e3 if leaf.ndim == 2 else leaf, fitted.model.posterior)
        spoiled = rx.FittedModel(
            rx.Model(wild, fitted.model.prior, fitted.model.likelihood), part.schema, fitted.recipe
        )
        with pytest.raises(TrainingError, match="worse than before training"):
            require_sense(spoiled, part, rest, chosen=1e-3)
