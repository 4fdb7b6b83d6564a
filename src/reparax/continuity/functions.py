"""Facts of functions of one or two numbers: where they are continuous, and what values they take."""

import numpy as np

from reparax.continuity import interval as iv
from reparax.continuity.alignment import axes_reduced_beside, reduction_beside
from reparax.continuity.analysis import Analysis, elementwise, keeps_apart, rule, through, unknown
from reparax.continuity.elementwise import BINARY, UNARY, integer_power
from reparax.continuity.facts import Facts
from reparax.continuity.graph import Graph, Node


@rule(*UNARY)
def _unary(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    smooth, (part,) = UNARY[node.op], parts
    if str(node.dtype).startswith("complex") or str(analysis.graph.nodes[node.args[0]].dtype).startswith("complex"):
        continuous = node.op in {"neg", "exp", "sin", "cos", "sinh", "cosh", "square", "expm1"}
        return through(analysis, node) if continuous else unknown(analysis, number, node, parts)
    inside = part.interval.inside(smooth.domain) or not analysis.varies(part)
    interval = smooth.image(part.interval if inside else iv.meet(part.interval, smooth.domain))
    result = elementwise(parts, interval, part.atomless, part.distinct)
    if inside:
        return result
    crossable = node.op not in {"tan", "lgamma", "digamma"}
    pole = analysis.jump(
        number if crossable else -1, parts, node.op, f"{node.op} leaves its domain as z varies", pole=True
    )
    return result.also_pending(pole) if crossable else result.also_jumping(pole)


@rule(*BINARY)
def _binary(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    one, other = parts
    _, image = BINARY[node.op]
    result = elementwise(parts, image(one.interval, other.interval))
    if node.op in {"max", "min"}:
        return result._replace(atomless=one.atomless and other.atomless)
    if node.op == "mul" and _meets_infinity(one.interval, other.interval):
        step = "a product with infinity is a step in z"
        result = result.also_jumping(analysis.jump(-1, parts, "mul", step, pole=True))
    elif (result.pending or result.jumps) and _cancel(node.op, one.interval, other.interval):
        undefined = "infinite values that cancel in steps make it jump in z"
        result = result.also_jumping(analysis.jump(-1, parts, node.op, undefined, pole=True))
    elif node.op == "sub" and result.interval.high == iv.INF and _is_below_maximum(analysis.graph, *node.args):
        # Not a number if the maximum is infinite, whatever z is.
        result = result._replace(interval=iv.meet(result.interval, _NOT_POSITIVE))
    scales = node.op == "mul"
    apart = keeps_apart(one, other, scales=scales) or keeps_apart(other, one, scales=scales)
    independent = one.atomless and other.atomless and not one.depends & other.depends
    plain = one if one.atomless else other
    fixed = analysis.graph.nodes[node.args[1] if plain is one else node.args[0]]
    of_its_shape = analysis.graph.nodes[node.args[0] if plain is one else node.args[1]].shape == node.shape
    distinct = apart and plain.distinct and of_its_shape and (not scales or fixed.op == "constant" or fixed.shape == ())
    return result._replace(atomless=apart or independent, distinct=distinct)


def _meets_infinity(one: iv.Interval, other: iv.Interval) -> bool:
    """Whether the product may be one of infinity and a value of either sign, or zero."""
    return not (one.finite or other.nonzero) or not (other.finite or one.nonzero)


def _cancel(op: str, one: iv.Interval, other: iv.Interval) -> bool:
    """Whether a sum or difference may be one of infinities that cancel."""
    added = iv.negated(other) if op == "sub" else other
    return any(low.reaches(-iv.INF) and high.reaches(iv.INF) for low, high in ((one, added), (added, one)))


_NOT_POSITIVE = iv.Interval(-iv.INF, 0.0, False, False)


def _is_below_maximum(graph: Graph, value: int, number: int) -> bool:
    return axes_reduced_beside(graph, "reduce_max", value, number) is not None


@rule("div")
def _division(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    one, other = parts
    interval = iv.multiplied(one.interval, iv.reciprocal(other.interval))
    if np.dtype(node.dtype).kind in "iub":
        return through(
            analysis, node, analysis.jump(-1, parts, "div", "a division of whole numbers makes it jump in z")
        )
    result = elementwise(parts, interval, keeps_apart(one, other))
    result = result._replace(simplex=_is_normalized(analysis.graph, node))
    if other.interval.value == 0 and not one.interval.nonzero:
        return result.also_jumping(analysis.jump(-1, parts, "div", "a division by zero is a step in z", pole=True))
    if other.interval.nonzero or not analysis.varies(other):
        return result
    if _is_direction(analysis, node):
        # Undefined at one point of at least two dimensions, and bounded: no mass crosses it.
        return result._replace(interval=iv.Interval(-1.0, 1.0, False, False))
    pole = analysis.jump(number, [other], "div", "a division by a value that can be zero as z varies", pole=True)
    return result.also_pending(pole)


def _is_direction(analysis: Analysis, node: Node) -> bool:
    """Whether this is x / |x| for a vector x of at least two elements with a joint density."""
    graph, (top, _) = analysis.graph, node.args
    total = reduction_beside(graph, top, node.args[1], under="sqrt")
    if total is None or total.op != "reduce_sum":
        return False
    squares = graph.nodes[total.args[0]]
    if squares.op not in {"square", "integer_pow"} or squares.args[0] != top:
        return False
    even = squares.op == "square" or dict(squares.params)["y"] == 2
    count = np.prod([graph.nodes[top].shape[axis] for axis in dict(total.params)["axes"]])
    facts = analysis.facts[top]
    return bool(even and count >= 2 and facts.distinct and facts.atomless)


def _is_normalized(graph: Graph, node: Node) -> bool:
    """Whether this is x / sum x over the last axis."""
    value, number = node.args
    return axes_reduced_beside(graph, "reduce_sum", value, number) == (len(graph.nodes[value].shape) - 1,)


@rule("pow")
def _power(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    base, exponent = parts
    result = elementwise(parts, iv.REAL, keeps_apart(base, exponent))
    if base.interval.positive:
        return result._replace(interval=iv.POSITIVE)
    value = exponent.interval.value
    if value is not None and value >= 0 and (value == int(value) or base.interval.low >= 0):
        nonnegative = base.interval.low >= 0 or value % 2 == 0
        return result._replace(interval=iv.NONNEGATIVE if nonnegative else iv.REAL)
    if not analysis.varies(base) and not analysis.varies(exponent):
        return result
    pole = analysis.jump(number, parts, "pow", "a power of a value that can be zero or negative as z varies", pole=True)
    return result.also_pending(pole)


@rule("integer_pow")
def _whole_power(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    (part,), exponent = parts, dict(node.params)["y"]
    varied = exponent != 0
    result = elementwise(
        parts, integer_power(part.interval, exponent), part.atomless and varied, part.distinct and varied
    )
    if exponent >= 0 or part.interval.nonzero or not analysis.varies(part):
        return result
    pole = analysis.jump(number, parts, "integer_pow", "a division by a value that can be zero as z varies", pole=True)
    return result.also_pending(pole)


@rule("atan2")
def _angle(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    y, x = parts
    result = elementwise(parts, iv.Interval(-np.pi, np.pi, False, False), False)
    if x.interval.positive or y.interval.nonzero or not analysis.varies(result):
        return result
    cut = analysis.jump(number, parts, "atan2", "the angle of a point jumps at the cut at +-pi")
    return result.also_pending(cut)


@rule("abs")
def _absolute(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    (part,) = parts
    if str(analysis.graph.nodes[node.args[0]].dtype).startswith("complex"):
        return through(analysis, node, interval=iv.NONNEGATIVE)
    return elementwise(parts, iv.absolute(part.interval), part.atomless, part.distinct)


@rule("clamp")
def _clamp(analysis: Analysis, number: int, node: Node, parts: list[Facts]) -> Facts:
    low, value, high = parts
    return elementwise(parts, iv.minimum(iv.maximum(value.interval, low.interval), high.interval))
