"""The analysis: facts of every value of a graph, operands before results; operations without a rule may jump."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from reparax.continuity import interval as iv
from reparax.continuity.crossing import Budget, constant_value, remaining
from reparax.continuity.elementwise import COMPARISONS, LOGIC, REASONS, ROUNDINGS
from reparax.continuity.expression import VIEWS
from reparax.continuity.facts import CONSTANT, NONE, Facts, Jump, depends, jumps, pending
from reparax.continuity.graph import Graph, Node
from reparax.continuity.markers import source_of

Rule = Callable[["Analysis", int, Node, list[Facts]], Facts]
RULES: dict[str, Rule] = {}
# The name under which all draws of a program are one variable, independently of their parameters.
ALL_DRAWS = "all draws"
# The part of the budget that is reserved for values that must be decided.
_RESERVED = 400


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Registers the facts of the results of operations."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class Analysis:
    """The facts of a graph.

    Args:
        graph: The program.
        inputs: What is known of its arguments.
        traced: What is known of its traced constants, by their numbers.
        variables: The bits of the inputs in which continuity is required.
        sources: The bits of draws inside the program, by name.
        budget: How much may still be tested; when it is spent, nothing more is shown to be continuous.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Sequence[Facts],
        traced: dict[int, Facts],
        variables: int,
        sources: dict[str, int],
        budget: Budget,
    ) -> None:
        self.graph, self.variables, self.sources = graph, variables, sources
        self.facts: list[Facts] = []
        self.loops: dict[int, list[Facts]] = {}
        self.bodies: dict[int, dict[int, Analysis]] = {}
        self._settled: dict[int, Facts] = {}
        self.budget = budget
        given = dict(zip(graph.inputs, inputs, strict=True)) | traced
        for number, node in enumerate(graph.nodes):
            self.facts.append(given[number] if number in given else self._of(number, node))

    def settled(self, number: int) -> Facts:
        """The facts of a value with every pending change decided: harmless, or a jump."""
        facts = self.facts[number]
        if not facts.pending:
            return facts
        if number not in self._settled:
            left = remaining(self.graph, self.facts, number, facts.pending, self.budget)
            self._settled[number] = facts._replace(pending=NONE, jumps=facts.jumps | left)
        return self._settled[number]

    def cancelled(self, number: int) -> Facts:
        """The facts of a value; if random terms cancel, as in x + (1 - x), its interval is one number."""
        facts = self.facts[number]
        value = constant_value(self.graph, self.facts, number) if self.varies(facts) else None
        return facts if value is None else facts._replace(interval=iv.point(value))

    def varies(self, facts: Facts) -> bool:
        """Whether a value depends on a variable in which continuity is required."""
        return bool(facts.depends & self.variables)

    def jump(
        self, cause: int, parts: Sequence[Facts], primitive: str, reason: str, *, pole: bool = False
    ) -> frozenset[Jump]:
        """The jump of an operation if its operands vary, as a set; empty if they do not."""
        involved = depends(parts)
        if not involved & self.variables:
            return NONE
        return frozenset([Jump(cause, involved, primitive, reason, pole)])

    def _of(self, number: int, node: Node) -> Facts:
        parts = [self.facts[arg] for arg in node.args]
        result = RULES.get(node.op, unknown)(self, number, node, parts)
        if any(part.partial for part in parts) and node.op != "trusted":
            result = result._replace(partial=True)
        if result.pending and node.op in _TESTED and self.budget.left > _RESERVED:
            self.facts.append(result)
            left = remaining(self.graph, self.facts, number, result.pending, self.budget)
            self.facts.pop()
            result = result._replace(pending=left)
        return result


_TESTED = {"select_n", "mul", "add", "sub", "max", "min", "div"}


