"""The variational mixture of posteriors prior (VampPrior)."""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from reparax.parts import option
from reparax.posteriors import Posterior
from reparax.priors._base import AbstractPrior, MakeNetwork, Prior
from reparax.pytrees import Frozen
from reparax.summary import Summary

EVERY_SPACE = frozenset(
    {"real", "binary", "one-hot", "positive", "unit interval", "simplex", "sphere", "ball", "count", "class and real"}
)
MOST_COMPONENTS = 100_000


class PosteriorMixture(dist.Distribution):
    """(1 / K) sum_k q(z | u_k), the posterior averaged over K pseudo-inputs; nats."""

    arg_constraints = {}
    support = constraints.real_vector
    pytree_data_fields = ("posterior", "inputs")

    def __init__(
        self, posterior: Posterior, inputs: Float[Array, "k *event"], *, validate_args: bool | None = None
    ) -> None:
        self.posterior = posterior
        self.inputs = inputs
        super().__init__((), posterior.latent_shape, validate_args=validate_args)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        flat = value.reshape(-1, *self.event_shape)
        components = jax.vmap(lambda u: jax.vmap(lambda z: self.posterior(u).log_prob(z))(flat))(self.inputs)
        mixed = jax.nn.logsumexp(components, axis=0) - jnp.log(float(len(self.inputs)))
        return mixed.reshape(value.shape[: value.ndim - len(self.event_shape)])

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        def draw(key: jax.Array) -> Array:
            which, inner = jax.random.split(key)
            index = jax.random.randint(which, (), 0, len(self.inputs))
            return self.posterior(self.inputs[index]).sample(inner)

        drawn = jax.vmap(draw)(jax.random.split(key, math.prod(sample_shape)))
        return jax.lax.stop_gradient(drawn.reshape(*sample_shape, *self.event_shape))


class Vamp(AbstractPrior):
    """p(z) = (1 / K) sum_k q(z | u_k) with K learned pseudo-inputs u_k, Tomczak & Welling (2018), equation 9.

    The pseudo-inputs are kept inside the data's range: u = low + (high - low) sigmoid(v).

    Args:
        num_components: The number of pseudo-inputs.
    """

    latent_spaces: ClassVar[frozenset[str]] = EVERY_SPACE
    has_pseudo_examples: ClassVar[bool] = True
    num_components: int = option(50, low=1, high=MOST_COMPONENTS)

    def create(
        self, posterior: Posterior, summary: Summary, make_network: MakeNetwork, *, key: jax.Array
    ) -> "PseudoInputs":
        """Pseudo-inputs with the mean and standard deviation of the data."""
        width = jnp.asarray(summary.high - summary.low, jnp.float32)
        width = jnp.where(width > 0, width, 1.0)
        low = jnp.asarray(summary.low, jnp.float32)
        shape = summary.event_shape
        middle = jnp.broadcast_to((jnp.asarray(summary.mean, jnp.float32) - low) / width, shape)
        spread = jnp.broadcast_to(jnp.asarray(summary.std, jnp.float32) / width, shape)
        noise = jax.random.normal(key, (self.num_components, *shape))
        start = jnp.clip(middle[None] + spread[None] * noise, 0.02, 0.98)
        return PseudoInputs(jnp.log(start) - jnp.log1p(-start), Frozen(low), Frozen(width), shape)


class PseudoInputs(Prior):
    """The weights of a VampPrior.

    Args:
        unconstrained: The pseudo-inputs before they are mapped into the range of the data.
        low: The least values of the data.
        width: The ranges of the data.
        event_shape: The shape of one example.
    """

    latent_spaces: ClassVar[frozenset[str]] = EVERY_SPACE
    unconstrained: Float[Array, "k *event"]
    low: Frozen
    width: Frozen
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, posterior: Posterior) -> PosteriorMixture:
        low = jnp.broadcast_to(self.low.value, self.event_shape)[None]
        width = jnp.broadcast_to(self.width.value, self.event_shape)[None]
        return PosteriorMixture(posterior, low + width * jax.nn.sigmoid(self.unconstrained))
