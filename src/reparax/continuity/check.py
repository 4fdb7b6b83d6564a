"""Whether a function is continuous in each of its variables."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from jax.extend.core import ClosedJaxpr

from reparax.continuity import arrays, functions
from reparax.continuity.analysis import ALL_DRAWS, Analysis
from reparax.continuity.crossing import Budget
from reparax.continuity.facts import NONE, Facts, Jump
from reparax.continuity.graph import Graph
from reparax.continuity.held_back import held_back
from reparax.continuity.interval import REAL, Interval
from reparax.continuity.markers import source_of

# Importing these registers their rules.
_RULES_OF = (arrays, functions)


@dataclass(frozen=True)
class Variable:
    """An input in which the function is to be continuous.

    Args:
        interval: Its support, or an interval that contains it.
        density: Whether its elements have a joint density, so that only constant functions of them have atoms.
        simplex: Whether it sums to one along its last axis.
        atomless: Whether none of its elements takes any single value with positive probability.
    """

    interval: Interval = REAL
    density: bool = True
    simplex: bool = False
    atomless: bool = True


@dataclass(frozen=True)
class Reason:
    """Why a function is not shown to be continuous in a variable.

    Args:
        primitive: The operation.
        text: The reason, in words.
    """

    primitive: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What is known of a function's continuity.

    Args:
        variables: For each input, why the function is not shown to be continuous in it; ``None`` if it is.
        sources: The same for draws inside the function, by name.
        moving: The indices of traced constants that move a jump, each with the inputs of that jump (as bits).
        held_back: For each input, whether a value that depends on it loses its derivative (``stop_gradient``).
    """

    variables: tuple[Reason | None, ...]
    sources: dict[str, Reason]
    moving: tuple[tuple[int, int], ...]
    held_back: tuple[bool, ...]


def names_of_sources(graph: Graph) -> list[str]:
    """The names of the draws inside a program, including its loops, in order."""
    names: list[str] = []
    for node in graph.nodes:
        names += [source_of(node.params)[1]] if node.op == "source" else []
        for inner in node.graphs:
            names += names_of_sources(inner)
    return list(dict.fromkeys(names))


def judge_draws(closed: ClosedJaxpr) -> dict[str, Reason]:
    """The draws inside a program that must be scored, by name, with the reason: the program is not continuous in them.

    A scored draw is a constant for differentiation, so that the program need not be continuous through it in earlier
    draws. The last draw on which a jump depends is therefore scored first, and earlier ones only if a jump still
    depends on them.
    """
    graph, scored = Graph(closed), {}
    nothing = (None,) * len(closed.jaxpr.invars)
    while True:
        sources = _judged(graph, nothing, frozenset(scored)).sources
        if not sources:
            return scored
        last = next(name for name in reversed(names_of_sources(graph)) if name in sources)
        scored[last] = sources[last]


def moved_by(closed: ClosedJaxpr) -> tuple[int, ...]:
    """The indices of the traced constants of a program that move a jump in one of its continuous draws.

    A draw that is scored or enumerated is a constant for differentiation, so that the derivative in such a traced
    constant would be wrong.
    """
    nothing = (None,) * len(closed.jaxpr.invars)
    return tuple(place for place, _ in _judged(Graph(closed), nothing, frozenset([ALL_DRAWS])).moving)


def judge(closed: ClosedJaxpr, variables: Sequence[Variable | None]) -> Verdict:
    """Whether the results of a jaxpr are continuous in its inputs.

    Args:
        closed: The jaxpr; values that it closes over are its constants.
        variables: What is known of each input; ``None`` for inputs in which the results need not be continuous.
    """
    return _judged(Graph(closed), tuple(variables), frozenset())


@functools.lru_cache(maxsize=512)
def _judged(graph: Graph, variables: tuple[Variable | None, ...], scored: frozenset[str]) -> Verdict:
    names = [ALL_DRAWS] if ALL_DRAWS in scored else [name for name in names_of_sources(graph) if name not in scored]
    sources = {name: 1 << (len(variables) + place) for place, name in enumerate(names)}
    first = len(variables) + len(names)
    traced = {number: Facts(1 << (first + order)) for order, (_, number) in enumerate(graph.traced)}
    required = sum(1 << place for place, variable in enumerate(variables) if variable is not None)
    required |= sum(sources.values())
    inputs = [
        Facts()
        if variable is None
        else Facts(
            1 << place,
            variable.interval,
            atomless=variable.atomless,
            distinct=variable.density,
            simplex=variable.simplex,
        )
        for place, variable in enumerate(variables)
    ]
    analysis = Analysis(graph, inputs, traced, required, sources, Budget(3_000 + 50 * len(graph.nodes)))
    jumps: frozenset[Jump] = NONE
    for number in graph.outputs:
        jumps |= analysis.settled(number).jumps
    jumps = frozenset(jump for jump in jumps if jump.variables & required)
    ordered = sorted(jumps, key=lambda jump: (jump.pole, jump.cause, jump.primitive, jump.reason))

    def reason(bit: int) -> Reason | None:
        return next((Reason(j.primitive, j.reason) for j in ordered if j.variables & bit), None)

    lost = held_back(analysis)
    moving = []
    for order, (place, _) in enumerate(graph.traced):
        crossing = [jump.variables & required for jump in ordered if jump.variables >> (first + order) & 1]
        if crossing:
            moving.append((place, functools.reduce(int.__or__, crossing)))
    return Verdict(
        tuple(reason(1 << place) for place in range(len(variables))),
        {name: why for name, bit in sources.items() if (why := reason(bit)) is not None},
        tuple(moving),
        tuple(bool(lost >> place & 1) for place in range(len(variables))),
    )
