"""Exact sums over the values of discrete variables: all joint values, term by term, or the most likely ones."""

import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._integrand import Separation, elements_of, separation_of, values_of_an_element
from reparax.estimators.draws import (
    atoms,
    joint_states,
    leaves,
    log_prob,
    num_states,
    probabilities_of_elements,
    probability,
)
from reparax.estimators.scores import (
    along,
    as_floating,
    boxed,
    evaluate,
    evaluate_common,
    held_at_edges,
    leave_one_out,
    mean,
    with_edges,
    zeros_like,
)
from reparax.reparameterization import innermost


class Enumeration(AbstractEstimator):
    """E[f(z)] = sum_z q(z) f(z) over all joint states: exact, without any variance.

    f is evaluated once for each of the ``states ** elements`` joint states, always with the same key.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "enumerate"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "finite discrete distributions with few joint states"
    reference: ClassVar[str] = "exact sum over the support"

    maximum_states: int = 4096

    def refusal(self, q: dist.Distribution) -> str | None:
        return _too_many_states(q, self.maximum_states)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        z = joint_states(q)
        weights = jax.vmap(functools.partial(probability, q))(z)
        values = evaluate_common(f, z, key)
        return jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), values)

    def evaluations(self, q: Any, num_samples: int) -> int:
        return int(num_states(q))


class SeparableEnumeration(AbstractEstimator):
    """E[c + sum_i f_i(z_i)] = c + sum_i sum_k q(z_i = k) f_i(k): exact, with S + 1 evaluations of f for S values.

    f is evaluated with all elements of z at the first value, then at the second, and so on; where it sums over the
    elements, each term is weighted by the probability of its element. The jaxpr of f shows whether it is such a sum:
    elements of z are combined only by sums. Plain enumeration would take S to the power of the number of elements.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "term by term"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = (
        "finite discrete variables of several elements, and an f that is a sum of terms of one element each"
    )
    reference: ClassVar[str] = "exact sum over the support, element by element"

    maximum_values: int = 4096

    def refusal(self, q: dist.Distribution) -> str | None:
        values = values_of_an_element(q)
        if values is None:
            return f"{type(innermost(q)).__name__} is not a finite discrete distribution"
        if len(values) > self.maximum_values:
            return f"an element has {len(values)} values, more than maximum_values={self.maximum_values}"
        return None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        flat, structure = jax.tree.flatten(q, is_leaf=lambda node: isinstance(node, dist.Distribution))
        return self._given(f, flat, structure, [], key)

    def _given(
        self, f: Integrand, flat: list[dist.Distribution], structure: Any, known: list[Any], key: jax.Array
    ) -> Any:
        """The expectation over the variables that are not yet known, one after the other."""
        if len(known) == len(flat):
            return as_floating(f(jax.tree.unflatten(structure, known), key))
        leaf = flat[len(known)]

        def of_one(z: Array) -> Any:
            return self._given(f, flat, structure, [*known, z], key)

        states = all_alike(leaf)
        if math.prod(elements_of(leaf)) == 1:
            # One element: f is one term.
            weights = _probabilities(leaf).reshape(-1)
            values = as_floating(jax.vmap(of_one)(states))
            return jax.tree.map(lambda value: jnp.sum(along(weights, value) * value, axis=0), values)
        closed, out = jax.make_jaxpr(of_one, return_shape=True)(states[0])
        separation = separation_of(closed, len(elements_of(leaf)))
        if separation is None:
            raise InvalidEstimator(
                expected="an f that is a sum of terms, each of which depends on one element of z",
                got="elements of z that are combined by more than a sum, or by code that cannot be analyzed",
                cure="use leave-one-out or sum-and-sample, or one expectation per element",
            )
        return jax.tree.unflatten(jax.tree.structure(out), _weighted_total(separation, leaf, states))

    def evaluations(self, q: Any, num_samples: int) -> int:
        return math.prod(len(states) + 1 for leaf in leaves(q) if (states := values_of_an_element(leaf)) is not None)


