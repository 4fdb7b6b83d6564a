"""Facts of loops: what the body makes of what is carried, repeated until nothing changes."""

from collections.abc import Sequence

from reparax.continuity import interval as iv
from reparax.continuity.analysis import Analysis, rule
from reparax.continuity.arrays import SEVERAL
from reparax.continuity.facts import NONE, Facts, Jump
from reparax.continuity.graph import Node

_ROUNDS = 12


def body_facts(analysis: Analysis, number: int, place: int, inputs: Sequence[Facts]) -> list[Facts]:
    """The facts of the results of a body of a loop."""
    graph = analysis.graph.nodes[number].graphs[place]
    inner = Analysis(
        graph, [_plain(part) for part in inputs], {}, analysis.variables, analysis.sources, analysis.budget
    )
    analysis.bodies.setdefault(number, {})[place] = inner
    return [_exported(inner.settled(output)) for output in graph.outputs]


def _plain(facts: Facts) -> Facts:
    """What stays true inside a body: nothing relates its elements to those outside."""
    return facts._replace(pending=NONE)


def _exported(facts: Facts) -> Facts:
    result = frozenset(Jump(-1, j.variables, j.primitive, j.reason, j.pole, j.binding) for j in facts.jumps)
    return facts._replace(jumps=result, distinct=False)


def _joined(one: Facts, other: Facts) -> Facts:
    return Facts(
        depends=one.depends | other.depends,
        interval=iv.hull(one.interval, other.interval),
        atomless=one.atomless and other.atomless,
        jumps=one.jumps | other.jumps,
        partial=one.partial or other.partial,
    )


def _widened(old: Facts, new: Facts) -> Facts:
    """The join of what is carried in and out; an interval that grows is let go at that end."""
    result = _joined(old, new)
    interval = result.interval
    if (interval.low, interval.low_open) != (old.interval.low, old.interval.low_open):
        interval = interval._replace(
            low=0.0 if interval.low >= 0 else -iv.INF, low_open=interval.positive or interval.low < 0
        )
    if (interval.high, interval.high_open) != (old.interval.high, old.interval.high_open):
        interval = interval._replace(
            high=0.0 if interval.high <= 0 else iv.INF, high_open=interval.negative or interval.high > 0
        )
    return result._replace(interval=interval, atomless=False)


def _carried(
    analysis: Analysis, number: int, place: int, start: list[Facts], before: list[Facts], after: list[Facts]
) -> tuple[list[Facts], list[Facts]]:
    """What is carried once nothing changes any more, and the other results of the body."""
    state = [_plain(part)._replace(distinct=False) for part in start]
    for _ in range(_ROUNDS):
        results = body_facts(analysis, number, place, [*before, *state, *after])
        following = [_widened(old, new) for old, new in zip(state, results[: len(state)], strict=True)]
        if following == state:
            return state, results[len(state) :]
        state = following
    state = [part._replace(interval=iv.REAL) for part in state]
    results = body_facts(analysis, number, place, [*before, *state, *after])
    return [_joined(a, b)._replace(interval=iv.REAL) for a, b in zip(state, results, strict=False)], results[
        len(state) :
    ]


def _scan(analysis: Analysis, number: int, node: Node) -> list[Facts]:
    num_consts, num_carry = node.params
    parts = [analysis.settled(arg) for arg in node.args]
    constants, start = parts[:num_consts], parts[num_consts : num_consts + num_carry]
    elements = [part._replace(distinct=False) for part in parts[num_consts + num_carry :]]
    state, outputs = _carried(analysis, number, 0, start, constants, elements)
    return [*state, *outputs]


def _while(analysis: Analysis, number: int, node: Node) -> list[Facts]:
    conditions, constants = node.params
    parts = [analysis.settled(arg) for arg in node.args]
    start = parts[conditions + constants :]
    state, _ = _carried(analysis, number, 1, start, parts[conditions : conditions + constants], [])
    (again,) = body_facts(analysis, number, 0, [*parts[:conditions], *state])
    reason = "z passes through a loop whose number of rounds may depend on it"
    extra = analysis.jump(-1, [again], "while", reason) | again.jumps
    return [part._replace(depends=part.depends | again.depends, jumps=part.jumps | extra) for part in state]


def _mapped(analysis: Analysis, number: int, node: Node) -> list[Facts]:
    return body_facts(analysis, number, 0, [analysis.settled(arg) for arg in node.args])


_KINDS = {"scan": _scan, "while": _while, "shard_map": _mapped}


@rule(*_KINDS)
def _loop(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    # The results are looked at one by one, made once.
    analysis.loops[number] = _KINDS[node.op](analysis, number, node)
    return Facts()


def _result(analysis: Analysis, number: int, place: int) -> Facts:
    return analysis.loops[number][place]


SEVERAL.update(dict.fromkeys(_KINDS, _result))
