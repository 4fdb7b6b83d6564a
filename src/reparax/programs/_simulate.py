"""Runs a program of draws: it is first traced without being run, then run in many copies with chosen estimators."""

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from reparax.continuity import trusted
from reparax.errors import InvalidEstimator
from reparax.estimators.scores import as_floating
from reparax.estimators.text_table import table
from reparax.programs._flow import Flow, check_results, follow_mark
from reparax.programs._loops import follow_cond, follow_scan, follow_while
from reparax.programs._marks import (
    DISARM,
    ENUMERATION,
    NONE,
    PATHWISE,
    SCORE,
    UNCHOSEN,
    Cost,
    Draw,
    Facts,
    Path,
    guard,
    names_that_jump,
)
from reparax.programs._weighting import Probing, Running, Upstream, start, unused_axis


@dataclass(frozen=True)
class Site:
    """How one draw of a program is differentiated.

    Args:
        name: The site's name: given, or the file and line of the call.
        distribution: The family drawn.
        repeated: Whether it is drawn in a loop.
        estimator: The estimator's name.
        why: Why this one.
        states: The number of joint states if it is enumerated, else 1.
        jumps: Whether it is not pathwise because the program is not shown to be continuous in the draw.
    """

    name: str
    distribution: str
    repeated: bool
    estimator: str
    why: str
    states: int = 1
    jumps: bool = False


@dataclass(frozen=True)
class Plan:
    """One `Site` per draw; printing it gives a table.

    Args:
        sites: The draws, in the order of the program.
        costs: Pairs of a cost's name, and its baseline in words.
    """

    sites: tuple[Site, ...]
    costs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        rows = [(short(s.name), s.distribution, "yes" if s.repeated else "no", s.estimator, s.why) for s in self.sites]
        draws = table(("draw", "distribution", "in a loop", "estimator", "why"), rows)
        costs = table(("cost", "baseline"), [(short(name), baseline) for name, baseline in self.costs])
        return f"{draws}\n\n{costs}"

    def __repr__(self) -> str:
        return str(self)


def short(name: str) -> str:
    """A name without folders."""
    return PurePath(name).name


def choose(
    draws: Iterable[tuple[Path, Draw]], jumps: dict[str, str], max_enumerated: int, *, taken: int = 1
) -> tuple[Site, ...]:
    """A site for every name among the draws of a program.

    Args:
        draws: The draws and their paths.
        jumps: The sites in which the program is not shown to be continuous, with the reason.
        max_enumerated: The most joint states of all enumerated sites together.
        taken: The number of joint states already enumerated around the program.

    Raises:
        InvalidEstimator: An estimator chosen by name would be wrong, or none is valid.
    """
    places: dict[str, list[tuple[Path, Draw]]] = {}
    for path, what in draws:
        places.setdefault(what.name, []).append((path, what))
    for name, uses in places.items():
        if len({(what.family, what.request, what.states) for _, what in uses}) > 1:
            raise InvalidEstimator(
                expected=f"all draws named {name} to be of one kind",
                got=" and ".join(sorted({f"{what.family} ({what.request})" for _, what in uses})),
                cure="give each a different name: rx.draw(..., name='...')",
            )
    # Enumerations chosen by name first, then the smallest, so that the result does not depend on the program's order.
    order = sorted(places, key=lambda name: (places[name][0][1].request != ENUMERATION, places[name][0][1].states))
    sites = {}
    for name in order:
        sites[name] = _site(places[name], jumps.get(name), max_enumerated, taken)
        taken *= sites[name].states
    return tuple(sites[name] for name in places)


