"""The parts of docs/adding-a-part.md, as they stand there: every command works on them, and they are right."""

import importlib
import math
import re
import sys
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import reparax as rx
from reparax.cli import main
from reparax.errors import DataError, NotReparameterizable, RecipeError
from reparax.estimators import AssumedContinuous
from reparax.objectives import AbstractObjective, Terms
from reparax.parts import option
from reparax.training import BATCH

PAGE = Path(__file__).resolve().parents[1] / "docs" / "adding-a-part.md"
SMALL = ["--latent-dim", "2", "--width", "8", "--depth", "1", "--epochs", "2", "--valid", "0.2", "--hide", "0"]
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(90, 2)) @ np.array([[1.0, -2.0, 0.5], [0.3, 0.4, 1.0]]) + 0.1
TIMES = RNG.gamma(2.0, 3.0, (90, 3))


class Centered(AbstractObjective):
    """A likelihood of what is left when the batch's mean is taken off."""

    needs_density: ClassVar[bool] = False
    trains_prior: ClassVar[bool] = False
    estimator: str = option("auto")

    def __call__(self, model, x, *, key, step):
        def centered(z):
            return model.likelihood(z - jax.lax.pmean(z, BATCH)).log_prob(x)

        value = rx.expectation(AssumedContinuous(centered), model.posterior(x), key=key, estimator=self.estimator)
        return Terms(value, value, value, jnp.zeros_like(value))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def parts(folder, monkeypatch):
    """The page's code as my_parts.py in the working folder."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (folder / "my_parts.py").write_text("\n".join(blocks))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    np.savetxt("rows.csv", ROWS, delimiter=",", header="a,b,c", comments="")
    np.save("times.npy", TIMES)
    yield importlib.import_module("my_parts")
    sys.modules.pop("my_parts")


CHOICES = {
    "likelihood": ("times.npy", ["--likelihood", '{"name": "my_parts:Gamma", "first_shape": 3}']),
    "posterior": ("rows.csv", ["--posterior", '{"name": "my_parts:InverseAutoregressiveFlow", "num_layers": 3}']),
    "objective": ("rows.csv", ["--objective", "my_parts:InfoVAE", "--posterior", "diagonal-normal"]),
}


def run(words):
    """A command as users run it, without the strictness of the tests."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return main(words)


@pytest.mark.parametrize(
    "field", ["posterior", *(pytest.param(field, marks=pytest.mark.full) for field in ("likelihood", "objective"))]
)
def test_every_command_works(parts, field, capsys):
    data, chosen = CHOICES[field]
    model = f"model-of-{field}"
    assert run(["fit", data, "--out", model, *chosen, *SMALL, "--no-report"]) == 0, capsys.readouterr().err
    table = data.endswith(".csv")
    for words in (
        ["encode", model, data, "--out", "codes.csv"],
        ["reconstruct", model, data, "--out", "means.csv"],
        ["sample", model, "--count", "5", "--out", "samples.csv"],
        *([["impute", model, data, "--out", "filled.csv"]] if table else []),
        ["score", model, data, "--out", "scores.csv", "--samples", "5"],
        ["evaluate", model, data, "--samples", "5"],
        ["report", model, data, "--samples", "5"],
    ):
        assert run([*words, "--allow", "my_parts"]) == 0, (words, capsys.readouterr().err)
    assert run(["info", model]) == 0
    # Only the parts of the model need permission: an objective is not served.
    assert run(["encode", model, data, "--out", "codes.csv"]) == (0 if field == "objective" else 2)


def test_the_likelihood_is_the_gamma_distribution(parts):
    summary = rx.read(TIMES).schema.summary()
    eta = np.array([0.3, 1.2, -0.5])
    # Bounded softly, numbers far from the bounds are hardly changed.
    made = parts.Gamma(first_shape=3.0).create(
        lambda count, key: lambda z: jnp.asarray(eta, jnp.float32)[None], summary, key=jax.random.key(0)
    )
    x, mean = np.array([0.4, 4.0, 11.0]), TIMES.mean(axis=0) * np.exp(eta)
    exact = stats.gamma.logpdf(x, 3.0, scale=mean / 3.0).sum()
    assert float(made(jnp.zeros(2)).log_prob(jnp.asarray(x, jnp.float32))) == pytest.approx(exact, rel=1e-3)
    np.testing.assert_allclose(made(jnp.zeros(2)).mean, mean, rtol=1e-3)


def test_the_likelihood_refuses_numbers_that_are_not_positive(parts):
    with pytest.raises(DataError, match="positive numbers"):
        parts.Gamma().create(lambda count, key: None, rx.read(ROWS).schema.summary(), key=jax.random.key(0))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_flow_is_autoregressive_and_its_density_that_of_its_jacobian(parts, size):
    layer = parts.MaskedLayer.create(size, 16, key=jax.random.key(1))
    e = jax.random.normal(jax.random.key(2), (size,))
    z, log_det = jax.jit(lambda e: layer.forward_and_log_det(e))(e)
    jacobian = jax.jit(jax.jacobian(lambda e: layer.forward_and_log_det(e)[0]))(e)[::-1]
    np.testing.assert_allclose(np.triu(jacobian, 1), 0.0, atol=1e-7)
    assert z.shape == (size,)
    assert float(log_det) == pytest.approx(np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], abs=1e-5)


