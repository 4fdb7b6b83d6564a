"""Objectives with a critic, a network that tells codes from other draws: of the prior, or with independent dimensions.

The critic is the companion of the model: it is trained with it, by the same optimizer, and not needed to apply it.
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PyTree

from reparax.estimators import base_of
from reparax.model import Model
from reparax.networks.mlp import Perceptron
from reparax.objectives._base import AbstractCompanionObjective
from reparax.objectives.bounds import ELBO
from reparax.parts import option
from reparax.pytrees import BATCH
from reparax.reparameterization import rsample

LARGEST_WEIGHT = 1e6
MOST_UNITS = 100_000


class CriticTerms(eqx.Module):
    """An objective and its terms, with what the critic reaches; nats.

    Attributes:
        objective: What training maximizes.
        bound: The bound on log p(x), without the critic.
        reconstruction: E_q[log p(x | z)].
        kl: KL(q(z | x) || p(z)), or its estimate; 0 for a posterior without a density.
        critic: log D(one kind) + log(1 - D(the other)); -2 log 2 = -1.39 if it cannot tell them apart, 0 at most.
    """

    objective: Float[Array, ""]
    bound: Float[Array, ""]
    reconstruction: Float[Array, ""]
    kl: Float[Array, ""]
    critic: Float[Array, ""]


class Adversarial(AbstractCompanionObjective):
    """The adversarial autoencoder: max_model min_D E_q[log p(x | z)] - weight (E_p(z)[log D] + E_q(z)[log(1 - D)]).

    Makhzani et al. (2016), "Adversarial autoencoders", section 2, with the game of Goodfellow et al. (2014), equation
    1: the critic D tells draws of the prior from codes, and the model makes codes that it cannot tell. For the best D,
    the game is twice the Jensen-Shannon divergence of q(z) and p(z), minus 2 log 2. One function serves both players:
    only the sign of its gradient is another one in D. There is no KL in the objective; the reported bound has it, if
    the posterior has a density.

    Args:
        weight: The weight of the game.
        hidden_units: The width of the critic, a perceptron of two layers.
    """

    needs_density: ClassVar[bool] = False
    trains_prior: ClassVar[bool] = False
    differentiates_draws: ClassVar[bool] = True
    weight: float = option(10.0, low=0, high=LARGEST_WEIGHT)
    hidden_units: int = option(64, low=1, high=MOST_UNITS)

    def companion(self, model: Model, *, key: jax.Array) -> Perceptron:
        return _critic(model, self.hidden_units, key)

    def terms(
        self, model: Model, companion: PyTree, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]
    ) -> Any:
        for_code, for_prior = jax.random.split(key)
        prior = model.prior(model.posterior)
        base, push = base_of(model.posterior(x))
        z, log_q = push(rsample(base, for_code))
        reconstruction = model.likelihood(z).log_prob(x)
        kl = log_q - prior.log_prob(z) if model.posterior.has_density else jnp.zeros_like(reconstruction)
        told = _told_apart(reversed_gradient(companion), jax.lax.stop_gradient(prior.sample(for_prior)), z)
        return CriticTerms(reconstruction - self.weight * told, reconstruction - kl, reconstruction, kl, told)


class FactorVAE(AbstractCompanionObjective):
    """The evidence lower bound minus a weight times the total correlation of q(z), estimated by a critic.

    Kim & Mnih (2018), "Disentangling by factorising", equations 2 and 3: TC = E_q(z)[log D(z) / (1 - D(z))], where D
    tells codes from codes whose dimensions come from different rows of the batch. The critic learns from drawn codes
    alone and the model through a critic that is held fixed, as their algorithm 2 has it.

    Args:
        weight: The weight of the total correlation beside the one that it has in the bound.
        hidden_units: The width of the critic, a perceptron of two layers.
    """

    needs_density: ClassVar[bool] = True
    trains_prior: ClassVar[bool] = True
    differentiates_draws: ClassVar[bool] = True
    weight: float = option(10.0, low=0, high=LARGEST_WEIGHT)
    hidden_units: int = option(64, low=1, high=MOST_UNITS)

    def companion(self, model: Model, *, key: jax.Array) -> Perceptron:
        return _critic(model, self.hidden_units, key)

    def terms(
        self, model: Model, companion: PyTree, x: Num[Array, "*event"], *, key: jax.Array, step: Int[Array, ""]
    ) -> Any:
        for_bound, for_code, for_rows = jax.random.split(key, 3)
        bound = ELBO()(model, x, key=for_bound, step=step)
        base, push = base_of(model.posterior(x))
        z, _ = push(rsample(base, for_code))
        fixed = jax.lax.stop_gradient(jnp.ravel(z))
        codes = jax.lax.all_gather(fixed, BATCH)
        rows = jax.random.randint(for_rows, fixed.shape, 0, len(codes))
        told = _told_apart(companion, fixed, codes[rows, jnp.arange(len(fixed))])
        total_correlation = _logit(jax.lax.stop_gradient(companion), z)
        objective = bound.bound - self.weight * total_correlation + told
        return CriticTerms(objective, bound.bound, bound.reconstruction, bound.kl, told)


def reversed_gradient(tree: PyTree) -> PyTree:
    """The same pytree, whose gradient changes its sign: Ganin & Lempitsky (2015), equation 10."""
    return jax.tree.map(lambda leaf: _reversed(leaf) if eqx.is_inexact_array(leaf) else leaf, tree)


@jax.custom_vjp
def _reversed(leaf: Array) -> Array:
    return leaf


_reversed.defvjp(lambda leaf: (leaf, None), lambda _, gradient: (-gradient,))


def _critic(model: Model, hidden_units: int, key: jax.Array) -> Perceptron:
    size = 1
    for side in model.posterior.latent_shape:
        size *= side
    return Perceptron(size, (hidden_units, hidden_units), (1,), key=key)


def _logit(critic: Perceptron, z: Float[Array, "*latent"]) -> Float[Array, ""]:
    return critic(jnp.ravel(z).astype(jnp.float32))[0]


def _told_apart(
    critic: Perceptron, positive: Float[Array, "*latent"], negative: Float[Array, "*latent"]
) -> Float[Array, ""]:
    """log D(positive) + log(1 - D(negative)), D the logistic function of the critic."""
    return jax.nn.log_sigmoid(_logit(critic, positive)) + jax.nn.log_sigmoid(-_logit(critic, negative))
