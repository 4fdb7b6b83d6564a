"""The flow of draws into costs through the jaxpr of a program; a cost that lacks a weight is refused."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from reparax.errors import InvalidEstimator
from reparax.programs._marks import (
    ENUMERATION,
    NONE,
    PATHWISE,
    UNCHOSEN,
    Cost,
    Draw,
    Event,
    Facts,
    Join,
    Mark,
    Path,
    either,
    summed,
    used,
)

# A copy of its first operand.
COPYING = {
    "broadcast_in_dim", "reshape", "squeeze", "transpose", "copy", "copy_p", "expand_dims", "random_wrap",
    "random_unwrap", "rev", "convert_element_type", "stop_gradient",
}  # fmt: skip
# Sums with coefficients 1, by which terms are added to the carry of a loop.
ADDING = {"add", "add_any"}
_SUMS = ADDING | {
    "sub", "neg", "concatenate", "reduce_sum", "cumsum", "pad", "slice", "split", "reduce_window_sum", "psum", "stack",
}  # fmt: skip
# The number of leading operands that are parts; the others are controls.
_PLACED = {"dynamic_slice": 1, "gather": 1, "div": 1}
_CALLS = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
}  # fmt: skip
# A constant array with more numbers is not inspected.
_LARGE = 4096
Rule = Callable[["Flow", dict[str, Any], list[Facts], Path], list[Facts]]


def controlled_parts(name: str, inputs: list[Facts]) -> tuple[list[Facts], list[Facts]] | None:
    """The operands in which a primitive is linear, and those that control it; ``None`` if it is not linear."""
    if name in _SUMS:
        return inputs, []
    if name in _PLACED:
        return inputs[: _PLACED[name]], inputs[_PLACED[name] :]
    if name == "select_n":
        return inputs[1:], inputs[:1]
    if name == "dynamic_update_slice":
        return inputs[:2], inputs[2:]
    if name in ("scatter", "scatter-add", "scatter_add"):
        return [inputs[0], inputs[2]], [inputs[1]]
    if name in ("mul", "dot_general", "conv_general_dilated"):
        holds = [bool(facts.costs) or facts.base is not None for facts in inputs]
        if all(holds):
            return None
        first = 0 if holds[0] or not inputs[0].rest else 1
        return [inputs[first]], [inputs[1 - first]]
    return None


@dataclass
class Flow:
    """One pass through a program.

    Args:
        estimator: Gives the estimator of a site from its name.
        rules: The functions that follow marks and control flow, by the name of the operation.
        marks: The marks that were found, by their paths.
        unbaselined: The paths of costs for which other copies are not a valid baseline.
        keys: The paths that use each key.
        carried: What is known of the bases in use.
    """

    estimator: Callable[[str], str]
    rules: Mapping[str, "Rule"]
    marks: dict[Path, tuple[Mark, dict[str, Any]]] = field(default_factory=dict)
    unbaselined: set[Path] = field(default_factory=set)
    keys: dict[Any, list[Path]] = field(default_factory=dict)
    carried: dict[Any, Facts] = field(default_factory=dict)

    def is_weighting(self, name: str) -> bool:
        """Whether costs must be weighted by the draws of a site, which holds unless it is pathwise."""
        return self.estimator(name) not in (PATHWISE, UNCHOSEN)

    def exact(self, name: str) -> bool:
        """Whether a site uses no noise."""
        return self.estimator(name) in (ENUMERATION, UNCHOSEN)

    def name_at(self, path: Path) -> str:
        """The name of the draw or cost at a place."""
        return self.marks[path][0].name

    def closed(self, closed: ClosedJaxpr, arguments: Sequence[Facts], path: Path) -> list[Facts]:
        """The results of a closed jaxpr."""
        return self.jaxpr(closed.jaxpr, [constant_facts(c) for c in closed.consts], arguments, path)

    def jaxpr(self, jaxpr: Jaxpr, consts: Sequence[Facts], arguments: Sequence[Facts], path: Path) -> list[Facts]:
        """The results of a jaxpr."""
        known: dict[Any, Facts] = {}

        def read(variable: Any) -> Facts:
            return constant_facts(variable.val) if isinstance(variable, Literal) else known[variable]

        for place, (variable, facts) in enumerate(
            zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *arguments], strict=True)
        ):
            known[variable] = facts if facts.origin is not None else replace(facts, origin=(path, "in", place))
        for index, equation in enumerate(jaxpr.eqns):
            here = (*path, index)
            results = self.equation(equation, [read(v) for v in equation.invars], here)
            for place, (variable, facts) in enumerate(zip(equation.outvars, results, strict=True)):
                known[variable] = facts if facts.origin is not None else replace(facts, origin=(here, place))
        return [read(v) for v in jaxpr.outvars]

    def equation(self, equation: Any, inputs: list[Facts], here: Path) -> list[Facts]:
        """The results of one equation."""
        name, params, count = equation.primitive.name, equation.params, len(equation.outvars)
        if name in self.rules:
            return self.rules[name](self, params, inputs, here)
        if name in _CALLS and (inner := _called(params)) is not None:
            return self.closed(inner, inputs, (*here, "call"))
        if _holds_marks(params):
            raise InvalidEstimator(
                expected="draws and costs only inside scan, while_loop, cond, vmap and jit",
                got=f"one inside {name}",
                cure="move it out",
            )
        if name in COPYING:
            return [self.copied(name, equation, inputs[0])]
        if all(facts.constant for facts in inputs) and name not in ADDING:
            return [replace(used(inputs), rest=True)] * count
        return [self.computed(name, equation, inputs)] * count

    def copied(self, name: str, equation: Any, facts: Facts) -> Facts:
        """A rearrangement of one operand."""
        if facts.token is not None and name not in ("broadcast_in_dim", "transpose", "copy", "copy_p"):
            return used([facts])
        if name not in ("copy", "copy_p", "convert_element_type"):
            facts = self.expanded(facts)
        rounds = name == "convert_element_type" and not jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact)
        return used([self.expanded(facts)]) if rounds and (facts.costs or facts.base is not None) else facts

    def computed(self, name: str, equation: Any, inputs: list[Facts]) -> Facts:
        """The result of arithmetic."""
        if name == "select_n" and all(facts.token is not None for facts in inputs[1:]):
            return either(inputs[1:])
        arranged = controlled_parts(name, inputs)
        if arranged is None:
            return used(self.expanded(facts) for facts in inputs)
        parts, controls = arranged
        if name not in ADDING or (sum(f.base is not None for f in parts) > 1):
            parts = [self.expanded(facts) for facts in parts]
        return self.controlled(summed(parts), [self.expanded(facts) for facts in controls])

    def expanded(self, facts: Facts) -> Facts:
        """The facts with the base added."""
        if facts.base is None:
            return facts
        total = summed([replace(facts, base=None), self.carried[facts.base]])
        return self.expanded(replace(total, origin=facts.origin))

    def controlled(self, facts: Facts, controls: Sequence[Facts]) -> Facts:
        """A value that other values scale, select or index."""
        by = used(controls)
        facts = replace(facts, misused=facts.misused | by.misused, varies=facts.varies | by.varies)
        if not by.raw:
            return facts
        if facts.costs and facts.weighted is not None and by.raw <= facts.weighted:
            self.unbaselined |= facts.costs
            return replace(facts, raw=facts.raw | by.raw) if facts.rest else facts
        if facts.costs or facts.rest:
            return replace(facts, raw=facts.raw | by.raw)
        return facts


def constant_facts(value: Any) -> Facts:
    """What is known of a constant: whether it is 0."""
    if isinstance(value, Tracer) or np.size(value) > _LARGE:
        return Facts()
    if not isinstance(value, bool | int | float) and not jnp.issubdtype(value.dtype, jnp.number):
        return Facts()
    return Facts(rest=bool(np.any(np.asarray(value) != 0)))


def _called(params: dict[str, Any]) -> ClosedJaxpr | None:
    """The jaxpr that an equation calls on its operands."""
    inner = params.get("jaxpr", params.get("call_jaxpr"))
    return inner if inner is None or isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, [])


def _holds_marks(params: dict[str, Any]) -> bool:
    for value in jax.tree.leaves(params, is_leaf=lambda v: isinstance(v, Jaxpr | ClosedJaxpr)):
        if isinstance(value, Jaxpr | ClosedJaxpr):
            jaxpr = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            if any(e.primitive.name == "reparax_mark" or _holds_marks(e.params) for e in jaxpr.eqns):
                return True
    return False


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
    made_from = used([*parameters, key])
    if made_from.misused:
        raise InvalidEstimator(
            expected=f"the distribution drawn at {what.name} to depend on values",
            got=f"one that depends on the cost at {_names(flow, made_from.misused)}, whose derivative contains scores",
            cure="compute it from the value before rx.cost",
        )
    _check_key(flow, what, shared, key, here)
    event = frozenset({Event(here)}) if flow.is_weighting(what.name) else NONE
    token = Facts(token=held | event, varies=before.varies | made_from.varies)
    return [token] + [Facts(raw=made_from.raw | event, varies=made_from.varies)] * what.values


def _check_key(flow: Flow, what: Draw, shared: bool, key: Facts, here: Path) -> None:
    if flow.exact(what.name):
        return
    loops = {here[: n + 1] for n in range(len(here)) if here[n] in ("scan", "while")}
    problem = None
    if shared:
        problem = "a key that all lanes of a vmap share, so that their draws use the same noise"
    elif flow.is_weighting(what.name) and "key" not in key.varies:
        problem = "a key that does not come from the program's key, so that all copies draw the same"
    elif not loops <= key.varies:
        problem = "a key that is the same in every pass of a loop"
    elif others := [path for path in flow.keys.get(key.origin, []) if not _exclude(path, here)]:
        problem = f"the key that the draw at {flow.name_at(others[0])} also uses"
    if problem is not None:
        raise InvalidEstimator(
            expected=f"the draw at {what.name} to have a separate key",
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
            got=f"one computed from the cost at {_names(flow, reads.misused)}, which would be weighted twice",
            cure="pass each value through rx.cost once, and add the results",
        )
    _refuse_missing(flow, f"the cost at {what.name}", reads.raw - held)
    fixed = used(baselines)
    if fixed.raw or fixed.misused:
        raise InvalidEstimator(
            expected=f"the baseline of the cost at {what.name} not to depend on any draw",
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
            expected=f"at {what.name} the upstream that went into every lane of the vmap, and the one that came out",
            got="two upstreams that do not differ by draws inside a vmap",
            cure="pass the same upstream to the vmap and to rx.join",
        )
    # Each lane enumerates only its own draws, so that a value that depends on all lanes lacks the weight of the others.
    kept = frozenset(e for e in added if flow.estimator(flow.marks[e.path][0].name) != ENUMERATION)
    return Facts(token=start | kept, varies=before.varies | branches.varies)


def _held(upstream: Facts, name: str) -> frozenset[Event]:
    if upstream.token is None:
        raise InvalidEstimator(
            expected=f"at {name} the upstream that rx.simulate gave to this program, or that rx.draw returned",
            got="one that was computed, indexed, stacked in a scan, or taken from another program",
            cure="carry it unchanged from draw to draw; combine lanes of a vmap by rx.join",
        )
    return upstream.token


def _refuse_missing(flow: Flow, what: str, missing: Iterable[Event]) -> None:
    missing = list(missing)
    if missing:
        earlier = all(event.earlier for event in missing)
        raise InvalidEstimator(
            expected=f"{what} to have every draw on which it depends in its upstream",
            got=f"one without the draw at {_names(flow, [event.path for event in missing])}"
            + (" in an earlier pass of the loop" if earlier else ""),
            cure="pass on the upstream that rx.draw returned, also in the carry of loops",
        )


def check_results(flow: Flow, results: Iterable[Facts]) -> None:
    """Refuses a program whose result depends on draws, but is not a sum of costs."""
    expanded = [flow.expanded(facts) for facts in results]
    misused = frozenset().union(*[facts.misused for facts in expanded])
    if misused:
        raise InvalidEstimator(
            expected="costs only to be added, scaled and selected",
            got=f"a function of the cost at {_names(flow, misused)} that is not linear in it",
            cure="apply the function before rx.cost, or to the result of rx.simulate",
        )
    loose = frozenset().union(*[facts.raw | (facts.token or NONE) for facts in expanded])
    if loose:
        raise InvalidEstimator(
            expected="the result of the program to depend on draws only through rx.cost",
            got=f"a result that depends on the draw at {_names(flow, [e.path for e in loose])} in another way",
            cure="pass the value through rx.cost(value, upstream); a draw that decides whether a cost counts "
            "must be in the upstream of that cost",
        )


def _names(flow: Flow, paths: Iterable[Path]) -> str:
    return ", ".join(sorted({flow.name_at(path) for path in paths}))
