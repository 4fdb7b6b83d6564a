"""The door: reparameterized samples."""

import jax
from jaxtyping import Array, Float
from numpyro import distributions as dist

from reparax.errors import NotReparameterizable
from reparax.reparameterization._rule import ParameterRule, find, parameter_rules
from reparax.reparameterization._shapes import widened
from reparax.reparameterization._unwrap import innermost, is_discrete


def rsample(q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """A sample whose derivative with respect to every parameter of q is right.

    The sample is z = g(eps, theta) with eps free of theta, or behaves as if it were (implicit reparameterization,
    Figurnov et al. 2018, eq. 5), so that d/dtheta E[f(z)] = E[f'(z) dz/dtheta] for every continuous f that is
    differentiable almost everywhere.

    Args:
        q: The distribution.
        key: The random key; the same key gives the same bits.
        sample_shape: The shape of independent draws, put in front.

    Returns:
        An array of shape ``sample_shape + q.batch_shape + q.event_shape``; of float32 where the parameters are of half
        precision.

    Raises:
        NotReparameterizable: The sample is not a differentiable function of a parameter. The error names it, and
            the estimators that can be used.
    """
    refused = tuple(rule for rule in parameter_rules(q) if not rule.differentiable)
    found = find(q)
    if refused or found is None:
        raise refusal(q, refused)
    # numpyro broadcasts batches against samples implicitly: its house rule, not a slip of the caller's.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        return found.sampler(widened(q), key, tuple(sample_shape))


def refusal(q: dist.Distribution, refused: tuple[ParameterRule, ...]) -> NotReparameterizable:
    """The error that names the parameters without a reparameterization, and the estimators that can."""
    names = ", ".join(dict.fromkeys(rule.parameter for rule in refused))
    return NotReparameterizable(
        expected=f"{type(q).__name__} to have samples that are a differentiable function of {names}",
        got="; ".join(dict.fromkeys(rule.reason for rule in refused)),
        cure="use an estimator that does not differentiate the sample: " + ", ".join(_alternatives(q)),
    )


def _alternatives(q: dist.Distribution) -> tuple[str, ...]:
    base = innermost(q)
    if isinstance(base, dist.BernoulliProbs | dist.BernoulliLogits):
        return ("enumeration", "DisARM", "score function with a leave-one-out baseline", "measure-valued")
    if q.has_enumerate_support:
        return ("enumeration", "sum-and-sample", "score function with a leave-one-out baseline")
    if is_discrete(base):
        return ("score function with a leave-one-out baseline", "measure-valued")
    return ("score function with a leave-one-out baseline",)
