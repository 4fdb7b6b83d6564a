"""Repeated gradients of one estimator: what `compare` and `tune` are made of."""

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._choice import all_named
from reparax.estimators._distributions import leaves, num_states
from reparax.estimators._expectation import expectation
from reparax.estimators._grouping import evaluations
from reparax.estimators._parameters import Named
from reparax.estimators._plan import assign, spread
from reparax.estimators._problem import Problem

_BATCH = 512
_CHEAP_REFEREE = 256


class Measured(NamedTuple):
    """Repeated gradients.

    Args:
        gradients: Per parameter, the draws in front: (repeats, *parameter).
        evaluations: Evaluations of f per gradient.
        seconds: Time per gradient, several computed at once.
        said: What `expectation` warned of, for example that "auto" fell back on another estimator.
    """

    gradients: dict[str, np.ndarray]
    evaluations: int
    seconds: float
    said: tuple[str, ...]


def gradient_of(asked: Problem, estimator: Any, num_samples: int) -> Callable[[Named, jax.Array], Named]:
    """The gradient of the expectation as a function of the problem's named arrays and a key."""

    def value(named: Named, key: jax.Array) -> Any:
        f, q = asked.at(named)
        return expectation(f, q, key=key, num_samples=num_samples, estimator=estimator)

    return jax.grad(value)


def refusal_of(asked: Problem, estimator: Any, num_samples: int) -> str | None:
    """Why an estimator cannot be measured on this problem; nothing is run."""
    try:
        quietly(jax.eval_shape, gradient_of(asked, estimator, num_samples), asked.arrays, jax.random.key(0))
    except InvalidEstimator as error:
        return error.got
    except (TypeError, ValueError, IndexError) as error:
        # A relaxation hands f values that f may not take, a number between two indices for example.
        if any(part.differentiates_the_sample for part in assign(asked.q, estimator, num_samples)):
            return f"f does not take relaxed values: {error}".splitlines()[0]
        raise
    return None


def measure(asked: Problem, estimator: Any, key: jax.Array, num_samples: int, repeats: int) -> Measured:
    """Repeated gradients of one estimator; the same key gives every estimator the same keys."""
    gradient = gradient_of(asked, estimator, num_samples)
    run = jax.jit(lambda named, keys: repeated(lambda k: gradient(named, k), keys))
    keys = jax.random.split(key, repeats)
    lowered, said = quietly(run.lower, asked.arrays, keys)
    compiled = lowered.compile()
    start = time.perf_counter()
    found = jax.block_until_ready(compiled(asked.arrays, keys))
    seconds = (time.perf_counter() - start) / repeats
    gradients = {name: np.asarray(value, np.float64) for name, value in found.items()}
    return Measured(gradients, evaluations_of(asked.q, estimator, num_samples, said), seconds, said)


def quietly(function: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[str, ...]]:
    """What a function returns, and what it says to the user instead of a warning; other warnings go through."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments)
    said = []
    for warning in caught:
        if warning.category is UserWarning:
            said.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return result, tuple(dict.fromkeys(said))


def repeated(function: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """``function`` at every key, in batches of bounded memory: one program, whatever the number of keys."""
    batches = -(-len(keys) // _BATCH)
    size = -(-len(keys) // batches)
    padded = jnp.resize(keys, (batches, size))
    found = jax.lax.map(jax.vmap(function), padded)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: len(keys)], found)


def used(q: Any, estimator: Any, num_samples: int, said: tuple[str, ...]) -> list[AbstractEstimator]:
    """The estimators that are run: where `expectation` said that "auto" fell back, what it fell back on."""
    parts = assign(q, estimator, num_samples)
    if not said:
        return parts
    fallback = all_named()["leave-one-out"]
    return [
        fallback if wish == "auto" and part.differentiates_the_sample else part
        for wish, part in zip(spread(q, estimator), parts, strict=True)
    ]


def evaluations_of(q: Any, estimator: Any, num_samples: int, said: tuple[str, ...]) -> int:
    """Evaluations of f per gradient."""
    return evaluations(q, used(q, estimator, num_samples, said), num_samples)


def check_scalar(asked: Problem) -> None:
    """Refuses an integrand that is not a scalar: its gradient would not be one number per parameter.

    Raises:
        InvalidEstimator: f returns something else.
    """
    shape, _ = quietly(jax.eval_shape, lambda: expectation(asked.f, asked.q, key=jax.random.key(0)))
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


def referees(q: Any) -> dict[str, AbstractEstimator]:
    """Estimators that assume the least of f, to hold others against; none where q has no score."""
    names = ("enumeration",) if num_states(q) <= _CHEAP_REFEREE else ("leave-one-out", "measure-valued")
    known = all_named()
    return {name: known[name] for name in names if all(known[name].refusal(leaf) is None for leaf in leaves(q))}
