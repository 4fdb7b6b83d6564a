"""Posteriors and the likelihood of several views against closed forms, quadrature and models of fewer views."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

from reparax.data import Views, from_array, read
from reparax.distributions import JointOfViews, ViewLayout
from reparax.errors import DataError, RecipeError
from reparax.model import Model
from reparax.networks import OfViews
from reparax.objectives import ELBO, IWAE
from reparax.posteriors.experts import Experts, MixtureOfExperts, MixtureOfProducts, ProductOfExperts, subsets
from reparax.priors import StandardNormal
from reparax.pytrees import Derived, partition
from reparax.recipe import build, suggest
from reparax.tables import ByView, adapter_of
from reparax.tables.views import ByViewDecoder, LayoutOf

MEAN = np.array([[0.4, -1.0], [1.5, 0.2], [-0.7, 2.0]])
SCALE = np.array([[0.5, 1.5], [2.0, 0.3], [1.0, 0.8]])
SOME = [np.array(seen) for seen in itertools.product([False, True], repeat=3) if any(seen)]


def combined(part, seen):
    arrays = (jnp.asarray(values, jnp.float32) for values in (MEAN, SCALE**2))
    return part.combined(*arrays, jnp.asarray(seen))


def product(seen, of_prior):
    """Mean and standard deviation of a product of Normals, by their natural parameters in float64."""
    precision = (seen[:, None] / SCALE**2).sum(axis=0) + of_prior
    return (seen[:, None] * MEAN / SCALE**2).sum(axis=0) / precision, precision**-0.5


@pytest.mark.parametrize("seen", SOME, ids=str)
def test_a_product_of_experts_is_the_closed_form_with_the_prior_and_without_missing_ones(seen):
    q = combined(ProductOfExperts(), seen)
    loc, scale = product(seen, 1.0)
    np.testing.assert_allclose(q.mean, loc, rtol=1e-5)
    np.testing.assert_allclose(q.variance, scale**2, rtol=1e-5)


def test_a_product_of_no_experts_is_the_prior():
    for part in (ProductOfExperts(), MixtureOfExperts(), MixtureOfProducts()):
        q = combined(part, np.zeros(3, bool))
        z = jnp.asarray([0.3, -1.2])
        assert q.log_prob(z) == pytest.approx(stats.norm.logpdf(z).sum(), rel=1e-6)


@pytest.mark.parametrize("seen", SOME, ids=str)
def test_mixtures_have_the_density_of_their_parts(seen):
    """Of the experts that are present, and of the products of all subsets of them, each with its own weight."""
    z = np.array([0.3, -1.2])
    alone = [stats.norm.pdf(z, MEAN[v], SCALE[v]).prod() for v in np.flatnonzero(seen)]
    assert combined(MixtureOfExperts(), seen).log_prob(jnp.asarray(z, jnp.float32)) == pytest.approx(
        np.log(np.mean(alone)), rel=1e-5
    )
    parts = [stats.norm.pdf(z, *product(some, 0.0)).prod() for some in SOME if not (some & ~seen).any()]
    assert len(parts) == 2 ** seen.sum() - 1
    assert combined(MixtureOfProducts(), seen).log_prob(jnp.asarray(z, jnp.float32)) == pytest.approx(
        np.log(np.mean(parts)), rel=1e-5
    )


def test_too_many_views_for_all_subsets_are_refused():
    assert len(subsets(8)) == 255
    with pytest.raises(RecipeError, match="product-of-experts"):
        subsets(9)


class Fixed(eqx.Module):
    """An encoder or a decoder of one number."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, x):
        return self.weight * jnp.ravel(x)[0] + self.bias


class NormalOf(eqx.Module):
    """x given z is N(w z, s^2), for one number."""

    weight: float
    scale: float

    def __call__(self, z):
        return dist.Normal(self.weight * z, self.scale).to_event(1)


W, S = np.array([1.3, -0.6]), np.array([0.7, 0.4])


