"""The front door: E_q[f(z)], whose derivative is an estimate of the derivative."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpyro.distributions as dist

from reparax.continuity import trusted
from reparax.estimators._distributions import check_distributions, check_num_samples, leaves
from reparax.estimators._grouping import Group, grouped
from reparax.estimators._integrand import Integrand
from reparax.estimators._plan import planned


def expectation(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    num_samples: int = 1,
    estimator: Any = "auto",
) -> Any:
    """An estimate of E_q[f(z)]; differentiating it gives an estimate of the derivative of the expectation.

    ``jax.grad``, ``jacfwd``, ``hessian``, ``vmap``, ``jit``, ``scan`` and ``checkpoint`` around it stay right, whether
    the parameters enter through the leaves of q, through f, or through both, and f may contain expectations itself.

    Args:
        f: The integrand, of ONE draw: ``f(z)`` or ``f(z, *, key)``. It returns an array of any shape or a pytree of
            arrays. With a keyword-only ``key`` it gets a fresh one per draw, for its own randomness; a key it closes
            over is shared by all draws, which is unbiased too.
        q: A numpyro distribution, or a pytree whose leaves are independent distributions; z has the same structure.
        key: The random key.
        num_samples: The number of draws of the outermost level that is sampled. An estimator that needs more draws
            than this makes as many as it needs (leave-one-out: 2). Inner levels make as few as they can.
        estimator: ``"auto"``, the name of an estimator, an instance of one, or a pytree of these that has the structure
            of q. "auto" enumerates if that is cheap, reparameterizes if possible, takes DisARM or ARMS for binary
            variables and leave-one-out for the rest, as well as for variables in which f is not shown to be continuous.

    Returns:
        The mean of f over the draws (exact where all of q is enumerated), in the structure that f returns.

    Raises:
        InvalidEstimator: An estimator would be wrong for q or f; the message names those that are valid. When it is
            differentiated: in a value inside f that moves a jump of f, which no estimator but ``boundary`` sees.
        RecipeError: No estimator has that name.
    """
    check_num_samples(num_samples)
    check_distributions(leaves(q), "mask inside f instead, for example lambda z: jnp.where(mask, f(z), 0)")
    plan = planned(f, q, estimator, num_samples)
    for message in plan.said:
        warnings.warn(message, UserWarning, stacklevel=2)
    return trusted(_nested(plan.integrand, plan.flat, grouped(plan.estimators), {}, key, num_samples))


def _nested(
    f: Integrand,
    flat: list[dist.Distribution],
    groups: list[Group],
    known: dict[int, Any],
    key: jax.Array,
    num_samples: int,
) -> Any:
    if not groups:
        return f([known[index] for index in range(len(flat))], key)
    (estimator, members), *inner = groups
    # Only the outermost sampled level makes num_samples draws: the draws of inner levels are averaged over it.
    left = num_samples if estimator.level == "enumerate" else 1

    def given(z: list[Any], k: jax.Array) -> Any:
        return _nested(f, flat, inner, known | dict(zip(members, z, strict=True)), k, left)

    chosen = [flat[index] for index in members]
    return estimator.estimate(given, chosen, key=key, num_samples=max(num_samples, estimator.minimum_samples))