def _site(uses: list[tuple[Path, Draw]], jump: str | None, most: int, taken: int) -> Site:
    what = uses[0][1]
    reasons: dict[str, str] = {}
    for path, use in uses:
        reasons |= dict(use.refused)
        if "condition" in path:
            reasons |= dict.fromkeys((PATHWISE, SCORE, DISARM), "it is drawn in the condition of a while loop")
        if "while" in path or "branch" in path:
            reasons.setdefault(
                DISARM, "in a while loop or a branch, one copy of a pair may make the draw without the other"
            )
    if (reason := _not_enumerable(uses, most, taken)) is not None:
        reasons.setdefault(ENUMERATION, reason)
    if jump is not None:
        reasons.setdefault(PATHWISE, f"the program is not shown to be continuous in it ({jump})")
    estimator, why = _preferred(what, reasons, taken)
    repeated = any("scan" in path or "while" in path for path, _ in uses)
    states = int(what.states) if estimator == ENUMERATION else 1
    gave_up = (
        jump is not None and estimator != PATHWISE and PATHWISE not in dict(what.refused) and what.request == "auto"
    )
    return Site(what.name, what.family, repeated, estimator, why, states, gave_up and estimator == SCORE)


def _not_enumerable(uses: list[tuple[Path, Draw]], most: int, taken: int) -> str | None:
    states = max(what.states for _, what in uses)
    if any("scan" in path or "while" in path for path, _ in uses):
        return "in a loop, all passes would be in the same state; enumerating them separately costs states ** passes"
    if len(uses) > 1:
        return "several draws have this name, and would all be in the same state"
    if math.isinf(states):
        return "it has no finite number of states"
    if states * taken > most:
        return f"{states * taken:.0f} joint states are more than max_enumerated={most}"
    return None


def _preferred(what: Draw, reasons: dict[str, str], taken: int) -> tuple[str, str]:
    if what.request != "auto":
        if what.request not in reasons:
            return what.request, "chosen by name"
        valid = [name for name in (PATHWISE, SCORE, ENUMERATION, DISARM) if name not in reasons]
        raise InvalidEstimator(
            expected=f"an estimator that is right for the draw at {what.name}",
            got=f"{what.request}: {reasons[what.request]}",
            cure=f"use one of: {', '.join(valid)}" if valid else "change the distribution or the program",
        )
    if ENUMERATION not in reasons:
        return ENUMERATION, f"exact, and {what.states * taken:.0f} joint states are within the bound"
    if PATHWISE not in reasons:
        return PATHWISE, "its samples are differentiable in every parameter"
    if SCORE not in reasons:
        return SCORE, f"not pathwise: {reasons[PATHWISE]}"
    raise InvalidEstimator(
        expected=f"an estimator that is right for the draw at {what.name}",
        got="; ".join(f"{name}: {reason}" for name, reason in reasons.items()),
        cure="change the distribution or the program",
    )


Program = Callable[[jax.Array, Upstream], Any]


RULES = {"reparax_mark": follow_mark, "scan": follow_scan, "while": follow_while, "cond": follow_cond}
"""The functions that follow marks and control flow, by the name of the operation."""


def simulate(program: Program, *, key: jax.Array, num_samples: int = 2, max_enumerated: int = 64) -> Any:
    """The mean result of a program of random draws; differentiating it gives an unbiased estimate of the derivative.

    ``program(key, upstream)`` is written for ONE copy: it draws with `draw`, passes on the upstream, and returns sums
    of values that went through `cost`. Its parameters are the values that it closes over. It is traced once to find
    how its draws flow into its costs, and refused if a derivative would be wrong.

    Args:
        program: The program. Its result, an array or a pytree of arrays, may depend on draws only through costs
            (except on pathwise draws).
        key: The random key.
        num_samples: The number of independent copies. With one copy there is no leave-one-out baseline.
        max_enumerated: The most joint states of all enumerated draws together.

    Returns:
        The mean over the copies (exact in enumerated draws), in the structure that the program returns.

    Raises:
        InvalidEstimator: A derivative would be wrong: the result depends on a draw other than through a cost, a cost
            depends on a draw that is not upstream of it, or an estimator is wrong for its draw.
    """
    if not isinstance(num_samples, int) or num_samples < 1:
        raise InvalidEstimator(
            expected="num_samples to be a positive integer", got=repr(num_samples), cure="use for example 16"
        )
    plan, without_baseline, closed = _plan(program, key, max_enumerated)
    for site in plan.sites:
        if site.jumps:
            warnings.warn(
                f"the draw at {short(site.name)}: {site.why}; leave-one-out is used, which is right but noisier. "
                "Choose its estimator by name to silence this warning.",
                UserWarning,
                stacklevel=2,
            )
    enumerated = [site for site in plan.sites if site.estimator == ENUMERATION]
    mode = Running(
        axis=unused_axis("copies"),
        copies=num_samples,
        estimators=tuple((site.name, site.estimator) for site in plan.sites),
        axes=tuple((site.name, unused_axis(f"states of {site.name}")) for site in enumerated),
        without_baseline=without_baseline,
    )

    def copy(key: jax.Array) -> Any:
        return as_floating(program(key, start(mode)))

    run = copy
    for (_, axis), site in zip(mode.axes, enumerated, strict=True):
        run = jax.vmap(run, in_axes=None, axis_name=axis, axis_size=site.states)
    results = jax.vmap(run, axis_name=mode.axis)(jax.random.split(key, num_samples))
    # Enumerated copies are weighted by the number of states, so that a mean over them is a sum.
    means = jax.tree.map(lambda x: jnp.mean(x, axis=tuple(range(1 + len(enumerated)))), results)
    return trusted(guard(means, closed))


