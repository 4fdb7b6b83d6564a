"""How draws weight the costs downstream of them: the state that is passed through a program, and its estimators."""

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
    """The program is being traced to find its draws and costs."""


@dataclass(frozen=True)
class Running:
    """The program is being run with an estimator for each of its draws.

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
    """The draws before a point of a program: made by `simulate`, passed on by `draw`, used by `cost`.

    It is a pytree, which can be carried through ``scan``, ``while_loop``, ``cond`` and ``vmap``. The estimators are
    static, so that jax's caches never mix different choices.

    Args:
        log_prob: The sum of log q(z) over score-function draws, nats; while probing, the variable that is traced.
        paired: 0, with the DisARM estimate of the score of binary draws as its derivative.
        weight: The product over enumerated draws of the probability of the state, times the number of states.
        mode: Whether the program is probed or run.
        left: Whether it came out of a vmap, with separate draws for each lane.
    """

    log_prob: Float[Array, "*lanes"]
    paired: Float[Array, "*lanes"]
    weight: Float[Array, "*lanes"]
    mode: Probing | Running
    left: bool = False

    def tree_flatten(self) -> tuple[tuple[Array, ...], tuple[Any, ...]]:
        """The arrays, and the static fields.

        An upstream with axes came out of a vmap. Inside a second vmap it would have no axes and look like an upstream
        of all lanes, so that this is recorded here.
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
    """A name for an axis that no enclosing ``vmap`` uses."""
    depth = 0
    while True:
        name = f"reparax {what} {depth}"
        try:
            jax.lax.axis_size(name)
        except NameError:
            return name
        depth += 1


def _constant(value: float, like: Array) -> Array:
    # Jax batches the second derivative of a while loop wrongly if the result of a custom rule is not batched like its
    # derivative. The result therefore depends on `like`, which the compiler removes.
    constant = jnp.full_like(like, value)
    return jnp.where(like == like, constant, constant)


@jax.custom_jvp
def box(log_prob: Float[Array, ""]) -> Float[Array, ""]:
    """1, with the derivatives of exp(l - stop(l)), of every order: DiCE, Foerster et al. (2018), eq. 5.

    A custom rule, so that the log density need not be computed if only its derivative is used.
    """
    return _constant(1.0, log_prob)


@box.defjvp
def _box_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value = box(primals[0])
    return value, value * tangents[0]


_once = differentiable_once(
    lambda: InvalidEstimator(
        expected="first derivatives in the logits of a DisARM draw",
        got="a second derivative, for which DisARM has no estimate",
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
    cost times this derivative is unbiased for each copy separately, whatever the other copy does, because b~ is
    computed from the same logits. Averaged over a pair with equal logits it is DisARM: Dong, Mnih & Tucker (2020),
    eq. 8.
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
    (2019), "A baseline for any order gradient estimation in stochastic computation graphs", eq. 8. The baseline is
    multiplied by the box only: the pairs of DisARM are not independent of the other copies, and this copy's weight
    depends on its draws. The baseline is a mean of values that are already weighted.
    """
    score = box(upstream.log_prob).astype(value.dtype)
    result = value * score * (1 + upstream.paired.astype(value.dtype))
    return result if baseline is None else result + (1 - score) * baseline


def mean_of_others(value: Array, mode: Running) -> Array | None:
    """The mean of the values of the other copies; ``None`` for a single copy.

    Mnih & Rezende (2016), section 2.4; Kool et al. (2019), eq. 8.
    """
    if mode.copies == 1:
        return None
    return (jax.lax.psum(value, mode.axis) - value) / (mode.copies - 1)
