"""What draws, costs and joins demand of what flows into them."""

from collections.abc import Iterable
from typing import Any

from reparax.errors import InvalidEstimator
from reparax.programs._facts import NONE, Event, Facts, Path, used
from reparax.programs._flow import Flow
from reparax.programs._marks import ENUMERATION, Cost, Draw, Join


def follow_mark(flow: Flow, params: dict[str, Any], inputs: list[Facts], here: Path) -> list[Facts]:
    """The results of a draw, a cost or a join."""
    inputs = [flow.expanded(facts) for facts in inputs]
    flow.marks[here] = (params["what"], params)
    match params["what"]:
        case Draw() as what:
            return _draw(flow, what, params["shared"], inputs, here)
        case Cost() as what:
            return _cost(flow, what, inputs, here)
        case Join() as what:
            return [_join(flow, what, inputs)]
    raise TypeError(params["what"])


def _draw(flow: Flow, what: Draw, shared: bool, inputs: list[Facts], here: Path) -> list[Facts]:
    before, (*parameters, key) = inputs[0], inputs[1 + what.values :]
    held = _held(before, what.name)
    behind = used([*parameters, key])
    if behind.misused:
        raise InvalidEstimator(
            expected=f"the distribution drawn at {what.name} to depend on values",
            got=f"one that depends on the cost at {_names(flow, behind.misused)}, whose derivative holds scores",
            cure="make it from the value before rx.cost",
        )
    _check_key(flow, what, shared, key, here)
    event = frozenset({Event(here)}) if flow.is_weighting(what.name) else NONE
    token = Facts(token=held | event, varies=before.varies | behind.varies)
    return [token] + [Facts(raw=behind.raw | event, varies=behind.varies)] * what.values


def _check_key(flow: Flow, what: Draw, shared: bool, key: Facts, here: Path) -> None:
    if flow.exact(what.name):
        return
    loops = {here[: n + 1] for n in range(len(here)) if here[n] in ("scan", "while")}
    problem = None
    if shared:
        problem = "a key that all lanes of a vmap share, so that their draws are the same noise"
    elif flow.is_weighting(what.name) and "key" not in key.varies:
        problem = "a key that is not made from the program's own, so that all copies draw the same"
    elif not loops <= key.varies:
        problem = "a key that is the same in every pass of a loop"
    elif others := [path for path in flow.keys.get(key.origin, []) if not _exclude(path, here)]:
        problem = f"the key that the draw at {flow.name_at(others[0])} uses too"
    if problem is not None:
        raise InvalidEstimator(
            expected=f"the draw at {what.name} to have a key of its own",
            got=problem,
            cure="split the program's key: one part for each draw, for each pass of a loop, for each lane",
        )
    flow.keys.setdefault(key.origin, []).append(here)


def _exclude(one: Path, other: Path) -> bool:
    """Whether two places are the same, or lie in different branches of one cond."""
    apart = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return apart is None or one[apart + 1 : apart + 2] == other[apart + 1 : apart + 2] == ("branch",)


def _cost(flow: Flow, what: Cost, inputs: list[Facts], here: Path) -> list[Facts]:
    values, upstream, baselines = inputs[: what.values], inputs[what.values], inputs[what.values + 1 :]
    held = _held(upstream, what.name)
    reads = used(values)
    if reads.misused:
        raise InvalidEstimator(
            expected=f"the cost at {what.name} to be a value",
            got=f"one made from the cost at {_names(flow, reads.misused)}, which would be weighed twice",
            cure="pass each value through rx.cost once, and add the results",
        )
    _refuse_missing(flow, f"the cost at {what.name}", reads.raw - held)
    fixed = used(baselines)
    if fixed.raw or fixed.misused:
        raise InvalidEstimator(
            expected=f"the baseline of the cost at {what.name} to depend on no draw",
            got=f"one that depends on {_names(flow, [e.path for e in fixed.raw] + list(fixed.misused))}",
            cure="use the default baseline, which is the mean of the other copies",
        )
    result = Facts(costs=frozenset({here}), weighted=held, rest=False, varies=reads.varies | upstream.varies)
    return [result] * what.values


def _join(flow: Flow, what: Join, inputs: list[Facts]) -> Facts:
    before, branches = inputs
    start, held = _held(before, what.name), _held(branches, what.name)
    added = held - start
    if not start <= held or any(not flow.marks[e.path][1]["lanes"] for e in added):
        raise InvalidEstimator(
            expected=f"at {what.name} the upstream that went into every lane of the vmap, and what came out",
            got="two of which the one did not become the other by draws inside of a vmap",
            cure="pass the same upstream to the vmap and to rx.join",
        )
    # A lane enumerates its own draws, not those of the other lanes with them: what depends on all lacks those.
    kept = frozenset(e for e in added if flow.estimator(flow.marks[e.path][0].name) != ENUMERATION)
    return Facts(token=start | kept, varies=before.varies | branches.varies)


def _held(upstream: Facts, name: str) -> frozenset[Event]:
    if upstream.token is None:
        raise InvalidEstimator(
            expected=f"at {name} the upstream as rx.simulate gave it to this program, or as rx.draw returned it",
            got="one that the program computed, indexed, stacked in a scan, or took from another program",
            cure="carry it unchanged from draw to draw; lanes of a vmap are put together by rx.join",
        )
    return upstream.token


def _refuse_missing(flow: Flow, what: str, missing: Iterable[Event]) -> None:
    missing = list(missing)
    if missing:
        earlier = all(event.earlier for event in missing)
        raise InvalidEstimator(
            expected=f"{what} to have in its upstream every draw on which it depends",
            got=f"one without the draw at {_names(flow, [event.path for event in missing])}"
            + (" of an earlier pass of the loop" if earlier else ""),
            cure="pass on the upstream that rx.draw returned, also in the carry of loops",
        )


def check_results(flow: Flow, results: Iterable[Facts]) -> None:
    """Refuses a program that returns what depends on draws, and is not a sum of costs."""
    expanded = [flow.expanded(facts) for facts in results]
    misused = frozenset().union(*[facts.misused for facts in expanded])
    if misused:
        raise InvalidEstimator(
            expected="the costs to be added, scaled and selected only",
            got=f"a function of the cost at {_names(flow, misused)} that is not linear in it",
            cure="apply the function before rx.cost, or to the result of rx.simulate",
        )
    loose = frozenset().union(*[facts.raw | (facts.token or NONE) for facts in expanded])
    if loose:
        raise InvalidEstimator(
            expected="what the program returns to depend on draws through rx.cost alone",
            got=f"a result that depends on the draw at {_names(flow, [e.path for e in loose])} in another way",
            cure="pass the value through rx.cost(value, upstream); a draw that decides whether a cost counts "
            "must be in the upstream of that cost",
        )


def _names(flow: Flow, paths: Iterable[Path]) -> str:
    return ", ".join(sorted({flow.name_at(path) for path in paths}))
