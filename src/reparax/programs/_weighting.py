"""How draws weight the costs downstream of them: the state that travels through a program, and its estimators."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators.draws import logits_of, threshold, uniforms
from reparax.estimators.scores import differentiable_once


@dataclass(frozen=True)
class Probing:
    """The program is being traced to see its draws and costs."""


@dataclass(frozen=True)
class Running:
    """The program is being run, with a choice for each of its draws.

    Args:
        axis: The name of the axis of copies.
        copies: The number of copies.
        estimators: Pairs of a site's name and its estimator.
        axes: Pairs of an enumerated site's name and the name of the axis of its states.
        without_baseline: The costs for which the other copies are no valid baseline.
    """

    axis: str
    copies: int
    estimators: tuple[tuple[str, str], ...]
    axes: tuple[tuple[str, str], ...] = ()
    without_baseline: frozenset[str] = field(default_factory=frozenset)


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Upstream:
    """The draws upstream of a place in a program; made by `simulate`, passed on by `draw`, read by `cost`.

    It is a pytree, so that it travels in the carry of ``scan`` and ``while_loop``, through ``cond`` and ``vmap``. What
    was chosen for each site is static, so that jax's caches never mix two choices.

    Args:
        log_prob: The sum of log q(z) over score-function draws, nats; while probing, the variable that is followed.
        paired: 0, with the DisARM estimate of the score of binary draws as its derivative.
        weight: The product over enumerated draws of the probability of the state, times the number of states.
        mode: What the program is traced for.
        left: Whether it came out of a vmap, and so holds the draws of one lane each.
    """

    log_prob: Float[Array, "*lanes"]
    paired: Float[Array, "*lanes"]
    weight: Float[Array, "*lanes"]
    mode: Probing | Running
    left: bool = False

    def tree_flatten(self) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
        """The arrays, and what is static.

        An upstream with axes has left a vmap. Inside of a second one it would have none again, and pass for an
        upstream of all lanes: so that is remembered whenever it is taken apart.
        """
        left = self.left or getattr(self.log_prob, "ndim", 0) > 0
        return (self.log_prob, self.paired, self.weight), (self.mode, left)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], arrays: tuple[Any, ...]) -> "Upstream":
        """The inverse."""
        return cls(*arrays, *static)


def start(mode: Probing | Running) -> Upstream:
    """No draws yet."""
    dtype = jnp.result_type(float)
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)
    return Upstream(zero, zero, one, mode)


def unused_axis(what: str) -> str:
    """A name for an axis that no enclosing ``vmap`` has taken."""
    depth = 0
    while True:
        name = f"reparax {what} {depth}"
        try:
            jax.lax.axis_size(name)
        except NameError:
            return name
        depth += 1


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
    copy = jax.lax.axis_index(axis)
    all_keys = jax.lax.all_gather(jax.random.key_data(key), axis)
    shared = jax.random.wrap_key_data(all_keys[copy // 2 * 2], impl=jax.random.key_impl(key))
    logits = logits_of(q)
    noise = [jnp.where(copy % 2 == 0, u[0], 1 - u[0]) for u in uniforms(logits, shared, 1)]
    bits = [b[0] for b in threshold([u[None] for u in noise], logits)]
    opposite = [b[0] for b in threshold([1 - u[None] for u in noise], logits)]
    slopes = [
        (b - c).astype(logit.dtype) * jax.nn.sigmoid(jnp.abs(jax.lax.stop_gradient(logit)))
        for b, c, logit in zip(bits, opposite, logits, strict=True)
    ]
    terms = [_with_slope(_once(logit), slope) for logit, slope in zip(logits, slopes, strict=True)]
    return bits, jnp.sum(jnp.stack(terms))


def weighted(value: Array, upstream: Upstream) -> Array:
    """The value times the weight of the enumerated draws."""
    return value * upstream.weight.astype(value.dtype)


def scored(value: Array, upstream: Upstream, baseline: Array | None) -> Array:
    """(1 + paired) * box * value + (1 - box) * baseline: the value, with the derivatives of its draws.

    Derivatives of every order of the box are unbiased if the baseline does not depend on the draws in it: Mao et al.
    (2019), "A baseline for any order gradient estimation in stochastic computation graphs", eq. 8. The baseline stands
    with the box alone, as the pairs of DisARM are not independent of the other copies, and without this copy's weight,
    which depends on its draws: it is a mean of values that are weighted already.
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
