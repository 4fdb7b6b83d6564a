"""The model: a posterior, a prior and a likelihood."""

from typing import Self

import equinox as eqx
import jax
from jaxtyping import Array, Float, Num

from reparax import registry
from reparax.errors import RecipeError
from reparax.estimators import code_of
from reparax.likelihoods import Likelihood
from reparax.networks import given
from reparax.posteriors import AbstractPosterior, Posterior
from reparax.priors import AbstractPrior, Prior


class Model(eqx.Module):
    """A latent-variable model p(z) p(x | z) with its approximate posterior q(z | x).

    Args:
        posterior: x -> q(z | x), the encoder.
        prior: q -> p(z).
        likelihood: z -> p(x | z), the decoder.

    Raises:
        RecipeError: The prior is not a density on the latent space of the posterior.
    """

    posterior: Posterior
    prior: Prior
    likelihood: Likelihood

    def __check_init__(self) -> None:
        check_latent_space(self.posterior, self.prior)

    def given(self, context: Float[Array, " c"]) -> Self:
        """The plain model for one context: p(z | context), p(x | z, context) and q(z | x, context).

        Raises:
            RecipeError: The context has another size than in the fit.
        """
        return given(self, context)

    def log_joint(self, x: Num[Array, "*event"], z: Num[Array, "*latent"]) -> Float[Array, ""]:
        """log p(z) + log p(x | z), in nats, for one example and one z."""
        return self.prior(self.posterior).log_prob(z) + self.likelihood(z).log_prob(x)

    def expected(self, z: Num[Array, "*latent"]) -> Num[Array, "*event"]:
        """E[x | z], in the user's units.

        Raises:
            NoClosedForm: The mean of the likelihood has no closed form.
        """
        return code_of(self.likelihood(z))

    def sample(self, key: jax.Array) -> Num[Array, "*event"]:
        """One x drawn from the prior and the likelihood."""
        latent, observed = jax.random.split(key)
        return self.likelihood(self.prior(self.posterior).sample(latent)).sample(observed)


def check_latent_space(posterior: AbstractPosterior | Posterior, prior: AbstractPrior | Prior) -> None:
    """Refuses a prior on another latent space than the posterior, or one that is only for deterministic posteriors.

    Raises:
        RecipeError: They do not go together; the message names the priors that do.
    """
    if _goes_with(posterior, prior):
        return
    space = posterior.latent_space
    suitable = [name for name in registry.names("priors") if _goes_with(posterior, registry.load("priors", name))]
    if space not in prior.latent_spaces:
        part = posterior.part if isinstance(posterior, Posterior) else posterior
        raise RecipeError(
            expected=f"a prior on the {space} latent space of the {registry.part_name(type(part))} posterior",
            got=f"{registry.part_name(type(prior))}, a density on {' or '.join(sorted(prior.latent_spaces))}",
            cure=f"choose one of the priors {', '.join(suitable)}{_on_layers(posterior, prior)}",
        )
    raise RecipeError(
        expected="a posterior without a density for a prior that is fitted to the codes after training",
        got=f"{registry.part_name(type(prior))} with a posterior that has a density",
        cure=f"choose one of the priors {', '.join(suitable)}, or --posterior deterministic",
    )


def _goes_with(posterior: AbstractPosterior | Posterior, prior: AbstractPrior | Prior | type[AbstractPrior]) -> bool:
    return posterior.latent_space in prior.latent_spaces and not (prior.fitted_afterwards and posterior.has_density)


def _on_layers(posterior: AbstractPosterior | Posterior, prior: AbstractPrior | Prior) -> str:
    """What to do where layers of numbers are to have a discrete layer on top."""
    discrete = {"codes", "one-hot", "binary"}
    parts = posterior.part if isinstance(posterior, Posterior) else posterior, prior
    layered = any(hasattr(part, "num_layers") for part in parts)
    if layered and (posterior.latent_space in discrete or prior.latent_spaces <= discrete):
        return ", or --posterior codebook-ladder for a discrete layer on top of numbers"
    return ""
