"""Building the model and the objective of a recipe."""

import math
from dataclasses import replace

import jax
import numpy as np
from jaxtyping import Float

from reparax import registry
from reparax.data import Schema
from reparax.errors import RecipeError
from reparax.model import Model, check_latent_space
from reparax.networks import AbstractArchitecture, LastOf, Network, conditioned
from reparax.objectives import AbstractObjective
from reparax.parts import option_names
from reparax.pytrees import strongly_typed
from reparax.recipe._fitted import Units
from reparax.recipe._recipe import Recipe, options_in, part_of
from reparax.tables import adapter_of


def build(recipe: Recipe, schema: Schema, *, key: jax.Array, contexts: Float[np.ndarray, "n c"] | None = None) -> Model:
    """The untrained model of a recipe, for data of a schema.

    Args:
        recipe: The recipe.
        schema: What the data are.
        key: Draws the initial parameters.
        contexts: For a conditional model, the contexts of the training examples, by which contexts are standardized.

    Raises:
        RecipeError: The parts do not go together.
        DataError: The likelihood has no density for such data.
    """
    posterior_part, prior_part = part_of("posterior", recipe.posterior), part_of("prior", recipe.prior)
    likelihood_part = part_of("likelihood", recipe.likelihood)
    check_latent_space(posterior_part, prior_part)
    summary = Units.of(schema, recipe.binarize).summary
    adapter = adapter_of(likelihood_part, summary)
    adapter.check_prior(prior_part)
    architecture: AbstractArchitecture = registry.load("networks", recipe.name("network"))(
        recipe.width, recipe.depth, **options_in(recipe.network)
    )
    for_posterior, _, for_likelihood, for_prior = jax.random.split(key, 4)

    size = recipe.context_dim
    contexts = np.zeros((1, size), np.float32) if contexts is None else contexts

    def with_context(network: Network) -> Network:
        return conditioned(network, contexts) if size else network

    def make_encoder(out_size: int, *, key: jax.Array) -> Network:
        def make(shape: tuple[int, ...], *, number: int = 0) -> Network:
            own = jax.random.fold_in(key, number) if number else key
            return with_context(architecture.encoder(_with_context(shape, size), out_size, key=own))

        return adapter.encoder(make, summary)

    posterior = posterior_part.create(make_encoder, recipe.latent_dim, key=for_posterior)

    def make_decoder(parameters: int, shape: tuple[int, ...] | None = None, *, key: jax.Array) -> Network:
        out_shape = (parameters, *(summary.event_shape if shape is None else shape))
        seen, total = posterior.num_decoded, math.prod(posterior.latent_shape)
        network = with_context(architecture.decoder(seen + size, out_shape, key=key))
        return network if seen == total else LastOf(network, seen)

    likelihood = adapter.likelihood(likelihood_part, make_decoder, summary, key=for_likelihood)

    def make_network(in_size: int, out_shape: tuple[int, ...], *, key: jax.Array) -> Network:
        return with_context(architecture.decoder(in_size + size, out_shape, key=key))

    prior = prior_part.create(posterior, summary, make_network, key=for_prior)
    return strongly_typed(Model(posterior, prior, likelihood))


def _with_context(event_shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The shape of an example joined with a context: channels of images, else one vector."""
    if size == 0:
        return event_shape
    if len(event_shape) == 3:
        return (*event_shape[:2], event_shape[2] + size)
    return (math.prod(event_shape) + size,)


def objective(
    recipe: Recipe,
    steps_per_epoch: int,
    given: AbstractObjective | None = None,
    *,
    num_examples: int = 0,
    num_labeled: int = 0,
) -> AbstractObjective:
    """The objective of a recipe, its warm-up counted in steps, and with the numbers of examples if it needs them.

    Args:
        recipe: The recipe.
        steps_per_epoch: The number of steps in an epoch.
        num_examples: The number of examples of the fit.
        num_labeled: The number of labeled ones.
        given: The objective itself, if the user gave one.

    Raises:
        RecipeError: The recipe has a warm-up, but the objective has none.
    """
    without_warmup = part_of("objective", recipe.objective) if given is None else given
    for name, count in (("num_rows", num_examples), ("num_labeled", num_labeled)):
        if getattr(without_warmup, name, None) == 0:
            without_warmup = replace(without_warmup, **{name: count})
    if recipe.warmup_epochs == 0:
        return without_warmup
    if "warmup_steps" not in option_names(type(without_warmup)):
        raise RecipeError(
            expected=f"no warm-up, as the {recipe.name('objective')} objective has none",
            got=f"a warm-up of {recipe.warmup_epochs} epochs",
            cure="leave --warmup-epochs out, or choose --objective elbo",
        )
    return replace(without_warmup, warmup_steps=recipe.warmup_epochs * steps_per_epoch)
