"""Codes of a codebook: bounds by enumeration, gradients by hand, priors that sum to one, the use of codes."""

import itertools
import warnings
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.neighbors import NearestNeighbors

import reparax as rx
from reparax.data import from_array
from reparax.distributions import RoundedCodes, independent_codes, kl_divergence
from reparax.errors import InvalidEstimator, NotReparameterizable, RecipeError
from reparax.estimators import base_of
from reparax.estimators._plan import all_named
from reparax.likelihoods import Normal as NormalLikelihood
from reparax.model import Model
from reparax.networks import MLP, LastOf
from reparax.objectives import ELBO, IWAE, Penalized, Reconstruction, check_objective
from reparax.posteriors import FSQ, VQ, CategoricalCodebook, ResidualVQ
from reparax.priors import AutoregressiveCodes, IndependentCodes, UniformCodes
from reparax.pytrees import combine, partition
from reparax.recipe import FittedModel, build, suggest

from ..monte_carlo import many, z_score

ROWS = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
SCHEMA = from_array(ROWS).schema
SUMMARY = SCHEMA.summary()
KEY = jax.random.key(0)
STEP = jnp.int32(0)
POSTERIORS = [FSQ(levels="3,2"), VQ(num_codes=5, code_dim=2), ResidualVQ(num_codes=3, num_stages=2, code_dim=2)]
SMALL = CategoricalCodebook(num_codes=3, code_dim=2, temperature=6.0)
PRIORS = [UniformCodes(), IndependentCodes(), AutoregressiveCodes(width=6)]


def model_of(part, prior=UniformCodes(), positions: int = 2, spread: float = 0.4) -> Model:
    """A small model with its learned numbers moved away from where they start."""
    architecture = MLP(8, 1)
    posterior = part.create(lambda count, key: architecture.encoder((3,), count, key=key), positions, key=KEY)
    made = prior.create(posterior, SUMMARY, architecture.decoder, key=KEY)
    size = posterior.num_decoded
    likelihood = NormalLikelihood().create(
        lambda count, key: LastOf(architecture.decoder(size, (count, 3), key=key), size), SUMMARY, key=KEY
    )
    learned, rest = partition(Model(posterior, made, likelihood))
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda leaf: leaf + jnp.asarray(spread * rng.normal(size=leaf.shape), leaf.dtype), learned)
    return combine(moved, rest)


def all_codes(posterior) -> np.ndarray:
    indices = itertools.product(range(posterior.num_codes), repeat=posterior.num_indices)
    return np.asarray(jax.vmap(posterior.embedded)(jnp.asarray(list(indices))))


@pytest.mark.parametrize(("part", "prior"), [
    pytest.param(part, prior, marks=() if place == other else pytest.mark.full, id=f"{type(part).__name__}-{other}")
    for place, part in enumerate(POSTERIORS) for other, prior in enumerate(PRIORS)
])  # fmt: skip
def test_the_bound_is_that_of_all_codes_enumerated_under_the_point_mass(part, prior):
    model = model_of(part, prior)
    codes = jnp.asarray(all_codes(model.posterior))

    @jax.jit
    def of_all(x):
        q = model.posterior(x)
        log_q, log_joint = jax.vmap(q.log_prob)(codes), jax.vmap(lambda z: model.log_joint(x, z))(codes)
        bounds = [
            objective(model, x, key=jax.random.key(seed), step=STEP).bound
            for objective in (ELBO(num_samples=3), IWAE(num_samples=4), ELBO())
            for seed in range(2)
        ]
        terms = ELBO()(model, x, key=KEY, step=STEP)
        return log_q, log_joint, jnp.stack(bounds), terms.kl, -model.prior(model.posterior).log_prob(q.mean)

    for x in jnp.asarray(ROWS[:3]):
        log_q, log_joint, bounds, kl, nats = (np.asarray(part, np.float64) for part in of_all(x))
        assert np.exp(log_q).sum() == 1.0
        expected = log_joint[np.argmax(log_q)]
        np.testing.assert_allclose(bounds, expected, rtol=2e-5)
        assert expected < np.logaddexp.reduce(log_joint)  # log p(x), exactly
        assert kl == pytest.approx(nats, rel=1e-5)
        if isinstance(prior, UniformCodes):
            assert kl == pytest.approx(model.posterior.num_indices * np.log(model.posterior.num_codes), rel=1e-6)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda part: type(part).__name__)