def linear(part):
    """x_v = w_v z + s_v e, one number each, with experts of the right form for their posteriors."""
    summary = read(Views({"a": np.array([[1.0], [2.5]]), "b": np.array([[0.5], [1.5]])})).schema.summary()
    layout = Derived.of(LayoutOf((False, False)), summary)
    variance = 1 / (1 + W**2 / S**2)  # of p(z | x_v)
    experts = [
        Fixed(jnp.asarray([v * w / s**2, 0.0], jnp.float32), jnp.asarray([0.0, np.log(v)], jnp.float32))
        for v, w, s in zip(variance, W, S, strict=True)
    ]
    posterior = Experts(part=part, network=OfViews(tuple(experts), layout), latent_shape=(1,))
    likelihood = ByViewDecoder(("a", "b"), tuple(NormalOf(w, s) for w, s in zip(W, S, strict=True)), layout)
    return Model(posterior, StandardNormal(), likelihood)


def exact(x, seen):
    """log p(x) of the views that are seen."""
    w, s = W[seen], S[seen]
    return stats.multivariate_normal.logpdf(x[seen], np.zeros(seen.sum()), np.outer(w, w) + np.diag(s**2))


def elbo_by_quadrature(q, x, seen):
    z = np.linspace(-12.0, 12.0, 20001)
    density = np.exp(np.asarray(jax.vmap(lambda one: q.log_prob(one[None]))(jnp.asarray(z, jnp.float32)), np.float64))
    log_joint = stats.norm.logpdf(z) + stats.norm.logpdf(x[seen, None], W[seen, None] * z, S[seen, None]).sum(axis=0)
    terms = np.where(density > 0, density * (log_joint - np.log(np.maximum(density, 1e-300))), 0.0)
    return terms.sum() * (z[1] - z[0])


X = np.array([1.1, -0.9])


DRAWS = 400


@pytest.mark.parametrize("part", [ProductOfExperts(), MixtureOfExperts(), MixtureOfProducts()], ids=repr)
def test_bounds_are_those_of_quadrature_and_never_pass_the_exact_value(part):
    """The experts of a mixture are enumerated, each with its own draws; also where a view is missing."""
    model = linear(part)

    @jax.jit
    def bounds(x):
        keys, step = jax.random.split(jax.random.key(0), DRAWS), jnp.asarray(0)
        elbo = jax.vmap(lambda key: ELBO()(model, x, key=key, step=step).bound)(keys)
        return elbo, jax.vmap(lambda key: IWAE(num_samples=32)(model, x, key=key, step=step).bound)(keys)

    for seen in ([True, True], [True, False], [False, True]):
        x, seen = jnp.asarray(np.where(seen, X, np.nan), jnp.float32), np.array(seen)
        wanted, best = elbo_by_quadrature(model.posterior(x), X, seen), exact(X, seen)
        assert wanted <= best + 1e-6
        elbo, iwae = np.asarray(bounds(x), np.float64)
        error, other = (values.std() / np.sqrt(DRAWS) + 1e-5 for values in (elbo, iwae))
        assert abs(elbo.mean() - wanted) < 5 * error
        assert wanted - 5 * error < iwae.mean() < best + 5 * other


def test_the_mixture_of_experts_of_one_view_is_its_exact_posterior():
    model = linear(MixtureOfExperts())
    x = jnp.asarray([X[0], jnp.nan], jnp.float32)
    terms = jax.jit(lambda key: ELBO()(model, x, key=key, step=jnp.asarray(0)))(jax.random.key(3))
    assert terms.bound == pytest.approx(exact(X, np.array([True, False])), abs=1e-4)


