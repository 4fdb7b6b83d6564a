"""The score-function estimator, also called REINFORCE, and its baselines."""

import functools
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array, Float

from reparax.estimators._base import AbstractEstimator, Integrand, Level
from reparax.estimators._positions import log_prob_at
from reparax.estimators.draws import draw
from reparax.estimators.scores import held_at_edges, moving_support, scored_draws, with_unmoved_support
from reparax.estimators.surrogate import boxed, evaluate, leave_one_out, mean, outer, with_gradient, zeros_like


class ScoreFunction(AbstractEstimator):
    """d/dtheta E[f(z)] = E[f(z) d log q(z)/dtheta] + E[df/dtheta].

    Valid for any f, but noisy: prefer `LeaveOneOut`. Williams (1992), eq. 5; Mohamed et al. (2020), eq. 13.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Williams (1992); Mohamed et al. (2020), eq. 13"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        return mean(boxed(values, log_probs, zeros_like(values)))


class LeaveOneOut(AbstractEstimator):
    """(1/K) sum_i (f(z_i) - b_i) d log q(z_i)/dtheta, with b_i the mean of f over the other K - 1 draws.

    Its variance is A/K + B/(K (K-1)) with A = E[(f - E f)^2 s^2] - g^2, B = Var f E[s^2] + g^2 and s the score.
    Mnih & Rezende (2016), section 2.4; Kool et al. (2019), eq. 8.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Kool et al. (2019), eq. 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        return mean(boxed(values, log_probs, leave_one_out(values)))


class MeanBaseline(AbstractEstimator):
    """(f(z) - b) d log q(z)/dtheta with b the mean of f over ``num_pilot`` separate draws, approaching E f.

    Mohamed et al. (2020), section 7.1 (a moving average, here a pure function of the key).
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Mohamed et al. (2020), section 7.1"

    num_pilot: int = 16

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        key, pilot_key, inner_key = jax.random.split(key, 3)
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        pilot = evaluate(f, draw(q, pilot_key, self.num_pilot), jax.random.split(inner_key, self.num_pilot))
        baselines = jax.tree.map(lambda p, v: jnp.broadcast_to(jnp.mean(p, axis=0), v.shape), pilot, values)
        return mean(boxed(values, log_probs, jax.lax.stop_gradient(baselines)))

    def evaluations(self, q: Any, num_samples: int) -> int:
        return num_samples + self.num_pilot


class OptimalBaseline(AbstractEstimator):
    """(f(z_i) - b_i) s_j(z_i) in parameter j, with b_i = sum_k f(z_k) s_j(z_k)^2 / sum_k s_j(z_k)^2 over k != i.

    E[f s^2]/E[s^2] is the baseline of least variance (Greensmith et al. 2004, theorem 8; Mohamed et al. 2020, eq. 70).
    Fitted on the other draws it leaves the estimate unbiased and costs no evaluation of f.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 2
    valid_for: ClassVar[str] = "any f, and a distribution whose support does not move with its parameters"
    reference: ClassVar[str] = "Greensmith, Bartlett & Baxter (2004), theorem 8"

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

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


class LearnedBaseline(AbstractEstimator):
    """(f(z) - b) d log q(z)/dtheta with a given b: a running mean, or the output of a network for this example.

    b must not depend on z. It is constant here; train it by regression, minimizing (f(z) - b)^2.
    Mnih & Gregor (2014), eq. 7.
    """

    unbiased: ClassVar[bool] = True
    level: ClassVar[Level] = "score"
    minimum_samples: ClassVar[int] = 1
    valid_for: ClassVar[str] = "an f with one output, and a distribution whose support does not move"
    reference: ClassVar[str] = "Mnih & Gregor (2014), eq. 7"

    baseline: Array | float

    def refusal(self, q: dist.Distribution) -> str | None:
        return moving_support(q)

    def estimate(self, f: Integrand, q: Any, *, key: jax.Array, num_samples: int) -> Any:
        _, values, log_probs = scored_draws(f, q, key, num_samples)
        constant = jax.lax.stop_gradient(self.baseline)
        baselines = jax.tree.map(lambda v: jnp.full_like(v, constant), values)
        return mean(boxed(values, log_probs, baselines))
