"""Control variates: REBAR, RELAX, and linear combinations of estimators."""

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators.draws import is_distribution
from reparax.estimators.relaxed import Relaxed, logits_log_prob, natural_logits, not_relaxable, relaxed_draw, soft
from reparax.estimators.scores import (
    along,
    as_floating,
    held_at_edges,
    leave_one_out,
    magic_box,
    mean,
    with_edges,
    zeros_like,
)

Control = Callable[[list[Array], jax.Array], Any]
_START = 1.0


class REBAR(AbstractEstimator):
    """(f(b) - eta f(s(z~))) d log q(b) + eta d f(s(z)) - eta d f(s(z~)), s a sigmoid or softmax at a temperature.

    f is also evaluated between the values of b: it must accept floating arrays and be continuous there. Each draw takes
    three evaluations of f. The baseline of the residual f(b) - eta f(s(z~)) is its mean over the other draws, and eta
    is fitted to the other draws unless it is given as ``scale``: neither adds bias. `adapt` minimizes the variance with
    respect to ``temperature``, and to ``scale`` if it is given. Tucker et al. (2017), eq. 4.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 4
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Tucker et al. (2017), eq. 4"

    temperature: float | Array = 0.1
    scale: float | Array | None = None

    @property
    def differentiates_the_sample(self) -> bool:
        return True

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return controlled(f, q, _relaxed(f, q, self.temperature), self.scale, key, num_samples)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return 3 * num_samples


class RELAX(AbstractEstimator):
    """(f(b) - c(z~)) d log q(b) + d c(z) - d c(z~), with c any continuous function of the noisy logits.

    c is the ``surrogate``, which is called with the noisy logits, one array per distribution, and returns what f
    returns; f itself may then be a black box. With a ``temperature``, c(z) = f(s(z)) + surrogate(z), s a sigmoid or
    softmax at that temperature: f must be continuous between the values of b, and is evaluated three
    times per draw; with a surrogate of 0 this is `REBAR`. `adapt` trains the surrogate, as any pytree with arrays, and
    the temperature by minimizing the variance. The weight ``scale`` of c (eta) is by default fitted to the other draws,
    and the baseline of the residual f(b) - eta c(z~) is its mean over the other draws. With a single draw eta is 1 and
    there is no baseline. Grathwohl et al. (2018), eq. 7.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and any f (a continuous one with a temperature)"
    reference: ClassVar[str] = "Grathwohl et al. (2018), eq. 7"
    family: ClassVar[str] = "relaxation"

    surrogate: Callable[..., Any]
    scale: float | Array | None = None
    temperature: float | Array | None = None

    @property
    def differentiates_the_sample(self) -> bool:
        return self.temperature is not None

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        relaxed = None if self.temperature is None else _relaxed(f, q, self.temperature)

        def control(logits: list[Array], k: jax.Array) -> Any:
            added = self.surrogate(*logits)
            return added if relaxed is None else jax.tree.map(jnp.add, relaxed(logits, k), added)

        return controlled(f, q, control, self.scale, key, num_samples)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples if self.temperature is None else 3 * num_samples


def _relaxed(f: Integrand, q: Any, temperature: float | Array) -> Control:
    """f of the noisy logits' sigmoids or softmaxes at a temperature."""
    flat, structure = jax.tree.flatten(held_at_edges(q), is_leaf=is_distribution)

    def control(logits: list[Array], k: jax.Array) -> Any:
        relaxed = [soft(leaf, z, temperature) for leaf, z in zip(flat, logits, strict=True)]
        return f(jax.tree.unflatten(structure, relaxed), k)

    return control


