"""Distributions of counts whose log densities are exact in float32 for large counts too, and with a total of counts."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.nn import log_sigmoid
from jaxtyping import Array, Float, Num
from numpyro.distributions import constraints
from numpyro.distributions.util import promote_shapes, validate_sample

LOG_TWO_PI = 1.8378770664093453
SMALLEST_SIZE = 1e-20
"""Of an example without counts, so that its means are positive; the probability of its zeros is still 1."""
FROM_SERIES = 8.0
"""From here on, five terms of Stirling's series are exact to float32."""


def stirling_remainder(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log Gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2 for x > 0, without the cancellation for large x.

    1 / (12 x) - 1 / (360 x^3) + ... (Abramowitz & Stegun 1964, equation 6.1.41) from 8 on.
    """
    large = jnp.maximum(x, FROM_SERIES)
    square = jnp.square(1 / large)
    series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680)))) / large
    small = jnp.clip(x, jnp.finfo(x.dtype).tiny, FROM_SERIES)
    direct = jax.lax.lgamma(small) - (small - 0.5) * jnp.log(small) + small - 0.5 * LOG_TWO_PI
    return jnp.where(x < FROM_SERIES, direct, series)


class Poisson(dist.Poisson):
    """P(x) = rate^x exp(-rate) / x!; nats.

    numpyro's log density subtracts numbers of size x log x: in float32, at a count of 100,000 it is off by 0.1 nats.
    Here it is x log(rate / x) + x - rate, which is small near the mean, minus log(2 pi x) / 2 and a Stirling remainder:
    Loader (2000), "Fast and accurate computation of binomial probabilities", section 2.
    """

    @validate_sample
    def log_prob(self, value: Num[Array, "*sample"]) -> Float[Array, "*sample"]:
        x = jnp.asarray(value, jnp.result_type(self.rate))
        positive = jnp.maximum(x, 1.0)
        above = (self.rate - positive) / positive
        # Far below x, the logarithm of the ratio itself is more accurate than log1p near -1, and finite at rate 0.
        rate = jnp.maximum(self.rate, jnp.finfo(x.dtype).tiny)
        ratio = jnp.where(above < -0.5, jnp.log(rate / positive), jnp.log1p(jnp.maximum(above, -0.5)))
        many = positive * (ratio - above) - 0.5 * (LOG_TWO_PI + jnp.log(positive)) - stirling_remainder(positive)
        return jnp.where(x < 0, -jnp.inf, jnp.where(x == 0, -self.rate, many))


class NegativeBinomial(dist.Distribution):
    """P(x) = Gamma(x + r) / (Gamma(r) x!) (r / (r + m))^r (m / (r + m))^x, of mean m and variance m + m^2 / r; nats.

    The exponents are x log1p(r (m - x) / (x (m + r))) + r log1p((x - m) / (m + r)), half of the deviance, so that
    nothing large cancels: numpyro's log density in float32 is off by 0.1 nats at counts of 100,000.

    Args:
        mean: m, positive.
        concentration: r, positive; a Poisson distribution in the limit of a large one.
    """

    arg_constraints = {"mean_count": constraints.positive, "concentration": constraints.positive}
    support = constraints.nonnegative_integer
    pytree_data_fields = ("mean_count", "concentration")

    def __init__(
        self, mean: Float[Array, "*batch"], concentration: Float[Array, "*batch"], *, validate_args: bool | None = None
    ) -> None:
        self.mean_count, self.concentration = promote_shapes(mean, concentration)
        shape = jnp.broadcast_shapes(jnp.shape(mean), jnp.shape(concentration))
        super().__init__(shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Num[Array, "*sample"]) -> Float[Array, "*sample"]:
        m, r = self.mean_count, self.concentration
        x = jnp.asarray(value, jnp.result_type(m))
        positive = jnp.maximum(x, 1.0)
        toward = r / (m + r) * (m - positive) / positive
        ratio = m / (m + r) * (positive + r) / positive  # the same as 1 + toward
        near = jnp.abs(toward) < 0.5
        gained = jnp.where(near, jnp.log1p(jnp.where(near, toward, 0.0)), jnp.log(jnp.where(near, 1.0, ratio)))
        away = (positive - m) / (m + r)
        close = jnp.abs(away) < 0.5
        lost = jnp.where(
            close, jnp.log1p(jnp.where(close, away, 0.0)), jnp.log(jnp.where(close, 1.0, (positive + r) / (m + r)))
        )
        count = 0.5 * (jnp.log(r / (positive + r)) - jnp.log(positive) - LOG_TWO_PI)
        left = stirling_remainder(positive + r) - stirling_remainder(r) - stirling_remainder(positive)
        many = positive * gained + r * lost + count + left
        return jnp.where(x < 0, -jnp.inf, jnp.where(x == 0, -r * jnp.log1p(m / r), many))

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Num[Array, "*sample"]:
        for_rate, for_count = jax.random.split(key)
        m, r = jnp.broadcast_arrays(self.mean_count, self.concentration)
        rate = jax.random.gamma(for_rate, r, sample_shape + self.batch_shape) * (m / r)
        return jax.random.poisson(for_count, rate)

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """m."""
        return jnp.broadcast_to(self.mean_count, self.batch_shape)

    @property
    def variance(self) -> Float[Array, "*batch"]:
        """m + m^2 / r."""
        return self.mean + jnp.square(self.mean) / self.concentration


class ZeroInflated(dist.Distribution):
    """P(x) = g 1(x = 0) + (1 - g) P_0(x), with the gate g = sigmoid(logit); nats.

    Lambert (1992), "Zero-inflated Poisson regression", equation 1, for any distribution of counts.

    Args:
        counts: P_0.
        gate_logits: The log odds of an additional zero, of its batch shape.
    """

    arg_constraints = {"gate_logits": constraints.real}
    support = constraints.nonnegative_integer
    pytree_data_fields = ("counts", "gate_logits")

    def __init__(
        self, counts: dist.Distribution, gate_logits: Float[Array, "*batch"], *, validate_args: bool | None = None
    ) -> None:
        self.counts, self.gate_logits = counts, gate_logits
        super().__init__(counts.batch_shape, validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: Num[Array, "*sample"]) -> Float[Array, "*sample"]:
        counted = log_sigmoid(-self.gate_logits) + self.counts.log_prob(value)
        return jnp.where(value == 0, jnp.logaddexp(log_sigmoid(self.gate_logits), counted), counted)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Num[Array, "*sample"]:
        for_gate, for_count = jax.random.split(key)
        gate = jax.random.bernoulli(for_gate, jax.nn.sigmoid(self.gate_logits), sample_shape + self.batch_shape)
        return jnp.where(gate, 0, self.counts.sample(for_count, sample_shape))

    @property
    def mean(self) -> Float[Array, "*batch"]:
        """(1 - g) times the mean of P_0."""
        return jax.nn.sigmoid(-self.gate_logits) * self.counts.mean

    @property
    def variance(self) -> Float[Array, "*batch"]:
        """(1 - g) (v + g m^2), with the mean m and the variance v of P_0."""
        g = jax.nn.sigmoid(self.gate_logits)
        return (1 - g) * (self.counts.variance + g * jnp.square(self.counts.mean))


class OfTotal(dist.Distribution):
    """log P(x) = log P_t(t) + sum_d log P_d(x_d; t s_d) at the total t = sum_d x_d; nats.

    The size t of an example is a latent whole number with the distribution P_t, and the counts given t have the means
    t s_d (times what `make` does to them). This is the joint log probability of the counts and the size at the observed
    total: a lower bound on the log probability of the counts, with all of q(t | x) on their total. It is below it by
    -log P(sum_d x_d = t | t).

    If the counts given t are Poisson and their shares s_d sum to one, that is -log Poisson(t; t), and `exact` adds it:
    log P_t(t) + log Multinomial(x; t, s), normalized. With a negative binomial P_t, this is the Poisson model of means
    l s_d with a latent l ~ Gamma, integrated out.

    Args:
        log_shares: log s, of the event shape.
        total: P_t.
        make: The distribution of the counts with given means, element by element; a pytree.
        exact: Whether the counts are Poisson and the density is the normalized one.
    """

    arg_constraints = {}
    support = constraints.nonnegative_integer
    pytree_data_fields = ("log_shares", "total", "make")
    pytree_aux_fields = ("exact",)

    def __init__(
        self,
        log_shares: Float[Array, "*event"],
        total: dist.Distribution,
        make: Callable[[Array], dist.Distribution],
        *,
        exact: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        self.log_shares, self.total, self.make, self.exact = log_shares, total, make, exact
        super().__init__((), jnp.shape(log_shares), validate_args=validate_args)

    def given(self, total: Num[Array, ""]) -> dist.Distribution:
        """The normalized distribution of the counts of an example of a given size."""
        size = jnp.maximum(jnp.asarray(total, self.log_shares.dtype), SMALLEST_SIZE)
        made = self.make(jnp.exp(self.log_shares + jnp.log(size)))
        return made.to_event(self.log_shares.ndim)

    def log_prob(self, value: Num[Array, "*sample"]) -> Float[Array, "*s"]:
        x = jnp.asarray(value, self.log_shares.dtype)
        if x.ndim > self.event_dim:  # the size is that of each example
            return jax.vmap(self.log_prob)(x)
        total = jnp.sum(x)
        joint = self.total.log_prob(total) + self.given(total).log_prob(x)
        return joint - Poisson(jnp.maximum(total, SMALLEST_SIZE)).log_prob(total) if self.exact else joint

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Num[Array, "*sample"]:
        def one(key: jax.Array) -> Array:
            for_total, for_counts = jax.random.split(key)
            return self.given(self.total.sample(for_total)).sample(for_counts)

        keys = jax.random.split(key, math.prod(sample_shape))
        return jax.vmap(one)(keys).reshape(sample_shape + self.event_shape)

    @property
    def mean(self) -> Float[Array, "*event"]:
        """The mean of the counts of an example of the mean size, which is that of all, as it is linear in the size."""
        return self.given(self.total.mean).mean
