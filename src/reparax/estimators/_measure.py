"""Repeated gradients of one estimator: what `compare` and `tune` are made of."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._choice import all_named
from reparax.estimators._distributions import leaves
from reparax.estimators._expectation import assign, expectation
from reparax.estimators._parameters import Named, named_parameters

_BATCH = 512


class Measured(NamedTuple):
    """Repeated gradients.

    Args:
        gradients: Per parameter, the draws in front: (repeats, *parameter).
        evaluations: Evaluations of f per gradient.
        seconds: Time per gradient, several computed at once.
    """

    gradients: dict[str, np.ndarray]
    evaluations: int
    seconds: float


def gradient_of(
    f: Callable[..., Any], q: Any, estimator: Any, num_samples: int
) -> tuple[Callable[[Named, jax.Array], Named], Named]:
    """The gradient of the expectation as a function of q's named parameters and a key, and these parameters."""
    parameters, rebuild = named_parameters(q)

    def value(named: Named, key: jax.Array) -> Any:
        return expectation(f, rebuild(named), key=key, num_samples=num_samples, estimator=estimator)

    return jax.grad(value), parameters


def refusal_of(f: Callable[..., Any], q: Any, estimator: Any, num_samples: int) -> str | None:
    """Why an estimator cannot be measured on this problem; nothing is run."""
    gradient, parameters = gradient_of(f, q, estimator, num_samples)
    try:
        jax.eval_shape(gradient, parameters, jax.random.key(0))
    except InvalidEstimator as error:
        return error.got
    except (TypeError, ValueError, IndexError) as error:
        # A relaxation hands f values that f may not take, a number between two indices for example.
        if _relaxes(q, estimator):
            return f"f does not take relaxed values: {error}".splitlines()[0]
        raise
    return None


def _relaxes(q: Any, estimator: Any) -> bool:
    return any(part.differentiates_the_sample for part in assign(q, estimator))


def measure(f: Callable[..., Any], q: Any, estimator: Any, key: jax.Array, num_samples: int, repeats: int) -> Measured:
    """Repeated gradients of one estimator; the same key gives every estimator the same keys."""
    gradient, parameters = gradient_of(f, q, estimator, num_samples)
    run = jax.jit(lambda named, keys: repeated(lambda k: gradient(named, k), keys))
    keys = jax.random.split(key, repeats)
    compiled = run.lower(parameters, keys).compile()
    start = time.perf_counter()
    found = jax.block_until_ready(compiled(parameters, keys))
    seconds = (time.perf_counter() - start) / repeats
    gradients = {name: np.asarray(value, np.float64) for name, value in found.items()}
    return Measured(gradients, _evaluations(q, estimator, num_samples), seconds)


def repeated(function: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """``function`` at every key, in batches of bounded memory: one program, whatever the number of keys."""
    batches = -(-len(keys) // _BATCH)
    size = -(-len(keys) // batches)
    padded = jnp.resize(keys, (batches, size))
    found = jax.lax.map(jax.vmap(function), padded)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: len(keys)], found)


def _evaluations(q: Any, estimator: Any, num_samples: int) -> int:
    groups: dict[int, tuple[AbstractEstimator, list[Any]]] = {}
    for part, leaf in zip(assign(q, estimator), leaves(q), strict=True):
        groups.setdefault(hash(str(part)), (part, []))[1].append(leaf)
    total, left = 1, num_samples
    for part, members in sorted(
        groups.values(), key=lambda pair: ("enumerate", "score", "pathwise").index(pair[0].level)
    ):
        total *= part.evaluations(members, max(left, part.minimum_samples))
        left = left if part.level == "enumerate" else 1
    return total


def check_scalar(f: Callable[..., Any], q: Any) -> None:
    """Refuses an integrand that is not a scalar: its gradient would not be one number per parameter.

    Raises:
        InvalidEstimator: f returns something else.
    """
    shape = jax.eval_shape(lambda: expectation(f, q, key=jax.random.key(0)))
    found = jax.tree.leaves(shape)
    if len(found) != 1 or found[0].shape != () or not jnp.issubdtype(found[0].dtype, jnp.floating):
        raise InvalidEstimator(
            expected="an f that returns one real number",
            got=f"outputs of shape {[leaf.shape for leaf in found]}",
            cure="compare one output at a time, for example lambda z: f(z)[0]",
        )


def candidates(q: Any, *, biased: bool) -> dict[str, AbstractEstimator]:
    """The estimators that are valid for all of q, by name."""
    return {
        name: part
        for name, part in all_named().items()
        if (part.unbiased or biased) and all(part.refusal(leaf) is None for leaf in leaves(q))
    }
