"""Relaxations of binary and one-hot variables, and the estimators that differentiate through them. Biased."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.distributions.discrete import bernoulli_log_prob
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators.draws import category_logits, is_binary, is_distribution, is_one_hot, not_one_hot
from reparax.estimators.scores import evaluate, mean
from reparax.reparameterization import innermost


class GumbelSoftmax(AbstractEstimator):
    """f(softmax((logits + Gumbel noise) / temperature)): value and derivatives of a relaxed problem, not of E f.

    Biased; less so, and noisier, at a low temperature. For Bernoulli variables the binary Concrete.
    Jang et al. (2017), eq. 2; Maddison et al. (2017), eq. 10.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Jang et al. (2017), eq. 2"

    temperature: float | Array = 0.5

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def stand_in(leaf: dist.Distribution, k: jax.Array) -> Array:
            return soft(leaf, relaxed_draw(leaf, k).free, self.temperature)

        return substituted(f, q, stand_in, key, num_samples)


class StraightThrough(AbstractEstimator):
    """f(b) with db replaced by dp: the value is unbiased, the derivative is not, unless f is linear.

    Bengio, Leonard & Courville (2013), section 4.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Bengio, Leonard & Courville (2013), section 4"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return substituted(f, q, _stand_in, key, num_samples)


def _stand_in(q: dist.Distribution, key: jax.Array) -> Array:
    p = probabilities(q)
    return relaxed_draw(q, key).hard + (p - jax.lax.stop_gradient(p))


class StraightThroughGumbelSoftmax(AbstractEstimator):
    """f(b) with db replaced by the derivative of the relaxed draw: the value is unbiased, the derivative is not.

    Jang et al. (2017), section 2.2.
    """

    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Jang et al. (2017), section 2.2"

    temperature: float | Array = 0.5

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def stand_in(leaf: dist.Distribution, k: jax.Array) -> Array:
            draw = relaxed_draw(leaf, k)
            relaxed = soft(leaf, draw.free, self.temperature)
            return draw.hard + (relaxed - jax.lax.stop_gradient(relaxed))

        return substituted(f, q, stand_in, key, num_samples)


class ReinMax(AbstractEstimator):
    """f(b) with db replaced by 2 d softmax((pi_1)) - d pi / 2, pi_1 = (b + softmax(logits / temperature)) / 2.

    Heun's method where `StraightThrough` is Euler's: exact for a quadratic f of one variable, biased beyond.
    Liu et al. (2023), algorithm 2.
    """

    name: ClassVar[str] = "reinmax"
    unbiased: ClassVar[bool] = False
    level: ClassVar[Level] = "pathwise"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "Bernoulli and one-hot variables, and an f that is continuous between their values"
    reference: ClassVar[str] = "Liu et al. (2023), algorithm 2"

    temperature: float | Array = 1.0

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_relaxable(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        def stand_in(leaf: dist.Distribution, k: jax.Array) -> Array:
            hard, logits = relaxed_draw(leaf, k).hard, natural_logits(leaf)
            if is_one_hot(leaf):
                return _reinmax(hard, logits, self.temperature)
            pair = jnp.stack([jnp.zeros_like(logits), logits], axis=-1)
            return _reinmax(jnp.stack([1 - hard, hard], axis=-1), pair, self.temperature)[..., 1]

        return substituted(f, q, stand_in, key, num_samples)


def _reinmax(hard: Array, logits: Array, temperature: float | Array) -> Array:
    constant = jax.lax.stop_gradient
    pi = jax.nn.softmax(logits, axis=-1)
    middle = (hard + jax.nn.softmax(logits / jnp.asarray(temperature, logits.dtype), axis=-1)) / 2
    corrected = jax.nn.softmax(constant(jnp.log(middle) - logits) + logits, axis=-1)
    surrogate = 2 * corrected - pi / 2
    return hard + (surrogate - constant(surrogate))


def substituted(
    f: Integrand, q: Any, stand_in: Callable[[dist.Distribution, jax.Array], Array], key: jax.Array, num_samples: int
) -> Any:
    """The mean of f over draws of a differentiable stand-in for each distribution."""
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    draw_key, f_key = jax.random.split(key)
    draws = []
    for index, leaf in enumerate(flat):
        keys = jax.random.split(jax.random.fold_in(draw_key, index), num_samples)
        draws.append(jax.vmap(lambda k, leaf=leaf: stand_in(leaf, k))(keys))
    return mean(evaluate(f, jax.tree.unflatten(structure, draws), jax.random.split(f_key, num_samples)))


class Relaxed(NamedTuple):
    """One draw of a variable and of its relaxation.

    Args:
        hard: The draw itself, constant, floating.
        free: Noisy logits of which the hard value is a threshold or an argmax, differentiable as shifted noise.
        given: The same numbers, differentiable as a draw from their distribution given the hard value.
    """

    hard: Array
    free: Array
    given: Array


def not_relaxable(q: dist.Distribution) -> str | None:
    """Why a distribution has no relaxation here."""
    return None if is_binary(q) else not_one_hot(q)


def relaxed_draw(q: dist.Distribution, key: jax.Array, logits: Float[Array, "*s"] | None = None) -> Relaxed:
    """A draw of a Bernoulli or one-hot variable with both of its relaxations, as functions of its natural logits.

    The hard value comes first, and the noise given the value second; the free noise is then the same noise, whose
    distribution is the free one. Tucker et al. (2017), appendix B (Bernoulli: logistic noise) and appendix C
    (categorical: Gumbel noise), with their common random numbers.
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
    # Logistic noise given its sign: log((1 + e^l (1 - w)) / w) above 0, and mirrored below it.
    sign = jnp.where(ones, 1, -1).astype(logits.dtype)
    given = sign * (jax.nn.softplus(sign * logits + jnp.log1p(-w)) - jnp.log(w))
    return _coupled(ones.astype(logits.dtype), logits, given)


def _one_hot(logits: Float[Array, "*s"], key: jax.Array) -> Relaxed:
    hard_key, given_key = jax.random.split(key)
    index = jax.random.categorical(hard_key, jax.lax.stop_gradient(logits), axis=-1)
    hard = jax.nn.one_hot(index, logits.shape[-1], dtype=logits.dtype)
    e = jax.random.exponential(given_key, logits.shape, logits.dtype)
    # The largest noisy logit has rate one; the others are Gumbel draws truncated at it.
    largest = jnp.sum(e * hard, axis=-1, keepdims=True)
    given = -jnp.log(jnp.where(hard > 0, largest, e * jnp.exp(-jax.nn.log_softmax(logits, axis=-1)) + largest))
    return _coupled(hard, logits, given)


def _coupled(hard: Array, logits: Array, given: Array) -> Relaxed:
    # The free logits are the same numbers, with the derivative 1 of a shifted noise: what both share cancels.
    return Relaxed(hard, logits + jax.lax.stop_gradient(given - logits), given)
