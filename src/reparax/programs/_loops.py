"""How facts pass through loops and branches: by repeated passes, until nothing changes."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from jax.extend.core import ClosedJaxpr

from reparax.errors import InvalidEstimator
from reparax.jaxprs import scan_sizes
from reparax.programs._flow import Flow
from reparax.programs._marks import NONE, Event, Events, Facts, Path, either, summed, used

_PASSES = 50


def follow_scan(flow: Flow, params: dict[str, Any], inputs: list[Facts], here: Path) -> list[Facts]:
    """The final carry and the stacked results of a scan."""
    loop = (*here, "scan")
    first, carried = scan_sizes(params)
    last = first + carried
    slices = [_slice(flow.expanded(facts), loop) for facts in inputs[last:]]

    def body(carry: list[Facts]) -> list[Facts]:
        return flow.closed(params["jaxpr"], [*inputs[:first], *carry, *slices], loop)

    finals, outs = _repeat(flow, body, inputs[first:last], loop, lambda _: [])
    stacked = [_left(_plain(flow.expanded(facts)), loop) for facts in outs[len(finals) :]]
    return [*finals, *stacked]


def follow_while(flow: Flow, params: dict[str, Any], inputs: list[Facts], here: Path) -> list[Facts]:
    """The final carry of a while loop, which the condition controls."""
    loop = (*here, "while")
    first, last = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]

    def body(carry: list[Facts]) -> list[Facts]:
        return flow.closed(params["body_jaxpr"], [*inputs[first:last], *carry], loop)

    def condition(carry: list[Facts]) -> list[Facts]:
        return flow.closed(params["cond_jaxpr"], [*inputs[:first], *carry], (*loop, "condition"))

    return _repeat(flow, body, inputs[last:], loop, condition)[0]


def follow_cond(flow: Flow, params: dict[str, Any], inputs: list[Facts], here: Path) -> list[Facts]:
    """The results of the branches, which the index controls."""
    index, operands = flow.expanded(inputs[0]), list(inputs[1:])
    entering = list(operands)
    for place, facts in enumerate(operands):
        if facts.costs or facts.base is not None:
            flow.carried[here, place] = facts
            entering[place] = Facts(rest=False, base=(here, place), varies=facts.varies)
    results = []
    for number, branch in enumerate(params["branches"]):
        results.append(_branch(flow, branch, entering, (*here, number, "branch")))
    outputs = []
    for parts in zip(*results, strict=True):
        facts = _one_of(flow, list(parts), index, here)
        if isinstance(facts.base, tuple) and facts.base[:1] == (here,):
            facts = summed([replace(facts, base=None), flow.carried[facts.base]])
        outputs.append(facts)
    return outputs


def _branch(flow: Flow, branch: ClosedJaxpr, entering: list[Facts], path: Path) -> list[Facts]:
    return flow.closed(branch, entering, path)


def _one_of(flow: Flow, parts: list[Facts], index: Facts, here: Path) -> Facts:
    if all(facts.token is not None for facts in parts):
        # A draw made in one branch only is in the upstream if it is in the upstream of that branch.
        tokens = [
            frozenset(e for e in facts.token or NONE if e.inside((*here, number, "branch")))
            for number, facts in enumerate(parts)
        ]
        shared = frozenset.intersection(*[facts.token or NONE for facts in parts])
        return Facts(token=shared.union(*tokens), varies=used(parts).varies | index.varies)
    if len({facts.base for facts in parts}) > 1:
        parts = [flow.expanded(facts) for facts in parts]
    return flow.controlled(replace(either(parts), origin=None), [index])


def _repeat(
    flow: Flow,
    body: Callable[[list[Facts]], list[Facts]],
    init: Sequence[Facts],
    loop: Path,
    condition: Callable[[list[Facts]], list[Facts]],
) -> tuple[list[Facts], list[Facts]]:
    """The carry after the loop, and the results of the last pass."""
    start = [flow.expanded(facts) for facts in init]
    states, adding = list(start), set()
    for number in range(_PASSES):
        for place in adding:
            flow.carried[loop, place] = states[place]
        heads = [
            Facts(rest=False, base=(loop, place), varies=facts.varies | {loop})
            if place in adding
            else replace(facts, varies=facts.varies | {loop}, origin=None)
            for place, facts in enumerate(states)
        ]
        controls = [flow.expanded(facts) for facts in condition(heads)]
        outs = body(heads)
        outputs = [
            _next(flow, begin, state, out, loop, number) for begin, state, out in zip(start, states, outs, strict=False)
        ]
        fresh = {place for place, facts in enumerate(outputs) if facts.costs and facts.token is None} - adding
        if outputs == states and not fresh and number > 1:
            return _after(flow, list(init), outs, adding, loop, controls), outs
        states, adding = outputs, adding | fresh
    raise InvalidEstimator(
        expected="a loop in which the flow of draws can be followed",
        got="one with too many states",
        cure="split the loop",
    )


def _next(flow: Flow, begin: Facts, state: Facts, out: Facts, loop: Path, number: int) -> Facts:
    """What is known of a slot of the carry at the start of the next pass."""
    if begin.token is not None and out.token is not None and state.token is not None:
        outside = frozenset(e for e in begin.token & out.token if not e.inside(loop))
        earlier = _seen_earlier(flow, loop)
        if number > 0:
            earlier = frozenset(e for e in earlier if {e, _younger(e, loop)} <= out.token)
        return replace(begin, token=outside | earlier, varies=begin.varies | out.varies, origin=None)
    later = _left(_plain(flow.expanded(out)), loop)
    later = replace(later, raw=frozenset(e.aged(loop) for e in later.raw))
    return replace(either([_plain(state), later]), origin=None)


def _after(
    flow: Flow, init: list[Facts], outs: list[Facts], adding: set[int], loop: Path, controls: list[Facts]
) -> list[Facts]:
    finals = []
    for place, (begin, out) in enumerate(zip(init, outs, strict=False)):
        if begin.token is not None and out.token is not None:
            held = frozenset(e for e in out.token if e.inside(loop) or e in begin.token)
            finals.append(Facts(token=held, varies=begin.varies | out.varies))
        elif place in adding and out.base == (loop, place):
            # For any number of passes, the initial carry counts once.
            added = _left(flow.controlled(replace(out, base=None), controls), loop)
            finals.append(replace(summed([begin, added]), origin=None))
        else:
            ended = either([_plain(flow.expanded(begin)), _plain(flow.expanded(out))])
            finals.append(_left(flow.controlled(replace(ended, origin=None), controls), loop))
    return finals


def _slice(facts: Facts, loop: Path) -> Facts:
    return replace(_plain(facts), varies=facts.varies | {loop}, origin=None)


def _plain(facts: Facts) -> Facts:
    """The facts of an upstream that is used as a plain array; others unchanged."""
    return used([facts]) if facts.token is not None else facts


def _left(facts: Facts, loop: Path) -> Facts:
    """A result outside the loop: its draws, and those that weight its costs, may be from any pass."""
    raw = facts.raw | {e.aged(loop) for e in facts.raw}
    kept = None if facts.weighted is None else frozenset(e for e in facts.weighted if not e.inside(loop))
    return replace(facts, raw=raw, weighted=kept, origin=None)


def _seen_earlier(flow: Flow, loop: Path) -> Events:
    """Every draw that an earlier pass of the loop may have made."""
    events = set()
    for path in flow.marks:
        if path[: len(loop)] != loop:
            continue
        around = [path[: n + 1] for n in range(len(loop), len(path)) if path[n] in ("scan", "while")]
        for size in range(len(around) + 1):
            events |= {Event(path, frozenset({loop, *some})) for some in itertools.combinations(around, size)}
    return frozenset(events)


def _younger(event: Event, loop: Path) -> Event:
    return replace(event, earlier=event.earlier - {loop})
