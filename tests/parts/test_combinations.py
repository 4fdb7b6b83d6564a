"""Every valid combination of parts takes training steps, and no part is left without a gradient in silence."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reparax import registry
from reparax.data import Schema, Views, from_array, read
from reparax.errors import DataError, RecipeError
from reparax.objectives import AbstractCompanionObjective, AbstractObjective, Accompanied
from reparax.parts import option_names
from reparax.priors import AbstractFixedPrior
from reparax.pytrees import BATCH, combine, partition
from reparax.recipe import build, objective, suggest

RNG = np.random.default_rng(0)
IMAGES = {
    "levels": RNG.integers(0, 5, (12, 4, 4, 1)),
    "bits": RNG.integers(0, 2, (12, 4, 4, 1)),
    "intensities": RNG.uniform(0, 1, (12, 4, 4, 1)),
}
ROOMS = ("posteriors", "priors", "likelihoods", "objectives", "networks")


TABLE = from_array(
    np.stack([RNG.normal(size=12), RNG.integers(0, 2, 12), np.where(RNG.random(12) < 0.2, np.nan, 1.5)], 1)
)


LACKING = np.where(np.arange(12)[:, None] < 3, np.nan, RNG.normal(size=(12, 2)))
VIEWS = read(Views({"levels": IMAGES["levels"], "numbers": LACKING}))


def valid_for_rows(prior: str, likelihood: str, network: str) -> bool:
    """Rows of a table have no neighbors to convolve over, and no rows between two categories; nor have views."""
    convolves = network in {"convolutional", "residual"}
    return likelihood not in {"columns", "by-view"} or (prior != "vamp" and not convolves)


THROUGH_DRAWS = {"total-correlation", "dip", "info-vae", "adversarial", "factor-vae"}
"""Objectives that need pathwise gradients: they see their batch, or a critic sees the draws."""
INDEPENDENT = {"diagonal-normal", "laplace", "student-t"}


def suits_the_batch(posterior: str, objective: str) -> bool:
    """Whether gradients are pathwise where the objective needs it, and dimensions independent where it does."""
    of_real = registry.load("posteriors", posterior).latent_space == "real"
    independent = posterior in INDEPENDENT or objective != "total-correlation"
    return (objective not in THROUGH_DRAWS or of_real) and independent


@cache
def valid(posterior: str, prior: str, objective: str) -> bool:
    kind, prior_kind = registry.load("posteriors", posterior), registry.load("priors", prior)
    objective_kind = registry.load("objectives", objective)
    weightless = issubclass(prior_kind, AbstractFixedPrior) or prior_kind.fitted_afterwards
    return (
        suits_the_batch(posterior, objective)
        and kind.latent_space in prior_kind.latent_spaces
        and kind.has_density >= max(objective_kind.needs_density, 1 - weightless)
        and kind.has_density <= (not prior_kind.fitted_afterwards)
        and weightless >= (not objective_kind.trains_prior)
    )


ALL = [
    combination
    for combination in itertools.product(*(registry.names(room) for room in ROOMS))
    if valid(combination[0], combination[1], combination[3])
    and valid_for_rows(combination[1], combination[2], combination[4])
]


def covering() -> list[tuple[str, ...]]:
    """Few combinations in which every part occurs; the posteriors take turns with the priors that fit them."""
    posteriors, priors, *rest = (registry.names(room) for room in ROOMS)
    used: dict[str, int] = dict.fromkeys(priors, 0)
    found = []
    for index, posterior in enumerate(posteriors):
        fitting = [prior for prior in priors if any(valid(posterior, prior, name) for name in rest[1])]
        prior = min(fitting, key=lambda name: (used[name], fitting.index(name)))
        used[prior] += 1
        objectives = [name for name in rest[1] if valid(posterior, prior, name)]
        # Convolutions are the slowest to compile, and so occur once.
        network = {5: "convolutional", 11: "residual"}.get(index, ("linear", "mlp")[index % 2])
        likelihood = rest[0][index % len(rest[0])]
        if not valid_for_rows(prior, likelihood, network):
            likelihood = rest[0][(index + 1) % len(rest[0])]
        parts = likelihood, objectives[index % len(objectives)], network
        found.append((posterior, prior, *parts))
    left = [prior for prior in priors if not used[prior]]
    for index, prior in enumerate(left):
        fitting = [c for c in ALL if c[1] == prior]
        found.append(next((c for c in fitting if c[2] == rest[0][index % len(rest[0])]), fitting[0]))
    left = [name for name in rest[1] if all(combination[3] != name for combination in found)]
    return found + [next(c for c in ALL if c[3] == name and c[4] == "linear") for name in left]


def thorough() -> list[tuple[str, ...]]:
    """Every pair of a posterior and a prior with every objective, and every three of the other parts with two pairs."""
    plain = {("diagonal-normal", "standard-normal"), ("bernoulli", "uniform-bernoulli")}
    groups: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for combination in ALL:
        posterior, prior, _, objective, _ = combination
        groups.setdefault((posterior, prior, objective), []).append(combination)
    taking_turns = [group[index % len(group)] for index, group in enumerate(groups.values())]
    return list(dict.fromkeys(taking_turns + [combination for combination in ALL if combination[:2] in plain]))


def data_for(likelihood: str) -> tuple[np.ndarray, Schema]:
    part = registry.load("likelihoods", likelihood)
    if likelihood == "columns":
        return TABLE.values, TABLE.schema
    if likelihood == "by-view":
        return VIEWS.values, VIEWS.schema
    for values in IMAGES.values():
        dataset = from_array(values)
        try:
            part().create(
                lambda count, shape=None, *, key: lambda z: z, dataset.schema.summary(), key=jax.random.key(0)
            )
        except DataError:
            continue
        return dataset.values, dataset.schema
    pytest.fail(f"no data here suit the {likelihood} likelihood: add some")


def train_a_little(combination: tuple[str, ...], latent_dim: int = 2) -> None:
    posterior, prior, likelihood, name, network = combination
    values, schema = data_for(likelihood)
    options = option_names(registry.load("priors", prior))
    few = {option: count for option, count in (("num_components", 3), ("num_steps", 4)) if option in options}
    few |= dict.fromkeys({"num_samples", "num_bounds"} & set(option_names(registry.load("objectives", name))), 2)
    recipe = suggest(
        schema, len(values), posterior=posterior, prior=prior, likelihood=likelihood, objective=name, network=network,
        latent_dim=latent_dim, width=4, depth=1, **few,
    )  # fmt: skip
    made: AbstractObjective = objective(recipe, 10)
    x = jnp.asarray(values, jnp.float32)

    with jax.numpy_dtype_promotion("standard"):
        model = build(recipe, schema, key=jax.random.key(0))
        if isinstance(made, AbstractCompanionObjective):
            model = Accompanied(model, made.companion(model, key=jax.random.key(3)))
        trainable, rest = partition(model)

        def loss(trainable, key: jax.Array):
            model = combine(trainable, rest)
            keys = jax.random.split(key, len(x))
            of_one = lambda x, key: made(model, x, key=key, step=jnp.asarray(3))  # noqa: E731
            terms = jax.vmap(of_one, axis_name=BATCH)(x, keys)
            return -jnp.mean(terms.objective), terms

        @jax.jit
        def step(trainable, key: jax.Array):
            (_, terms), slopes = jax.value_and_grad(loss, has_aux=True)(trainable, key)
            return jax.tree.map(lambda leaf, slope: leaf - 1e-4 * slope, trainable, slopes), terms, slopes

        trainable, first, _ = step(trainable, jax.random.key(1))
        trainable, second, slopes = step(trainable, jax.random.key(2))
        all_terms = first, second
    for leaf in jax.tree.leaves((all_terms, slopes, trainable)):
        assert np.isfinite(leaf).all()
    of_model = slopes.model if isinstance(slopes, Accompanied) else slopes
    parts = {"posterior": of_model.posterior.network, "likelihood": of_model.likelihood}
    if registry.load("objectives", name).needs_density:
        parts["prior"] = of_model.prior
    if isinstance(slopes, Accompanied):
        parts["companion"] = slopes.companion
    for part, tree in parts.items():
        for path, slope in jax.tree.leaves_with_path(tree):
            assert np.any(np.asarray(slope) != 0), f"no gradient for {part}{jax.tree_util.keystr(path)}"


@pytest.mark.parametrize("combination", covering(), ids="-".join)
def test_covering_combinations_train(combination):
    train_a_little(combination)


@pytest.mark.full
@pytest.mark.parametrize("combination", thorough(), ids="-".join)
def test_many_more_combinations_train(combination):
    train_a_little(combination)


QUICK_ALONE = {"dirichlet", "von-mises-fisher"}


@pytest.mark.parametrize("posterior", [
    pytest.param(name, marks=[] if name in QUICK_ALONE else pytest.mark.full) for name in registry.names("posteriors")
])  # fmt: skip
def test_one_latent_dimension_is_enough_or_refused(posterior):
    part = registry.load("posteriors", posterior)
    name = "elbo" if part.has_density else "reconstruction"
    combination = posterior, part.default_prior, "normal", name, "linear"
    if posterior == "dirichlet":  # a single proportion is 1
        with pytest.raises(RecipeError, match="logistic-normal"):
            train_a_little(combination, latent_dim=1)
    else:
        train_a_little(combination, latent_dim=1)


def test_every_part_is_covered():
    for index, room in enumerate(ROOMS):
        assert {combination[index] for combination in covering()} == set(registry.names(room))


@pytest.mark.parametrize("objective_name", registry.names("objectives"))
def test_a_recipe_of_parts_that_do_not_go_together_is_refused_when_built(objective_name):
    _, schema = data_for("normal")
    wrong = suggest(schema, 12, posterior="bernoulli", prior="standard-normal", objective=objective_name)
    with pytest.raises(RecipeError, match="uniform-bernoulli"):
        build(wrong, schema, key=jax.random.key(0))