def test_a_learned_prior_sums_to_one_over_all_codes_and_is_drawn_from(prior):
    model = model_of(ResidualVQ(num_codes=3, num_stages=2, code_dim=2), prior, spread=1.0)
    codes = all_codes(model.posterior)
    law = model.prior(model.posterior)
    log_probs = np.asarray(jax.vmap(law.log_prob)(jnp.asarray(codes)), np.float64)
    assert np.exp(log_probs).sum() == pytest.approx(1.0, abs=1e-5)
    if isinstance(prior, UniformCodes):
        return
    assert np.ptp(log_probs) > 0.5  # not uniform
    drawn = np.asarray(law.sample(jax.random.key(3), (20_000,)))
    numbers = drawn[:, :4].astype(int) @ 3 ** np.arange(3, -1, -1)
    counts = np.bincount(numbers, minlength=81)
    kept = np.exp(log_probs) * 20_000 > 5
    expected = np.append((np.exp(log_probs) * 20_000)[kept], max(1e-3, 20_000 * (1 - np.exp(log_probs)[kept].sum())))
    seen = np.append(counts[kept], 20_000 - counts[kept].sum())
    assert stats.chisquare(seen, expected * (seen.sum() / expected.sum())).pvalue > 1e-6
    np.testing.assert_allclose(drawn[:50], codes[numbers[:50]], atol=1e-6)  # each with its embedding


def test_an_index_depends_on_those_before_it_and_on_no_other():
    model = model_of(FSQ(levels="4"), AutoregressiveCodes(width=24), positions=4, spread=1.0)
    network = model.prior.network
    one_hot = jnp.asarray(np.eye(4)[[0, 3, 1, 2]], jnp.float32)
    slopes = jax.jacobian(lambda e: network(jnp.ravel(e.T)).reshape(4, 4).T)(one_hot)  # (p, k, p', k')
    depends = np.abs(np.asarray(slopes)).max(axis=(1, 3)) > 0
    np.testing.assert_array_equal(depends, np.tril(np.ones((4, 4), bool), -1))


def test_what_is_no_code_has_a_probability_of_zero():
    model = model_of(VQ(num_codes=5, code_dim=2), AutoregressiveCodes(width=6))
    z = model.posterior.code(jnp.asarray(ROWS[0]))
    laws = [prior.create(model.posterior, SUMMARY, MLP(8, 1).decoder, key=KEY)(model.posterior) for prior in PRIORS]
    wrong = jnp.stack([z.at[1].set(value) for value in (-1.0, 5.0, 0.5, np.inf)])
    for law in laws:
        with warnings.catch_warnings(action="ignore"):  # of numpyro, if its validation is on
            found = jax.jit(jax.vmap(law.log_prob))(jnp.vstack([z[None], wrong]))
        assert np.isfinite(found[0])
        np.testing.assert_array_equal(found[1:], -np.inf)