class LinearCombination(AbstractEstimator):
    """``sum_i w_i E_i`` with weights ``w = C^{-1} 1 / (1' C^{-1} 1)``, C the covariance of the gradients E_i.

    The weights sum to 1. C is estimated from ``num_pilot`` separate runs of every part, so that the combination stays
    unbiased. All parts get the same key, so that what they share can cancel. Geffner & Domke (2018), section 4.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "what all of its parts are valid for"
    reference: ClassVar[str] = "Geffner & Domke (2018), section 4"

    estimators: tuple[AbstractEstimator, ...]
    num_pilot: int = 16

    @property
    def differentiates_the_sample(self) -> bool:
        return any(part.differentiates_the_sample for part in self.estimators)

    def refusal(self, q: dist.Distribution) -> str | None:
        for part in self.estimators:
            reason = part.refusal(q) or (None if part.unbiased else "it is biased, and so the combination would be")
            if reason is not None:
                return f"{type(part).__name__}: {reason}"
        return None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        pilot_key, key = jax.random.split(key)
        constant = jax.lax.stop_gradient
        trainable, rest = eqx.partition(q, eqx.is_inexact_array)

        def gradient(part: AbstractEstimator, k: jax.Array) -> Float[Array, " p"]:
            def total(leaves: Any) -> Array:
                result = self._one(part, f, eqx.combine(leaves, rest), k, num_samples)
                return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(result)]))

            slopes = jax.tree.leaves(jax.grad(total)(constant(trainable)))
            return jnp.concatenate([slope.reshape(-1) for slope in slopes])

        keys = jax.random.split(pilot_key, self.num_pilot)
        pilot = jnp.stack([jax.vmap(lambda k, part=part: gradient(part, k))(keys) for part in self.estimators])
        weights = constant(_least_variance(pilot))
        results = [self._one(part, f, q, key, num_samples) for part in self.estimators]
        return jax.tree.map(lambda *leaves: _weighted(weights, jnp.stack(leaves)), *results)

    def _one(self, part: AbstractEstimator, f: Integrand, q: Any, key: jax.Array, num_samples: int) -> Any:
        return part.estimate(f, q, key=key, num_samples=max(num_samples, part.minimum_samples))

    def evaluations(self, q: Any, num_samples: int) -> int:
        each = sum(part.evaluations(q, max(num_samples, part.minimum_samples)) for part in self.estimators)
        return each * (1 + self.num_pilot)


def _least_variance(gradients: Float[Array, "m n p"]) -> Float[Array, " m"]:
    centered = gradients - jnp.mean(gradients, axis=1, keepdims=True)
    flat = centered.reshape(len(centered), -1)
    covariance = flat @ flat.T
    ridge = 1e-6 * jnp.trace(covariance) + jnp.finfo(covariance.dtype).tiny
    solved = jnp.linalg.solve(covariance + ridge * jnp.eye(len(flat), dtype=flat.dtype), jnp.ones_like(flat[:, 0]))
    return solved / jnp.sum(solved)


def _weighted(weights: Float[Array, " m"], leaf: Float[Array, "m *s"]) -> Float[Array, "*s"]:
    return jnp.sum(along(weights, leaf) * leaf, axis=0)


def controlled(
    f: Integrand, q: Any, control: Control, scale: Array | float | None, key: jax.Array, num_samples: int
) -> Any:
    """The mean over draws of box(b) (f(b) - eta c(z~) - m) + eta c(z) + m, with the value f(b).

    E c(z) = E c(z~) for all parameters, so that eta (c(z) - c(z~)) does not change the expectation of a derivative of
    any order. The baseline m is the mean of f(b) - eta c(z~) over the other draws, and eta is fitted to the other draws
    unless it is given: neither depends on the draw itself. Tucker et al. (2017), eq. 4; Grathwohl et al. (2018), eq. 7.

    Args:
        f: The integrand.
        q: A pytree of relaxable distributions.
        control: c, a function of the noisy logits of every distribution and of the key for f's randomness.
        scale: The weight eta of the control variate; it is fitted if ``None``.
        key: The random key.
        num_samples: The number of draws.
    """
    flat, structure = jax.tree.flatten(held_at_edges(q), is_leaf=is_distribution)
    logits = [natural_logits(leaf) for leaf in flat]

    def noisy(at: list[Array], draw_key: jax.Array) -> tuple[list[Relaxed], jax.Array]:
        *keys, f_key = jax.random.split(draw_key, len(flat) + 1)
        return [relaxed_draw(leaf, k, leaf_logits) for leaf, leaf_logits, k in zip(flat, at, keys, strict=True)], f_key

    def one(draw_key: jax.Array) -> tuple[Array, Any, Any, Any]:
        draws, f_key = noisy(logits, draw_key)
        hard = [draw.hard for draw in draws]
        value = as_floating(f(jax.tree.unflatten(structure, hard), f_key))
        free = as_floating(control([draw.free for draw in draws], f_key))
        given = as_floating(control([draw.given for draw in draws], f_key))
        return _log_prob(flat, logits, hard), value, free, given

    keys = jax.random.split(key, num_samples)
    log_probs, values, free, given = jax.vmap(one)(keys)
    if scale is None:
        slopes = _slopes(lambda at, k: noisy(at, k), flat, control, logits, keys)
        weights = _fitted(_total(values), _total(given), *slopes)
    else:
        weights = jnp.full(num_samples, jnp.asarray(scale, log_probs.dtype))
    box = magic_box(log_probs)
    others = leave_one_out if num_samples > 1 else zeros_like

    def combine(value: Array, free: Array, given: Array, value_rest: Array, given_rest: Array) -> Array:
        boxed, eta = along(box, value), along(weights, value)
        # The baseline uses this draw's weight, because the weights of the others depend on this draw.
        baseline = value_rest - eta * given_rest
        surrogate = boxed * (value - eta * given) + (1 - boxed) * baseline + eta * free
        # The control variate changes the derivative only: the value is that of f.
        return surrogate + jax.lax.stop_gradient(value - surrogate)

    combined = jax.tree.map(combine, values, free, given, others(values), others(given))
    return mean(with_edges(combined, f, q, jax.random.fold_in(key, num_samples)))


def _log_prob(flat: list[Any], logits: list[Array], hard: list[Array]) -> Float[Array, ""]:
    terms = [logits_log_prob(leaf, leaf_logits, b) for leaf, leaf_logits, b in zip(flat, logits, hard, strict=True)]
    return jnp.sum(jnp.stack(terms))


def _total(tree: Any) -> Float[Array, " n"]:
    """The sum of all outputs per draw: all have the same weight."""
    leaves = [jax.lax.stop_gradient(leaf) for leaf in jax.tree.leaves(tree)]
    return jnp.sum(jnp.stack([leaf.reshape(len(leaf), -1).sum(axis=1) for leaf in leaves]), axis=0)


def _slopes(
    noisy: Callable[..., Any], flat: list[Any], control: Control, logits: list[Array], keys: jax.Array
) -> tuple[Array, Array, Array]:
    """Per draw <s, s>, <s, h> and <h, h>, with s the score and h = d c(z) - d c(z~), in the logits."""
    constant = jax.lax.stop_gradient(logits)

    def one(key: jax.Array) -> tuple[Array, Array, Array]:
        def difference(at: list[Array]) -> Array:
            draws, f_key = noisy(at, key)
            free = as_floating(control([draw.free for draw in draws], f_key))
            given = as_floating(control([draw.given for draw in draws], f_key))
            changes = jax.tree.map(lambda a, b: jnp.sum(a - b), free, given)
            return jnp.sum(jnp.stack(jax.tree.leaves(changes)))

        draws, _ = noisy(constant, key)
        score = jax.grad(lambda at: _log_prob(flat, at, [draw.hard for draw in draws]))(constant)
        change = jax.grad(difference)(constant)
        return _dot(score, score), _dot(score, change), _dot(change, change)

    return jax.lax.stop_gradient(jax.vmap(one)(keys))


def _dot(left: list[Array], right: list[Array]) -> Array:
    return jnp.sum(jnp.stack([jnp.sum(a * b) for a, b in zip(left, right, strict=True)]))


def _fitted(
    value: Float[Array, " n"], given: Float[Array, " n"], score: Array, mixed: Array, change: Array
) -> Float[Array, " n"]:
    """Per draw, the eta that is best for the other draws; 1 if there are fewer than three draws.

    The gradient of a draw is (f - m) s - eta ((c - m_c) s - h), where the means m and m_c leave out both this draw and
    the one that eta is for. Its mean square over the other draws is least at the ratio of two sums, which is shrunk
    toward 1 with the weight of one draw.
    """
    count = len(value)
    if count < 3:
        return jnp.full(count, jnp.asarray(_START, value.dtype))
    value, given = value.astype(score.dtype), given.astype(score.dtype)
    f_rest, c_rest = _centered(value), _centered(given)
    score, mixed, change = score[None], mixed[None], change[None]
    numerator = f_rest * c_rest * score - f_rest * mixed
    denominator = c_rest**2 * score - 2 * c_rest * mixed + change
    others = 1 - jnp.eye(count, dtype=score.dtype)
    best, size = jnp.sum(others * numerator, axis=1), jnp.sum(others * denominator, axis=1)
    prior = size / (count - 1)
    total = size + prior
    return jnp.where(total > 0, (best + _START * prior) / jnp.where(total > 0, total, 1), _START)


def _centered(x: Float[Array, " n"]) -> Float[Array, "n n"]:
    """x_k minus the mean of all but i and k, at [i, k]."""
    rest = (jnp.sum(x) - x[:, None] - x[None, :]) / (len(x) - 2)
    return x[None, :] - rest
