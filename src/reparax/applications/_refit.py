"""A prior fitted after the model: to the codes of the data, with everything else of the model as it is."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from msgspec import structs

from reparax import registry
from reparax.applications._door import dataset_of
from reparax.applications._parts import parts_of
from reparax.applications._rows import map_with_samples
from reparax.compiler import in_float32
from reparax.data import Dataset, split
from reparax.errors import RecipeError
from reparax.model import Model
from reparax.networks import given
from reparax.posteriors import Posterior
from reparax.priors import RegressedPrior
from reparax.priors.learned import Moments
from reparax.pytrees import num_parameters
from reparax.recipe import Choice, FittedModel, build, held_out_share, part_of
from reparax.training import cosine_adam
from reparax.training import fit as train

CANDIDATES = ("normal-mixture", "coupling-flow", "spline-flow", "independent-codes", "autoregressive-codes")
"""The priors that are compared if none is chosen."""
DRAWS = 4
"""Draws of z for each row: the codes are random, and the prior is that of the draws."""
STEPS = 2500
REGRESSION_STEPS = 8000
"""Of a regression, whose gradients are noisier and whose steps are cheaper."""
BATCH_SIZE = 128
LEARNING_RATE = 2e-3


def refit_prior(
    fitted: FittedModel, data: Any, *, prior: Choice | None = None, seed: int = 0, context: Any = None
) -> FittedModel:
    """The model with another prior, fitted to the codes of data: the p(z) that maximizes the mean of log p(z).

    Encoder and decoder stay, so that codes and reconstructions do. max_p E_x E_q(z|x)[log p(z)] is the part of the
    evidence lower bound that depends on the prior, whose bound therefore rises: Hoffman & Johnson (2016), "ELBO
    surgery". Samples improve where the codes of the data are not distributed as the prior was; that of a deterministic
    autoencoder becomes a generative model, Ghosh et al. (2020), section 4.

    The rows that were held out of the fit choose the weights, and the prior if none is chosen, by their log density;
    other data are split in the same proportion.

    Args:
        fitted: The fitted model; one that a recipe describes.
        data: Data to fit the prior to, as anything that `reparax.data.read` reads.
        prior: The name of the prior, or its name and options; by default the best of `CANDIDATES` on held-out rows, or
            the prior of the model as it is, if none is better.
        seed: The seed of everything random.
        context: For a conditional model, one row of numbers for each example.

    Raises:
        DataError: The data have another shape or kind than in the fit.
        RecipeError: The model is custom or an ensemble, or the prior is on another space, or has pseudo-examples.
    """
    fitted.require_one("to refit the prior of")
    if fitted.guarantee is not None:
        raise RecipeError(
            expected="a model whose prior may learn from rows",
            got="a differentially private one, which would lose its guarantee",
            cure="fit it again with another --prior, such as --prior coupling-flow",
        )
    recipe = fitted.recipe
    if recipe is None:
        raise RecipeError(
            expected="a model that a recipe describes, to build its prior",
            got="a custom model",
            cure="build it with another prior: Model(model.posterior, prior, model.likelihood)",
        )
    dataset = dataset_of(fitted, data, context)
    parts = parts_of(fitted, dataset) or split(dataset, held_out_share(len(dataset)) or 0.1, seed)
    codes, held_out = (_codes(fitted, part, seed) for part in parts)
    if prior is not None:
        return _fitted_to(fitted, prior, codes, held_out, seed)[0]
    as_it_is = fitted, _log_density(fitted.model, held_out)
    results = [_fitted_to(fitted, name, codes, held_out, seed) for name in _suitable(fitted)]
    return max([as_it_is, *results], key=lambda result: result[1])[0]


def code_log_density(fitted: FittedModel, data: Any, *, seed: int = 0, context: Any = None) -> float:
    """The mean over rows of E_q[log p(z)], by which priors are compared; nats.

    Args:
        fitted: The fitted model.
        data: Data, as anything that `reparax.data.read` reads.
        seed: The seed of the draws of z.
        context: For a conditional model, one row of numbers for each example.
    """
    dataset = dataset_of(fitted, data, context)
    return _log_density(fitted.model, _codes(fitted, dataset, seed))


class _Draw(eqx.Module):
    """Draws of z from the posterior of one row; hashable, so that it is compiled once."""

    def __call__(self, model: Model, x: Array, key: Array) -> Array:
        return model.posterior(x).sample(key, (DRAWS,))


class _PriorTerms(eqx.Module):
    """What training maximizes for the codes of one row."""

    objective: Float[Array, ""]
    bound: Float[Array, ""]


class _PriorDensity(eqx.Module):
    """E_q[log p(z)] of the codes of one row, in their context if there is one.

    Attributes:
        posterior: The posterior, of which a prior may look at the shape of z, or share the layers.
    """

    posterior: Posterior

    def __call__(self, model: Any, x: Any, *, key: jax.Array, step: Int[Array, ""]) -> _PriorTerms:
        """The terms of a prior, ``model``; the key and the step are not used."""
        z, context = x if isinstance(x, tuple) else (x, None)
        # Layers that the prior shares with the posterior see the context too.
        prior, posterior = (model, self.posterior) if context is None else given((model, self.posterior), context)
        value = jnp.mean(jax.vmap(prior(posterior).log_prob)(z))
        return _PriorTerms(value, value)


class _Regression(eqx.Module):
    """What a `RegressedPrior` maximizes for the codes of one row, in their context if there is one."""

    def __call__(self, model: Any, x: Any, *, key: jax.Array, step: Int[Array, ""]) -> _PriorTerms:
        """The terms of a prior, ``model``; the step is not used."""
        z, context = x if isinstance(x, tuple) else (x, None)
        plain = model if context is None else given(model, context)
        keys = jax.random.split(key, len(z))
        value = jnp.mean(jax.vmap(lambda one, k: plain.regression(one, key=k))(z, keys))
        return _PriorTerms(value, value)


def _codes(fitted: FittedModel, dataset: Dataset, seed: int) -> Any:
    """Draws of z of each row, shape (n, draws, *latent), with the contexts if there are any."""
    draws = map_with_samples(_Draw(), fitted, dataset, DRAWS, seed)
    return draws if dataset.context is None else (draws, np.asarray(dataset.context, np.float32))


def _suitable(fitted: FittedModel) -> Sequence[Choice]:
    space = fitted.model.posterior.latent_space
    return [name for name in CANDIDATES if space in registry.load("priors", name).latent_spaces]


def _fitted_to(fitted: FittedModel, choice: Choice, codes: Any, held_out: Any, seed: int) -> tuple[FittedModel, float]:
    """The model with a prior fitted to codes, and its mean log density of held-out ones."""
    assert fitted.recipe is not None
    recipe = structs.replace(fitted.recipe, prior=choice)
    if part_of("prior", choice).has_pseudo_examples:
        raise RecipeError(
            expected="a prior with weights that codes alone determine",
            got=f"{recipe.name('prior')}, whose weights are rows that the encoder sees",
            cure="choose --prior normal-mixture or coupling-flow",
        )
    initial, noise = jax.random.split(jax.random.key(seed))
    draws, contexts = codes if isinstance(codes, tuple) else (codes, None)
    prior, objective, steps = build(recipe, fitted.schema, key=initial, contexts=contexts).prior, None, STEPS
    if isinstance(prior, RegressedPrior):
        prior, objective, steps = prior.started_at(np.concatenate(draws)), _Regression(), REGRESSION_STEPS
    if isinstance(prior, Moments):
        prior = prior.fitted_to(draws.reshape(-1, draws.shape[-1]))
    if num_parameters(prior):
        count = len(draws)
        size = min(BATCH_SIZE, count)
        epochs = max(1, steps // max(1, count // size))
        prior = train(
            prior, objective or _PriorDensity(fitted.model.posterior), codes, key=noise,
            optimizer=cosine_adam(LEARNING_RATE, steps), epochs=epochs, batch_size=size, valid=held_out,
            patience=max(1, epochs // 4),
        ).model  # fmt: skip
    model = Model(fitted.model.posterior, prior, fitted.model.likelihood)
    return replace(fitted, model=model, recipe=recipe), _log_density(model, held_out)


def _log_density(model: Model, codes: Any) -> float:
    return float(np.mean(np.asarray(_densities(model, jax.tree.map(jnp.asarray, codes)), np.float64)))


@eqx.filter_jit
@in_float32
def _densities(model: Model, codes: Any) -> Float[Array, " n"]:
    density, nothing = _PriorDensity(model.posterior), jax.random.key(0)
    return jax.lax.map(lambda one: density(model.prior, one, key=nothing, step=jnp.int32(0)).bound, codes)