def explain(program: Program, *, key: jax.Array, max_enumerated: int = 64) -> Plan:
    """How `simulate` differentiates each draw of a program, and why; nothing is run.

    Args:
        program: The program.
        key: A random key, of which only the kind matters.
        max_enumerated: As for `simulate`.

    Returns:
        An object that prints as a table.

    Raises:
        InvalidEstimator: As for `simulate`.
    """
    return _plan(program, key, max_enumerated)[0]


def _plan(program: Program, key: jax.Array, max_enumerated: int) -> tuple[Plan, frozenset[str], ClosedJaxpr]:
    # The upstream is an argument, so that it is a variable of the jaxpr and not a constant.
    closed = jax.make_jaxpr(lambda k, upstream: program(k, upstream))(key, start(Probing()))
    # The first pass, without estimators, finds the draws; it refuses only what is wrong for every estimator.
    seen = Flow(lambda name: UNCHOSEN, RULES)
    _follow(seen, closed)
    draws = [(path, what) for path, (what, _) in seen.marks.items() if isinstance(what, Draw)]
    wanted = [what for _, what in draws if what.request in ("auto", PATHWISE) and PATHWISE not in dict(what.refused)]
    sites = choose(draws, names_that_jump(closed) if wanted else {}, max_enumerated)
    estimators = {site.name: site.estimator for site in sites}
    flow = Flow(estimators.__getitem__, RULES)
    check_results(flow, _follow(flow, closed))
    without = frozenset(flow.name_at(path) for path in flow.unbaselined)
    unequal = [
        what.name
        for path, (what, _) in flow.marks.items()
        if isinstance(what, Cost) and what.custom_baseline and path in flow.unbaselined
    ]
    if unequal:
        raise InvalidEstimator(
            expected=f"the baseline of the cost at {unequal[0]} to count for all draws alike",
            got="a cost for which a draw decides whether or how much it, and its baseline, counts",
            cure="pass baseline=None, or make the decision inside: rx.cost(jnp.where(counts, value, 0), upstream)",
        )
    return Plan(tuple(sites), _baselines(flow, sites, without)), without, closed


def _follow(flow: Flow, closed: Any) -> list[Facts]:
    # The leaves of the upstream are in the order of its fields: the first is the variable that is traced.
    arguments = [Facts(varies=frozenset({"key"}), origin="key"), Facts(token=NONE), Facts(), Facts()]
    return flow.closed(closed, arguments, ())


def _baselines(flow: Flow, sites: tuple[Site, ...], without: frozenset[str]) -> tuple[tuple[str, str], ...]:
    baselines = {}
    for what, _ in flow.marks.values():
        if isinstance(what, Cost):
            reason = "none: a draw decides whether or how much it counts" if what.name in without else None
            baselines[what.name] = reason or ("given" if what.custom_baseline else "the other copies, for scored draws")
    return tuple(baselines.items())