@pytest.mark.parametrize(("estimator", "prior"), [
    ("auto", PRIORS[1]),
    pytest.param("leave-one-out", PRIORS[1], marks=pytest.mark.full),
    pytest.param("leave-one-out", PRIORS[2], marks=pytest.mark.full),
    pytest.param("auto", PRIORS[2], marks=pytest.mark.full),
], ids=lambda value: value if isinstance(value, str) else type(value).__name__)  # fmt: skip
def test_gradients_of_categorical_codes_are_unbiased(estimator, prior):
    model = model_of(SMALL, prior)
    x = jnp.asarray(ROWS[0])
    learned, rest = partition(model)
    ones = jnp.asarray(np.eye(3)[list(itertools.product(range(3), repeat=2))], jnp.float32)

    def exact(learned):
        model = combine(learned, rest)
        log_q = jax.nn.log_softmax(model.posterior.logits(x), axis=-1)
        log_probs = jnp.sum(ones * log_q, axis=(1, 2))

        def log_joint(one_hot):
            index = jnp.argmax(one_hot, axis=1)
            z = jnp.concatenate([index.astype(jnp.float32), jnp.ravel(model.posterior.vectors[0][index])])
            return model.log_joint(x, z)

        return jnp.sum(jnp.exp(log_probs) * (jax.vmap(log_joint)(ones) - log_probs))

    def estimate(key):
        bound = lambda learned: ELBO(estimator=estimator)(combine(learned, rest), x, key=key, step=STEP).objective  # noqa: E731
        return jax.value_and_grad(bound)(learned)

    value, slopes = jax.value_and_grad(exact)(learned)
    values, found = many(estimate, 2 if estimator == "auto" else 4000)
    if estimator == "auto":  # all 9 codes are enumerated: exact with any key
        np.testing.assert_allclose(values, np.full(2, value), rtol=1e-5)
        for one, right in zip(jax.tree.leaves(found), jax.tree.leaves(slopes), strict=True):
            np.testing.assert_allclose(one, np.broadcast_to(right, one.shape), atol=2e-5, rtol=1e-4)
        return
    assert z_score(values, value) <= 5
    for one, right in zip(jax.tree.leaves(found), jax.tree.leaves(slopes), strict=True):
        assert z_score(one, right) <= 5
    assert all(np.any(np.asarray(right) != 0) for right in jax.tree.leaves(slopes.posterior))


def test_categorical_codes_have_the_probabilities_of_their_distances():
    model = model_of(SMALL)
    x = jnp.asarray(ROWS[1])
    latents = np.asarray(model.posterior.network(x), np.float64).reshape(2, 2)
    latents = latents + np.logaddexp(0, -latents - 10) - np.logaddexp(0, latents - 10)  # softly bounded
    distances = ((latents[:, None] - np.asarray(model.posterior.vectors[0], np.float64)) ** 2).sum(-1)
    weights = np.exp(-distances / 6.0)
    np.testing.assert_allclose(
        jax.nn.softmax(model.posterior.logits(x), axis=-1), weights / weights.sum(1, keepdims=True), rtol=1e-3
    )
    code = np.asarray(model.posterior.code(x))
    np.testing.assert_array_equal(code[:2], distances.argmin(axis=1))
    np.testing.assert_allclose(code[2:].reshape(2, 2), model.posterior.vectors[0][distances.argmin(axis=1)], atol=1e-6)
    base, push = base_of(model.posterior(x))
    z, log_q = push(base.sample(KEY))
    assert float(log_q) == pytest.approx(float(model.posterior(x).log_prob(z)), abs=1e-6)


def test_the_straight_through_gradient_is_the_formula_by_hand():
    model = model_of(FSQ(levels="5,3"), positions=1)
    outputs = jnp.asarray([0.4, -1.3])
    network = lambda out: eqx.tree_at(lambda part: part.network, model.posterior, lambda x: out)  # noqa: E731
    f = lambda z: jnp.sum(jnp.sin(z[1:]) ** 2) + z[1] * z[2] + 10.0 * z[0]  # noqa: E731

    def value(out):
        return rx.expectation(f, network(out)(jnp.asarray(ROWS[0])), key=KEY, estimator="straight-through")

    found, slope = jax.value_and_grad(value)(outputs)
    raw = np.asarray(outputs, np.float64)
    code = np.array([np.round(2 * np.tanh(raw[0])) / 2, np.round(np.tanh(raw[1]))])
    index = 3 * np.round(2 * (code[0] + 1)) + np.round(code[1] + 1)
    assert float(found) == pytest.approx(np.sum(np.sin(code) ** 2) + code.prod() + 10 * index, rel=1e-6)
    by_hand = (np.sin(2 * code) + code[::-1]) * (1 - np.tanh(raw) ** 2)  # f'(code) dtanh; the index has no derivative
    np.testing.assert_allclose(slope, by_hand, rtol=1e-5)


