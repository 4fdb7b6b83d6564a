"""The score-function estimator (REINFORCE) with its baselines, and ARM, DisARM, ARMS and ARSM with shared noise."""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float, Int

from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._positions import log_prob_at
from reparax.estimators.draws import (
    all_logits,
    as_drawn,
    binary_log_prob,
    categorical_log_prob,
    draw,
    is_distribution,
    logits_of,
    not_binary,
    not_categorical,
    threshold,
    uniforms,
)
from reparax.estimators.scores import (
    boxed,
    evaluate,
    evaluate_common,
    held_at_edges,
    leave_one_out,
    mean,
    moving_support,
    outer,
    scaled,
    scored_draws,
    with_edges,
    with_gradient,
    with_unmoved_support,
    zeros_like,
)


class AbstractScoreFunction(AbstractEstimator):
    """The score function times f, with or without a baseline: for any f, where the support of q is fixed."""

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not depend on its parameters"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)


class ScoreFunction(AbstractScoreFunction):
    """``d/dtheta E[f(z)] = E[f(z) d log q(z)/dtheta] + E[df/dtheta]``.

    Valid for any f, but noisy: prefer `LeaveOneOut`. Williams (1992), eq. 5; Mohamed et al. (2020), eq. 13.
    """

    minimum_samples: ClassVar[int] = 1
    reference: ClassVar[str] = "Williams (1992); Mohamed et al. (2020), eq. 13"

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        return mean(boxed(values, log_probs, zeros_like(values)))


class LeaveOneOut(AbstractScoreFunction):
    """(1/K) sum_i (f(z_i) - b_i) d log q(z_i)/dtheta, with b_i the mean of f over the other K - 1 draws.

    Its variance is ``A/K + B/(K (K - 1))``, where ``A = E[(f - E f)^2 s^2] - g^2``, ``B = Var f E[s^2] + g^2``, s is
    the score and g the gradient.
    Mnih & Rezende (2016), section 2.4; Kool et al. (2019), eq. 8.
    """

    minimum_samples: ClassVar[int] = 2
    reference: ClassVar[str] = "Kool et al. (2019), eq. 8"

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        return mean(boxed(values, log_probs, leave_one_out(values)))


class MeanBaseline(AbstractScoreFunction):
    """(f(z) - b) d log q(z)/dtheta, with b the mean of f over ``num_pilot`` separate draws.

    Mohamed et al. (2020), section 7.1 (a moving average, here a pure function of the key).
    """

    minimum_samples: ClassVar[int] = 1
    reference: ClassVar[str] = "Mohamed et al. (2020), section 7.1"

    num_pilot: int = 16

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        key, pilot_key, inner_key = jax.random.split(key, 3)
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        pilot = evaluate(f, draw(q, pilot_key, self.num_pilot), jax.random.split(inner_key, self.num_pilot))
        baselines = jax.tree.map(lambda p, v: jnp.broadcast_to(jnp.mean(p, axis=0), v.shape), pilot, values)
        return mean(boxed(values, log_probs, jax.lax.stop_gradient(baselines)))

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples + self.num_pilot


class OptimalBaseline(AbstractScoreFunction):
    """(f(z_i) - b_i) s_j(z_i) in parameter j, with b_i = sum_k f(z_k) s_j(z_k)^2 / sum_k s_j(z_k)^2 over k != i.

    E[f s^2]/E[s^2] is the baseline of least variance (Greensmith et al. 2004, theorem 8; Mohamed et al. 2020, eq. 70).
    Because it is fitted to the other draws, the estimate stays unbiased, and no further evaluation of f is needed.
    """

    minimum_samples: ClassVar[int] = 2
    reference: ClassVar[str] = "Greensmith, Bartlett & Baxter (2004), theorem 8"

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        positions, values, _ = scored_draws(f, q, key, num_samples)
        trainable, rest = eqx.partition(with_unmoved_support(q), eqx.is_inexact_array)
        parameters, structure = jax.tree.flatten(trainable)

        def density(leaves: list[Array], position: Any) -> Float[Array, ""]:
            return log_prob_at(held_at_edges(eqx.combine(jax.tree.unflatten(structure, leaves), rest)), position)

        constant = jax.lax.stop_gradient(parameters)
        scores = jax.vmap(functools.partial(jax.grad(density), constant))(positions)
        gradients = jax.tree.map(lambda v: [_centered(v, score) for score in scores], values)
        return with_gradient(values, density, positions, parameters, gradients)