def test_the_penalty_is_that_of_the_batch(parts):
    made = parts.InfoVAE(weight=1.0)
    fitted = rx.fit(ROWS, posterior="deterministic", prior="standard-normal", objective="reconstruction",
                    latent_dim=2, width=8, depth=1, epochs=1, hide=0.0)  # fmt: skip
    rows = jnp.asarray(fitted.units.stored(ROWS[:20]), jnp.float32)
    keys = jax.random.split(jax.random.key(0), len(rows))
    terms = jax.jit(
        jax.vmap(lambda x, key: made(fitted.model, x, key=key, step=jnp.asarray(0)), axis_name=BATCH)
    )(rows, keys)  # fmt: skip
    codes = rx.encode(fitted, ROWS[:20])
    prior = fitted.model.prior(fitted.model.posterior)
    draws = np.stack([prior.sample(jax.random.split(key)[1]) for key in keys])

    def kernel(a, b):
        return 4.0 / (4.0 + ((a[:, None] - b[None]) ** 2).sum(-1))

    among = [(kernel(a, a).sum() - 20) / (20 * 19) for a in (codes, draws)]
    expected = sum(among) - 2 * kernel(codes, draws).mean()
    np.testing.assert_allclose(terms.bound - terms.objective, expected, atol=2e-5)


def test_scores_are_refused_where_the_batch_is_seen(parts):
    with jax.numpy_dtype_promotion("standard"):
        with pytest.raises(NotReparameterizable):
            rx.fit(ROWS, objective=parts.InfoVAE(), posterior="bernoulli", latent_dim=2, epochs=1)
        for objective, posterior in (
            (Centered(), "bernoulli"),
            (Centered(estimator="score-function"), "diagonal-normal"),
        ):
            with pytest.raises(RecipeError, match="pathwise gradients for an objective that sees its batch"):
                rx.fit(ROWS, objective=objective, posterior=posterior, latent_dim=2, epochs=1)
        rx.fit(
            ROWS, objective=Centered(), posterior="diagonal-normal", latent_dim=2, width=4, depth=1, epochs=1, hide=0.0
        )


def test_a_posterior_without_a_mean_has_the_code_of_its_base(parts):
    flow = parts.InverseAutoregressiveFlow(num_layers=3)
    with jax.numpy_dtype_promotion("standard"):
        fitted = rx.fit(ROWS, posterior=flow, latent_dim=2, width=8, depth=1, epochs=1, hide=0.0)
    posterior, x = fitted.model.posterior, jnp.asarray(fitted.units.stored(ROWS[:1])[0], jnp.float32)
    mean, _ = jnp.split(posterior.network(x), 2)
    for layer in posterior.layers:
        mean, _ = layer.forward_and_log_det(mean)
    np.testing.assert_allclose(rx.encode(fitted, ROWS[:1])[0], mean, rtol=1e-5)
    with pytest.raises(rx.errors.NoClosedForm):
        rx.encode_std(fitted, ROWS[:1])


def test_total_correlation_with_all_data_as_batch_is_that_of_the_exact_mixture():
    """KL(q(z) || prod_d q(z_d)) by collectives over the batch, of Normals whose aggregate is a mixture of two."""
    mean = jnp.array([[1.0, 2.0], [-1.0, -2.0]])

    def total_correlation(mean: jax.Array, z: jax.Array) -> jax.Array:
        means = jax.lax.all_gather(mean, BATCH)
        each = -0.5 * (z[None] - means) ** 2 - 0.5 * math.log(2 * math.pi)
        joint = jax.nn.logsumexp(each.sum(1)) - math.log(len(means))
        return joint - jnp.sum(jax.nn.logsumexp(each, axis=0) - math.log(len(means)))

    noise = jax.random.normal(jax.random.key(0), (20_000, 2, 2))
    batch = jax.vmap(total_correlation, axis_name=BATCH)
    found = jax.jit(jax.vmap(lambda e: batch(mean, mean + e).mean()))(noise)
    grid = np.linspace(-9, 9, 1201)
    marginal = [0.5 * (stats.norm.pdf(grid, m) + stats.norm.pdf(grid, -m)) for m in (1.0, 2.0)]
    density = 0.5 * sum(np.outer(stats.norm.pdf(grid, s), stats.norm.pdf(grid, 2 * s)) for s in (1.0, -1.0))
    step = grid[1] - grid[0]
    exact = step**2 * np.sum(density * (np.log(density) - np.log(np.outer(*marginal))))
    assert abs(float(found.mean()) - exact) <= 5 * float(found.std()) / math.sqrt(len(found))