def test_the_terms_of_training_are_the_formulas_by_hand():
    model = model_of(VQ(num_codes=5, code_dim=2, commitment=0.3))
    x = jnp.asarray(ROWS[0])
    posterior = eqx.tree_at(lambda part: part.network, model.posterior, lambda x: jnp.asarray([0.3, -0.2, 1.1, 0.4]))
    latents = np.asarray([[0.3, -0.2], [1.1, 0.4]])
    latents = latents + np.logaddexp(0, -latents - 10) - np.logaddexp(0, latents - 10)
    book = np.asarray(posterior.vectors[0], np.float64)
    index = NearestNeighbors(n_neighbors=1).fit(book).kneighbors(latents)[1][:, 0]
    np.testing.assert_array_equal(posterior.code(x)[:2], index)
    assert float(posterior.penalty(x)) == pytest.approx(1.3 * ((latents - book[index]) ** 2).sum(), rel=1e-4)

    def of_codebook(vectors):
        return eqx.tree_at(lambda part: part.vectors, posterior, vectors).penalty(x)

    by_hand = np.zeros_like(book)
    np.add.at(by_hand, index, 2 * (book[index] - latents))
    np.testing.assert_allclose(jax.grad(of_codebook)(posterior.vectors)[0], by_hand, rtol=1e-3, atol=1e-5)

    def of_outputs(out):
        return eqx.tree_at(lambda part: part.network, posterior, lambda x: out).penalty(x)

    slope = jax.grad(of_outputs)(jnp.asarray([0.3, -0.2, 1.1, 0.4])).reshape(2, 2)
    np.testing.assert_allclose(slope, 2 * 0.3 * (latents - book[index]), rtol=1e-3, atol=1e-5)

    plain = replace(model, posterior=posterior)
    terms, penalized = (part(plain, x, key=KEY, step=STEP) for part in (ELBO(), Penalized(ELBO())))
    assert float(penalized.objective) == pytest.approx(float(terms.objective - posterior.penalty(x)), rel=1e-6)
    assert penalized.bound == terms.bound  # which the penalty is no part of


def test_the_codebook_has_no_derivative_of_the_reconstruction_and_the_encoder_has_that_of_the_decoder():
    model = model_of(VQ(num_codes=5, code_dim=2))
    x, outputs = jnp.asarray(ROWS[2]), jnp.asarray([0.3, -0.2, 1.1, 0.4])

    def bound(out, vectors):
        posterior = eqx.tree_at(lambda part: (part.network, part.vectors), model.posterior, (lambda x: out, vectors))
        return Reconstruction()(replace(model, posterior=posterior), x, key=KEY, step=STEP).objective

    of_encoder, of_codebook = jax.grad(bound, (0, 1))(outputs, model.posterior.vectors)
    np.testing.assert_array_equal(of_codebook, np.zeros_like(of_codebook))
    z = eqx.tree_at(lambda part: part.network, model.posterior, lambda x: outputs).code(x)
    of_decoder = jax.grad(lambda z: model.likelihood(z).log_prob(x))(z)[2:]
    np.testing.assert_allclose(of_encoder, of_decoder, rtol=1e-3)  # the soft bound is almost the identity


def test_an_expectation_does_not_differentiate_through_rounding_unasked():
    q = POSTERIORS[0].create(lambda count, key: MLP(8, 1).encoder((3,), count, key=key), 2, key=KEY)(ROWS[0])
    f = lambda z: jnp.sum(z**2)  # noqa: E731
    with pytest.raises(InvalidEstimator, match="straight-through") as caught:
        rx.expectation(f, q, key=KEY)
    assert "biased" in caught.value.cure
    with pytest.raises(NotReparameterizable):
        rx.rsample(q, KEY)
    taken = {name for name, part in all_named().items() if part.refusal(q) is None}
    assert taken == {"straight-through"}
    assert not all_named()["straight-through"].unbiased
    for name in sorted(set(all_named()) - taken):
        with pytest.raises(InvalidEstimator, match="straight-through"):
            rx.expectation(f, q, key=KEY, estimator=name)
    with pytest.raises(InvalidEstimator):  # a jump of f is not differentiated either
        rx.expectation(lambda z: jnp.where(z[-1] > 0.3, 1.0, 0.0), q, key=KEY, estimator="straight-through")


