"""Sum over the likeliest values, sample the rest: a Rao-Blackwellized score function."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import joint_states, log_prob, num_states, probability
from reparax.estimators._edges import held_at_edges, with_edges
from reparax.estimators._surrogate import along, boxed, evaluate, evaluate_common, leave_one_out, mean, zeros_like


class SumAndSample(AbstractEstimator):
    """sum over the ``top`` likeliest joint states of q f, plus P(rest) times the score function on the rest.

    Exact where ``top`` reaches the number of joint states. All their probabilities are computed, f is evaluated at
    ``top`` + num_samples of them. Liu, Regier, Tripuraneni, Jordan & McAuliffe (2019), eq. 9.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "finite discrete distributions whose joint states can be listed, and any f"
    reference: ClassVar[str] = "Liu et al. (2019), eq. 9"

    top: int = 4
    maximum_states: int = 65536

    def refusal(self, q: dist.Distribution) -> str | None:
        states = num_states(q)
        if states > self.maximum_states:
            return f"{type(q).__name__} has {states:.3g} joint states, more than maximum_states={self.maximum_states}"
        return None

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        states = joint_states(q)
        top = min(self.top, len(jax.tree.leaves(states)[0]))
        whole = top == len(jax.tree.leaves(states)[0])
        # The sum over all states is right at probabilities of 0 and 1 by itself.
        held = q if whole else held_at_edges(q)
        log_probs = jax.vmap(functools.partial(log_prob, held))(states)
        _, likeliest = jax.lax.top_k(jax.lax.stop_gradient(log_probs), top)
        sum_key, draw_key, f_key, edge_key = jax.random.split(key, 4)
        chosen = jax.tree.map(lambda s: s[likeliest], states)
        weights = jax.vmap(functools.partial(probability, held))(chosen)
        summed = evaluate_common(f, chosen, sum_key)
        exact = jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), summed)
        if whole:
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
