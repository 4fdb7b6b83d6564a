"""The model: a posterior, a prior and a likelihood, and nothing else."""

import equinox as eqx
import jax
from jaxtyping import Array, Float, Num

from reparax import registry
from reparax.errors import RecipeError
from reparax.likelihoods import AbstractLikelihood
from reparax.posteriors import AbstractPosterior
from reparax.priors import AbstractPrior


class Model(eqx.Module):
    """A latent-variable model p(z) p(x | z) with its approximate posterior q(z | x).

    Args:
        posterior: x -> q(z | x), the encoder.
        prior: q -> p(z).
        likelihood: z -> p(x | z), the decoder.

    Raises:
        RecipeError: The prior is not a density on the posterior's latent space.
    """

    posterior: AbstractPosterior
    prior: AbstractPrior
    likelihood: AbstractLikelihood

    def __check_init__(self) -> None:
        check_latent_space(type(self.posterior), type(self.prior))

    def log_joint(self, x: Num[Array, "*event"], z: Num[Array, "*latent"]) -> Float[Array, ""]:
        """log p(z) + log p(x | z), in nats, for one example and one z."""
        return self.prior(self.posterior).log_prob(z) + self.likelihood(z).log_prob(x)

    def sample(self, key: jax.Array) -> Num[Array, "*event"]:
        """One x from the prior and the likelihood."""
        latent, observed = jax.random.split(key)
        return self.likelihood(self.prior(self.posterior).sample(latent)).sample(observed)


def check_latent_space(posterior: type[AbstractPosterior], prior: type[AbstractPrior]) -> None:
    """Refuses a prior that lives elsewhere than the posterior.

    Raises:
        RecipeError: Their latent spaces differ; the message names the priors that fit.
    """
    space = posterior.latent_space
    if space not in prior.latent_spaces:
        fitting = [name for name in registry.names("priors") if space in registry.load("priors", name).latent_spaces]
        raise RecipeError(
            expected=f"a prior on the {space} latent space of the {registry.part_name(posterior)} posterior",
            got=f"{registry.part_name(prior)}, a density on {' or '.join(sorted(prior.latent_spaces))}",
            cure=f"choose one of the priors {', '.join(fitting)}",
        )
