"""The power spherical distribution: von Mises-Fisher's simpler relative, with everything in closed form."""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from reparax.distributions._sphere import around, log_area, normalize, square_distance, symmetric_variance
from reparax.distributions.hyperspherical_uniform import HypersphericalUniform
from reparax.distributions.kl import analytic_kl
from reparax.reparameterization import ParameterRule, rsample, rule
from reparax.reparameterization.beta import log_beta_sample


class PowerSpherical(dist.Distribution):
    r"""The power spherical distribution on the unit sphere of R^d: p(x) = (1 + mu . x)^kappa / Z(kappa), in nats.

    Z = 2^(alpha + beta) pi^beta Gamma(alpha) / Gamma(alpha + beta), alpha = beta + kappa, beta = (d - 1) / 2.

    Args:
        mean_direction: mu, of shape (..., d); it is normalized here.
        concentration: kappa >= 0, of the batch shape.

    Source: De Cao and Aziz (2020), equations 5 to 7 and 11.
    """

    arg_constraints = {"mean_direction": constraints.sphere, "concentration": constraints.nonnegative}
    support = constraints.sphere

    def __init__(
        self,
        mean_direction: Float[Array, "*batch d"],
        concentration: Float[Array, "*batch"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        batch_shape = lax.broadcast_shapes(jnp.shape(mean_direction)[:-1], jnp.shape(concentration))
        dimension = jnp.shape(mean_direction)[-1]
        self.mean_direction = jnp.broadcast_to(normalize(jnp.asarray(mean_direction)), (*batch_shape, dimension))
        self.concentration = jnp.broadcast_to(jnp.asarray(concentration, self.mean_direction.dtype), batch_shape)
        super().__init__(batch_shape=batch_shape, event_shape=(dimension,), validate_args=validate_args)

    @property
    def dimension(self) -> int:
        """The dimension d of the space that holds the sphere."""
        return self.event_shape[0]

    def shapes(self) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
        """(alpha, beta): (1 + mu . x) / 2 is Beta(alpha, beta)."""
        beta = jnp.full_like(self.concentration, (self.dimension - 1) / 2)
        return beta + self.concentration, beta

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Draws, of shape ``sample_shape + batch_shape + (d,)``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    @validate_sample
    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        """The log-density with respect to area, in nats."""
        mean = jnp.broadcast_to(self.mean_direction, value.shape)
        # 1 + mu . x = |x + mu|^2 / 2 does not cancel near the antipode.
        toward = jnp.log(jnp.maximum(square_distance(value, -mean) / 2, jnp.finfo(value.dtype).tiny))
        kappa, normalizer = (jnp.broadcast_to(a, toward.shape) for a in (self.concentration, self.log_normalizer()))
        return kappa * toward - normalizer

    def log_normalizer(self) -> Float[Array, "*batch"]:
        """log Z(kappa)."""
        alpha, beta = self.shapes()
        return (alpha + beta) * jnp.log(2.0) + beta * jnp.log(jnp.pi) + gammaln(alpha) - gammaln(alpha + beta)

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """kappa / (kappa + d - 1) mu."""
        return (self.concentration / (self.concentration + self.dimension - 1))[..., None] * self.mean_direction

    @property
    def variance(self) -> Float[Array, "*batch d"]:
        """The variance of each coordinate, from the first two moments of the Beta variable (1 + mu . x) / 2."""
        alpha, beta = self.shapes()
        total = alpha + beta
        cosine = (alpha - beta) / total
        square = 4 * alpha * beta / (total**2 * (total + 1)) + cosine**2
        return symmetric_variance(self.mean_direction, cosine, square)

    def entropy(self) -> Float[Array, "*batch"]:
        """The differential entropy, in nats: log Z - kappa (log 2 + digamma(alpha) - digamma(alpha + beta))."""
        alpha, beta = self.shapes()
        return self.log_normalizer() - self.concentration * (jnp.log(2.0) + digamma(alpha) - digamma(alpha + beta))


_DECLARED = (
    ParameterRule("mean_direction", "spherical", True, "a rotation turns with the mean direction"),
    ParameterRule("concentration", "implicit", True, "through a Beta variable", "De Cao and Aziz 2020, algorithm 1"),
)


@rule(PowerSpherical, declare=_DECLARED)
def _power_spherical(q: PowerSpherical, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    key_angle, key_direction = jax.random.split(key)
    log_z, log1m_z = log_beta_sample(key_angle, *q.shapes(), (*sample_shape, *q.batch_shape))
    cosine = jnp.where(log_z < log1m_z, 2 * jnp.exp(log_z) - 1, 1 - 2 * jnp.exp(log1m_z))
    sine = 2 * jnp.exp((log_z + log1m_z) / 2)
    return around(key_direction, q.mean_direction, cosine, sine)


@analytic_kl(PowerSpherical, HypersphericalUniform)
def _to_uniform(q: PowerSpherical, p: HypersphericalUniform) -> Float[Array, "*batch"]:
    return log_area(p.dimension) - q.entropy()
