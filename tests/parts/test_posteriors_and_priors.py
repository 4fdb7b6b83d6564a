"""The contracts of posteriors and priors, for every one of them by reflection."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from reparax import registry
from reparax.data import from_array
from reparax.distributions import Embedding, RoundedCodes
from reparax.distributions.codes import factors as kl_factor
from reparax.errors import RecipeError
from reparax.likelihoods import Normal as NormalLikelihood
from reparax.model import Model, check_latent_space
from reparax.networks import MLP
from reparax.objectives import ELBO, Reconstruction, check_objective
from reparax.objectives._base import DISCRETE
from reparax.parts import option_names
from reparax.posteriors import Categorical, NormalMixture
from reparax.priors import FittedNormal, Vamp
from reparax.priors import NormalMixture as NormalMixturePrior
from reparax.pytrees import combine, num_parameters, partition
from reparax.recipe import build, suggest

POSTERIORS = registry.names("posteriors")
PRIORS = registry.names("priors")
LATENT_DIM = 2
STEEP = {"spline-flow", "top-down-residual"}
ROWS = np.random.default_rng(0).normal((5.0, -1.0, 0.2), (2.0, 0.5, 1.0), (30, 3))
SUMMARY = from_array(ROWS).schema.summary()
X = jnp.asarray(ROWS, jnp.float32)


class Projection(eqx.Module):
    """A fixed random linear map of one standardized example: a network of any output size."""

    matrix: jax.Array

    def __init__(self, out_size: int, size: float = 0.3) -> None:
        rng = np.random.default_rng(out_size)
        self.matrix = jnp.asarray(size * rng.normal(size=(3, out_size)), jnp.float32)

    def __call__(self, x: jax.Array) -> jax.Array:
        return (x - jnp.asarray(ROWS.mean(axis=0), x.dtype)) / jnp.asarray(ROWS.std(axis=0), x.dtype) @ self.matrix


def posterior_of(name: str, latent_dim: int = LATENT_DIM, size: float = 0.3):
    def make_encoder(count: int, *, key: jax.Array) -> Projection:
        return Projection(count, size)

    made = registry.load("posteriors", name)().create(make_encoder, latent_dim, key=jax.random.key(0))
    return eqx.tree_at(lambda posterior: posterior.network, moved(made, 0.05 if name in STEEP else 0.3), made.network)


def moved(tree, size: float):
    """Learned parameters away from where they start, so that a symmetric start hides nothing."""
    rng = np.random.default_rng(1)
    learned, rest = partition(tree)

    def near(leaf: jax.Array) -> jax.Array:
        return jnp.asarray(np.asarray(leaf) + (size * rng.normal(size=leaf.shape)).astype(leaf.dtype))

    return combine(jax.tree.map(near, learned), rest)


def prior_of(name: str, posterior, num_components: int = 3):
    kind = registry.load("priors", name)
    few = {"num_components": num_components, "width": 8, "num_steps": 4}
    part = kind(**{option: few[option] for option in few if option in option_names(kind)})
    prior = part.create(posterior, SUMMARY, MLP(8, 1).decoder, key=jax.random.key(3))
    multiply = {"coupling-flow", "conditional-flow", "class-top-down"}  # layers, so that small steps go far
    return moved(prior, 0.05 if name in multiply else 0.3)


def fits(posterior: str, prior: str) -> bool:
    kinds = registry.load("posteriors", posterior), registry.load("priors", prior)
    return kinds[0].latent_space in kinds[1].latent_spaces and (prior == "fitted-normal") <= (not kinds[0].has_density)


def fitting(prior: str) -> str:
    return next(name for name in POSTERIORS if fits(name, prior))


# A prior that does not look at the posterior is tested once, the VampPrior with several posteriors, all in full.
PAIRS = [(fitting(prior), prior) for prior in PRIORS]
PAIRS += [(posterior, "vamp") for posterior in ("bernoulli", "categorical", "full-covariance-normal")]
EVERY_PAIR = [(posterior, prior) for posterior in POSTERIORS for prior in PRIORS if fits(posterior, prior)]
IN_TURN = [
    pytest.param(*pair, marks=() if pair in PAIRS else pytest.mark.full, id="-".join(pair)) for pair in EVERY_PAIR
]


def product(axis: np.ndarray, weight: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All combinations of one axis with itself: points (n, size) and their weights."""
    points = np.stack(np.meshgrid(*[axis] * size, indexing="ij"), -1).reshape(-1, size)
    weights = np.prod(np.meshgrid(*[weight] * size, indexing="ij"), axis=0).ravel()
    return points, weights


