"""Expectations over the base of q: E_q[f(z, log q(z))] with z = T(e) is an expectation over e, without an inverse.

A distribution that is another one pushed through a map with a known volume is reduced, layer by layer, to the
distribution of the noise: log q(T(e)) = log base(e) - log |det dT/de|.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.continuity import AssumedContinuous
from reparax.distributions import ClassNormal, Pushforward
from reparax.distributions.flows import is_atomic
from reparax.errors import NoClosedForm
from reparax.estimators._base import LogJoint
from reparax.estimators._parameters import flat_transforms
from reparax.estimators.draws import (
    draw_one,
    is_distribution,
    leaves,
    log_prob,
    normalized,
    numpyro_rules,
    stopped,
)
from reparax.reparameterization import innermost
from reparax.reparameterization.numerics import widened

Through = Callable[[Array], tuple[Array, Array]]
Push = Callable[[Any], tuple[Any, Float[Array, ""]]]
Stretch = Callable[[Any], tuple[Any, Float[Array, ""]]]
# numpyro gives NaN as their mean: there is none, or the values are categories.
_WITHOUT_MEAN = (dist.Cauchy, dist.CategoricalProbs, dist.CategoricalLogits)


def base_of(q: Any) -> tuple[Any, Push]:
    """A base distribution, and ``push``: e -> (z, log q(z)), so that E_q[f(z, log q(z))] = E_base[f(*push(e))].

    Every estimator that is valid for the base estimates this expectation, and its derivatives in the parameters of base
    and map: ``expectation(lambda e: f(*push(e)), base, key=key)``. Rezende & Mohamed (2015), equations 5 to 7.

    Args:
        q: A distribution or a pytree of independent ones. A `Pushforward` is reduced to its base, and so is a
            ``TransformedDistribution`` of numpyro (but no subclass), also inside wrappers and inside each other. The
            base of any other distribution is the distribution itself, with push(z) = (z, log q(z)).

    Returns:
        The base, in the structure of q, and a function of ONE draw of it that returns z and the scalar log q(z), summed
        over batch dimensions and over the distributions of a pytree; nats.
    """
    base, stretch = _stretched(q, _has_base)

    def push(e: Any) -> tuple[Any, Array]:
        z, volume = stretch(e)
        with numpyro_rules():
            return z, log_prob(base, e) - volume

    return base, push


def joint_at_base(log_joint: LogJoint, q: Any) -> tuple[LogJoint, Any]:
    """log p(x, T(e)) + log |det dT/de| and the base, for which a bound has the same value, draw by draw.

    q is returned unchanged unless the base is needed. numpyro's transforms have cheap inverses, and the support that
    they declare says more about z than their code: log p(x, z) can be shown to be continuous more often than
    log p(x, T(e)).
    """
    if not any(_needs_base(leaf) for leaf in leaves(q)):
        return log_joint, q
    base, stretch = _stretched(q, _needs_base)

    def joint(e: Any) -> Array:
        z, volume = stretch(e)
        value = log_joint(z)
        with numpyro_rules():
            return value + volume

    return (AssumedContinuous(joint) if isinstance(log_joint, AssumedContinuous) else joint), base


def sample_with_log_prob(
    q: dist.Distribution, key: jax.Array, sample_shape: tuple[int, ...] = ()
) -> tuple[Float[Array, "*s"], Float[Array, "*batch"]]:
    """Draws and their log densities in one pass, also if the density at other values is not known.

    Both are constants for differentiation; for derivatives see `base_of`.

    Args:
        q: The distribution.
        key: The random key.
        sample_shape: The shape of the array of independent draws.

    Returns:
        Draws of shape ``sample_shape + batch_shape + event_shape``, and log q of each, ``sample_shape + batch_shape``.
    """
    root, forward = _unrolled(q)
    e = draw_one(root, key, sample_shape)
    with numpyro_rules():
        z, volume = forward(e)
        log_base = normalized(widened(root)).log_prob(e)
        return stopped((z, _summed_to(log_base, len(sample_shape) + len(q.batch_shape)) - volume))


def code_of(q: dist.Distribution) -> Float[Array, "*s"]:
    """One z that represents q, without sampling, of shape ``batch_shape + event_shape``.

    The mean, if numpyro has it in closed form (for a `Delta`, its value). For a `Pushforward` (and for a
    ``TransformedDistribution`` of numpyro, and for one inside the other) it is T(mean of the base), which is not the
    mean of q unless T is affine.

    Raises:
        NoClosedForm: No mean is known, or there is none.
    """
    root, forward = _unrolled(q)
    inner = innermost(root)
    try:
        mean = None if isinstance(inner, _WITHOUT_MEAN) else root.mean
    except NotImplementedError:
        mean = None
    if mean is None:
        raise NoClosedForm(
            expected="a distribution whose mean, or the mean of whose base, is known in closed form",
            got=type(inner).__name__,
            cure="sample from it and use the draws",
        )
    with numpyro_rules():
        return forward(jnp.broadcast_to(mean, root.shape()))[0]


def _stretched(q: Any, is_reduced: Callable[[dist.Distribution], bool]) -> tuple[Any, Stretch]:
    """The base of a pytree of distributions, and e -> (z, log |det dz/de|), of ONE draw, the volumes added up."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    bases = [_reduced(leaf, is_reduced) for leaf in flat]

    def stretch(e: Any) -> tuple[Any, Array]:
        with numpyro_rules():
            values = structure.flatten_up_to(e)
            pushed = [forward(jax.tree.map(jnp.asarray, e)) for (_, forward), e in zip(bases, values, strict=True)]
            total = jnp.sum(jnp.stack([jnp.sum(volume) for _, volume in pushed]))
        return jax.tree.unflatten(structure, [z for z, _ in pushed]), total

    return jax.tree.unflatten(structure, [root for root, _ in bases]), stretch


