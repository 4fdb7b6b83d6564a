"""Choices by measurement: the estimator with the least variance times cost on pilot draws, and learned options."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from reparax.errors import InvalidEstimator
from reparax.estimators._agreement import is_built_in, is_zero, trust, verdict, witness
from reparax.estimators._base import AbstractEstimator
from reparax.estimators._measure import (
    Measured,
    Problem,
    candidates,
    check_scalar,
    gradient_of,
    measure,
    problem_of,
    referees,
    refusal_of,
)
from reparax.estimators._plan import named
from reparax.estimators.draws import is_distribution

POSITIVE, SCALE = "temperature", "scale"
TRIED = (1.0, 0.3, 3.0, 10.0, 30.0, 100.0, 300.0)
PILOT = 16
Adapted = TypeVar("Adapted", bound=AbstractEstimator)


def adapt(
    estimator: Adapted,
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    parameters: Any = None,
    num_samples: int = 2,
    steps: int = 300,
    batch_size: int = 16,
    optimizer: optax.GradientTransformation | None = None,
) -> Adapted:
    """The estimator with the options that minimize the variance of the gradient of E_q[f(z)]; for REBAR, RELAX, ...

    The options that are learned are its real numbers and arrays: temperature and scale of `REBAR`, the weights of the
    control variate of `RELAX`. A scale that would be fitted at each call is learned instead. The mean of the gradient
    does not depend on them, so that its mean square is the variance up to a constant; each step follows the derivative
    of the mean square over a batch of gradients. For draws made later the learned options are constants, which add no
    bias. Tucker et al. (2017), eq. 8; Grathwohl et al. (2018), algorithm 2.

    Args:
        estimator: An unbiased estimator with the options to start from. A temperature is kept positive, and starts at
            the best of several multiples.
        f: The integrand, of one draw; it returns one real number.
        q: A distribution, a pytree of independent ones, or a function of ``parameters``, at typical parameters.
        key: The random key.
        parameters: As for `compare`: a pytree of arrays; f is then ``f(z, parameters)``.
        num_samples: The number of draws per gradient that the result will be used with.
        steps: Steps of the optimizer.
        batch_size: Gradients per step.
        optimizer: From optax; by default Adam with a rate that falls from 0.03 to 0.

    Returns:
        An estimator of the same type with arrays as options, or the one given, if it is better on new draws.

    Raises:
        InvalidEstimator: It is biased, has no options to learn, is not valid here, or its variance became infinite.
    """
    problem = problem_of(f, q, parameters)
    check_scalar(problem)
    if not estimator.unbiased:
        raise InvalidEstimator(
            expected="an unbiased estimator, whose mean does not depend on its options",
            got=f"{type(estimator).__name__}, whose variance would be minimized at the price of bias",
            cure="adapt REBAR or RELAX",
        )
    learned, rest = eqx.partition(_with_arrays(estimator), eqx.is_inexact_array)
    if not jax.tree.leaves(learned):
        raise InvalidEstimator(
            expected="an estimator with options that are real numbers or arrays",
            got=f"{estimator}, which has none",
            cure="adapt REBAR, or RELAX with a control variate that has weights",
        )
    chosen = optimizer or optax.adam(optax.linear_schedule(0.03, 0.0, steps))

    def mean_square(part: AbstractEstimator, k: jax.Array) -> Float[Array, ""]:
        gradient = gradient_of(problem, part, num_samples)
        gradients = jax.vmap(lambda one: gradient(problem.arrays, one))(jax.random.split(k, batch_size))
        return sum((jnp.sum(g**2) for g in jax.tree.leaves(gradients)), jnp.zeros(())) / batch_size

    def noise(free: Any, k: jax.Array) -> Float[Array, ""]:
        return mean_square(eqx.combine(_bounded(free), rest), k)

    def step(state: tuple[Any, Any], k: jax.Array) -> tuple[tuple[Any, Any], Array]:
        free, moments = state
        loss, slope = jax.value_and_grad(noise)(free, k)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to a whole number
            updates, moments = chosen.update(slope, moments, free)
        return (optax.apply_updates(free, updates), moments), loss

    pilot_key, step_key, last_key = jax.random.split(key, 3)
    pilot, last = jax.random.split(pilot_key, PILOT), jax.random.split(last_key, PILOT)
    start = _started(_unbounded(learned), lambda at: jnp.mean(jax.lax.map(lambda k: noise(at, k), pilot)))
    run = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys))
    (free, _), losses = run((start, chosen.init(start)), jax.random.split(step_key, steps))
    if not bool(jnp.isfinite(losses).all()):
        raise InvalidEstimator(
            expected="gradients with a finite variance at every step",
            got=f"an infinite one at step {int(jnp.argmin(jnp.isfinite(losses)))} of {steps}",
            cure="start from other options, or pass an optimizer with smaller steps",
        )
    # What was learned may be worse on new draws.
    ends = (estimator, eqx.combine(_bounded(start), rest), eqx.combine(_bounded(free), rest))
    judged = [jax.jit(lambda part=part: jnp.mean(jax.lax.map(lambda k: mean_square(part, k), last)))() for part in ends]
    return ends[int(np.nanargmin(np.asarray(judged)))]


def _with_arrays(estimator: Any) -> Any:
    """The estimator with its Python numbers as arrays, and with a scale to learn instead of one fitted at each call."""
    if getattr(estimator, SCALE, 0.0) is None:
        estimator = eqx.tree_at(lambda part: part.scale, estimator, 1.0, is_leaf=lambda leaf: leaf is None)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, estimator)


def _started(free: Any, noise: Callable[[Any], Array]) -> Any:
    """The values at the best of several temperatures, each with its best scale, on the same pilot draws."""
    factors = TRIED if _has(free, POSITIVE) else (1.0,)
    tried = [_changed(free, POSITIVE, lambda x, t=t: x + math.log(t)) for t in factors]
    several = jax.jit(lambda many: jax.lax.map(noise, many))
    if not _has(free, SCALE):
        losses = several(jax.tree.map(lambda *leaves: jnp.stack(leaves), *tried))
        return tried[int(jnp.nanargmin(losses))]
    # The mean square is a quadratic function of the scale: three of its values give its minimum.
    levels = [_changed(one, SCALE, lambda x, s=s: jnp.full_like(x, s)) for one in tried for s in (0.0, 1.0, 2.0)]
    zero, one, two = several(jax.tree.map(lambda *leaves: jnp.stack(leaves), *levels)).reshape(-1, 3).T
    curvature = (two - 2 * one + zero) / 2
    slope = one - zero - curvature
    best = jnp.where(curvature > 0, -slope / (2 * jnp.where(curvature > 0, curvature, 1)), 0)
    place = int(jnp.nanargmin(zero + slope * best + curvature * best**2))
    return _changed(tried[place], SCALE, lambda x: jnp.full_like(x, best[place]))


def _has(free: Any, name: str) -> bool:
    return any(_called(path, name) for path, _ in jax.tree_util.tree_leaves_with_path(free))


def _changed(free: Any, name: str, change: Callable[[Array], Array]) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: change(leaf) if _called(path, name) else leaf, free)


def _unbounded(free: Any) -> Any:
    return _changed(free, POSITIVE, jnp.log)


def _bounded(free: Any) -> Any:
    return _changed(free, POSITIVE, jnp.exp)


def _called(path: Any, name: str) -> bool:
    return len(path) == 1 and getattr(path[0], "name", None) == name


def tune(
    f: Callable[..., Any],
    q: Any,
    *,
    key: jax.Array,
    parameters: Any = None,
    num_samples: int = 2,
    num_pilot: int = 1000,
    estimators: Sequence[Any] | None = None,
    minimize: Sequence[str] | None = None,
) -> Any:
    """The estimator whose gradient of E_q[f(z)] has the least variance times evaluations of f.

    All candidates run on the same pilot keys. Draws made later with the result are new, so that the selection adds no
    bias. For a pytree, the estimators of the variables are chosen one after the other.

    A candidate is excluded if it does not pass the checks of `expectation`, or if its mean contradicts that of
    estimators that assume less (see `compare`). If all candidates assume a continuous f, one that does not is run as a
    reference. If f is only assumed to be continuous, or the estimator is a custom one, a gradient that is always 0 is
    not trusted unless the reference finds the same.

    Args:
        f: The integrand, of one draw; it returns one real number.
        q: A distribution, a pytree of independent ones, or a function of ``parameters``, at typical parameters.
        key: The random key of the pilot.
        parameters: As for `compare`: a pytree of arrays; f is then ``f(z, parameters)``.
        num_samples: The number of draws per gradient that the result will be used with.
        num_pilot: The number of pilot gradients per candidate.
        estimators: The candidates, names or instances; by default every valid unbiased estimator.
        minimize: The names of the parameters whose variance counts (as `compare` prints them); by default all.

    Returns:
        An estimator, or for a pytree a pytree of estimators: what `expectation` takes as ``estimator``.

    Raises:
        InvalidEstimator: All candidates are excluded, f does not return one number, or a parameter is unknown.

    Warns:
        UserWarning: The pilot has too few draws to confirm that the chosen estimator is right, and nothing else does.
    """
    problem = problem_of(f, q, parameters)
    check_scalar(problem)
    counted = _counted(problem, minimize)
    flat, structure = jax.tree.flatten(problem.q, is_leaf=is_distribution)
    chosen: list[Any] = ["auto"] * len(flat)
    for place, leaf in enumerate(flat):
        options = _options(leaf, estimators)

        def run(option: AbstractEstimator, place: int = place) -> Measured | str:
            trial = jax.tree.unflatten(structure, [*chosen[:place], option, *chosen[place + 1 :]])
            refusal = refusal_of(problem, trial, num_samples)
            return refusal or measure(problem, trial, key, num_samples, num_pilot)

        chosen[place] = _best(problem, options, _judges(leaf, options), run, counted)
    return jax.tree.unflatten(structure, chosen)


def _counted(problem: Problem, minimize: Sequence[str] | None) -> list[str]:
    counted = list(problem.arrays if minimize is None else minimize)
    unknown = [name for name in counted if name not in problem.arrays]
    if unknown:
        raise InvalidEstimator(
            expected=f"minimize to name parameters among {', '.join(problem.arrays)}",
            got=", ".join(unknown),
            cure="use the names that compare prints",
        )
    return counted


def _options(leaf: Any, estimators: Sequence[Any] | None) -> list[AbstractEstimator]:
    if estimators is None:
        return list(candidates(leaf, biased=False).values())
    parts = [named(part) if isinstance(part, str) else part for part in estimators]
    return [part for part in parts if part.unbiased]


def _judges(leaf: Any, options: Sequence[AbstractEstimator]) -> list[AbstractEstimator]:
    """An estimator that assumes less than all the options, if these assume a continuous f or more."""
    if not options or min(trust(option) for option in options) < 2:
        return []
    return list(referees(leaf).values())[:1]


@dataclass(frozen=True)
class _Trial:
    option: AbstractEstimator
    measured: Measured
    objection: str
    unnoticed: float

    def score(self, counted: Sequence[str]) -> float:
        gradients = [self.measured.gradients[name] for name in counted]
        if not all(np.isfinite(draws).all() for draws in gradients):
            return float("inf")
        return sum(float(draws.var(axis=0, ddof=1).sum()) for draws in gradients) * self.measured.evaluations


def _best(
    problem: Problem,
    options: Sequence[AbstractEstimator],
    judges: Sequence[AbstractEstimator],
    run: Callable[[AbstractEstimator], Measured | str],
    counted: Sequence[str],
) -> AbstractEstimator:
    refused: list[str] = []
    results: list[tuple[AbstractEstimator, Measured, bool]] = []
    for option, eligible in [*((option, True) for option in options), *((judge, False) for judge in judges)]:
        outcome = run(option)
        if not isinstance(outcome, str):
            results.append((option, outcome, eligible))
        elif eligible:
            refused.append(f"{option}: {outcome}")
    trials = [trial for trial, eligible in zip(_trials(problem, results), results, strict=True) if eligible[2]]
    refused += [f"{trial.option}: {trial.objection}" for trial in trials if trial.objection]
    left = {index: trial.score(counted) for index, trial in enumerate(trials) if not trial.objection}
    left = {index: score for index, score in left.items() if np.isfinite(score)}
    if not left:
        raise InvalidEstimator(
            expected="at least one candidate that is valid and unbiased for q and f",
            got="; ".join(refused) or "none, or none with finite gradients",
            cure="pass estimators=None to try them all, or see compare(f, q, key=key)",
        )
    best = trials[min(left, key=lambda index: left[index])]
    if _is_unchecked(problem, best.option) and best.unnoticed > 1:
        few = "not enough draws to tell: raise num_pilot"
        missing = "no other mechanism is valid" if np.isinf(best.unnoticed) else few
        message = f"the pilot does not show whether {best.option} is right ({missing})"
        warnings.warn(message, UserWarning, stacklevel=3)
    return best.option


def _trials(problem: Problem, results: Sequence[tuple[AbstractEstimator, Measured, bool]]) -> list[_Trial]:
    """Every candidate with the objection against it, in any parameter."""
    witnesses = {
        parameter: {str(place): witness(measured.gradients[parameter], [option])
                    for place, (option, measured, _) in enumerate(results)}
        for parameter in problem.arrays
    }  # fmt: skip
    trials = []
    for place, (option, measured, _) in enumerate(results):
        objection, unnoticed = "", 0.0
        for parameter, known in witnesses.items():
            judgment = verdict(str(place), known)
            zero = is_zero(measured.gradients[parameter])
            if judgment.alarm:
                objection = objection or f"d/d {parameter} contradicts estimators that assume less"
            elif zero and _is_unchecked(problem, option) and judgment.unnoticed > 0:
                objection = objection or f"d/d {parameter} is always 0, which no reference estimator confirms"
            unnoticed = max(unnoticed, judgment.unnoticed)
        trials.append(_Trial(option, measured, objection, unnoticed))
    return trials


def _is_unchecked(problem: Problem, option: AbstractEstimator) -> bool:
    """Whether the estimator is right only if an assumption of the author's is."""
    return not is_built_in(option) or (problem.assumed_continuous and trust(option) >= 2)
