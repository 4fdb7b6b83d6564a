"""Exact Kullback-Leibler divergences in closed form, by pair of families.

numpyro's table lacks Bernoulli, one-hot categorical and Laplace, and has a truncated series for Kumaraswamy. For pairs
that are not in this table the caller must say how the divergence is estimated.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import betaln, digamma
from jaxtyping import Array, Float, Num

from reparax.distributions.codes import factors as of_indices
from reparax.distributions.discrete import OneHotCategorical
from reparax.distributions.layers import conditional_normals
from reparax.errors import NoAnalyticKL
from reparax.reparameterization import innermost

Formula = Callable[..., Array]
F = TypeVar("F", bound=Formula)

_FORMULAS: dict[tuple[type, type], Formula] = {}


def analytic_kl(q: type, p: type) -> Callable[[F], F]:
    """Registers the closed form of KL(q || p) for a pair of families; batch shape in, batch shape out."""

    def register(formula: F) -> F:
        _FORMULAS[q, p] = formula
        return formula

    return register


def kl_divergence(q: dist.Distribution, p: dist.Distribution) -> Float[Array, "*batch"]:
    """KL(q || p) = E_q[log q - log p], in nats, summed over the event's dimensions.

    Raises:
        NoAnalyticKL: No closed form is known for the pair.
    """
    terms = kl_per_dimension(q, p)
    return jnp.sum(terms, axis=tuple(range(len(q.batch_shape), terms.ndim)))


def kl_per_dimension(q: dist.Distribution, p: dist.Distribution) -> Float[Array, "*batch_and_event"]:
    """KL(q || p) before independent dimensions are summed: one term per independent factor of q and p.

    Raises:
        NoAnalyticKL: No closed form is known for the pair.
    """
    (q, q_shape), (p, p_shape) = _factor(q), _factor(p)
    formula = _find(q, p)
    if formula is None:
        raise NoAnalyticKL(
            expected="a pair of families with a closed-form divergence",
            got=f"KL({type(q).__name__} || {type(p).__name__})",
            cure="estimate E_q[log q - log p] with rx.expectation, as the ELBO does",
        )
    joint = max(q.event_dim, p.event_dim)
    shape = jnp.broadcast_shapes(q_shape, p_shape)
    return jnp.broadcast_to(formula(q, p), shape[: len(shape) - joint])


def kl_terms(
    q: dist.Distribution, p: dist.Distribution, z: Num[Array, "*event"], log_q: Float[Array, ""]
) -> Float[Array, "*groups"]:
    """Terms that add up to KL(q || p) in the mean, one for each group of dimensions that are independent in q and p.

    The closed form if there is one, which does not depend on z. For layers of Normals, that of each dimension given
    the layers of z before it. Otherwise log q - log p at one draw z, for each group if both densities are products over
    the same groups, or else as one number.

    Args:
        q: The distribution that z is drawn from.
        p: The other one.
        z: A draw from q.
        log_q: log q(z), nats.
    """
    if has_analytic_kl(q, p):
        return kl_per_dimension(q, p)
    chains = conditional_normals(q, p)
    if chains is not None:
        of_q, of_p = chains
        return dist.kl_divergence(dist.Normal(*of_q(z)), dist.Normal(*of_p(z)))
    (q_factor, q_shape), (p_factor, p_shape) = _factor(q), _factor(p)
    if q_shape != p_shape or q_factor.event_dim != p_factor.event_dim:
        return log_q - p.log_prob(z)
    return q_factor.log_prob(z) - p_factor.log_prob(z)


def has_analytic_kl(q: dist.Distribution, p: dist.Distribution) -> bool:
    """Whether `kl_divergence` knows the pair."""
    return _find(_factor(q)[0], _factor(p)[0]) is not None


def has_conditional_kl(q: dist.Distribution, p: dist.Distribution) -> bool:
    """Whether both are layers of Normals in the same order, so that `kl_terms` has a closed form for each layer."""
    return conditional_normals(q, p) is not None


def analytic_pairs() -> Iterator[tuple[type, type]]:
    """Every pair of families with a closed form."""
    yield from _FORMULAS


def _find(q: dist.Distribution, p: dist.Distribution) -> Formula | None:
    for q_type in type(q).__mro__:
        for p_type in type(p).__mro__:
            if (q_type, p_type) in _FORMULAS:
                return _FORMULAS[q_type, p_type]
    return None


def _factor(d: dist.Distribution) -> tuple[dist.Distribution, tuple[int, ...]]:
    """The family of a distribution's factors, without `Independent` and `expand`, and the shape of one draw."""
    indices = of_indices(innermost(d))
    if indices is not None:
        d = indices
    shape = d.batch_shape + d.event_shape
    return innermost(d), shape


for _pair in (
    (dist.Normal, dist.Normal),
    (dist.MultivariateNormal, dist.MultivariateNormal),
    (dist.Beta, dist.Beta),
    (dist.Dirichlet, dist.Dirichlet),
    (dist.Gamma, dist.Gamma),
    (dist.Weibull, dist.Gamma),
):
    analytic_kl(*_pair)(dist.kl_divergence)