@settings(deadline=None, max_examples=12)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=3), st.integers(1, 2), st.integers(0, 1000))
def test_the_code_of_rounded_scalars_and_its_index_are_those_of_numpy(levels, positions, seed):
    part = FSQ(levels=",".join(map(str, levels)))
    outputs = 3 * np.random.default_rng(seed).normal(size=(positions, len(levels))).astype(np.float32)
    posterior = part.create(lambda count, key: lambda x: jnp.ravel(jnp.asarray(outputs)), positions, key=KEY)
    q = posterior(jnp.asarray(ROWS[0]))
    top = np.asarray(levels) - 1
    level = np.round(np.asarray(jnp.tanh(outputs) + 1) * (top / 2).astype(np.float32))
    index = np.ravel_multi_index(level.astype(int).T, levels)
    np.testing.assert_array_equal(q.indices, index)
    np.testing.assert_allclose(q.embedding, (2 * level / top - 1).ravel(), atol=1e-6)
    np.testing.assert_allclose(posterior.embedded(q.indices), q.mean, atol=1e-6)
    assert np.all(np.abs(np.asarray(q.embedding) - np.tanh(outputs).ravel()) <= np.tile(1 / top, positions) + 1e-5)
    assert posterior.num_codes == np.prod(levels)


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.text(max_size=8), st.sampled_from(["", "1,3", "8,,5", "3.5", "-4", "300,300,300", "8 6", "x"])))
def test_levels_that_are_none_are_refused_with_an_example(words):
    numbers = words.split(",")
    if all(number.strip().isdecimal() for number in numbers) and min(map(int, numbers)) >= 2:
        return
    with pytest.raises(RecipeError, match="8,6,5"):
        FSQ(levels=words)


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(6, 4)) * 3
    return (centers[rng.integers(0, 6, 600)] + 0.2 * rng.normal(size=(600, 4))).astype(np.float32)


@pytest.fixture(scope="module")
def residual(groups) -> FittedModel:
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return rx.fit(
            groups, posterior={"name": "residual-vq", "num_codes": 6, "num_stages": 3}, likelihood="normal",
            latent_dim=2, width=16, depth=1, epochs=60, learning_rate=1e-2,
        )  # fmt: skip


def test_each_stage_of_a_residual_quantizer_leaves_less(residual, groups):
    posterior = residual.model.posterior
    latents = jax.vmap(posterior._latents)(jnp.asarray(groups))
    left = np.asarray(latents, np.float64).reshape(-1, posterior.vectors.shape[2])
    errors, chosen = [(left**2).sum()], []
    for book in np.asarray(posterior.vectors, np.float64):
        nearest = NearestNeighbors(n_neighbors=1).fit(book).kneighbors(left)[1][:, 0]
        chosen.append(nearest)
        left = left - book[nearest]
        errors.append((left**2).sum())
    assert np.all(np.diff(errors) < 0)
    assert errors[-1] < 0.2 * errors[0]
    found = rx.encode(residual, groups)
    agree = found[:, :6].reshape(-1, 3) == np.stack(chosen, axis=1)
    assert agree.all(axis=1).mean() > 0.995  # float32 decides ties otherwise
    whole = np.asarray(latents, np.float64).reshape(-1, posterior.vectors.shape[2]) - left
    same = agree.all(axis=1)
    np.testing.assert_allclose(found[:, 6:].reshape(whole.shape)[same], whole[same], atol=1e-4)


