"""Relaxations of binary and one-hot variables, and the (biased) estimators that differentiate through them."""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.codes import RoundedCodes
from reparax.distributions.discrete import bernoulli_log_prob
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators.draws import category_logits, is_binary, is_distribution, is_one_hot, not_one_hot
from reparax.estimators.scores import evaluate, mean
from reparax.reparameterization import innermost


class AbstractRelaxation(AbstractEstimator):
    """The mean of f over a differentiable stand-in for each draw: biased."""

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"

    @abc.abstractmethod
    def stand_in(self, q: dist.Distribution, key: jax.Array) -> Array:
        """One draw, or what takes its place, as a differentiable function of the parameters of q."""

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return _relaxed_mean(self.stand_in, f, q, key, num_samples)


def _relaxed_mean(
    stand_in: Callable[[dist.Distribution, jax.Array], Array], f: Integrand, q: Any, key: jax.Array, num_samples: int
) -> Any:
    """The mean of f over what takes the place of the draws."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    draw_key, f_key = jax.random.split(key)
    draws = []
    for index, leaf in enumerate(flat):
        keys = jax.random.split(jax.random.fold_in(draw_key, index), num_samples)
        draws.append(jax.vmap(functools.partial(stand_in, leaf))(keys))
    return mean(evaluate(f, jax.tree.unflatten(structure, draws), jax.random.split(f_key, num_samples)))


class GumbelSoftmax(AbstractRelaxation):
    """f(softmax((logits + Gumbel noise) / temperature)): value and derivatives of a relaxed problem, not of E f.

    The lower the temperature, the smaller the bias and the larger the variance. For Bernoulli variables this is the
    binary Concrete distribution.
    Jang et al. (2017), eq. 2; Maddison et al. (2017), eq. 10.
    """

    reference: ClassVar[str] = "Jang et al. (2017), eq. 2"

    temperature: float | Array = 0.5

    def stand_in(self, q: dist.Distribution, key: jax.Array) -> Array:
        return soft(q, relaxed_draw(q, key).free, self.temperature)


class StraightThrough(AbstractEstimator):
    """f(b) with db replaced by dp: the value is unbiased, the derivative is not, unless f is linear.

    For codes that numbers were rounded to, db is replaced by the derivative of these numbers.
    Bengio, Leonard & Courville (2013), section 4; van den Oord et al. (2017), section 3.2.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli, one-hot and rounded variables, and an f that is continuous between them"
    reference: ClassVar[str] = "Bengio, Leonard & Courville (2013), section 4"

    def refusal(self, q: dist.Distribution) -> str | None:
        return None if isinstance(innermost(q), RoundedCodes) else not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return _relaxed_mean(self.stand_in, f, q, key, num_samples)

    def stand_in(self, q: dist.Distribution, key: jax.Array) -> Array:
        """One draw, with the derivative of the probabilities or of the numbers that were rounded."""
        if isinstance(q, RoundedCodes):
            return q.straight_through()
        p = probabilities(q)
        return relaxed_draw(q, key).hard + (p - jax.lax.stop_gradient(p))


class StraightThroughGumbelSoftmax(AbstractRelaxation):
    """f(b) with db replaced by the derivative of the relaxed draw: the value is unbiased, the derivative is not.

    Jang et al. (2017), section 2.2.
    """

    reference: ClassVar[str] = "Jang et al. (2017), section 2.2"

    temperature: float | Array = 0.5

    def stand_in(self, q: dist.Distribution, key: jax.Array) -> Array:
        draw = relaxed_draw(q, key)
        relaxed = soft(q, draw.free, self.temperature)
        return draw.hard + (relaxed - jax.lax.stop_gradient(relaxed))


class ReinMax(AbstractRelaxation):
    """f(b) with db replaced by ``2 d pi_1 - d pi_0 / 2``, where pi_0 = softmax(logits).

    pi_1 is the softmax of the logits plus a constant, such that pi_1 = (b + softmax(logits / temperature)) / 2.
    Heun's method where `StraightThrough` is Euler's: exact for a quadratic f of one variable, biased otherwise.
    Liu et al. (2023), algorithm 2.
    """

    name: ClassVar[str] = "reinmax"
    reference: ClassVar[str] = "Liu et al. (2023), algorithm 2"

    temperature: float | Array = 1.0

    def stand_in(self, q: dist.Distribution, key: jax.Array) -> Array:
        hard, logits = relaxed_draw(q, key).hard, natural_logits(q)
        if is_one_hot(q):
            return _reinmax(hard, logits, self.temperature)
        pair = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
        return _reinmax(jnp.stack([1 - hard, hard], axis=-1), pair, self.temperature)[..., 1]