def _centered(value: Float[Array, "n *s"], score: Float[Array, "n *p"]) -> Float[Array, "n ..."]:
    weight = score**2
    weighted = outer(weight, value)
    others = jnp.sum(weight, axis=0, keepdims=True) - weight
    ones = others.reshape(others.shape + (1,) * (value.ndim - 1)).astype(value.dtype)
    plain = outer(jnp.ones_like(score), leave_one_out(value))
    fitted = (jnp.sum(weighted, axis=0, keepdims=True) - weighted) / jnp.where(ones > 0, ones, 1)
    return outer(score, value) - outer(score, jnp.ones_like(value)) * jnp.where(ones > 0, fitted, plain)


class LearnedBaseline(AbstractScoreFunction):
    """(f(z) - b) d log q(z)/dtheta with a given b: a running mean, or the output of a network for this example.

    b must not depend on z. It is treated as a constant; train it by regression, minimizing (f(z) - b)^2.
    Mnih & Gregor (2014), eq. 7.
    """

    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = (
        "an f with one output, and a distribution whose support does not depend on its parameters"
    )
    reference: ClassVar[str] = "Mnih & Gregor (2014), eq. 7"

    baseline: Array | float

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        constant = jax.lax.stop_gradient(self.baseline)
        baselines = jax.tree.map(lambda v: jnp.full_like(v, constant), values)
        return mean(boxed(values, log_probs, baselines))


class AbstractCoupledBits(AbstractEstimator):
    """Bernoulli variables whose draws share their noise."""

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "Bernoulli variables and any f"
    family: ClassVar[str] = "coupled bits"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_binary(q)