def _reduced(q: dist.Distribution, is_reduced: Callable[[dist.Distribution], bool]) -> tuple[Any, Any]:
    """The base of one distribution, which may be a pytree, and the map from one draw of it to z and the volume."""
    if isinstance(q, ClassNormal):
        return q.base, q.push
    return _unrolled(q) if is_reduced(q) else _itself(q)


def _itself(q: dist.Distribution) -> tuple[dist.Distribution, Through]:
    return q, lambda e: (e, _no_volume(e, q))


def _unrolled(q: dist.Distribution) -> tuple[dist.Distribution, Through]:
    """The base of one distribution, and the map from draws of it (any number of them) to draws of q and the volume."""
    if not _has_base(q):
        return _itself(q)
    q = widened(q)
    inner, shape = innermost(q), q.shape()
    batch = shape[: len(shape) - len(inner.event_shape)]
    below = inner.base if isinstance(inner, Pushforward) else inner.base_dist
    root, first = _unrolled(below if below.batch_shape == batch else below.expand(batch))

    def forward(e: Array) -> tuple[Array, Array]:
        x, volume = first(e)
        z, more = inner.push(x) if isinstance(inner, Pushforward) else _transformed(inner, x)
        front = z.ndim - len(shape)
        return z, _summed_to(volume + more, front + len(q.batch_shape))

    return root, forward


def _transformed(inner: dist.TransformedDistribution, x: Array) -> tuple[Array, Array]:
    """Draws of the base after numpyro's transforms, and the volume, summed over the event."""
    front = x.ndim - len(inner.base_dist.event_shape)
    volume = jnp.zeros(x.shape[:front], x.dtype)
    for step in inner.transforms:
        z, between = step.call_with_intermediates(x)
        log_det = step.log_abs_det_jacobian(x, z, between)
        # The result of a transform may lack axes on which it does not depend.
        log_det = jnp.broadcast_to(log_det, x.shape[: x.ndim - step.domain.event_dim])
        volume, x = volume + _summed_to(log_det, front), z
    return x, volume


def _has_base(q: dist.Distribution) -> bool:
    """Whether a distribution has a base other than itself."""
    inner = innermost(q)
    if isinstance(inner, Pushforward):
        return True
    # A subclass may sample and compute densities differently; an absolute value has no unique inverse.
    return (
        type(inner) is dist.TransformedDistribution
        and not is_atomic(inner.base_dist)
        and not any(isinstance(step, dist.transforms.AbsTransform) for step in flat_transforms(inner.transforms))
    )


def _needs_base(q: dist.Distribution) -> bool:
    """Whether the density at a given z needs an inverse that is missing, or not known to be cheap."""
    inner = innermost(q)
    if isinstance(inner, Pushforward | ClassNormal) or not _has_base(inner):
        return isinstance(inner, Pushforward | ClassNormal)
    custom = (type(step).__module__ != dist.transforms.__name__ for step in flat_transforms(inner.transforms))
    return any(custom) or _needs_base(inner.base_dist)


def _no_volume(e: Array, q: dist.Distribution) -> Float[Array, "*batch"]:
    dtype = e.dtype if jnp.issubdtype(e.dtype, jnp.floating) else jnp.result_type(float)
    return jnp.zeros(e.shape[: e.ndim - len(q.event_shape)], dtype)


def _summed_to(terms: Array, num_axes: int) -> Array:
    """The sum over all axes after the first ``num_axes``."""
    return jnp.sum(terms, axis=tuple(range(num_axes, terms.ndim)))
