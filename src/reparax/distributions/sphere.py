"""Distributions on the unit sphere: uniform, power spherical, von Mises-Fisher."""

import math

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import lax
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

from reparax.distributions.kl import analytic_kl
from reparax.reparameterization import ParameterRule, implicit, rsample, rule
from reparax.reparameterization.beta import log_beta_sample
from reparax.reparameterization.gamma import draw_until_accepted, log_uniform
from reparax.reparameterization.numerics import gauss_legendre


def log_area(dimension: int) -> float:
    """log of the area of the unit sphere in R^d: 2 pi^(d/2) / Gamma(d/2)."""
    return math.log(2.0) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)


def normalize(x: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """The point of the unit sphere in the direction of x."""
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def around(
    key: jax.Array, mean: Float[Array, "*b d"], cosine: Float[Array, "*s"], sine: Float[Array, "*s"]
) -> Float[Array, "*s d"]:
    """A uniform direction among those at the given angle from the mean; differentiable in the mean and the angle.

    It is drawn about the mean as a constant, and then rotated from the constant mean to the differentiable one, in the
    plane of both. Unlike a Householder reflection this is smooth everywhere.
    """
    fixed = jax.lax.stop_gradient(mean)
    shape = (*cosine.shape, mean.shape[-1])
    moving, fixed = jnp.broadcast_to(mean, shape), jnp.broadcast_to(fixed, shape)
    noise = jax.random.normal(key, shape, mean.dtype)
    across = normalize(noise - dot(noise, fixed)[..., None] * fixed)
    # A second projection removes what rounding left of the mean, which matters if the noise was nearly parallel.
    across = normalize(across - dot(across, fixed)[..., None] * fixed)
    point = cosine[..., None] * fixed + sine[..., None] * across
    return rotate(point, fixed, moving)


def rotate(x: Float[Array, "*s d"], start: Float[Array, "*s d"], end: Float[Array, "*s d"]) -> Float[Array, "*s d"]:
    """x turned by the rotation in the plane of two unit vectors that takes the first to the second."""
    middle = start + end
    factor = dot(middle, x) / (1 + dot(start, end))
    return x - factor[..., None] * middle + 2 * dot(start, x)[..., None] * end


def dot(a: Float[Array, "*s d"], b: Float[Array, "*s d"]) -> Float[Array, "*s"]:
    """The inner product along the last axis."""
    return jnp.sum(a * b, axis=-1)


def square_distance(a: Float[Array, "*s d"], b: Float[Array, "*s d"]) -> Float[Array, "*s"]:
    """|a - b|^2 along the last axis."""
    return jnp.sum((a - b) ** 2, axis=-1)


def symmetric_variance(
    mean_direction: Float[Array, "*batch d"], cosine: Float[Array, "*batch"], square: Float[Array, "*batch"]
) -> Float[Array, "*batch d"]:
    """The variance of each coordinate of a distribution symmetric around mu, from E t and E t^2, t = mu . x."""
    along = mean_direction**2
    across = ((1 - square) / (mean_direction.shape[-1] - 1))[..., None]
    # Rounding must not make a small variance negative.
    return jnp.maximum((square - cosine**2)[..., None] * along + across * (1 - along), 0.0)


class HypersphericalUniform(dist.Distribution):
    """The uniform distribution on the unit sphere of R^d: p(x) = Gamma(d/2) / (2 pi^(d/2)), in nats per area.

    Args:
        dimension: d, at least 2; the sphere has d - 1 dimensions.
        batch_shape: The batch shape.
    """

    support = constraints.sphere
    pytree_aux_fields = ("dimension",)

    def __init__(self, dimension: int, batch_shape: tuple[int, ...] = (), *, validate_args: bool | None = None) -> None:
        self.dimension = dimension
        super().__init__(batch_shape=batch_shape, event_shape=(dimension,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Draws, of shape ``sample_shape + batch_shape + (d,)``."""
        return jax.lax.stop_gradient(rsample(self, key, sample_shape))

    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        """The log-density, in nats."""
        shape = jax.numpy.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return jnp.full(shape, -log_area(self.dimension), value.dtype)

    def entropy(self) -> Float[Array, "*batch"]:
        """The differential entropy, in nats: the log of the area."""
        return jnp.full(self.batch_shape, log_area(self.dimension))

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """Zero."""
        return jnp.zeros((*self.batch_shape, self.dimension))


@rule(HypersphericalUniform, declare=())
def _uniform_on_sphere(q: HypersphericalUniform, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    return normalize(jax.random.normal(key, (*sample_shape, *q.batch_shape, q.dimension)))


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


_POWER_SPHERICAL_RULES = (
    ParameterRule("mean_direction", "spherical", True, "a rotation turns with the mean direction"),
    ParameterRule("concentration", "implicit", True, "through a Beta variable", "De Cao and Aziz 2020, algorithm 1"),
)


@rule(PowerSpherical, declare=_POWER_SPHERICAL_RULES)
def _power_spherical(q: PowerSpherical, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    key_angle, key_direction = jax.random.split(key)
    log_z, log1m_z = log_beta_sample(key_angle, *q.shapes(), (*sample_shape, *q.batch_shape))
    cosine = jnp.where(log_z < log1m_z, 2 * jnp.exp(log_z) - 1, 1 - 2 * jnp.exp(log1m_z))
    sine = 2 * jnp.exp((log_z + log1m_z) / 2)
    return around(key_direction, q.mean_direction, cosine, sine)


@analytic_kl(PowerSpherical, HypersphericalUniform)
def _power_spherical_to_uniform(q: PowerSpherical, p: HypersphericalUniform) -> Float[Array, "*batch"]:
    return log_area(p.dimension) - q.entropy()


# The float32 below pi: beyond it the sine is negative.
_LARGEST_ANGLE = 3.1415925


class VonMisesFisher(dist.Distribution):
    r"""The von Mises-Fisher distribution on the unit sphere of R^d: p(x) = exp(kappa mu . x) / Z(kappa), in nats.

    Z(kappa) = (2 pi)^(d/2) I_{d/2-1}(kappa) kappa^(1-d/2), computed by quadrature over the angle from the mean, so that
    it is accurate for every d and kappa.

    Args:
        mean_direction: mu, of shape (..., d); it is normalized here.
        concentration: kappa >= 0, of the batch shape.

    Source: Davidson et al. (2018), section 3; sampling after Wood (1994), with the angle's tangent instead of its
    cosine, which keeps its accuracy at large d and kappa.
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

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*s d"]:
        """Draws, of shape ``sample_shape + batch_shape + (d,)``."""
        return lax.stop_gradient(rsample(self, key, sample_shape))

    @validate_sample
    def log_prob(self, value: Float[Array, "*s d"]) -> Float[Array, "*s"]:
        """The log-density with respect to area, in nats."""
        mean = jnp.broadcast_to(self.mean_direction, value.shape)
        # mu . x - 1 = -|x - mu|^2 / 2 does not cancel where kappa is large.
        fall = -jnp.broadcast_to(self.concentration, value.shape[:-1]) * square_distance(value, mean) / 2
        return fall - jnp.broadcast_to(self.log_normalizer(), fall.shape)

    def log_normalizer(self) -> Float[Array, "*batch"]:
        """log Z(kappa) - kappa."""
        return log_shifted_normalizer(self.concentration, self.dimension)

    def mean_cosine(self) -> Float[Array, "*batch"]:
        """A_d(kappa) = E[mu . x] = I_{d/2}(kappa) / I_{d/2-1}(kappa)."""
        slope = jax.grad(lambda kappa: jnp.sum(log_shifted_normalizer(kappa, self.dimension)))(self.concentration)
        return 1 + slope

    @property
    def mean(self) -> Float[Array, "*batch d"]:
        """A_d(kappa) mu."""
        return self.mean_cosine()[..., None] * self.mean_direction

    @property
    def variance(self) -> Float[Array, "*batch d"]:
        """The variance of each coordinate; E[(mu . x)^2] = 1 - (d - 1) A_d(kappa) / kappa."""
        cosine = self.mean_cosine()
        flat = self.concentration < 1e-3
        ratio = jnp.where(flat, 1 / self.dimension, cosine / jnp.where(flat, 1.0, self.concentration))
        return symmetric_variance(self.mean_direction, cosine, 1 - (self.dimension - 1) * ratio)

    def entropy(self) -> Float[Array, "*batch"]:
        """The differential entropy, in nats: log Z - kappa A_d(kappa)."""
        return self.log_normalizer() + self.concentration * (1 - self.mean_cosine())


def _window(kappa: Array, dimension: int) -> tuple[Array, Array, Array]:
    """The most likely angle from the mean, and the ends of an interval of angles that contains all the mass.

    The density of the angle is exp(kappa cos t) sin(t)^(d-2); at its mode kappa sin^2 = (d - 2) cos, and the curvature
    of its logarithm is -(kappa cos + (d - 2) / sin^2).
    """
    kappa = lax.stop_gradient(kappa)
    power = dimension - 2.0
    # cos = 2 kappa / (power + sqrt(power^2 + 4 kappa^2)), and sin^2 = power cos / kappa, without cancellation.
    root = power + jnp.sqrt(power**2 + 4 * kappa**2)
    safe = jnp.maximum(root, jnp.finfo(kappa.dtype).tiny)
    cosine, sine_square = 2 * kappa / safe, 2 * power / safe
    mode = jnp.arctan2(jnp.sqrt(sine_square), cosine)
    curvature = kappa * cosine + power / jnp.maximum(sine_square, 1e-30)
    radius = 12 / jnp.sqrt(jnp.maximum(curvature, 1e-30))
    if dimension == 2:
        mode, radius = jnp.zeros_like(kappa), 12 / jnp.sqrt(jnp.maximum(kappa, 1e-30))
    return mode, jnp.maximum(mode - radius, 0.0), jnp.minimum(mode + radius, jnp.pi)


def log_shifted_normalizer(kappa: Float[Array, "*s"], dimension: int) -> Float[Array, "*s"]:
    """log Z(kappa) - kappa, by 200-point Gauss-Legendre quadrature over the angle; differentiable to every order."""
    mode, low, high = (end[..., None] for end in _window(kappa, dimension))
    nodes, weights = gauss_legendre(200, kappa.dtype)
    nodes = nodes.reshape((1,) * kappa.ndim + (200,))
    angle = low + (high - low) * nodes
    # cos t - cos mode, as a product, so that a large kappa multiplies no rounding error.
    beyond = -2 * jnp.sin((angle + mode) / 2) * jnp.sin((angle - mode) / 2)
    reference = jnp.sin(mode) if dimension > 2 else jnp.ones_like(mode)
    logs = kappa[..., None] * beyond + (dimension - 2) * jnp.log(jnp.sin(angle) / reference)
    integral = jnp.sum(jnp.exp(logs) * weights * (high - low), -1)
    at_mode = -2 * kappa * jnp.sin(mode[..., 0] / 2) ** 2 + (dimension - 2) * jnp.log(reference[..., 0])
    ring = log_area(dimension - 1) if dimension > 2 else math.log(2.0)
    return ring + at_mode + jnp.log(integral)


_VON_MISES_FISHER_RULES = (
    ParameterRule("mean_direction", "spherical", True, "a rotation turns with the mean direction"),
    ParameterRule("concentration", "implicit", True, "the angle from the mean, by quadrature", "Figurnov et al. 2018"),
)


@rule(VonMisesFisher, declare=_VON_MISES_FISHER_RULES)
def _von_mises_fisher(q: VonMisesFisher, key: jax.Array, sample_shape: tuple[int, ...]) -> Array:
    key_angle, key_direction = jax.random.split(key)
    dimension = q.dimension
    kappa = jnp.broadcast_to(q.concentration, (*sample_shape, *q.batch_shape))
    drawn = _draw_angle(key_angle, lax.stop_gradient(kappa), dimension)

    def log_density(angle: Array, kappa: Array) -> Array:
        ring = (dimension - 2) * jnp.log(jnp.sin(angle)) if dimension > 2 else 0.0
        return kappa * jnp.cos(angle) + ring

    _, low, high = _window(kappa, dimension)
    angle = implicit(drawn, kappa, log_prob=log_density, lower=jnp.minimum(low, drawn), upper=jnp.maximum(high, drawn))
    return around(key_direction, q.mean_direction, jnp.cos(angle), jnp.sin(angle))


def _draw_angle(key: jax.Array, kappa: Array, dimension: int) -> Array:
    """Wood's rejection sampler: tan^2(angle / 2) = b z / (1 - z) with z symmetric Beta."""
    m = jnp.full_like(kappa, (dimension - 1) / 2)
    b = 2 * m / (2 * kappa + jnp.sqrt(4 * kappa**2 + 4 * m**2))
    center = (1 - b) / (1 + b)

    def attempt(key: jax.Array) -> tuple[Array, Array]:
        key_beta, key_accept = jax.random.split(key)
        log_z, log1m_z = log_beta_sample(key_beta, m, m, kappa.shape)
        log_odds = jnp.log(b) + log_z - log1m_z
        beyond = 2 * (b / (1 + b) - jax.nn.sigmoid(log_odds))
        bound = kappa * beyond + 2 * m * jnp.log1p(-center * beyond * (1 + b) ** 2 / (4 * b))
        angle = jnp.minimum(2 * jnp.arctan(jnp.exp(log_odds / 2)), _LARGEST_ANGLE)
        return angle, log_uniform(key_accept, kappa.shape, kappa.dtype) >= bound

    return draw_until_accepted(key, attempt)


@analytic_kl(VonMisesFisher, HypersphericalUniform)
def _von_mises_fisher_to_uniform(q: VonMisesFisher, p: HypersphericalUniform) -> Float[Array, "*batch"]:
    return log_area(p.dimension) - q.entropy()