def all_alike(q: dist.Distribution) -> Array:
    """For every value, the draw in which all elements have this value; values along the first axis."""
    values = atoms(q)
    assert values is not None
    ones = (1,) * len(elements_of(q))
    return jnp.broadcast_to(values.reshape(values.shape[:1] + ones + values.shape[1:]), (len(values), *q.shape()))


def _probabilities(q: dist.Distribution) -> Float[Array, "values *elements"]:
    """The probability of every value, for each element."""
    base, values = innermost(q), atoms(q)
    assert values is not None
    ones = (1,) * len(base.batch_shape)
    spread = values.reshape(values.shape[:1] + ones + values.shape[1:])
    spread = jnp.broadcast_to(spread, (len(values), *base.batch_shape, *base.event_shape))
    probabilities = jax.vmap(lambda z: probabilities_of_elements(q, z))(spread)
    elements = elements_of(q)
    aligned = probabilities.reshape(len(values), *(1,) * (len(elements) - len(base.batch_shape)), *base.batch_shape)
    return jnp.broadcast_to(aligned, (len(values), *elements))


def _weighted_total(separation: Separation, q: dist.Distribution, states: Array) -> list[Array]:
    """c + sum_k (c + the terms at value k, weighted) - c."""
    weights = _probabilities(q)
    free = as_floating(separation(states[0], jnp.zeros_like(weights[0])))
    totals = as_floating(jax.vmap(separation)(states, weights))
    return [c + jnp.sum(total - c[None], axis=0) for c, total in zip(free, totals, strict=True)]


def _too_many_states(q: dist.Distribution, maximum_states: int) -> str | None:
    states = num_states(q)
    if states > maximum_states:
        return f"{type(q).__name__} has {states:.3g} joint states, more than maximum_states={maximum_states}"
    return None


class SumAndSample(AbstractEstimator):
    """The sum of q f over the ``top`` most likely joint states, plus P(rest) times the score function on the rest.

    Exact if ``top`` is at least the number of joint states. The probabilities of all states are computed, and f is
    evaluated at ``top + num_samples`` of them. Liu, Regier, Tripuraneni, Jordan & McAuliffe (2019), eq. 9.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "finite discrete distributions whose joint states can be listed, and any f"
    reference: ClassVar[str] = "Liu et al. (2019), eq. 9"

    top: int = 4
    maximum_states: int = 65536

    def refusal(self, q: dist.Distribution) -> str | None:
        return _too_many_states(q, self.maximum_states)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        states = joint_states(q)
        top = min(self.top, len(jax.tree.leaves(states)[0]))
        exhaustive = top == len(jax.tree.leaves(states)[0])
        # The sum over all states needs no correction at probabilities of 0 and 1.
        held = q if exhaustive else held_at_edges(q)
        log_probs = jax.vmap(functools.partial(log_prob, held))(states)
        _, likeliest = jax.lax.top_k(jax.lax.stop_gradient(log_probs), top)
        sum_key, draw_key, f_key, edge_key = jax.random.split(key, 4)
        chosen = jax.tree.map(lambda s: s[likeliest], states)
        weights = jax.vmap(functools.partial(probability, held))(chosen)
        summed = evaluate_common(f, chosen, sum_key)
        exact = jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), summed)
        if exhaustive:
            return exact
        rest = log_probs.at[likeliest].set(-jnp.inf)
        rest_mass = jax.nn.logsumexp(rest)
        index = jax.random.categorical(draw_key, jax.lax.stop_gradient(rest), shape=(num_samples,))
        values = evaluate(f, jax.tree.map(lambda s: s[index], states), jax.random.split(f_key, num_samples))
        baselines = leave_one_out(values) if num_samples > 1 else zeros_like(values)
        sampled = mean(boxed(values, rest[index] - rest_mass, baselines))
        total = jax.tree.map(lambda a, b: (a + jnp.exp(rest_mass).astype(b.dtype) * b)[None], exact, sampled)
        return mean(with_edges(total, f, q, edge_key))

    def evaluations(self, q: Any, num_samples: int) -> int:
        states = num_states(q)
        return int(states) if states <= self.top else self.top + num_samples
