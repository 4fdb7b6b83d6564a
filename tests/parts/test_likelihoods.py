"""The contract of likelihoods, for every one of them by reflection: a normalized density in the user's units."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints

from reparax import registry
from reparax.data import from_array
from reparax.errors import DataError, RecipeError
from reparax.summary import Summary

# Rows of tables have a density on a mixed space: their contract is in test_columns.py.
# Those of several views, in test_views.py.
WITH_OPTIONS = {
    "normal, scale of z": ("normal", {"scale": "decoder"}),
    "student-t, scale of z": ("student-t", {"scale": "decoder"}),
}
NAMES = (*(name for name in registry.names("likelihoods") if name not in {"columns", "by-view"}), *WITH_OPTIONS)
RNG = np.random.default_rng(0)
DATA = {
    "bits": RNG.integers(0, 2, (40, 2)),
    "bit images": RNG.integers(0, 2, (40, 1, 2, 1)),
    "levels": RNG.integers(0, 13, (40, 1, 2, 1)),
    "intensities": np.linspace(0.0, 1.0, 80).reshape(2, 40, 1, 1).swapaxes(0, 1),
    "counts": RNG.poisson((0.4, 9.0), (40, 2)),
    "whole": RNG.integers((-9, 3), (4, 7), (40, 2)),
    "odd units": RNG.normal((1700.0, -3e-3), (40.0, 1e-4), (40, 2)),
    "constant column": np.stack([RNG.normal(size=40), np.full(40, 2.5)], axis=1),
    "real images": RNG.normal(-30.0, 9.0, (40, 1, 2, 1)),
}


class Fixed(eqx.Module):
    """A decoder that gives the same parameters for every z."""

    parameters: jax.Array

    def __call__(self, z: jax.Array) -> jax.Array:
        return self.parameters


def summary_of(values: np.ndarray) -> Summary:
    return from_array(values).schema.summary()


def make(name: str, summary: Summary, size: float = 0.5):
    """A likelihood whose network's outputs are drawn once, the same for every call."""

    def make_decoder(parameters: int, shape: tuple[int, ...] | None = None, *, key: jax.Array) -> Fixed:
        shape = (parameters, *(summary.event_shape if shape is None else shape))
        return Fixed(jnp.asarray(size * np.random.default_rng(parameters).normal(size=shape), jnp.float32))

    name, options = WITH_OPTIONS.get(name, (name, {}))
    return registry.load("likelihoods", name)(**options).create(make_decoder, summary, key=jax.random.key(0))


def accepted(name: str) -> list[str]:
    found = []
    for kind, values in DATA.items():
        try:
            make(name, summary_of(values))
        except DataError:
            continue
        found.append(kind)
    return found


PAIRS = [(name, kind) for name in NAMES for kind in accepted(name)]
REAL = [(name, kind) for name, kind in PAIRS if kind in ("intensities", "odd units", "real images")]
Z = jnp.zeros(2)


def conditional(likelihood) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights along each of the two dimensions, shape (2, nodes): sums or quadrature over the support."""
    law = likelihood(Z)
    support = law.support
    while isinstance(support, type(constraints.independent(constraints.real, 1))):
        support = support.base_constraint
    if support is constraints.boolean:
        nodes = np.tile([0.0, 1.0], (2, 1))
        return nodes, np.ones_like(nodes)
    if isinstance(support, type(constraints.integer_interval(0, 1))):
        nodes = np.tile(np.arange(support.lower_bound, support.upper_bound + 1.0), (2, 1))
        return nodes, np.ones_like(nodes)
    if support is constraints.nonnegative_integer:
        nodes = np.tile(np.arange(400.0), (2, 1))
        return nodes, np.ones_like(nodes)
    if support is constraints.real:
        center = np.ravel(law.mean).astype(np.float64)[:, None]
        width = np.ravel(np.sqrt(law.variance)).astype(np.float64)[:, None]
        u = np.linspace(-9.0, 9.0, 601)[None]
        nodes = np.asarray(center + width * np.sinh(u), np.float32).astype(np.float64)
        return nodes, width * np.cosh(u) * (u[0, 1] - u[0, 0])
    low, high = (np.broadcast_to(bound, law.event_shape).ravel().astype(np.float64)[:, None]
                 for bound in (support.lower_bound, support.upper_bound))  # fmt: skip
    points, weights = np.polynomial.legendre.leggauss(80)
    return low + (high - low) * (points[None] + 1) / 2, (high - low) * weights[None] / 2


def joint(likelihood, nodes: np.ndarray) -> np.ndarray:
    """The density on the grid of the two dimensions, through the part's own joint log density."""
    shape = likelihood(Z).event_shape

    @jax.jit
    def log_prob(first: jax.Array, second: jax.Array) -> jax.Array:
        return likelihood(Z).log_prob(jnp.stack([first, second]).reshape(shape))

    rows = jax.vmap(jax.vmap(log_prob, (None, 0)), (0, None))
    return np.exp(np.asarray(rows(*jnp.asarray(nodes, jnp.float32)), np.float64))


