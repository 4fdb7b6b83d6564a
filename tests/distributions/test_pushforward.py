"""Pushforwards: densities against numerical inverses and Jacobians, shapes, pytrees, atoms, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

import reparax as rx
from reparax.distributions import Coupling, CouplingFlow, Pushforward, halves
from reparax.errors import InvalidEstimator, NoClosedForm, NotReparameterizable, RecipeError
from reparax.estimators import base_of, code_of, sample_with_log_prob
from reparax.reparameterization import is_discrete, is_masked, is_reparameterizable, parameter_rules, rsample

from .maps import Bent, Exponential, InverseAutoregressive, Planar, Table, Triangular

KEY = jax.random.key(0)
STANDARD = dist.Normal(jnp.zeros(3), 1.0).to_event(1)
LOWER = jnp.array([[1.2, 0.0, 0.0], [0.5, -0.8, 0.0], [-0.3, 0.4, 2.0]])
AFFINE = Triangular(jnp.array([0.3, -0.2, 1.0]), LOWER)
FLOW = InverseAutoregressive(0.8 * jnp.ones((3, 3)), jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-0.5, 0.7, 0.0]]))


def test_an_affine_pushforward_is_a_multivariate_normal():
    q = Pushforward(STANDARD, AFFINE)
    exact = dist.MultivariateNormal(AFFINE.shift, LOWER @ LOWER.T)
    z, log_q = sample_with_log_prob(q, KEY, (50,))
    with jax.numpy_rank_promotion("allow"):
        true = exact.log_prob(z)
    np.testing.assert_allclose(log_q, true, atol=2e-4)
    np.testing.assert_allclose(q.log_prob(z), true, atol=2e-4)
    draws = np.asarray(q.sample(KEY, (40_000,)), np.float64)
    assert np.all(np.abs(draws.mean(0) - AFFINE.shift) < 5 * np.sqrt(np.diag(exact.covariance_matrix) / 40_000))


def test_the_density_of_an_inverse_autoregressive_flow_is_that_of_the_inverted_draw():
    """Draws are inverted by a root finder; the volume is that of the inverse, by finite differences."""
    z, log_q = sample_with_log_prob(Pushforward(STANDARD, FLOW), KEY, (5,))
    s, m = np.asarray(FLOW.scales, np.float64), np.asarray(FLOW.shifts, np.float64)

    def forward(e):
        return [
            e[i] * np.exp(0.7 * np.tanh(sum(s[i, j] * e[j] for j in range(i))))
            + sum(m[i, j] * np.tanh(e[j]) for j in range(i))
            for i in range(3)
        ]

    def invert(value):
        return optimize.root(lambda e: forward(e) - value, np.zeros(3), tol=1e-13).x

    for value, found in zip(np.asarray(z, np.float64), log_q, strict=True):
        step = 1e-5
        columns = [(invert(value + step * unit) - invert(value - step * unit)) / (2 * step) for unit in np.eye(3)]
        exact = stats.norm.logpdf(invert(value)).sum() + np.linalg.slogdet(np.stack(columns, 1))[1]
        np.testing.assert_allclose(found, exact, atol=2e-5)


def test_the_density_of_a_planar_flow_integrates_to_one():
    """Importance sampling with the flow's own density as the proposal's: E_q[r(z) / q(z)] = 1 for every density r."""
    q = Pushforward(dist.Normal(jnp.zeros(2), 1.0).to_event(1), Planar(*jnp.array([[1.5, -0.4], [0.8, 0.6]]), 0.3))
    z, log_q = sample_with_log_prob(q, KEY, (100_000,))
    target = dist.MultivariateNormal(jnp.array([0.3, 0.1]), 0.3 * jnp.eye(2))
    with jax.numpy_rank_promotion("allow"):
        ratio = np.exp(np.asarray(target.log_prob(z) - log_q, np.float64))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))


def layer(kind, seed):
    a, b, c = jax.random.split(jax.random.key(seed), 3)
    if kind == "affine":
        return Triangular(jax.random.normal(a, (3,)), jnp.tril(0.5 * jax.random.normal(b, (3, 3)), -1) + jnp.eye(3))
    if kind == "planar":
        w = jax.random.normal(a, (3,))
        u = jax.random.normal(b, (3,))
        # Injective: u w >= -1 / 2.
        return Planar(u + (jax.nn.relu(-0.5 - u @ w) / (w @ w)) * w, w, jax.random.normal(c, ()))
    if kind == "coupling":
        weights = 0.5 * jax.random.normal(a, (6, 3))
        return Coupling(lambda z: jnp.tanh(weights @ z), halves(3, 2)[seed % 2])
    if kind == "autoregressive":
        return InverseAutoregressive(jax.random.normal(a, (3, 3)), jax.random.normal(b, (3, 3)))
    return Bent(jax.random.uniform(a, (), minval=-0.7, maxval=3.0))


NUMPYRO = {
    "sigmoid": dist.transforms.SigmoidTransform(),
    "scaled": dist.transforms.AffineTransform(jnp.array([0.5, 0.1, -1.0]), jnp.array([2.0, -1.5, 0.4])),
    "permuted": dist.transforms.PermuteTransform(jnp.array([2, 0, 1])),
}
BASES = {
    "normal": STANDARD,
    "gumbel": dist.Gumbel(0.2, jnp.array([0.5, 1.0, 1.5])).to_event(1),
    "correlated": dist.MultivariateNormal(jnp.ones(3), jnp.eye(3) + 0.3),
    "mixture": dist.MixtureSameFamily(
        dist.Categorical(probs=jnp.array([0.3, 0.7])),
        dist.Normal(jnp.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]), 0.5).to_event(1),
    ),
}  # fmt: skip
KINDS = ["affine", "planar", "coupling", "autoregressive", "bent", *NUMPYRO]


def check_density(base: str, kinds: list[tuple[str, int]]) -> None:
    q = BASES[base]
    for kind, seed in kinds:
        known = kind in NUMPYRO
        q = dist.TransformedDistribution(q, NUMPYRO[kind]) if known else Pushforward(q, layer(kind, seed))
    root, push = base_of(q)
    assert type(root) is type(BASES[base])
    e = root.sample(jax.random.key(7))
    z, log_q, log_base, jacobian = jax.jit(
        lambda e: (*push(e), root.log_prob(e), jax.jacobian(lambda e: push(e)[0])(e))
    )(e)
    volume = np.linalg.slogdet(np.asarray(jacobian, np.float64))[1]
    np.testing.assert_allclose(log_q, log_base - volume, rtol=2e-4, atol=2e-4)
    drawn, densities, code = jax.jit(lambda key: (*sample_with_log_prob(q, key, (2,)), code_of(q)))(KEY)
    assert (drawn.shape, densities.shape) == ((2, 3), (2,))
    assert code.shape == (3,)
    if all(kind in {"affine", "coupling", *NUMPYRO} for kind, _ in kinds) and base == "normal":
        with jax.numpy_rank_promotion("allow"):
            # A saturated sigmoid loses what it is inverted from.
            np.testing.assert_allclose(q.log_prob(z), log_q, rtol=0.02, atol=0.02)


COMPOSITIONS = st.tuples(
    st.sampled_from(sorted(BASES)),
    st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 1000)), min_size=1, max_size=4),
)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(COMPOSITIONS)
@example(("normal", [("affine", 0), ("coupling", 1)]))
@example(("gumbel", [("planar", 2), ("sigmoid", 0)]))
@example(("correlated", [("autoregressive", 3), ("scaled", 0)]))
@example(("mixture", [("bent", 4), ("permuted", 0)]))
def test_random_compositions_have_the_density_of_a_numerical_jacobian(composition):
    check_density(*composition)


@pytest.mark.full
@settings(max_examples=50, deadline=None, derandomize=True)
@given(COMPOSITIONS)
def test_more_random_compositions(composition):
    check_density(*composition)


@pytest.mark.parametrize("batch", [(), (2,), (4, 2)])
@pytest.mark.parametrize("sample", [(), (5,), (2, 3)])
def test_shapes(batch, sample):
    q = Pushforward(dist.Normal(jnp.zeros((*batch, 3)), 1.0).to_event(1), AFFINE)
    assert (q.batch_shape, q.event_shape) == (batch, (3,))
    for z in (q.sample(KEY, sample), rsample(q, KEY, sample)):
        assert z.shape == (*sample, *batch, 3)
    z, log_q = sample_with_log_prob(q, KEY, sample)
    assert z.shape == (*sample, *batch, 3)
    assert q.log_prob(z).shape == log_q.shape == (*sample, *batch)
    np.testing.assert_allclose(q.log_prob(z), log_q, atol=1e-4)
    np.testing.assert_array_equal(z, q.sample(KEY, sample))


@pytest.mark.parametrize("event", [(), (2, 3)])
def test_events_of_any_shape_and_wrappers(event):
    q = Pushforward(dist.Normal(jnp.zeros(event), 1.0).to_event(len(event)), Bent(jnp.array(0.5)))
    wrapped = q.expand((4, 2)).to_event(1)
    z, log_q = sample_with_log_prob(wrapped, KEY, (5,))
    assert z.shape == (5, 4, 2, *event)
    assert log_q.shape == (5, 4)
    root, push = base_of(wrapped)
    e = rsample(root, KEY)
    value, total = push(e)
    each = jax.vmap(jax.vmap(lambda e: base_of(q)[1](e)[1]))(e.reshape(4, 2, *event))
    assert value.shape == (4, 2, *event)
    np.testing.assert_allclose(total, each.sum(), rtol=1e-5)
    assert code_of(wrapped).shape == (4, 2, *event)


def test_a_map_to_another_shape_says_so():
    class Flat(eqx.Module):
        def forward_and_log_det(self, e):
            return e.reshape(-1), jnp.zeros(())

    base = dist.Normal(jnp.zeros((2, 3)), 1.0).to_event(2)
    assert Pushforward(base, Flat(), event_shape=(6,)).sample(KEY, (4,)).shape == (4, 6)
    with pytest.raises(RecipeError, match=r"event_shape=\(6,\)"):
        Pushforward(base, Flat()).sample(KEY)


def test_it_is_a_value_of_jax():
    """jit, vmap and grad see its arrays and numbers, and nothing else: the flow holds a function as a leaf."""
    q = Pushforward(STANDARD, FLOW)
    assert all(eqx.is_array_like(leaf) for leaf in jax.tree.leaves(q))
    again = jax.jit(lambda q: q)(q)
    np.testing.assert_array_equal(again.sample(KEY), q.sample(KEY))
    # A size that is not a parameter stays a number.
    assert isinstance(again.transform, InverseAutoregressive)

    def make(m):
        return Pushforward(dist.Normal(m, 1.0).to_event(1), Triangular(m, LOWER))

    means = jnp.arange(12.0).reshape(4, 3)
    z = jax.vmap(lambda q: rsample(q, KEY))(jax.vmap(make)(means))
    np.testing.assert_allclose(z, jnp.stack([rsample(make(m), KEY) for m in means]), rtol=1e-5, atol=1e-5)
    slope = jax.grad(lambda q: rsample(q, KEY).sum())(make(means[0])).transform.shift
    np.testing.assert_allclose(slope, jnp.ones(3), rtol=1e-6)
    halved = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), make(means[0]))
    assert rsample(halved, KEY).dtype == sample_with_log_prob(halved, KEY)[0].dtype == jnp.float32


def test_draws_are_constant_and_the_path_is_declared():
    q = Pushforward(dist.Gamma(2.0, jnp.ones(3)).to_event(1), AFFINE)
    rules = parameter_rules(q)
    assert [entry.parameter for entry in rules] == ["concentration", "rate", "parameters of Triangular"]
    assert is_reparameterizable(q)
    assert all("composed" in entry.method for entry in rules)
    for draw in (lambda q: q.sample(KEY), lambda q: sample_with_log_prob(q, KEY)[0]):
        assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(jax.grad(lambda q, d=draw: d(q).sum())(q)))
    with pytest.raises(NotReparameterizable, match="rate"):
        rsample(Pushforward(dist.Poisson(jnp.ones(3)).to_event(1), AFFINE), KEY)


def test_a_base_without_parameters_needs_to_be_drawn_from_only():
    class Noise(dist.Distribution):
        support = dist.constraints.real_vector

        def sample(self, key, sample_shape=()):
            return jax.random.uniform(key, (*sample_shape, *self.batch_shape, 3))

        def log_prob(self, value):
            return jnp.zeros(value.shape[:-1])

    q = Pushforward(Noise(event_shape=(3,)), AFFINE)
    assert rsample(q, KEY, (4,)).shape == (4, 3)
    np.testing.assert_allclose(sample_with_log_prob(q, KEY)[1], -np.log(1.2 * 0.8 * 2.0), rtol=1e-6)


@pytest.mark.parametrize("base", [dist.Bernoulli(0.3), dist.Categorical(probs=jnp.array([0.3, 0.7])), dist.Delta(1.0)])
def test_atoms_are_moved_and_not_stretched(base):
    q = Pushforward(base, Table(jnp.array([[1.0, 2.0], [3.0, 4.0]])), event_shape=(2,))
    assert is_discrete(q)
    e = sample_with_log_prob(base, KEY)[0]
    z, log_q = base_of(q)[1](e)
    with jax.numpy_dtype_promotion("standard"):
        np.testing.assert_allclose(log_q, base.log_prob(e), rtol=1e-6)
    np.testing.assert_array_equal(z, jnp.array([[1.0, 2.0], [3.0, 4.0]])[int(e)])


@pytest.mark.parametrize(
    "base",
    [
        dist.HurdleGamma(0.3, 1.0, 1.0),
        dist.MixtureGeneral(
            dist.Categorical(probs=jnp.array([0.3, 0.7])),
            [dist.Delta(0.0), dist.Normal(0.0, 1.0)],
            support=dist.constraints.real,
        ),
    ],
    ids=["hurdle", "an atom in a mixture"],
)
def test_a_base_with_atoms_and_a_density_is_refused(base):
    with pytest.raises(RecipeError, match="both"):
        Pushforward(base, Bent(jnp.array(0.5)))


def test_what_is_not_known_in_closed_form_is_refused_with_a_cure():
    q = Pushforward(STANDARD, FLOW)
    with pytest.raises(NoClosedForm, match=r"only at its draws.*sample_with_log_prob"):
        q.log_prob(jnp.zeros(3))
    for moment in ("mean", "variance"):
        with pytest.raises(NotImplementedError, match="code_of"):
            getattr(q, moment)
    with pytest.raises(NoClosedForm, match="Cauchy"):
        code_of(Pushforward(dist.Cauchy(jnp.zeros(3), 1.0).to_event(1), FLOW))
    with pytest.raises(NoClosedForm, match="Categorical"):
        code_of(dist.Categorical(logits=jnp.zeros(3)))


def test_a_mask_is_seen_inside():
    masked = Pushforward(dist.Normal(jnp.zeros(3), 1.0).mask(False).to_event(1), AFFINE)
    assert is_masked(masked)
    with pytest.raises(InvalidEstimator, match="mask"):
        rx.expectation(jnp.sum, masked, key=KEY)


def test_the_code_is_the_image_of_the_mean():
    exact = dist.Normal(jnp.array([0.5, -1.0, 2.0]), 1.0).to_event(1)
    np.testing.assert_array_equal(code_of(exact), exact.mean)
    np.testing.assert_array_equal(code_of(dist.Delta(jnp.arange(3.0), event_dim=1)), jnp.arange(3.0))
    through = Pushforward(dist.TransformedDistribution(exact, dist.transforms.ExpTransform()), AFFINE)
    np.testing.assert_allclose(code_of(through), AFFINE.shift + LOWER @ jnp.exp(exact.mean), rtol=1e-6)
    np.testing.assert_allclose(code_of(dist.LogNormal(0.3, 1.0)), jnp.exp(0.8), rtol=1e-6)
    assert Pushforward(exact, Exponential(jnp.array(2.0))).support.event_dim == 1


def test_couplings_are_maps_of_pushforwards():
    layers = tuple(layer("coupling", seed) for seed in (0, 1, 2, 3))
    whole, nested = CouplingFlow(layers, 3), STANDARD
    for part in layers:
        nested = Pushforward(nested, part)
    z, log_q = sample_with_log_prob(nested, KEY, (20,))
    np.testing.assert_allclose(whole.log_prob(z), log_q, atol=1e-4)
    assert is_reparameterizable(whole)
    np.testing.assert_array_equal(rsample(whole, KEY, (4,)), whole.sample(KEY, (4,)))