@analytic_kl(dist.MultivariateNormal, dist.Normal)
def _multivariate_against_diagonal_normal(q: dist.MultivariateNormal, normal: dist.Normal) -> Array:
    scaled = q.scale_tril / normal.scale[..., :, None]
    distance = (q.loc - normal.loc) / normal.scale
    log_diagonal = jnp.log(jnp.diagonal(scaled, axis1=-2, axis2=-1))
    squares = jnp.sum(scaled**2, axis=-1) + distance**2 - 1
    return jnp.sum(0.5 * squares - log_diagonal, axis=-1)


@analytic_kl(dist.LowRankMultivariateNormal, dist.Normal)
def _low_rank_against_diagonal_normal(q: dist.LowRankMultivariateNormal, normal: dist.Normal) -> Array:
    # det(D + U U^T) = det(D) det(I + U^T D^-1 U), the latter with the Cholesky factor that numpyro has computed.
    log_capacitance = jnp.log(jnp.diagonal(q._capacitance_tril, axis1=-2, axis2=-1))
    precision, distance = normal.scale**-2, (q.loc - normal.loc) / normal.scale
    trace = (q.cov_diag + jnp.sum(q.cov_factor**2, axis=-1)) * precision
    terms = 0.5 * (trace + distance**2 - 1 - jnp.log(q.cov_diag * precision))
    return jnp.sum(terms, axis=-1) - jnp.sum(log_capacitance, axis=-1)


@analytic_kl(dist.BernoulliLogits, dist.BernoulliLogits)
@analytic_kl(dist.BernoulliLogits, dist.BernoulliProbs)
@analytic_kl(dist.BernoulliProbs, dist.BernoulliLogits)
@analytic_kl(dist.BernoulliProbs, dist.BernoulliProbs)
def _bernoulli(q: dist.BernoulliLogits, p: dist.BernoulliLogits) -> Array:
    on = jax.nn.log_sigmoid(q.logits) - jax.nn.log_sigmoid(p.logits)
    off = jax.nn.log_sigmoid(-q.logits) - jax.nn.log_sigmoid(-p.logits)
    return jax.nn.sigmoid(q.logits) * on + jax.nn.sigmoid(-q.logits) * off


@analytic_kl(OneHotCategorical, OneHotCategorical)
@analytic_kl(dist.CategoricalLogits, dist.CategoricalLogits)
@analytic_kl(dist.CategoricalProbs, dist.CategoricalProbs)
def _categorical(q: OneHotCategorical, p: OneHotCategorical) -> Array:
    difference = jax.nn.log_softmax(q.logits, axis=-1) - jax.nn.log_softmax(p.logits, axis=-1)
    return jnp.sum(jax.nn.softmax(q.logits, axis=-1) * difference, axis=-1)


@analytic_kl(dist.Laplace, dist.Laplace)
def _laplace(q: dist.Laplace, p: dist.Laplace) -> Array:
    distance, ratio = jnp.abs(q.loc - p.loc), q.scale / p.scale
    return -jnp.log(ratio) - 1 + distance / p.scale + ratio * jnp.exp(-distance / q.scale)


@analytic_kl(dist.Poisson, dist.Poisson)
def _poisson(q: dist.Poisson, p: dist.Poisson) -> Array:
    return q.rate * (jnp.log(q.rate) - jnp.log(p.rate)) + p.rate - q.rate


@analytic_kl(dist.LogNormal, dist.LogNormal)
def _log_normal(q: dist.LogNormal, p: dist.LogNormal) -> Array:
    return dist.kl_divergence(dist.Normal(q.loc, q.scale), dist.Normal(p.loc, p.scale))


@analytic_kl(dist.Laplace, dist.Normal)
def _laplace_against_normal(q: dist.Laplace, p: dist.Normal) -> Array:
    squares = ((q.loc - p.loc) ** 2 + 2 * q.scale**2) / (2 * p.scale**2)
    return squares + 0.5 * jnp.log(2 * jnp.pi) + jnp.log(p.scale) - jnp.log(2 * q.scale) - 1


@analytic_kl(dist.Beta, dist.Uniform)
def _beta_against_uniform(q: dist.Beta, p: dist.Uniform) -> Array:
    a, b = q.concentration1, q.concentration0
    entropy = betaln(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (a + b - 2) * digamma(a + b)
    return jnp.log(p.high - p.low) - entropy


@analytic_kl(dist.Kumaraswamy, dist.Uniform)
def _kumaraswamy_against_uniform(q: dist.Kumaraswamy, p: dist.Uniform) -> Array:
    a, b = q.concentration1, q.concentration0
    harmonic = digamma(b + 1) + jnp.euler_gamma
    entropy = (1 - 1 / b) + (1 - 1 / a) * harmonic - jnp.log(a) - jnp.log(b)
    return jnp.log(p.high - p.low) - entropy