def test_scores_of_rounded_codes_are_exact_and_do_not_depend_on_seed_or_draws(residual, groups):
    few, many_draws = (rx.score(residual, groups[:20], num_samples=k, seed=k).log_density for k in (1, 50))
    np.testing.assert_array_equal(few, many_draws)
    nats = 6 * np.log(6)
    z = rx.encode(residual, groups[:20])
    by_hand = [
        float(residual.model.likelihood(jnp.asarray(code)).log_prob(jnp.asarray(x))) - nats
        for code, x in zip(z, groups[:20], strict=True)
    ]
    np.testing.assert_allclose(few, by_hand, rtol=1e-4, atol=1e-3)
    found = rx.evaluate(residual, groups[:20])
    assert found.elbo == pytest.approx(np.mean(by_hand), abs=1e-3)
    assert found.iwae == pytest.approx(found.elbo, abs=1e-4)
    assert found.kl == pytest.approx(nats, rel=1e-6)


def test_indices_alone_are_decoded_and_wrong_ones_refused(residual, groups):
    z = rx.encode(residual, groups[:10])
    np.testing.assert_allclose(rx.decode(residual, z[:, :6]), rx.decode(residual, z), atol=1e-5)
    np.testing.assert_allclose(rx.decode(residual, z), rx.reconstruct(residual, groups[:10]), atol=1e-5)
    for wrong in (6.0, -1.0, 0.5, np.nan):
        bad = z[:, :6].copy()
        bad[3, 2] = wrong
        with pytest.raises(rx.errors.DataError, match="finite codes" if np.isnan(wrong) else "from 0 to 5"):
            rx.decode(residual, bad)


def test_a_prior_refitted_to_the_codes_raises_the_held_out_bound(residual, groups, tmp_path):
    held_out = rx.applications.held_out_of(residual, rx.applications.dataset_of(residual, groups))
    before = rx.evaluate(residual, held_out)
    found = rx.refit_prior(residual, groups)
    after = rx.evaluate(found, held_out)
    assert after.reconstruction == pytest.approx(before.reconstruction, abs=1e-4)
    assert after.elbo > before.elbo + 3
    # Better than independent indices with the frequencies of all rows, as the groups tie the indices together.
    use = rx.applications.code_use(residual, held_out)
    assert after.kl < np.log(use.perplexity).sum() - 1
    assert found.recipe.name("prior") == "autoregressive-codes"
    rx.save(found, tmp_path / "model")
    again = rx.load(tmp_path / "model")
    key = jax.random.key(0)
    np.testing.assert_array_equal(rx.sample(again, 20, key=key), rx.sample(found, 20, key=key))
    # Samples come from the groups; with the uniform prior, most are of combinations of codes that no row has.
    apart = [
        NearestNeighbors(n_neighbors=1).fit(groups).kneighbors(rx.sample(one, 400, key=key))[0].mean()
        for one in (residual, found)
    ]
    assert apart[1] < 0.6 * apart[0]


def test_the_perplexity_of_codes_used_equally_is_their_number():
    """Rows at the points of a lattice, of an encoder that is the identity, in the proportions 1 to 1 and 3 to 1."""
    levels = np.arctanh(np.array([-0.9, 0.0, 0.9]))
    every = np.asarray(list(itertools.product(levels, repeat=2)), np.float32)
    part = FSQ(levels="3")
    posterior = part.create(lambda count, key: lambda x: x, 2, key=KEY)
    model = Model(
        posterior, UniformCodes().create(posterior, SUMMARY, MLP(8, 1).decoder, key=KEY), model_of(part).likelihood
    )
    rows = np.repeat(every, 4, axis=0)
    use = rx.applications.code_use(FittedModel(model, from_array(rows).schema), rows)
    np.testing.assert_allclose(use.perplexity, [3.0, 3.0], rtol=1e-12)
    np.testing.assert_allclose(use.information, np.log([3.0, 3.0]), rtol=1e-12)
    np.testing.assert_array_equal(use.dead, [0, 0])
    some = rows[np.r_[0, 12, 24, 25]][:, ::-1]  # the second index takes 3 values, 2 to 1 to 1; the first only one
    use = rx.applications.code_use(FittedModel(model, from_array(rows).schema), some)
    np.testing.assert_allclose(use.perplexity, [1.0, np.exp(stats.entropy([1, 1, 2]))], rtol=1e-12)
    np.testing.assert_array_equal(use.dead, [2, 0])
    assert use.names == ("1", "2")


