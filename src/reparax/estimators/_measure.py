"""Repeated gradients of one estimator on one problem, and how heavy their tails are."""

import inspect
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from reparax.continuity import AssumedContinuous
from reparax.errors import InvalidEstimator
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._estimates import expectation
from reparax.estimators._parameters import Named, named_parameters
from reparax.estimators._plan import all_named, assign, evaluations, spread
from reparax.estimators.draws import is_distribution, leaves, num_states

_BATCH = 512
_CHEAP_REFEREE = 256


@dataclass(frozen=True)
class Problem:
    """An expectation as a function of named arrays.

    Args:
        arrays: What is differentiated, by name.
        at: Gives the integrand of one draw and the pytree of distributions at other values of these arrays.
        f: The integrand at the values given.
        q: The distributions at the values given.
    """

    arrays: Named
    at: Callable[[Named], tuple[Callable[..., Any], Any]]
    f: Callable[..., Any]
    q: Any

    @property
    def assumed_continuous(self) -> bool:
        """Whether the integrand is exempt from inspection."""
        return isinstance(self.f, AssumedContinuous)


def problem_of(f: Callable[..., Any], q: Any, parameters: Any = None) -> Problem:
    """The problem of `compare`, `tune` or `explain`.

    Args:
        f: The integrand: ``f(z)``, or with ``parameters`` ``f(z, parameters)``; a keyword-only ``key`` is passed on.
        q: A pytree of distributions, or a function that makes one from ``parameters``.
        parameters: A pytree; its floating arrays are differentiated.

    Raises:
        InvalidEstimator: q is a function and there are no parameters, or the parameters have no floating array.
    """
    makes_q = callable(q) and not is_distribution(q)
    if parameters is None:
        if makes_q:
            raise InvalidEstimator(
                expected="parameters for a q that is a function of them",
                got="a function as q, and no parameters",
                cure="pass parameters=, a pytree of arrays; f is then called as f(z, parameters)",
            )
        of_q, rebuild = named_parameters(q)
        return Problem(of_q, lambda values: (f, rebuild(values)), f, q)
    arrays, rebuild_parameters = _named_arrays(parameters)
    if makes_q:

        def made(values: Named) -> tuple[Callable[..., Any], Any]:
            given = rebuild_parameters(values)
            return bound(f, given), q(given)

        return Problem(arrays, made, bound(f, parameters), q(parameters))
    of_q, rebuild = named_parameters(q)
    inside = {(f"parameters.{name}" if name in of_q else name): name for name in arrays}

    def both(values: Named) -> tuple[Callable[..., Any], Any]:
        given = rebuild_parameters({name: values[shown] for shown, name in inside.items()})
        return bound(f, given), rebuild({name: values[name] for name in of_q})

    return Problem(
        of_q | {shown: arrays[name] for shown, name in inside.items()}, both, bound(f, parameters), q
    )  # fmt: skip


def bound(f: Callable[..., Any], parameters: Any) -> Callable[..., Any]:
    """``f(z, parameters)`` as a function of the draw: assumed continuous if f is, with a key if f takes one."""
    if isinstance(f, AssumedContinuous):
        return AssumedContinuous(bound(f.function, parameters))
    takes_key = inspect.signature(f).parameters.get("key")
    if takes_key is not None and takes_key.kind is inspect.Parameter.KEYWORD_ONLY:
        return lambda z, *, key: f(z, parameters, key=key)
    return lambda z: f(z, parameters)


def _named_arrays(parameters: Any) -> tuple[Named, Callable[[Named], Any]]:
    """The floating arrays of a pytree by their paths, and a function that replaces them."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(parameters)
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "parameters" for path, _ in pairs]
    flat = [leaf for _, leaf in pairs]
    moving = [place for place, leaf in enumerate(flat) if _is_floating(leaf)]
    if not moving:
        raise InvalidEstimator(
            expected="parameters with at least one array of real numbers",
            got="none",
            cure="pass the pytree to differentiate in, for example a network or a dict of arrays",
        )

    def rebuild(values: Named) -> Any:
        return jax.tree.unflatten(structure, [values.get(name, leaf) for name, leaf in zip(names, flat, strict=True)])

    return {names[place]: jnp.asarray(flat[place]) for place in moving}, rebuild


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, float) or (eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating))


def tail_shape(sample: Float[np.ndarray, " n"]) -> float:
    """The shape k of a generalized Pareto distribution fitted to the largest absolute deviations; nan if too few.

    Moments of order r exist for k < 1/r: above 1/2 the variance is in doubt. Zhang & Stephens (2009), as used by
    Vehtari, Simpson, Gelman, Yao & Gabry (2024), appendix.
    """
    deviations = np.sort(np.abs(sample - np.median(sample)))
    count = int(min(0.2 * len(sample), 3 * np.sqrt(len(sample))))
    if count < 10:
        return float("nan")
    largest = deviations[-count:]
    excess = largest - deviations[-count - 1]
    # A few repeated values (a discrete variable) or mere rounding noise have no tail.
    rounding = 1e-5 * np.abs(sample).mean()
    if len(np.unique(largest)) < 0.8 * count or excess[-1] <= rounding:
        return float("nan")
    return _fit(np.maximum(excess, 1e-12 * excess[-1]))


def _fit(excess: Float[np.ndarray, " m"]) -> float:
    count = len(excess)
    grid = 30 + int(np.sqrt(count))
    quartile = excess[int(count / 4 + 0.5) - 1]
    b = 1 / excess[-1] + (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile)
    k = np.mean(np.log1p(-b[:, None] * excess[None]), axis=1)
    likelihood = count * (np.log(-b / k) - k - 1)
    weights = 1 / np.sum(np.exp(np.clip(likelihood[None] - likelihood[:, None], -700, 700)), axis=1)
    best = np.sum(b * weights) / np.sum(weights)
    shape = float(np.mean(np.log1p(-best * excess)))
    # A weak prior around 1/2 stabilizes the fit on few points.
    return shape * count / (count + 10) + 0.5 * 10 / (count + 10)


class Measured(NamedTuple):
    """Repeated gradients.

    Args:
        gradients: For each parameter, an array of shape (repeats, *parameter).
        evaluations: Evaluations of f per gradient.
        seconds: Time per gradient when several are computed at once.
        messages: The warnings of `expectation`, for example that "auto" fell back on another estimator.
    """

    gradients: dict[str, np.ndarray]
    evaluations: int
    seconds: float
    messages: tuple[str, ...]


def gradient_of(problem: Problem, estimator: Any, num_samples: int) -> Callable[[Named, jax.Array], Named]:
    """The gradient of the expectation as a function of the problem's named arrays and a key."""

    def value(named: Named, key: jax.Array) -> Any:
        f, q = problem.at(named)
        return expectation(f, q, key=key, num_samples=num_samples, estimator=estimator)

    return jax.grad(value)


