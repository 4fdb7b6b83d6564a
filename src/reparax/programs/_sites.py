"""The functions with which a program is written: draws, costs, and the joining of parallel branches."""

import functools
import sys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Array

from reparax.errors import InvalidEstimator
from reparax.estimators.draws import (
    check_distributions,
    is_distribution,
    joint_states,
    leaves,
    log_prob,
    not_binary,
    num_states,
)
from reparax.estimators.draws import draw as constant_draws
from reparax.estimators.pathwise import Pathwise
from reparax.estimators.scores import as_floating, moving_support, with_unmoved_support
from reparax.programs._marks import (
    DISARM,
    ENUMERATION,
    PATHWISE,
    SCORE,
    Cost,
    Draw,
    Join,
    constant,
    key_operand,
    mark,
    source,
)
from reparax.programs._weighting import Probing, Upstream, antithetic, mean_of_others, scored, weighted
from reparax.reparameterization import innermost, rsample

NAMES = {
    "auto": "auto", "pathwise": PATHWISE, "leave-one-out": SCORE, "score-function": SCORE,
    "enumeration": ENUMERATION, "disarm": DISARM,
}  # fmt: skip


def draw(
    q: Any, upstream: Upstream, *, key: jax.Array, estimator: str = "auto", name: str | None = None
) -> tuple[Any, Upstream]:
    """One draw of q inside a program, and the upstream that includes it.

    Args:
        q: A numpyro distribution, or a pytree of independent ones; z has the same structure.
        upstream: The draws before this one: the upstream that `simulate` passed or that an earlier draw returned.
        key: The random key, derived from the program's key and used nowhere else.
        estimator: ``"auto"``, ``"pathwise"``, ``"leave-one-out"`` (the same as ``"score-function"``: the baseline is
            that of the costs), ``"enumeration"`` or ``"disarm"``.
        name: The site's name in messages; by default the file and line of the call.

    Returns:
        The draw, and the upstream with it.

    Raises:
        InvalidEstimator: The estimator would be wrong for q, or is not available inside programs.
    """
    _check(q, upstream, estimator)
    place = name or _place(sys._getframe(1))
    if isinstance(upstream.mode, Probing):
        return _probe(q, upstream, key, NAMES[estimator], place)
    chosen = dict(upstream.mode.estimators)[place]
    if chosen == PATHWISE:
        flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
        keys = jax.random.split(key, len(flat))
        return jax.tree.unflatten(structure, [rsample(part, k) for part, k in zip(flat, keys, strict=True)]), upstream
    if chosen == ENUMERATION:
        return _enumerated(q, upstream, dict(upstream.mode.axes)[place])
    if chosen == DISARM:
        structure = jax.tree.structure(q, is_leaf=is_distribution)
        bits, surrogate = antithetic(q, key, upstream.mode.axis)
        # (1 + a) (1 + b): the derivatives add, as both are 0 in value.
        return jax.tree.unflatten(structure, bits), replace(
            upstream, paired=upstream.paired + surrogate.astype(upstream.paired.dtype)
        )
    z = jax.tree.map(lambda x: x[0], constant_draws(q, key, 1))
    score = log_prob(with_unmoved_support(q), z)
    return z, replace(upstream, log_prob=upstream.log_prob + score.astype(upstream.log_prob.dtype))


def cost(value: Any, upstream: Upstream, *, baseline: Any = "leave-one-out", name: str | None = None) -> Any:
    """A term of the program's result, weighted by the draws upstream of it and by no others.

    A cost after the t-th draw is weighted by t draws, so that sums over time automatically have the variance of the
    reward-to-go. Foerster et al. (2018), eq. 5; Schulman et al. (2015), theorem 1.

    Args:
        value: An array, or a pytree of arrays.
        upstream: The draws on which the value depends; with more draws it is still right, but noisier.
        baseline: ``"leave-one-out"``, the mean of the values of the other copies; ``None``; or an array (a pytree like
            the value) that does not depend on any draw.
        name: The cost's name in messages; by default the file and line of the call.

    Returns:
        The value as floating arrays. It may be added to others, scaled, reshaped and selected, but not squared or
        compared.

    Raises:
        InvalidEstimator: The upstream is not an upstream, or the baseline is unknown.
    """
    _check_upstream(upstream)
    place = name or _place(sys._getframe(1))
    by_name = isinstance(baseline, str)
    if by_name and baseline != "leave-one-out":
        raise InvalidEstimator(
            expected='the baseline to be "leave-one-out", None or an array', got=repr(baseline), cure="omit baseline="
        )
    values, structure = jax.tree.flatten(as_floating(value))
    given = None if by_name or baseline is None else structure.flatten_up_to(as_floating(baseline))
    if given is not None:
        given = [jnp.broadcast_to(b.astype(v.dtype), v.shape) for b, v in zip(given, values, strict=True)]
    mode = upstream.mode
    if isinstance(mode, Probing):
        operands = [*values, upstream.log_prob, *(given or [])]
        marked = mark(operands, len(values), Cost(place, len(values), given is not None))
        return jax.tree.unflatten(structure, marked)
    values = [weighted(v, upstream) for v in values]
    if given is None and by_name and place not in mode.without_baseline:
        given = [mean_of_others(v, mode) for v in values]
    baselines = given or [None] * len(values)
    return jax.tree.unflatten(structure, [scored(v, upstream, b) for v, b in zip(values, baselines, strict=True)])