def grid(law, space: str, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a latent space and weights that turn a density on it into a sum; real ones are around the draws."""
    shape = law.event_shape
    u = np.linspace(-8.0, 8.0, 281)
    step = np.full(u.shape, u[1] - u[0])
    if space == "binary":
        return product(np.array([0.0, 1.0]), np.ones(2), shape[0])
    if space == "codes":
        one_hot = kl_factor(law)
        count, values = (law.count, law.codebooks.shape[1]) if one_hot is None else one_hot.logits.shape
        index, weights = product(np.arange(values), np.ones(values), count)
        if isinstance(law, RoundedCodes):  # it knows the embedding of its own code only
            own = np.all(index == np.asarray(law.indices), axis=1)
            return np.hstack([index, np.where(own[:, None], np.asarray(law.embedding), 0.0)]), weights
        books = law.codebooks if one_hot is None else law.transform.codebooks
        return np.asarray(
            jax.vmap(lambda k: Embedding(books).forward_and_log_det(k)[0])(np.eye(values)[index])
        ), weights
    if space == "one-hot":
        index, weights = product(np.arange(shape[1]), np.ones(shape[1]), shape[0])
        return np.eye(shape[1])[index], weights
    if space == "class and real":
        classes = shape[0] - LATENT_DIM
        v = np.linspace(-4.0, 4.0, 201)
        numbers, weights = product(np.sinh(v), np.cosh(v) * 0.04, LATENT_DIM)
        labels = np.repeat(np.eye(classes), len(numbers), axis=0)
        return np.hstack([labels, np.tile(numbers, (classes, 1))]), np.tile(weights, classes)
    if space == "count":
        return product(np.arange(60.0), np.ones(60), shape[0])
    if space == "real":
        center, spread = draws.mean(axis=0), draws.std(axis=0)
        points, weights = product(np.sinh(u), np.cosh(u) * step, shape[0])
        return center + spread * points, weights * spread.prod()
    if space == "positive":
        v = np.linspace(-30.0, 7.0, 601)
        return product(np.exp(v), np.exp(v) * (v[1] - v[0]), shape[0])
    if space == "unit interval":
        y = 1 / (1 + np.exp(-2.1 * u))
        return product(y, 2.1 * y * (1 - y) * step, shape[0])
    if space == "simplex":
        ratios, weights = product(2.1 * u, 2.1 * step, shape[0] - 1)
        odds = np.exp(np.column_stack([ratios, np.zeros(len(ratios))]))
        points = odds / odds.sum(axis=1, keepdims=True)
        return points, weights * points.prod(axis=1)
    if space == "sphere" and shape == (2,):
        angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
        return np.column_stack([np.cos(angle), np.sin(angle)]), np.full(2000, np.pi / 1000)
    if space == "sphere" and shape == (3,):
        height, weight = np.polynomial.legendre.leggauss(300)
        angle = np.linspace(0, 2 * np.pi, 300, endpoint=False)
        z, phi = np.meshgrid(height, angle, indexing="ij")
        flat = np.sqrt(1 - z**2)
        points = np.stack([flat * np.cos(phi), flat * np.sin(phi), z], -1).reshape(-1, 3)
        return points, np.repeat(weight, 300) * 2 * np.pi / 300
    return pytest.skip(f"no rule here to integrate over the {space} space of shape {shape}")


def check_density_and_draws(law, space: str) -> None:
    """The density sums to one over its space, and draws have the first two moments of that density."""
    draws = np.asarray(jax.jit(jax.vmap(law.sample))(jax.random.split(jax.random.key(2), 4000)), np.float64)
    points, weights = grid(law, space, draws)
    density = jax.jit(jax.vmap(law.log_prob))(jnp.asarray(points, jnp.float32))
    mass = np.exp(np.asarray(density, np.float64)) * weights
    assert abs(mass.sum() - 1) < 1e-3
    assert draws.shape == (4000, *law.event_shape)
    flat, sample = points.reshape(len(points), -1), draws.reshape(4000, -1)
    center = mass @ flat
    for power in (1, 2):
        moment = (np.sign(flat - center) ** power) * np.abs(flat - center) ** power
        seen = (np.sign(sample - center) ** power) * np.abs(sample - center) ** power
        mean = mass @ moment
        error = np.sqrt(np.maximum(mass @ moment**2 - mean**2, 0) / 4000)
        assert np.all(np.abs(seen.mean(axis=0) - mean) <= 5 * error + 1e-4 * np.sqrt(mass @ moment**2))


@pytest.mark.parametrize("name", POSTERIORS)
def test_posterior_has_the_latent_shape_and_a_density_of_its_own_draws(name):
    posterior = posterior_of(name)

    @jax.jit
    @jax.vmap
    def draw(x: jax.Array, key: jax.Array):
        law = posterior(x)
        assert law.event_shape == posterior.latent_shape
        assert law.batch_shape == ()
        z = law.sample(key)
        return z, law.log_prob(z), posterior.code(x)

    z, log_prob, mean = draw(X, jax.random.split(jax.random.key(0), len(X)))
    assert z.shape == mean.shape == (len(X), *posterior.latent_shape)
    assert np.isfinite(log_prob).all()
    different = len(np.unique(np.asarray(mean).reshape(len(X), -1), axis=0))
    assert different == len(X) or (posterior.latent_space == "codes" and different > 4)  # it depends on x


@pytest.mark.parametrize("name", [name for name in POSTERIORS if name != "deterministic"])
def test_posterior_density_sums_to_one_and_its_draws_follow_it(name):
    posterior = posterior_of(name)
    check_density_and_draws(eqx.filter_jit(posterior)(X[0]), posterior.latent_space)


@pytest.mark.parametrize("name", POSTERIORS)
def test_network_outputs_of_any_size_leave_densities_and_slopes_finite(name):
    posterior = posterior_of(name)

    @jax.jit
    @jax.value_and_grad
    def log_prob(outputs: jax.Array) -> jax.Array:
        law = eqx.tree_at(lambda part: part.network, posterior, lambda x: outputs)(X[0])
        return law.log_prob(jax.lax.stop_gradient(law.sample(jax.random.key(1))))

    count = posterior.network.matrix.shape[1]
    for outputs in (np.full(count, 1e6), np.full(count, -1e6), 1e6 * (-1.0) ** np.arange(count)):
        value, slope = log_prob(jnp.asarray(outputs, jnp.float32))
        assert np.isfinite(value), outputs
        assert np.isfinite(slope).all(), outputs


def test_diagonal_normal_reads_means_then_log_variances():
    posterior = posterior_of("diagonal-normal")
    law, outputs = posterior(X[0]), np.asarray(posterior.network(X[0]), np.float64)
    np.testing.assert_allclose(law.mean, outputs[:2], rtol=1e-6)
    np.testing.assert_allclose(law.variance, np.exp(outputs[2:]), rtol=2e-3)  # the soft bound is almost the identity


def test_full_covariance_normal_has_correlations_of_either_sign():
    posterior = posterior_of("full-covariance-normal", 3, size=1.0)
    covariance = np.asarray(jax.vmap(lambda x: posterior(x).covariance_matrix)(X), np.float64)
    assert np.linalg.eigvalsh(covariance).min() > 0
    scale = np.sqrt(np.einsum("nii->ni", covariance))
    correlation = (covariance / scale[:, :, None] / scale[:, None])[:, *np.tril_indices(3, -1)]
    assert np.all(correlation.min(axis=0) < -0.2)
    assert np.all(correlation.max(axis=0) > 0.2)


@pytest.mark.parametrize(("posterior", "prior"), IN_TURN)
def test_prior_is_normalized_on_the_posteriors_space_and_its_draws_follow_it(posterior, prior):
    posterior = posterior_of(posterior)
    law = eqx.filter_jit(prior_of(prior, posterior))(posterior)
    assert law.event_shape == posterior.latent_shape
    check_density_and_draws(law, posterior.latent_space)


@pytest.mark.parametrize("name", ["diagonal-normal", "full-covariance-normal", "bernoulli", "categorical"])
def test_vamp_prior_is_the_mixture_of_posteriors_made_by_hand(name):
    posterior = posterior_of(name)
    prior = prior_of("vamp", posterior, num_components=4)
    inputs = SUMMARY.low + (SUMMARY.high - SUMMARY.low) / (1 + np.exp(-np.asarray(prior.unconstrained, np.float64)))
    assert np.all((inputs > SUMMARY.low) & (inputs < SUMMARY.high))
    z = posterior(X[0]).sample(jax.random.key(4))
    components = [float(posterior(jnp.asarray(u, jnp.float32)).log_prob(z)) for u in inputs]
    expected = np.log(np.mean(np.exp(components)))
    assert abs(float(prior(posterior).log_prob(z)) - expected) < 2e-5 * max(1, abs(expected))


def test_vamp_components_start_apart_and_constant_columns_do_no_harm():
    rows = np.column_stack([ROWS, np.full(len(ROWS), 4.0)])
    summary = from_array(rows).schema.summary()
    prior = Vamp(num_components=5).create(
        posterior_of("diagonal-normal"), summary, MLP(8, 1).decoder, key=jax.random.key(0)
    )
    assert np.isfinite(prior.unconstrained).all()
    assert len(np.unique(np.asarray(prior.unconstrained[:, 0]))) == 5


def test_normal_mixture_is_scipys():
    posterior = posterior_of("diagonal-normal")
    prior = prior_of("normal-mixture", posterior)
    z = np.random.default_rng(5).normal(size=(6, 2))
    weights = np.exp(prior.logits) / np.exp(prior.logits).sum()
    free = np.asarray(prior.log_scale, np.float64)
    log_scale = -6 + np.logaddexp(0, free + 6) - np.logaddexp(0, free - 4)  # softly bounded by the prior
    density = sum(
        weight * stats.norm.pdf(z, loc, np.exp(bounded)).prod(axis=1)
        for weight, loc, bounded in zip(weights, np.asarray(prior.loc), log_scale, strict=True)
    )
    found = jax.vmap(prior(posterior).log_prob)(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(found, np.log(density), rtol=1e-5)


def test_fitted_normal_has_the_moments_of_the_codes():
    posterior = posterior_of("deterministic", 3)
    codes = np.random.default_rng(0).normal(size=(500, 3)) @ np.array([[2.0, 0, 0], [1, 0.1, 0], [0, 0, 30]]) + 7.0
    prior = FittedNormal().create(posterior, SUMMARY, MLP(8, 1).decoder, key=jax.random.key(0)).fitted_to(codes)
    law = prior(posterior)
    np.testing.assert_allclose(law.mean, codes.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(law.covariance_matrix, np.cov(codes.T, bias=True), rtol=1e-3, atol=2e-3)
    collapsed = prior.fitted_to(np.full((5, 3), 2.0))(posterior)
    np.testing.assert_allclose(collapsed.sample(jax.random.key(0)), np.full(3, 2.0), atol=1e-3)


def likelihood_of() -> NormalLikelihood:
    def make_decoder(count: int, *, key: jax.Array):
        return lambda z: jnp.zeros((count, 3))

    return NormalLikelihood().create(make_decoder, SUMMARY, key=jax.random.key(0))


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_a_prior_on_another_space_is_refused_naming_those_that_fit(posterior):
    right = {name for name in PRIORS if fits(posterior, name)}
    assert registry.load("posteriors", posterior).default_prior in right
    for prior in PRIORS:
        parts = registry.load("posteriors", posterior)(), registry.load("priors", prior)()
        if prior in right:
            check_latent_space(*parts)
            continue
        with pytest.raises(RecipeError) as caught:
            check_latent_space(*parts)
        assert (
            set(caught.value.cure.removeprefix("choose one of the priors ").partition(", or ")[0].split(", ")) == right
        )
        assert prior in caught.value.got
        assert prior == "fitted-normal" or posterior in caught.value.expected


def test_a_model_of_parts_that_do_not_go_together_cannot_be_made():
    stranger = prior_of("uniform-bernoulli", posterior_of("bernoulli"))
    with pytest.raises(RecipeError, match="standard-normal"):
        Model(posterior_of("diagonal-normal"), stranger, likelihood_of())


@pytest.mark.parametrize("objective", registry.names("objectives"))
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_objectives_that_need_a_density_refuse_a_posterior_without_one(objective, posterior):
    part, kind = registry.load("objectives", objective)(), posterior_of(posterior)
    prior = prior_of(registry.load("posteriors", posterior).default_prior, kind)
    model = Model(kind, prior, likelihood_of())
    if part.needs_density and not kind.has_density:
        with pytest.raises(RecipeError, match="--objective reconstruction") as caught:
            check_objective(part, model)
        assert objective in caught.value.expected
    elif part.takes_labels and kind.latent_space != "class and real":
        with pytest.raises(RecipeError, match="class-normal"):
            check_objective(part, model)
    elif part.differentiates_draws and kind.latent_space in DISCRETE:
        with pytest.raises(RecipeError, match="--posterior diagonal-normal"):
            check_objective(part, model)
    elif num_parameters(prior) and not part.trains_prior:
        with pytest.raises(RecipeError, match="does not train"):
            check_objective(part, model)
    else:
        check_objective(part, model)


def test_weights_of_a_prior_that_no_objective_trains_are_refused():
    posterior = posterior_of("diagonal-normal")
    model = Model(posterior, prior_of("normal-mixture", posterior), likelihood_of())
    check_objective(ELBO(), model)
    with pytest.raises(RecipeError, match="does not train"):
        check_objective(Reconstruction(), model)


@pytest.mark.parametrize(("room", "name", "options"), [
    ("posteriors", "categorical", {"num_classes": 1}), ("posteriors", "categorical", {"num_classes": 2.5}),
    ("priors", "normal-mixture", {"num_components": "many"}), ("priors", "vamp", {"num_components": 0}),
    ("priors", "vamp", {"num_components": float("nan")}), ("priors", "vamp", {"num_components": float("inf")}),
    ("objectives", "elbo", {"beta": -1.0}), ("objectives", "elbo", {"beta": float("nan")}),
    ("objectives", "iwae", {"estimator": 3}),
])  # fmt: skip
def test_options_out_of_their_range_are_refused(room, name, options):
    with pytest.raises(RecipeError, match=next(iter(options))):
        registry.load(room, name)(**options)


@pytest.mark.parametrize("count", [2, 7])
def test_options_shape_the_posterior_and_the_prior(count):
    def make_encoder(out_size, *, key):
        return Projection(out_size)

    categorical = Categorical(num_classes=count).create(make_encoder, 3, key=jax.random.key(0))
    assert categorical.latent_shape == (3, count)
    mixture = NormalMixture(num_components=count).create(make_encoder, 3, key=jax.random.key(0))
    assert mixture(X[0]).mixture_size == count
    prior = NormalMixturePrior(num_components=count).create(mixture, SUMMARY, MLP(8, 1).decoder, key=jax.random.key(0))
    assert prior(mixture).mixture_size == count


@pytest.mark.parametrize(
    "name", ["spline-flow", "autoregressive-flow", {"name": "flow-matching", "width": 8, "num_steps": 4}]
)
def test_a_flow_as_prior_of_a_conditional_model_depends_on_the_context(name):
    """With a flow as posterior and counts as data; the density of each context is normalized."""
    counts = from_array(np.random.default_rng(0).poisson(3.0, (40, 4)))
    contexts = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    recipe = suggest(
        counts.schema, 40, prior=name, posterior="inverse-autoregressive-flow", likelihood="poisson", latent_dim=2,
        width=16, depth=1, context_dim=2,
    )  # fmt: skip
    model = build(recipe, counts.schema, key=jax.random.key(0), contexts=contexts)
    model = eqx.tree_at(lambda m: m.prior, model, moved(model.prior, 0.1))
    laws = [plain.prior(plain.posterior) for plain in (model.given(jnp.asarray(c)) for c in contexts[:2])]
    here, there = (law.log_prob(jnp.asarray([0.4, -0.7])) for law in laws)
    assert abs(here - there) > 1e-3
    check_density_and_draws(laws[0], "real")
    terms = ELBO()(model.given(jnp.asarray(contexts[0])), counts.values[0], key=jax.random.key(1), step=jnp.int32(0))
    assert np.isfinite(terms.bound)