def test_a_missing_view_contributes_exactly_nothing():
    """The numbers are those of a model of the other views alone, to the last bit, and so are the gradients."""
    model = linear(ProductOfExperts())
    other = eqx.tree_at(
        lambda made: (made.posterior.network.networks[1], made.likelihood.views[1]),
        model,
        (Fixed(jnp.asarray([9.0, 4.0]), jnp.asarray([-3.0, 2.0])), NormalOf(50.0, 0.01)),
    )
    x, z = jnp.asarray([X[0], jnp.nan], jnp.float32), jnp.asarray([0.4])

    def bound(made):
        return ELBO()(made, x, key=jax.random.key(5), step=jnp.asarray(0)).bound

    assert bound(model) == bound(other)
    assert model.likelihood(z).log_prob(x) == NormalOf(W[0], S[0])(z).log_prob(x[:1])
    slopes = eqx.filter_grad(bound)(other)
    assert np.all(np.asarray(slopes.posterior.network.networks[1].weight) == 0)
    assert np.any(np.asarray(slopes.posterior.network.networks[0].weight) != 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_the_joint_density_integrates_to_one_and_has_the_mean_of_its_views():
    law = linear(ProductOfExperts()).likelihood(jnp.asarray([0.4]))
    assert isinstance(law, JointOfViews)
    axis = np.linspace(-9.0, 9.0, 801)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1), jnp.float32)
    density = np.exp(np.asarray(law.log_prob(grid), np.float64))
    assert density.sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(law.mean, W * 0.4, rtol=1e-6)
    draws = law.sample(jax.random.key(0), (4000,))
    assert draws.shape == (4000, 2)
    assert np.all(np.abs(np.asarray(draws.mean(axis=0)) - W * 0.4) < 5 * S / np.sqrt(4000))


def mixed_views(gone=5):
    rng = np.random.default_rng(0)
    table = np.stack([rng.integers(0, 2, 30) + 0.0, rng.normal(size=30)], axis=1)
    table[:gone], table[20, 1] = np.nan, np.nan
    levels, numbers = rng.integers(0, 5, (30, 2, 2, 1)), rng.normal(size=(30, 3, 1, 1, 1))
    return read(Views({"levels": levels, "rows": table, "real": numbers}))


FULL = ("mixture-of-products", "spline-flow")
POSTERIORS = ["product-of-experts", *(pytest.param(name, marks=pytest.mark.full) for name in FULL)]


@pytest.mark.parametrize("posterior", POSTERIORS)
def test_any_posterior_takes_any_views(posterior):
    """Gradients are finite, and a view that is missing has no part in them."""
    dataset = mixed_views()
    recipe = suggest(dataset.schema, 30, posterior=posterior, latent_dim=2, width=4, depth=0)
    assert recipe.options("likelihood") == {"views": "levels=discretized-logistic,rows=columns,real=normal"}
    model = build(recipe, dataset.schema, key=jax.random.key(0))

    @eqx.filter_jit
    def slopes(model, x):
        bound = lambda model: ELBO()(model, x, key=jax.random.key(1), step=jnp.asarray(0)).bound  # noqa: E731
        return eqx.filter_value_and_grad(bound)(model)

    for row, has in ((0, False), (10, True), (20, True)):
        bound, found = slopes(model, jnp.asarray(dataset.values[row], jnp.float32))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((bound, found)))
        own = jax.tree.leaves(partition((found.posterior.network.networks[1], found.likelihood.views[1]))[0])
        assert own
        assert all(np.any(np.asarray(leaf) != 0) for leaf in own) == has


def test_what_is_not_of_several_views_is_refused_by_name():
    dataset, plain = mixed_views(), from_array(np.random.default_rng(0).normal(size=(9, 2))).schema
    for likelihood in ("normal", "columns"):
        with pytest.raises(RecipeError, match=r"likelihood\.views levels="):
            suggest(dataset.schema, 30, likelihood=likelihood)
    with pytest.raises(DataError, match=r"rx\.Views"):
        build(suggest(plain, 9, likelihood="by-view"), plain, key=jax.random.key(0))
    for text, word in (("levels", "NAME=LIKELIHOOD"), ("x=normal", "levels, rows, real"), ("levels=by-view", "one vi")):
        with pytest.raises(RecipeError, match=word):
            build(suggest(dataset.schema, 30, views=text), dataset.schema, key=jax.random.key(0))
    with pytest.raises(RecipeError, match="each of the views"):
        adapter_of(ByView("levels=normal"), dataset.schema.summary())
    with pytest.raises(RecipeError, match="vamp"):
        build(suggest(dataset.schema, 30, prior="vamp"), dataset.schema, key=jax.random.key(0))


def test_the_layout_of_views_follows_from_their_summary():
    layout = ViewLayout.of(mixed_views().schema.summary(), (False, True, False))
    assert layout.slices == ((0, 4), (4, 6), (6, 9))
    assert np.isnan(layout.typical[4:6]).all()
    whole = np.asarray(layout.typical[:4])
    assert (whole == np.rint(whole)).all()  # levels between two levels have no density
