"""Sum over the likeliest values, sample the rest: a Rao-Blackwellized score function."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._distributions import joint_states, log_prob, num_states, probability
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
        log_probs = jax.vmap(functools.partial(log_prob, q))(states)
        top = min(self.top, len(log_probs))
        _, likeliest = jax.lax.top_k(jax.lax.stop_gradient(log_probs), top)
        sum_key, draw_key, f_key = jax.random.split(key, 3)
        summed = evaluate_common(f, jax.tree.map(lambda s: s[likeliest], states), sum_key)
        weights = jax.vmap(functools.partial(probability, q))(jax.tree.map(lambda s: s[likeliest], states))
        exact = jax.tree.map(lambda leaf: jnp.sum(along(weights, leaf) * leaf, axis=0), summed)
        if top == len(log_probs):
            return exact
        rest = log_probs.at[likeliest].set(-jnp.inf)
        rest_mass = jax.nn.logsumexp(rest)
        index = jax.random.categorical(draw_key, jax.lax.stop_gradient(rest), shape=(num_samples,))
        values = evaluate(f, jax.tree.map(lambda s: s[index], states), jax.random.split(f_key, num_samples))
        baselines = leave_one_out(values) if num_samples > 1 else zeros_like(values)
        sampled = mean(boxed(values, rest[index] - rest_mass, baselines))
        return jax.tree.map(lambda a, b: a + jnp.exp(rest_mass).astype(b.dtype) * b, exact, sampled)

    def evaluations(self, q: Any, num_samples: int) -> int:
        states = num_states(q)
        return int(states) if states <= self.top else self.top + num_samples