def join(branches: Upstream, upstream: Upstream) -> Upstream:
    """The upstream of a value that depends on the draws of all lanes of a ``vmap`` inside the program.

    Args:
        branches: The upstream that came out of the ``vmap``, whose first axes count the lanes.
        upstream: The upstream that went into every lane.

    Raises:
        InvalidEstimator: One of the two is not an upstream, or the first has no lanes.
    """
    _check_upstream(upstream)
    if not isinstance(branches, Upstream) or branches.log_prob.ndim == 0:
        raise InvalidEstimator(
            expected="an upstream that came out of a vmap, with an axis of lanes",
            got=type(branches).__name__ if not isinstance(branches, Upstream) else "one without such an axis",
            cure="use the upstream without joining: only parallel draws are joined",
        )
    if isinstance(upstream.mode, Probing):
        (token,) = mark([upstream.log_prob, branches.log_prob], 1, Join(_place(sys._getframe(1))))
        return replace(upstream, log_prob=token)
    log_prob = upstream.log_prob + jnp.sum(branches.log_prob - upstream.log_prob)
    paired = upstream.paired + jnp.sum(branches.paired - upstream.paired)
    return replace(upstream, log_prob=log_prob, paired=paired)


def _probe(q: Any, upstream: Upstream, key: jax.Array, request: str, place: str) -> tuple[Any, Upstream]:
    flat, structure = jax.tree.flatten(q, is_leaf=is_distribution)
    refused = _refusals(flat)
    sampler = _sample if PATHWISE not in dict(refused) else _constant
    # Only the shapes: how a sampler computes its draw does not matter for how the program depends on it.
    shapes = jax.eval_shape(functools.partial(sampler, flat), key)
    parameters = [x for x in jax.tree.leaves(flat) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]
    what = Draw(place, request, ", ".join(_family(part) for part in flat), len(flat), num_states(flat), refused)
    placeholders = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
    operands = [upstream.log_prob, *placeholders, *parameters, key_operand(key)]
    token, *values = mark(operands, 1 + len(flat), what)
    if PATHWISE not in dict(refused) and request in ("auto", PATHWISE):
        values = [_cut(part, source(part, z, place)) for part, z in zip(flat, values, strict=True)]
    else:
        values = [constant(z) for z in values]
    return jax.tree.unflatten(structure, values), replace(upstream, log_prob=token)


def _refusals(flat: list[dist.Distribution]) -> tuple[tuple[str, str], ...]:
    """The estimators that would be wrong, and why."""
    tests = {PATHWISE: Pathwise().refusal, SCORE: moving_support, DISARM: not_binary, ENUMERATION: _not_finite}
    reasons = {name: next((r for part in flat if (r := test(part)) is not None), None) for name, test in tests.items()}
    return tuple((name, reason) for name, reason in reasons.items() if reason is not None)


def _not_finite(q: dist.Distribution) -> str | None:
    return None if num_states(q) < float("inf") else f"{_family(q)} has no finite number of states"


def _family(q: dist.Distribution) -> str:
    return type(innermost(q)).__name__


def _sample(flat: list[dist.Distribution], key: jax.Array) -> list[Array]:
    return [rsample(part, key) for part in flat]


def _constant(flat: list[dist.Distribution], key: jax.Array) -> list[Array]:
    return [z[0] for z in constant_draws(flat, key, 1)]


def _cut(q: dist.Distribution, z: Array) -> Array:
    """An angle wrapped at +-pi, where a function that is not periodic jumps; any other value unchanged."""
    return jnp.remainder(z + jnp.pi, 2 * jnp.pi) - jnp.pi if isinstance(innermost(q), dist.VonMises) else z


def _enumerated(q: Any, upstream: Upstream, axis: str) -> tuple[Any, Upstream]:
    states = joint_states(q)
    state = jax.lax.axis_index(axis)
    drawn = jax.eval_shape(lambda: constant_draws(q, jax.random.key(0), 1))
    z = jax.tree.map(lambda all_states, like: jnp.asarray(all_states)[state].astype(like.dtype), states, drawn)
    weight = jnp.exp(log_prob(q, z)) * jax.lax.axis_size(axis)
    return z, replace(upstream, weight=upstream.weight * weight.astype(upstream.weight.dtype))


def _place(frame: Any) -> str:
    """The file and line of a call; two calls in one line are distinguished by their position in the bytecode."""
    code = frame.f_code
    position = next((p for at, p in enumerate(code.co_positions()) if at == frame.f_lasti // 2), None)
    column = f":{position[2]}" if position and position[2] is not None else f"@{frame.f_lasti}"
    return f"{code.co_filename}:{frame.f_lineno}{column}"


def _check(q: Any, upstream: Any, estimator: Any) -> None:
    _check_upstream(upstream)
    check_distributions(leaves(q), "mask the value of the cost instead, for example jnp.where(mask, value, 0)")
    if not isinstance(estimator, str) or estimator not in NAMES:
        raise InvalidEstimator(
            expected=f"an estimator that a draw inside a program can have: {', '.join(NAMES)}",
            got=repr(estimator),
            cure="choose one of these, or use rx.expectation for a draw on which no other depends",
        )


def _check_upstream(upstream: Any) -> None:
    if not isinstance(upstream, Upstream):
        raise InvalidEstimator(
            expected="the upstream that rx.simulate gave the program, or that rx.draw returned",
            got=type(upstream).__name__,
            cure="write the program as program(key, upstream), and run it by rx.simulate(program, key=key)",
        )
    if upstream.left or upstream.log_prob.ndim:
        raise InvalidEstimator(
            expected="an upstream that holds every draw before this place",
            got="one that came out of a vmap, with separate draws for each lane",
            cure="join its lanes first: rx.join(branches, upstream)",
        )
