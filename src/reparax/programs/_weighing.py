"""How draws weigh the costs downstream: the box of scores, the surrogate of antithetic pairs, enumerated states."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators.discrete import logits_of, threshold, uniforms
from reparax.estimators.scores import differentiable_once
from reparax.programs._upstream import Running, Upstream


def _constant(value: float, like: Array) -> Array:
    # Jax batches the second derivative of a while loop wrongly where a custom rule's result is not batched like its
    # derivative: so it reads what it does not need, and the compiler drops it.
    constant = jnp.full_like(like, value)
    return jnp.where(like == like, constant, constant)


@jax.custom_jvp
def box(log_prob: Float[Array, ""]) -> Float[Array, ""]:
    """1, with the derivatives of exp(l - stop(l)), of every order: DiCE, Foerster et al. (2018), eq. 5.

    Written as a rule, so that the log density itself need not be computed where only its derivative is used.
    """
    return _constant(1.0, log_prob)


@box.defjvp
def _box_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value = box(primals[0])
    return value, value * tangents[0]


_once = differentiable_once(
    lambda: InvalidEstimator(
        expected="first derivatives in the logits of a DisARM draw",
        got="a second derivative, for which its pairs give no estimate",
        cure="use estimator='leave-one-out' at that draw",
    )
)


@jax.custom_jvp
def _with_slope(logit: Float[Array, "*s"], slope: Float[Array, "*s"]) -> Float[Array, ""]:
    return jnp.sum(_constant(0.0, logit))


@_with_slope.defjvp
def _with_slope_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    logit, slope = primals
    return _with_slope(logit, slope), jnp.sum(slope * tangents[0])


def antithetic(q: Any, key: jax.Array, axis: str) -> tuple[list[Array], Float[Array, ""]]:
    """The bits of one copy of a pair, and 0 with the derivative sum (b - b~) sigmoid(|logit|) dlogit.

    Copies 2j and 2j + 1 share the noise u of copy 2j; the bits are 1[u < p] in one and 1[1 - u < p] in the other. The
    cost times this derivative is unbiased for each copy alone, whatever becomes of its partner, as b~ is computed here
    from the same logits; averaged over a pair with equal logits it is DisARM: Dong, Mnih & Tucker (2020), eq. 8.
    """
    own = jax.lax.axis_index(axis)
    all_keys = jax.lax.all_gather(jax.random.key_data(key), axis)
    shared = jax.random.wrap_key_data(all_keys[own // 2 * 2], impl=jax.random.key_impl(key))
    logits = logits_of(q)
    noise = [jnp.where(own % 2 == 0, u[0], 1 - u[0]) for u in uniforms(logits, shared, 1)]
    bits = [b[0] for b in threshold([u[None] for u in noise], logits)]
    opposite = [b[0] for b in threshold([1 - u[None] for u in noise], logits)]
    slopes = [
        (b - c).astype(logit.dtype) * jax.nn.sigmoid(jnp.abs(jax.lax.stop_gradient(logit)))
        for b, c, logit in zip(bits, opposite, logits, strict=True)
    ]
    terms = [_with_slope(_once(logit), slope) for logit, slope in zip(logits, slopes, strict=True)]
    return bits, jnp.sum(jnp.stack(terms))


def weighed(value: Array, upstream: Upstream) -> Array:
    """The value times the weight of the enumerated draws."""
    return value * upstream.weight.astype(value.dtype)


def scored(value: Array, upstream: Upstream, baseline: Array | None) -> Array:
    """(1 + paired) * box * value + (1 - box) * baseline: the value, with the derivatives of its draws.

    Derivatives of every order of the box are unbiased if the baseline does not depend on the draws in it: Mao et al.
    (2019), "A baseline for any order gradient estimation in stochastic computation graphs", eq. 8. The baseline stands
    with the box alone, as the pairs of DisARM are not independent of the other copies, and without this copy's weight,
    which depends on its draws: it is a mean of values that are weighed already.
    """
    score = box(upstream.log_prob).astype(value.dtype)
    result = value * score * (1 + upstream.paired.astype(value.dtype))
    return result if baseline is None else result + (1 - score) * baseline


def mean_of_others(value: Array, mode: Running) -> Array | None:
    """The mean of the other copies' values at this place; ``None`` for a single copy.

    Mnih & Rezende (2016), section 2.4; Kool et al. (2019), eq. 8.
    """
    if mode.copies == 1:
        return None
    return (jax.lax.psum(value, mode.axis) - value) / (mode.copies - 1)