def unknown(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    """The facts of an operation without a rule: it may jump in every variable on which it depends."""
    reason = f"{node.op} is not known to be continuous"
    if node.op.startswith(("pure_callback", "io_callback", "ffi_call")):
        reason = "a callback may jump: its code cannot be inspected"
    return through(analysis, node, analysis.jump(-1, parts, node.op, reason))


def through(analysis: Analysis, node: Node, extra: frozenset[Jump] = NONE, interval: iv.Interval = iv.REAL) -> Facts:
    """The facts of an operation on entire arrays: pending changes are decided, jumps are kept."""
    parts = [analysis.settled(arg) for arg in node.args]
    return Facts(depends(parts), interval, jumps=jumps(parts) | extra)


def elementwise(parts: list[Facts], interval: iv.Interval, atomless: bool = False, distinct: bool = False) -> Facts:
    """The facts of an operation that is continuous in its operands, with values in an interval."""
    return Facts(depends(parts), interval, atomless, distinct, pending(parts), jumps(parts))


@rule("constant")
def _constant(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    if node.params == "nan":
        undefined = Jump(-1, 0, "constant", "a constant that is not a number", True)
        return Facts(0, iv.EXTENDED, pending=frozenset([undefined]))
    return Facts(0, iv.point(float(np.real(node.params))))


@rule("array")
def _array(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    values = analysis.graph.values.get(number)
    if values is None or not values.size or np.iscomplexobj(values):
        return CONSTANT
    if values.dtype.kind == "f" and np.isnan(values).any():
        undefined = Jump(-1, 0, "constant", "a constant that is not a number", True)
        return Facts(0, iv.EXTENDED, pending=frozenset([undefined]))
    return Facts(0, iv.Interval(float(values.min()), float(values.max()), False, False))


@rule("traced", "iota", "random_wrap", "random_bits", "axis_index", "input")
def _no_more_known(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    if node.op == "iota":
        size = node.shape[dict(node.params)["dimension"]]
        return Facts(0, iv.Interval(0.0, float(max(size - 1, 0)), False, False))
    facts = through(analysis, node)
    if node.dtype == np.bool_:
        facts = facts._replace(interval=iv.BOOLEAN)
    extra = analysis.jump(-1, parts, node.op, "a random key depends on it")
    return facts.also_jumping(extra)


@rule("source")
def _source(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    settled = analysis.settled(node.args[0])
    interval, name = source_of(node.params)
    bit = analysis.sources.get(name)
    if ALL_DRAWS in analysis.sources:
        return Facts(analysis.sources[ALL_DRAWS], interval, atomless=True, distinct=True)
    if bit is None:
        return Facts(interval=interval)
    return Facts(settled.depends | bit, interval, atomless=True, distinct=True, jumps=settled.jumps)


@rule("drawn")
def _drawn(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return Facts(analysis.sources.get(ALL_DRAWS, 0))


@rule("trusted")
def _trusted(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    settled = analysis.settled(node.args[0])
    return settled._replace(jumps=frozenset(jump for jump in settled.jumps if jump.binding), partial=False)


@rule("guarded")
def _guarded(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    settled = analysis.settled(node.args[0])
    reason = "it moves a jump of an expectation inside f"
    bound = frozenset(jump._replace(binding=True) for jump in analysis.jump(-1, [settled], "expectation", reason))
    return settled.also_jumping(bound)


@rule("library")
def _library(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return through(analysis, node)


@rule("stop_gradient")
def _same(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return parts[0]


@rule(*VIEWS)
def _view(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    operand, *indices = parts
    if node.op == "dynamic_slice" and analysis.varies(Facts(depends(indices))):
        return _chosen(analysis, node, parts)
    if any(analysis.varies(index) for index in indices):
        return _chosen(analysis, node, parts)
    distinct = operand.distinct and node.op not in {"broadcast_in_dim", "gather"}
    result = operand._replace(depends=depends(parts), distinct=distinct)
    fills = node.op == "gather" and "FILL" in str(dict(node.params).get("mode"))
    return result._replace(interval=iv.hull(result.interval, iv.point(0.0))) if fills else result


def _chosen(analysis: Analysis, node: Node, parts: list[Facts]) -> Facts:
    """An element at an index that varies: continuous if it is the largest or the smallest element."""
    operand = analysis.settled(node.args[0])
    for index in node.args[1:]:
        place = behind(analysis.graph, index)
        maker = analysis.graph.nodes[place]
        # The element of a vector at the argmax of the same vector.
        if (
            maker.op in {"argmax", "argmin"}
            and maker.args[0] == node.args[0]
            and len(analysis.graph.nodes[node.args[0]].shape) == 1
        ):
            return Facts(operand.depends, operand.interval, jumps=operand.jumps)
    extra = analysis.jump(-1, parts[1:], node.op, "an element is selected by an index that changes in steps with z")
    return Facts(depends(parts), operand.interval, jumps=operand.jumps | jumps(parts) | extra)


def behind(graph: Graph, number: int) -> int:
    """The value before copies, conversions between integers and the wrapping of negative indices."""
    while True:
        node = graph.nodes[number]
        if node.op in VIEWS | {"convert", "stop_gradient"}:
            number = node.args[0]
        elif node.op == "select_n" and len(node.args) == 3 and graph.nodes[node.args[2]].op == "add":
            if node.args[1] not in graph.nodes[node.args[2]].args:
                return number
            number = node.args[1]
        else:
            return number


def keeps_apart(part: Facts, fixed: Facts, *, scales: bool = False) -> bool:
    """Whether a value remains without atoms if ``fixed`` is added to it or, with ``scales``, multiplies it."""
    return (
        part.atomless
        and not fixed.atomless
        and fixed.depends & part.depends == 0
        and (not scales or fixed.interval.nonzero)
    )


@rule(*COMPARISONS)
def _comparison(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    one, other = parts
    result = elementwise(parts, iv.BOOLEAN)
    if analysis.varies(result) and any(part.partial for part in parts):
        return result.also_jumping(analysis.jump(-1, parts, node.op, _PARTIAL))
    if not analysis.varies(result):
        known = None if result.depends or result.pending else _decided(node, one, other)
        return result if known is None else Facts(0, iv.point(float(known)))
    to_infinity = node.op in {"eq", "ne"} and _infinite_constant(one, other)
    # A value that is infinite in some places only is equal to infinity there, whatever else is added to it.
    decided = None if to_infinity and _switches(result) else _decided(node, one, other)
    if decided is None and to_infinity and not _switches(result):
        # Without a pole or a switch no random value is infinite: only a constant can be.
        return Facts(result.depends & ~analysis.variables, iv.BOOLEAN, pending=result.pending, jumps=result.jumps)
    if decided is None and not to_infinity and any(analysis.graph.nodes[a].op in {"add", "sub"} for a in node.args):
        one, other = (analysis.cancelled(a) for a in node.args)
        decided = _decided(node, one, other)
    if decided is not None:
        return _known(analysis, result, decided)
    if not _is_floating(analysis.graph.nodes[node.args[0]].dtype):
        # Integers change only where the values that they are computed from change.
        return result
    reason = REASONS[node.op]
    return result.also_pending(analysis.jump(number, parts, node.op, reason))


_PARTIAL = "a test of a value that may be undefined makes it jump in z"


def _switches(result: Facts) -> bool:
    """Whether a random value may be a constant that is infinite or undefined in some places only."""
    return bool(result.poles or result.pending or result.jumps)


def _infinite_constant(one: Facts, other: Facts) -> bool:
    return any(part.interval.value is not None and np.isinf(part.interval.value) for part in (one, other))


def _is_floating(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def _known(analysis: Analysis, result: Facts, value: bool) -> Facts:
    """A truth value that the random variables do not change.

    It is known if it depends on random variables only. Parameters and data may change it if they are not finite, so
    that it is unknown if it depends on them.
    """
    poles = result.poles
    if any(pole.variables & analysis.variables for pole in poles):
        return result
    if poles and any(change.variables & analysis.variables for change in (*result.pending, *result.jumps)):
        # A constant that is not a number, in some places only: the test says where.
        place = Jump(-1, result.depends, "is_finite", _PARTIAL)
        return result.also_jumping(frozenset([place]))
    if poles or result.depends & ~analysis.variables:
        return Facts(result.depends & ~analysis.variables, iv.BOOLEAN, jumps=result.jumps)
    return Facts(0, iv.point(float(value)), jumps=result.jumps)


def _decided(node: Node, one: Facts, other: Facts) -> bool | None:
    same = node.args[0] == node.args[1]
    if node.op in {"eq", "ne"}:
        apart = keeps_apart(one, other) or keeps_apart(other, one)
        apart = apart or (one.atomless and other.atomless and not one.depends & other.depends)
        order = _order(one.interval, other.interval)
        if one.interval.value is not None and one.interval == other.interval:
            return node.op == "eq"
        if same or apart or (order is not None and order[0]):
            return same == (node.op == "eq")
        return None
    if same:
        return node.op in {"le", "ge", "le_to"}
    order = _order(one.interval, other.interval)
    if order is None:
        return None
    strictly, sign = order
    if strictly:
        return bool(COMPARISONS[node.op](sign, 0))
    # Equal values are possible: the outcome is known only if it is the same for them.
    allowed = {"le": -1, "le_to": -1, "ge": 1, "lt": 1, "lt_to": 1, "gt": -1}[node.op]
    return node.op in {"le", "le_to", "ge"} if allowed == sign else None


def _order(one: iv.Interval, other: iv.Interval) -> tuple[bool, int] | None:
    """Whether one is always strictly below or above the other, and which: below (-1) or above (1)."""
    if one.high < other.low or (one.high == other.low and (one.high_open or other.low_open)):
        return True, -1
    if one.low > other.high or (one.low == other.high and (one.low_open or other.high_open)):
        return True, 1
    if one.high == other.low:
        return False, -1
    return (False, 1) if one.low == other.high else None


@rule(*LOGIC)
def _logic(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    if node.dtype != np.bool_:
        return through(analysis, node, analysis.jump(-1, parts, node.op, "an operation on bits makes it jump in z"))
    known = [part.interval.value for part in parts]
    if node.op in {"and", "or"} and (decisive := float(node.op == "or")) in known:
        return Facts(0, iv.point(decisive))
    if None not in known:
        return Facts(0, iv.point(float(LOGIC[node.op](*known))))
    return elementwise(parts, iv.BOOLEAN)


@rule("sign")
def _sign(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    (part,) = parts
    if part.interval.nonzero:
        return Facts(
            part.depends, iv.point(1.0 if part.interval.positive else -1.0), pending=part.pending, jumps=part.jumps
        )
    result = elementwise(parts, iv.Interval(-1.0, 1.0, False, False))
    return result.also_pending(analysis.jump(number, parts, "sign", REASONS["sign"]))


@rule(*ROUNDINGS)
def _rounding(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    (part,) = parts
    low, high = (np.floor(part.interval.low), np.ceil(part.interval.high))
    result = elementwise(
        parts, iv.Interval(float(low), float(high), False, False) if np.isfinite([low, high]).all() else iv.REAL
    )
    return result.also_pending(analysis.jump(number, parts, node.op, REASONS[node.op]))


@rule("rem")
def _remainder(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    _, other = parts
    if np.dtype(node.dtype).kind in "iu":
        return through(
            analysis, node, analysis.jump(-1, parts, "rem", "a remainder of whole numbers makes it jump in z")
        )
    size = iv.absolute(other.interval).high
    result = elementwise(parts, iv.Interval(-size, size, True, True))
    crossable = not analysis.varies(other)
    cut = analysis.jump(number if crossable else -1, parts, "rem", REASONS["rem"])
    return result.also_pending(cut)


@rule("is_finite")
def _finite(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    result = elementwise(parts, iv.BOOLEAN)
    if not analysis.varies(result):
        return result
    if parts[0].partial:
        return result.also_jumping(analysis.jump(-1, parts, node.op, _PARTIAL))
    if parts[0].interval.finite:
        return _known(analysis, result, True)
    if result.pending or result.jumps:
        return result
    # Without a pole no random value is infinite: only a constant can be.
    return Facts(result.depends & ~analysis.variables, iv.BOOLEAN)


@rule("convert")
def _convert(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    return parts[0]


@rule("select_n")
def _select(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    which, *cases = parts
    known = which.interval.value
    if known is not None and not which.pending and not which.jumps:
        return cases[int(np.clip(known, 0, len(cases) - 1))]
    refined = [
        _refined(analysis.graph, analysis.facts, node.args[0], place, number)
        for place, number in enumerate(node.args[1:])
    ]
    result = elementwise(parts, iv.hull(*refined))
    return result


def _refined(graph: Graph, facts: list[Facts], which: int, outcome: int, case: int) -> iv.Interval:
    """The values of a case when the switch selects it: if x > 0 selects x, then x is positive."""
    interval = facts[case].interval
    node = graph.nodes[which]
    if node.op == "is_finite" and node.args[0] == case and outcome == 1:
        return iv.meet(interval, iv.REAL)
    if node.op == "and" and outcome == 1:
        for part in node.args:
            interval = iv.meet(interval, _refined(graph, facts, part, 1, case))
        return interval
    if node.op == "or" and outcome == 0:
        for part in node.args:
            interval = iv.meet(interval, _refined(graph, facts, part, 0, case))
        return interval
    if node.op == "not":
        return _refined(graph, facts, node.args[0], 1 - outcome, case)
    if node.op not in {"lt", "le", "gt", "ge"} or case not in node.args or node.args[0] == node.args[1]:
        return interval
    other = facts[node.args[1] if case == node.args[0] else node.args[0]].interval
    strict = (node.op in {"lt", "gt"}) == (outcome == 1)
    smaller = (node.op in {"lt", "le"}) == (case == node.args[0])
    if smaller == (outcome == 1):
        bound = iv.Interval(-iv.INF, other.high, True, strict or other.high_open)
    else:
        bound = iv.Interval(other.low, iv.INF, strict or other.low_open, True)
    return iv.meet(interval, bound)
