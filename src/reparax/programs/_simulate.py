"""Running a program of draws: seen once without being run, then run in many copies with a choice for every draw."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr

from reparax.continuity import trusted
from reparax.errors import InvalidEstimator
from reparax.estimators.surrogate import as_floating
from reparax.programs._choices import Plan, Site, choose, short
from reparax.programs._facts import NONE, Facts
from reparax.programs._flow import Flow
from reparax.programs._loops import follow_cond, follow_scan, follow_while
from reparax.programs._marks import ENUMERATION, PATHWISE, UNCHOSEN, Cost, Draw, guard, names_that_jump
from reparax.programs._rules import check_results, follow_mark
from reparax.programs._weighting import Probing, Running, Upstream, start, unused_axis

Program = Callable[[jax.Array, Upstream], Any]


RULES = {"reparax_mark": follow_mark, "scan": follow_scan, "while": follow_while, "cond": follow_cond}
"""What follows marks and control flow."""


def simulate(program: Program, *, key: jax.Array, num_samples: int = 2, max_enumerated: int = 64) -> Any:
    """The mean result of a program of random draws; differentiating it gives an unbiased estimate of the derivative.

    ``program(key, upstream)`` is written for ONE copy: it draws with `draw`, passes on the upstream, and returns
    sums of what it passed through `cost`. Its parameters are what it closes over. It is traced once to see where its
    draws flow, and refused where a derivative would be wrong.

    Args:
        program: The program. What it returns, an array or a pytree of arrays, depends on its draws through costs alone
            (on pathwise draws it may depend directly).
        key: The random key.
        num_samples: The number of independent copies. With one copy there is no leave-one-out baseline.
        max_enumerated: The most joint states of all enumerated draws together.

    Returns:
        The mean over the copies (exact in enumerated draws), in the structure that the program returns.

    Raises:
        InvalidEstimator: A derivative would be wrong: a result depends on a draw outside of a cost, a cost on a draw
            that is not upstream of it, or an estimator is wrong for its draw.
    """
    if not isinstance(num_samples, int) or num_samples < 1:
        raise InvalidEstimator(
            expected="num_samples to be a positive integer", got=repr(num_samples), cure="use for example 16"
        )
    plan, without_baseline, closed = _plan(program, key, max_enumerated)
    for site in plan.sites:
        if site.jumps:
            warnings.warn(
                f"the draw at {short(site.name)}: {site.why}; leave-one-out is used, which is right but noisier. Name "
                "an estimator there to silence this.",
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
    # Enumerated copies are weighted by their number of states, so that these are means as well.
    means = jax.tree.map(lambda x: jnp.mean(x, axis=tuple(range(1 + len(enumerated)))), results)
    return trusted(guard(means, closed))


def explain(program: Program, *, key: jax.Array, max_enumerated: int = 64) -> Plan:
    """How `simulate` differentiates each draw of a program, and why; nothing is run.

    Args:
        program: The program.
        key: A random key, of which only the kind matters.
        max_enumerated: As for `simulate`.

    Returns:
        A value that prints as a table.

    Raises:
        InvalidEstimator: As for `simulate`.
    """
    return _plan(program, key, max_enumerated)[0]


def _plan(program: Program, key: jax.Array, max_enumerated: int) -> tuple[Plan, frozenset[str], ClosedJaxpr]:
    # An upstream as an argument is a variable of the jaxpr, not one of its constants.
    closed = jax.make_jaxpr(lambda k, upstream: program(k, upstream))(key, start(Probing()))
    # First without choices, which finds the draws and refuses nothing that depends on the choice.
    seen = Flow(lambda name: UNCHOSEN, RULES)
    _follow(seen, closed)
    draws = [(path, what) for path, (what, _) in seen.marks.items() if isinstance(what, Draw)]
    wanted = [what for _, what in draws if what.wish in ("auto", PATHWISE) and PATHWISE not in dict(what.refused)]
    sites = choose(draws, names_that_jump(closed) if wanted else {}, max_enumerated)
    estimators = {site.name: site.estimator for site in sites}
    flow = Flow(estimators.__getitem__, RULES)
    check_results(flow, _follow(flow, closed))
    without = frozenset(flow.name_at(path) for path in flow.unbaselined)
    unequal = [
        what.name
        for path, (what, _) in flow.marks.items()
        if isinstance(what, Cost) and what.own_baseline and path in flow.unbaselined
    ]
    if unequal:
        raise InvalidEstimator(
            expected=f"the baseline of the cost at {unequal[0]} to count whatever is drawn",
            got="a cost of which a draw decides whether or how much it counts, and its baseline with it",
            cure="pass baseline=None, or make the decision inside: rx.cost(jnp.where(counts, value, 0), upstream)",
        )
    return Plan(tuple(sites), _baselines(flow, sites, without)), without, closed


def _follow(flow: Flow, closed: Any) -> list[Facts]:
    # The upstream's leaves come in the order of its fields: the variable that is followed is the first.
    arguments = [Facts(varies=frozenset({"key"}), origin="key"), Facts(token=NONE), Facts(), Facts()]
    return flow.closed(closed, arguments, ())


def _baselines(flow: Flow, sites: tuple[Site, ...], without: frozenset[str]) -> tuple[tuple[str, str], ...]:
    baselines = {}
    for what, _ in flow.marks.values():
        if isinstance(what, Cost):
            reason = "none: a draw decides whether or how much it counts" if what.name in without else None
            baselines[what.name] = reason or ("its own" if what.own_baseline else "the other copies, for scored draws")
    return tuple(baselines.items())