def test_every_likelihood_accepts_some_data():
    assert {name for name, _ in PAIRS} == set(NAMES)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_density_integrates_to_one_and_its_mean_is_the_numerical_one(name, kind):
    likelihood = make(name, summary_of(DATA[kind]))
    nodes, weights = conditional(likelihood)
    mass = joint(likelihood, nodes) * weights[0][:, None] * weights[1][None]
    assert abs(mass.sum() - 1) < 1e-4
    law = likelihood(Z)
    assert law.event_shape == DATA[kind].shape[1:]
    assert law.batch_shape == ()
    means = np.array([mass.sum(axis=1) @ nodes[0], mass.sum(axis=0) @ nodes[1]])
    scales = np.sqrt([mass.sum(axis=1) @ nodes[0] ** 2, mass.sum(axis=0) @ nodes[1] ** 2])
    np.testing.assert_allclose(np.ravel(law.mean) / scales, means / scales, atol=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_mean_and_the_variance_of_the_density(name):
    kind = next(kind for other, kind in reversed(PAIRS) if other == name and kind != "constant column")
    likelihood = make(name, summary_of(DATA[kind]))
    nodes, weights = conditional(likelihood)
    mass = joint(likelihood, nodes) * weights[0][:, None] * weights[1][None]
    draws = jax.jit(jax.vmap(likelihood(Z).sample))(jax.random.split(jax.random.key(7), 4000))
    assert draws.shape == (4000, *likelihood(Z).event_shape)
    draws = np.asarray(draws, np.float64).reshape(4000, 2)
    for dimension, marginal in enumerate((mass.sum(axis=1), mass.sum(axis=0))):
        x, sample = nodes[dimension], draws[:, dimension]
        mean = marginal @ x
        moments = [marginal @ (x - mean) ** power for power in (2, 4)]
        assert abs(sample.mean() - mean) <= 5 * np.sqrt(moments[0] / 4000)
        assert abs(((sample - mean) ** 2).mean() - moments[0]) <= 5 * np.sqrt((moments[1] - moments[0] ** 2) / 4000)


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_example_seen_has_a_finite_density_whatever_the_network_says(name, kind):
    x = jnp.asarray(DATA[kind], jnp.float32)
    likelihood = make(name, summary_of(DATA[kind]))

    @jax.jit
    @jax.value_and_grad
    def mean_log_prob(parameters: jax.Array) -> jax.Array:
        moved = eqx.tree_at(lambda part: part.network.parameters, likelihood, parameters)
        return jnp.mean(jax.vmap(moved(Z).log_prob)(x))

    for factor in (1.0, 1e6, -1e6):
        value, slope = mean_log_prob(factor * likelihood.network.parameters)
        assert np.isfinite(value), factor
        assert np.isfinite(slope).all(), factor


@pytest.mark.parametrize(("name", "kind"), REAL)
def test_a_change_of_units_costs_exactly_its_jacobian(name, kind):
    values = np.asarray(DATA[kind], np.float64)
    factor = 250.0 if values.ndim > 2 else np.array([250.0, 0.3])
    offset = -3.0 * factor * values.mean(axis=0 if values.ndim == 2 else None)
    ours = make(name, summary_of(values))
    theirs = make(name, summary_of(factor * values + offset))
    rows = values[:10]
    here = jax.jit(jax.vmap(ours(Z).log_prob))(jnp.asarray(rows, jnp.float32))
    there = jax.jit(jax.vmap(theirs(Z).log_prob))(jnp.asarray(factor * rows + offset, jnp.float32))
    jacobian = np.log(np.broadcast_to(factor, values.shape[1:])).sum()
    np.testing.assert_allclose(np.asarray(here) - np.asarray(there), jacobian, rtol=0, atol=2e-3)


@pytest.mark.parametrize("name", NAMES)
def test_data_it_gives_no_density_to_are_refused_with_a_likelihood_that_does(name):
    refused = [kind for kind in DATA if (name, kind) not in PAIRS]
    for kind in refused:
        with pytest.raises(DataError) as caught:
            make(name, summary_of(DATA[kind]))
        suggested = [other for other in NAMES if other in caught.value.cure and (other, kind) in PAIRS]
        assert suggested, caught.value.cure
        assert name in caught.value.expected


def test_bernoulli_offers_the_continuous_bernoulli_for_intensities():
    with pytest.raises(DataError, match="continuous-bernoulli") as caught:
        make("bernoulli", summary_of(DATA["intensities"]))
    assert "0 and 1" in caught.value.expected
    assert "real values between" in caught.value.got


def test_dimensions_are_independent_given_z():
    for name, kind in PAIRS:
        if kind not in ("bits", "counts", "whole", "odd units"):
            continue
        likelihood = make(name, summary_of(DATA[kind]))
        rows = jnp.asarray(DATA[kind][:2], jnp.float32)
        corners = [likelihood(Z).log_prob(jnp.stack([rows[i, 0], rows[j, 1]]))
                   for i, j in itertools.product((0, 1), repeat=2)]  # fmt: skip
        assert abs(float(corners[0] + corners[3] - corners[1] - corners[2])) < 2e-4, (name, kind)


@pytest.mark.parametrize("name", ["normal", "student-t"])
def test_scales_of_z_are_the_outputs_of_the_decoder(name):
    values = DATA["odd units"]
    likelihood = make(f"{name}, scale of z", summary_of(values))
    of_z = np.asarray(likelihood.network(Z))[1]
    expected = values.std(axis=0) * np.exp(-0.5 + of_z)
    np.testing.assert_allclose(likelihood(Z).base_dist.scale, expected, rtol=0.1)  # softly bounded
    with pytest.raises(RecipeError, match=r"scale of .* to be constant or decoder; got 'both'"):
        registry.load("likelihoods", name)(scale="both")
