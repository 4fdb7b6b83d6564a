"""A recipe becomes a model and an objective."""

import math

import jax

from reparax import registry
from reparax.data import Schema
from reparax.distributions import Layout
from reparax.errors import RecipeError
from reparax.likelihoods.columns import Columns
from reparax.model import Model, check_latent_space
from reparax.networks import AbstractArchitecture, Network, Standardized, TableFeatures, num_features
from reparax.objectives import AbstractObjective, ObjectiveDials, check_objective
from reparax.priors.vamp import Vamp
from reparax.pytrees import Frozen
from reparax.recipe._recipe import Recipe
from reparax.recipe._units import Units


def build(recipe: Recipe, schema: Schema, *, key: jax.Array) -> Model:
    """The untrained model of a recipe, for data of a schema.

    Args:
        recipe: The choice of parts.
        schema: What the data are.
        key: Draws the initial parameters.

    Raises:
        RecipeError: The parts do not go together.
        DataError: The likelihood gives no density to such data.
    """
    posterior_part = registry.load("posteriors", recipe.posterior)
    prior_part = registry.load("priors", recipe.prior)
    likelihood_part = registry.load("likelihoods", recipe.likelihood)
    check_latent_space(posterior_part, prior_part)
    if likelihood_part is Columns and prior_part is Vamp:
        raise RecipeError(
            expected="a prior without pseudo-rows for the columns likelihood",
            got="vamp, whose pseudo-rows would need categories between categories",
            cure="choose --prior normal-mixture or coupling-flow",
        )
    check_objective(registry.load("objectives", recipe.objective), posterior_part)
    summary = Units.of(schema, recipe.binarize).summary
    architecture: AbstractArchitecture = registry.load("networks", recipe.network)(recipe.width, recipe.depth)
    keys = jax.random.split(key, 4)

    def make_encoder(out_size: int) -> Network:
        if likelihood_part is Columns:
            layout = Layout.of(summary.columns, summary.num_examples)
            return TableFeatures(architecture.encoder((num_features(layout),), out_size, key=keys[0]), Frozen(layout))
        network = architecture.encoder(summary.event_shape, out_size, key=keys[0])
        # Bits go in as they are: standardizing sparse ones makes the common 0 a large, dense input, which trains worse
        # (measured on binarized MNIST: 1.4 nats after 5 epochs).
        return network if summary.kind == "binary" else Standardized(network, summary.mean, summary.std)

    posterior = posterior_part.create(make_encoder, recipe.latent_dim)

    def make_decoder(parameters: int, shape: tuple[int, ...] | None = None) -> Network:
        out_shape = (parameters, *(summary.event_shape if shape is None else shape))
        return architecture.decoder(math.prod(posterior.latent_shape), out_shape, key=keys[2])

    likelihood = likelihood_part.create(make_decoder, summary, key=keys[1])
    prior = prior_part.create(posterior, summary, num_components=recipe.num_components, key=keys[3])
    return Model(posterior, prior, likelihood)


def objective(recipe: Recipe, steps_per_epoch: int) -> AbstractObjective:
    """The objective of a recipe, its schedules counted in steps."""
    dials = ObjectiveDials(
        beta=recipe.beta,
        warmup_steps=recipe.warmup_epochs * steps_per_epoch,
        free_bits=recipe.free_bits,
        num_samples=recipe.num_samples,
        estimator=recipe.estimator,
    )
    return registry.load("objectives", recipe.objective).create(dials)