def refusal_of(problem: Problem, estimator: Any, num_samples: int) -> str | None:
    """Why an estimator cannot be measured on this problem; nothing is run."""
    try:
        quietly(jax.eval_shape, gradient_of(problem, estimator, num_samples), problem.arrays, jax.random.key(0))
    except InvalidEstimator as error:
        return error.got
    except (TypeError, ValueError, IndexError) as error:
        # A relaxation passes values that f may not accept, for example a number between two indices.
        if any(part.differentiates_the_sample for part in assign(problem.q, estimator, num_samples)):
            return f"f does not accept relaxed values: {error}".splitlines()[0]
        raise
    return None


def measure(problem: Problem, estimator: Any, key: jax.Array, num_samples: int, repeats: int) -> Measured:
    """Repeated gradients of one estimator; the same key gives every estimator the same keys."""
    gradient = gradient_of(problem, estimator, num_samples)
    run = jax.jit(lambda named, keys: repeated(lambda k: gradient(named, k), keys))
    keys = jax.random.split(key, repeats)
    lowered, messages = quietly(run.lower, problem.arrays, keys)
    compiled = lowered.compile()
    start = time.perf_counter()
    computed = jax.block_until_ready(compiled(problem.arrays, keys))
    seconds = (time.perf_counter() - start) / repeats
    gradients = {name: np.asarray(value, np.float64) for name, value in computed.items()}
    return Measured(gradients, evaluations_of(problem.q, estimator, num_samples, messages), seconds, messages)


def quietly(function: Callable[..., Any], *arguments: Any) -> tuple[Any, tuple[str, ...]]:
    """What a function returns, and the texts of its user warnings, which are not shown; other warnings are."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*arguments)
    messages = []
    for warning in caught:
        if warning.category is UserWarning:
            messages.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return result, tuple(dict.fromkeys(messages))


def repeated(function: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """``function`` at every key, in batches of bounded memory: one program for any number of keys."""
    batches = -(-len(keys) // _BATCH)
    size = -(-len(keys) // batches)
    padded = jnp.resize(keys, (batches, size))
    results = jax.lax.map(jax.vmap(function), padded)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: len(keys)], results)


def used(q: Any, estimator: Any, num_samples: int, messages: tuple[str, ...]) -> list[AbstractEstimator]:
    """The estimators that are run: if `expectation` warned that "auto" fell back, those that it fell back on."""
    parts = assign(q, estimator, num_samples)
    if not messages:
        return parts
    fallback = all_named()["leave-one-out"]
    return [
        fallback if request == "auto" and part.differentiates_the_sample else part
        for request, part in zip(spread(q, estimator), parts, strict=True)
    ]


def evaluations_of(q: Any, estimator: Any, num_samples: int, messages: tuple[str, ...]) -> int:
    """Evaluations of f per gradient."""
    return evaluations(q, used(q, estimator, num_samples, messages), num_samples)


def check_scalar(problem: Problem) -> None:
    """Refuses an integrand that is not a scalar: its gradient would not be one number per parameter.

    Raises:
        InvalidEstimator: f returns something else.
    """
    shape, _ = quietly(jax.eval_shape, lambda: expectation(problem.f, problem.q, key=jax.random.key(0)))
    outputs = jax.tree.leaves(shape)
    if len(outputs) != 1 or outputs[0].shape != () or not jnp.issubdtype(outputs[0].dtype, jnp.floating):
        raise InvalidEstimator(
            expected="an f that returns one real number",
            got=f"outputs of shape {[leaf.shape for leaf in outputs]}",
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
    """The estimators that assume the least of f, to check others against; none if q has no score."""
    names = ("enumeration",) if num_states(q) <= _CHEAP_REFEREE else ("leave-one-out", "measure-valued")
    known = all_named()
    return {name: known[name] for name in names if all(known[name].refusal(leaf) is None for leaf in leaves(q))}