def _reinmax(hard: Array, logits: Array, temperature: float | Array) -> Array:
    constant = jax.lax.stop_gradient
    pi = jax.nn.softmax(logits, axis=-1)
    middle = (hard + jax.nn.softmax(logits / jnp.asarray(temperature, logits.dtype), axis=-1)) / 2
    corrected = jax.nn.softmax(constant(jnp.log(middle) - logits) + logits, axis=-1)
    surrogate = 2 * corrected - pi / 2
    return hard + (surrogate - constant(surrogate))


class Relaxed(NamedTuple):
    """One draw of a variable and of its relaxation.

    Args:
        hard: The draw itself, a constant of floating type.
        free: Noisy logits whose threshold or argmax is the hard value, differentiable as shifted noise.
        given: The same numbers, differentiable as a draw from their distribution given the hard value.
    """

    hard: Array
    free: Array
    given: Array


def not_relaxable(q: dist.Distribution) -> str | None:
    """Why a distribution cannot be relaxed; ``None`` where it can."""
    return None if is_binary(q) else not_one_hot(q)


def relaxed_draw(q: dist.Distribution, key: jax.Array, logits: Float[Array, "*s"] | None = None) -> Relaxed:
    """A draw of a Bernoulli or one-hot variable with both of its relaxations, as functions of its natural logits.

    The hard value is drawn first, then the noise given that value. Unconditionally this noise has the distribution of
    the free noise, so that the same numbers serve for both. Tucker et al. (2017), appendix B (Bernoulli: logistic
    noise) and appendix C (categorical: Gumbel noise), with their common random numbers.
    """
    used = natural_logits(q) if logits is None else logits
    return _one_hot(used, key) if is_one_hot(q) else _binary(used, key)


def soft(q: dist.Distribution, logits: Array, temperature: float | Array) -> Array:
    """The relaxed value at noisy logits: a sigmoid or a softmax, at a temperature."""
    scaled = logits / jnp.asarray(temperature, logits.dtype)
    return jax.nn.softmax(scaled, axis=-1) if is_one_hot(q) else jax.nn.sigmoid(scaled)


def probabilities(q: dist.Distribution) -> Float[Array, "*s"]:
    """The mean of a Bernoulli or one-hot variable, in the shape of a draw."""
    logits = natural_logits(q)
    return jax.nn.softmax(logits, axis=-1) if is_one_hot(q) else jax.nn.sigmoid(logits)


def natural_logits(q: dist.Distribution) -> Float[Array, "*s"]:
    """The log-odds of a Bernoulli, or the normalized log probabilities of a one-hot variable."""
    if is_one_hot(q):
        return jax.nn.log_softmax(category_logits(q), axis=-1)
    return jnp.broadcast_to(innermost(q).logits, q.shape())


def logits_log_prob(q: dist.Distribution, logits: Float[Array, "*s"], hard: Float[Array, "*s"]) -> Float[Array, ""]:
    """log q of a hard value, as a function of the natural logits."""
    if is_one_hot(q):
        return jnp.sum(hard * jax.nn.log_softmax(logits, axis=-1))
    return jnp.sum(bernoulli_log_prob(logits, hard))


def _binary(logits: Float[Array, "*s"], key: jax.Array) -> Relaxed:
    hard_key, given_key = jax.random.split(key)
    ones = jax.random.uniform(hard_key, logits.shape, logits.dtype) < jax.nn.sigmoid(jax.lax.stop_gradient(logits))
    w = jax.random.uniform(given_key, logits.shape, logits.dtype, minval=jnp.finfo(logits.dtype).tiny)
    # Logistic noise given its sign: log((1 + e^l (1 - w)) / w) if positive, and mirrored if negative.
    sign = jnp.where(ones, 1, -1).astype(logits.dtype)
    given = sign * (jax.nn.softplus(sign * logits + jnp.log1p(-w)) - jnp.log(w))
    return _coupled(ones.astype(logits.dtype), logits, given)


def _one_hot(logits: Float[Array, "*s"], key: jax.Array) -> Relaxed:
    hard_key, given_key = jax.random.split(key)
    index = jax.random.categorical(hard_key, jax.lax.stop_gradient(logits), axis=-1)
    hard = jax.nn.one_hot(index, logits.shape[-1], dtype=logits.dtype)
    e = jax.random.exponential(given_key, logits.shape, logits.dtype)
    # The largest noisy logit is a standard Gumbel draw; the others are Gumbel draws truncated at it.
    largest = jnp.sum(e * hard, axis=-1, keepdims=True)
    given = -jnp.log(jnp.where(hard > 0, largest, e * jnp.exp(-jax.nn.log_softmax(logits, axis=-1)) + largest))
    return _coupled(hard, logits, given)


def _coupled(hard: Array, logits: Array, given: Array) -> Relaxed:
    # The free logits are the same numbers, with the derivative 1 of shifted noise: what both share cancels.
    return Relaxed(hard, logits + jax.lax.stop_gradient(given - logits), given)