class AbstractAntitheticPairs(AbstractCoupledBits):
    """(f(b) - f(b~)) factor(u, b, b~, logit) in each logit, from ceil(num_samples / 2) pairs of draws.

    The two draws of a pair are b = 1[1 - u < p] and b~ = 1[u < p].
    """

    @abc.abstractmethod
    def factor(self, u: Array, first: Array, second: Array, logit: Array) -> Float[Array, "n *s"]:
        """What f(b) - f(b~) is multiplied by, elementwise.

        Args:
            u: The uniform noise of each pair.
            first: b.
            second: b~.
            logit: The log-odds, one per element.
        """

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        return _from_pairs(f, q, key, num_samples, self.factor)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return 2 * ((num_samples + 1) // 2)


class ARM(AbstractAntitheticPairs):
    """``(f(b) - f(b~)) (u - 1/2)`` in each logit, with ``b = 1[1 - u < p]``, ``b~ = 1[u < p]``.

    `DisARM` is never noisier at the same cost. Yin & Zhou (2019), eq. 6.
    """

    reference: ClassVar[str] = "Yin & Zhou (2019), eq. 6"

    def factor(self, u: Array, first: Array, second: Array, logit: Array) -> Float[Array, "n *s"]:
        return u - 0.5


class DisARM(AbstractAntitheticPairs):
    """1/2 (f(b) - f(b~)) (-1)^b~ 1[b != b~] sigmoid(|logit|) in each logit, with b = 1[1-u < p], b~ = 1[u < p].

    It is the expectation of `ARM` given the pair, and so is never noisier. One pair takes two evaluations of f.
    Dong, Mnih & Tucker (2020), eq. 8; Yin et al. (2020), eq. 7.
    """

    name: ClassVar[str] = "disarm"
    reference: ClassVar[str] = "Dong, Mnih & Tucker (2020), eq. 8"

    def factor(self, u: Array, first: Array, second: Array, logit: Array) -> Float[Array, "n *s"]:
        signed = (first - second).astype(logit.dtype)
        return signed * jax.nn.sigmoid(jnp.abs(logit))[None] / 2


def _from_pairs(
    f: Integrand, q: Any, key: jax.Array, num_samples: int, factor: Callable[[Array, Array, Array, Array], Array]
) -> Any:
    structure = jax.tree.structure(q, is_leaf=is_distribution)
    pairs = (num_samples + 1) // 2
    draw_key, f_key = jax.random.split(key)
    logits = logits_of(held_at_edges(q))
    u = uniforms(logits, draw_key, pairs)
    first = threshold([1 - a for a in u], logits)
    second = threshold(u, logits)
    both = [jnp.concatenate(pair) for pair in zip(first, second, strict=True)]
    # The two draws of a pair share f's randomness, which cancels in the difference.
    keys = jax.random.split(f_key, pairs)
    values = evaluate(f, jax.tree.unflatten(structure, both), jnp.concatenate([keys, keys]))
    values = with_edges(values, f, q, jax.random.fold_in(key, 1))
    factors = [
        factor(*arrays) for arrays in zip(u, first, second, [jax.lax.stop_gradient(v) for v in logits], strict=True)
    ]

    def gradient(value: Array) -> list[Array]:
        difference = value[:pairs] - value[pairs:]
        return [
            scaled(weight, difference.reshape(pairs, *(1,) * (weight.ndim - 1), *difference.shape[1:]))
            for weight in factors
        ]

    # Either half of a pair is a draw from q, so that each half has its own score.
    gradients = jax.tree.map(gradient, values)
    one = with_gradient(jax.tree.map(lambda v: v[:pairs], values), binary_log_prob, first, logits, gradients)
    two = with_gradient(jax.tree.map(lambda v: v[pairs:], values), binary_log_prob, second, logits, gradients)
    return jax.tree.map(lambda a, b: (a + b) / 2, one, two)


class ARMS(AbstractCoupledBits):
    """sum_i (f(b_i) - mean f) (b_i - p) / ((K - 1) (1 - rho)) in each logit, rho the correlation of any two draws.

    Unbiased for any joint distribution of the K draws in which any two draws of a bit have the same correlation rho.
    Here the uniform numbers of a bit are a grid with one random shift, in random order. The number of ones among the K
    draws is then K p rounded up or down. With phi the fractional part of K p::

        rho = (phi (1 - phi) / (K p (1 - p)) - 1) / (K - 1)

    is the least correlation possible. With two draws this is `DisARM`; with more it is less noisy than leave-one-out,
    for which rho = 0. Second derivatives are unbiased, and as noisy as those of the score function without a baseline.
    Dimitriev & Zhou (2021), section 3, with the grid in place of their copulas.
    """

    reference: ClassVar[str] = "Dimitriev & Zhou (2021), section 3"

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        structure = jax.tree.structure(q, is_leaf=is_distribution)
        draw_key, f_key = jax.random.split(key)
        logits = logits_of(held_at_edges(q))
        draws = threshold(_grids(logits, draw_key, num_samples), logits)
        values = evaluate(f, jax.tree.unflatten(structure, draws), jax.random.split(f_key, num_samples))
        values = with_edges(values, f, q, jax.random.fold_in(key, 1))
        factors = [_arms_factor(b, jax.lax.stop_gradient(logit)) for b, logit in zip(draws, logits, strict=True)]

        def gradient(value: Array) -> list[Array]:
            centered = value - jnp.mean(value, axis=0)
            return [
                scaled(weight, centered.reshape(num_samples, *(1,) * (weight.ndim - 1), *centered.shape[1:]))
                for weight in factors
            ]

        # The draws depend on each other, so that the others cannot be a baseline for higher derivatives.
        def one(value: Any, draw: list[Array], slopes: Any) -> Any:
            alone = jax.tree.map(lambda leaf: leaf[None], (value, draw, slopes))
            return with_gradient(alone[0], binary_log_prob, alone[1], logits, alone[2])

        return mean(jax.vmap(one)(values, draws, jax.tree.map(gradient, values)))


def _grids(logits: list[Array], key: jax.Array, num_samples: int) -> list[Float[Array, "n *s"]]:
    """Per element, K uniform numbers in random order: one in each K-th of the unit interval, equally spaced."""

    def one(k: jax.Array, logit: Array) -> Array:
        order_key, shift_key = jax.random.split(k)
        order = jnp.argsort(jax.random.uniform(order_key, (num_samples, *logit.shape), logit.dtype), axis=0)
        shift = jax.random.uniform(shift_key, (1, *logit.shape), logit.dtype)
        return (order.astype(logit.dtype) + shift) / num_samples

    return [one(k, logit) for k, logit in zip(jax.random.split(key, len(logits)), logits, strict=True)]


def _arms_factor(draws: Array, logit: Array) -> Float[Array, "n *s"]:
    """(b - p) K / ((K - 1) (1 - rho)): what the centered f of each draw is multiplied by before averaging."""
    count = len(draws)
    p = jax.nn.sigmoid(logit)
    # The probability of the rarer value: no digits are lost near 1.
    rare = jax.nn.sigmoid(-jnp.abs(logit))
    fraction = count * rare - jnp.floor(count * rare)
    possible = rare > 0
    ratio = jnp.where(possible, fraction * (1 - fraction) / jnp.where(possible, count * rare * (1 - rare), 1), 1)
    return (draws.astype(logit.dtype) - p[None]) * (count / (count - ratio))[None]


class ARSM(AbstractEstimator):
    """(1/C) sum_j (f(z^{c,j}) - (1/C) sum_m f(z^{m,j})) (1 - C pi_j) in the logit of class c.

    pi ~ Dirichlet(1_C), z = argmin_i log(pi_i) - logit_i, and z^{m,j} is z with pi_m and pi_j swapped, in all
    variables at once. This takes C(C-1)/2 + 1 evaluations of f per draw, whatever the number of variables.
    Yin, Yue & Zhou (2019), "ARSM: Augment-REINFORCE-swap-merge estimator", eq. 11.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    family: ClassVar[str] = "swapped categories"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "categorical variables that all have the same number of classes, and any f"
    reference: ClassVar[str] = "Yin, Yue & Zhou (2019), eq. 11"

    def refusal(self, q: dist.Distribution) -> str | None:
        return not_categorical(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        logits = all_logits(held_at_edges(q))
        classes = _common_classes(logits)
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        draw_key, f_key = jax.random.split(key)
        keys = jax.random.split(draw_key, len(logits))
        noise = [
            jax.random.exponential(k, (num_samples, *logit.shape), logit.dtype)
            for k, logit in zip(keys, logits, strict=True)
        ]
        permutations = _swaps(classes)
        index = [
            _swapped_draws(jax.lax.stop_gradient(logit), e, permutations)
            for logit, e in zip(logits, noise, strict=True)
        ]
        z = [as_drawn(leaf, chosen) for leaf, chosen in zip(flat, index, strict=True)]
        values = jax.vmap(lambda draws, k: evaluate_common(f, jax.tree.unflatten(structure, draws), k))(
            z, jax.random.split(f_key, num_samples)
        )
        weights = [1 - classes * e / jnp.sum(e, axis=-1, keepdims=True) for e in noise]
        gradients = jax.tree.map(lambda v: [_merge(v, w, classes) for w in weights], values)
        unswapped = with_edges(jax.tree.map(lambda v: v[:, 0], values), f, q, jax.random.fold_in(key, num_samples))
        return with_gradient(unswapped, categorical_log_prob, [i[:, 0] for i in index], logits, gradients)

    def evaluations(self, q: Any, num_samples: int) -> int:
        classes = all_logits(q)[0].shape[-1]
        return num_samples * (classes * (classes - 1) // 2 + 1)


def _common_classes(logits: list[Array]) -> int:
    counts = {logit.shape[-1] for logit in logits}
    if len(counts) > 1:
        raise InvalidEstimator(
            expected="categorical variables that all have the same number of classes",
            got=f"{sorted(counts)} classes",
            cure="use estimator='leave-one-out', or a pytree of estimators with one ARSM instance for each variable",
        )
    return counts.pop()


def _swaps(classes: int) -> Int[np.ndarray, "swaps c"]:
    """The identity, and then every swap of two classes, m < j in the order of `numpy.triu_indices`."""
    rows = [np.arange(classes)]
    for m, j in zip(*np.triu_indices(classes, 1), strict=True):
        row = np.arange(classes)
        row[[m, j]] = j, m
        rows.append(row)
    return np.stack(rows)


def _swapped_draws(logits: Array, noise: Array, permutations: np.ndarray) -> Int[Array, "n swaps *s"]:
    swapped = jnp.moveaxis(jnp.log(noise)[..., permutations], -2, 1)
    return jnp.argmin(swapped - logits[None, None], axis=-1)


def _merge(value: Float[Array, "n swaps *s"], weight: Float[Array, "n *v c"], classes: int) -> Float[Array, "n ..."]:
    table = np.zeros((classes, classes), int)
    upper = np.triu_indices(classes, 1)
    table[upper] = 1 + np.arange(len(upper[0]))
    swaps = value[:, table + table.T]
    centered = swaps - jnp.mean(swaps, axis=1, keepdims=True)
    flat = weight.reshape(len(weight), -1, classes)
    merged = jnp.einsum("ncj...,nvj->nvc...", centered, flat.astype(value.dtype)) / classes
    return merged.reshape(weight.shape + value.shape[2:])