def test_the_use_of_drawn_codes_counts_their_probabilities():
    fitted = FittedModel(model_of(SMALL), SCHEMA)
    use = rx.applications.code_use(fitted, ROWS)
    probabilities = np.asarray(jax.vmap(lambda x: jax.nn.softmax(fitted.model.posterior.logits(x)))(ROWS), np.float64)
    np.testing.assert_allclose(use.probabilities, probabilities.mean(axis=0), rtol=1e-4)
    entropy = stats.entropy(probabilities.mean(axis=0), axis=1)
    np.testing.assert_allclose(use.perplexity, np.exp(entropy), rtol=1e-4)
    np.testing.assert_allclose(use.information, entropy - stats.entropy(probabilities, axis=2).mean(axis=0), atol=1e-4)


def test_the_use_of_codes_is_refused_for_other_latent_variables():
    recipe = suggest(SCHEMA, 40, posterior="diagonal-normal", latent_dim=2, width=8, depth=1)
    fitted = FittedModel(build(recipe, SCHEMA, key=KEY), SCHEMA, recipe)
    with pytest.raises(RecipeError, match="fsq"):
        rx.applications.code_use(fitted, ROWS)


def test_a_prior_of_codes_depends_on_the_context_of_a_conditional_model():
    contexts = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    recipe = suggest(
        SCHEMA, 40, posterior="vq", prior="autoregressive-codes", latent_dim=2, width=8, depth=1, context_dim=2,
        num_codes=4,
    )  # fmt: skip
    model = build(recipe, SCHEMA, key=KEY, contexts=contexts)
    learned, rest = partition(model.prior)
    rng = np.random.default_rng(0)
    moved = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype), learned)
    model = replace(model, prior=combine(moved, rest))
    totals, firsts = [], []
    for context in contexts[:2]:
        plain = model.given(jnp.asarray(context))
        log_probs = jax.vmap(plain.prior(plain.posterior).log_prob)(jnp.asarray(all_codes(plain.posterior)))
        totals.append(np.exp(np.asarray(log_probs, np.float64)).sum())
        firsts.append(float(log_probs[0]))
    np.testing.assert_allclose(totals, [1.0, 1.0], atol=1e-5)
    assert abs(firsts[0] - firsts[1]) > 1e-3


def test_the_divergence_of_codes_is_that_of_their_indices():
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=(2, 3)), jnp.float32) for _ in range(2))
    books = jnp.asarray(rng.normal(size=(1, 3, 2)), jnp.float32)
    p, q = np.asarray(jax.nn.softmax(a, -1), np.float64), np.asarray(jax.nn.softmax(b, -1), np.float64)
    found = kl_divergence(independent_codes(a, books), independent_codes(b, books))
    assert float(found) == pytest.approx(stats.entropy(p, q, axis=1).sum(), rel=1e-5)
    point = RoundedCodes(jnp.asarray([2.0, 0.0]), jnp.zeros(4), jnp.zeros(4), 3)
    assert float(kl_divergence(point, independent_codes(b, books))) == pytest.approx(
        -np.log(q[0, 2] * q[1, 0]), rel=1e-5
    )


@pytest.mark.parametrize("name", ["straight-through", "gumbel-softmax", "rebar"])
def test_estimators_between_codes_are_refused_where_the_density_of_codes_is_needed(name):
    check_objective(ELBO(estimator=name), model_of(SMALL, IndependentCodes()))
    check_objective(ELBO(estimator="leave-one-out"), model_of(SMALL, AutoregressiveCodes(width=6)))
    for objective, prior in ((ELBO, AutoregressiveCodes(width=6)), (IWAE, UniformCodes())):
        with pytest.raises(RecipeError, match="leave-one-out"):
            check_objective(objective(estimator=name), model_of(SMALL, prior))
