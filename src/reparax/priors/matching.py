"""Flow matching: a continuous flow as a prior, trained by regression once the codes are known."""

from typing import Any, ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions import Pushforward
from reparax.distributions.integrated import Integrated, largest_slope, spectral_bound
from reparax.distributions.maps import Sequential, Shifted
from reparax.networks import Conditioned, Network, beside_context
from reparax.networks.mlp import Perceptron, zero_at_first
from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior, RegressedPrior
from reparax.pytrees import Frozen
from reparax.summary import Summary

REAL = frozenset({"real"})
FREQUENCIES = (1, 2, 3)
"""Of the sines and cosines of pi t by which the network sees the time."""
STEEPEST_GELU = 1.13
"""An upper bound on the slope of the activation function."""


class FlowMatching(AbstractPrior):
    """p(z) of z_1, with dz_t/dt = v(z_t, t) from z_0 ~ N(0, I), v a network; `refit-prior` trains v by regression.

    Lipman et al. (2023), "Flow matching for generative modeling", equations 1 and 23 (sigma_min = 0): with noise e, a
    code z and a time t, v((1 - t) e + t z, t) is to be z - e, in the mean of squares. The equation is integrated in
    steps that are invertible, because the Lipschitz constant of v is bounded by its weights; the steps are the
    distribution, whose density is exact for any number of them (see `Integrated`). A fit maximizes that density, which
    takes one pass for each dimension. In a conditional model v depends on the context.

    Args:
        width: Units of the two hidden layers of v.
        num_steps: The number of steps; steeper velocities need more.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    width: int = option(128, low=1, high=100_000)
    num_steps: int = option(32, low=1, high=10_000)

    def create(self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array) -> Prior:
        """The standard Normal: no velocity."""
        (size,) = posterior.latent_shape

        def network(in_size: int) -> Perceptron:
            return zero_at_first(Perceptron(in_size, (self.width, self.width), (size,), key=key))

        made = beside_context(network, size + 2 * len(FREQUENCIES), make_network(1, (1,), key=key))
        return LearnedVelocity(made, Frozen(jnp.zeros(size)), Frozen(jnp.ones(size)), self.num_steps)


class Field(eqx.Module):
    """v(z, t): a network of z and of sines and cosines of t, times a factor.

    Attributes:
        network: The network.
        factor: The factor.
    """

    network: Network
    factor: Float[Array, ""]

    def __call__(self, z: Float[Array, " d"], t: Float[Array, ""]) -> Float[Array, " d"]:
        angles = jnp.pi * jnp.asarray(FREQUENCIES, z.dtype) * t
        return self.factor * self.network(jnp.concatenate([z, jnp.cos(angles), jnp.sin(angles)]))


class LearnedVelocity(RegressedPrior):
    """The weights of `FlowMatching`.

    Args:
        network: v, of standardized codes.
        loc: What is subtracted from codes.
        scale: What they are then divided by.
        num_steps: The number of steps.
    """

    latent_spaces: ClassVar[frozenset[str]] = REAL
    network: Network
    loc: Frozen
    scale: Frozen
    num_steps: int = eqx.field(static=True)

    @property
    def velocity(self) -> Field:
        """v with a Lipschitz constant in z for which all steps are invertible."""
        network: Any = self.network.network if isinstance(self.network, Conditioned) else self.network
        first, *others = (layer.weight for layer in network.layers)
        # The time and the context are beside z, and of any slope.
        bound = spectral_bound(first[: len(self.loc.value)])
        for weight in others:
            bound = bound * STEEPEST_GELU * spectral_bound(weight)
        return Field(self.network, 1 / jnp.maximum(1.0, bound / largest_slope(self.num_steps)))

    def __call__(self, posterior: Posterior) -> dist.Distribution:
        steps = Integrated(self.velocity, self.num_steps)
        base = dist.Normal(jnp.zeros(posterior.latent_shape), jnp.ones(posterior.latent_shape)).to_event(1)
        return Pushforward(base, Sequential((steps, Shifted(self.loc.value, self.scale.value))))

    def started_at(self, codes: Float[np.ndarray, "n d"]) -> Self:
        """The same velocity of codes standardized by these."""
        scale = np.maximum(np.std(codes, axis=0), 1e-6)
        moments = (Frozen(jnp.asarray(moment, jnp.float32)) for moment in (np.mean(codes, axis=0), scale))
        return eqx.tree_at(lambda prior: (prior.loc, prior.scale), self, tuple(moments))

    def regression(self, z: Float[Array, " d"], *, key: jax.Array) -> Float[Array, ""]:
        """Minus the squared error of v at one time and one draw of noise."""
        for_noise, for_time = jax.random.split(key)
        code = (z - self.loc.value) / self.scale.value
        noise, t = jax.random.normal(for_noise, code.shape), jax.random.uniform(for_time)
        return -jnp.sum((self.velocity((1 - t) * noise + t * code, t) - (code - noise)) ** 2)
