"""Which values that depend on a random variable lose their derivative to ``stop_gradient``.

Much code stops gradients where it makes no difference: log sum exp(x - m) + m has the derivative of log sum exp(x) for
any m. Each stopped value s is therefore traced through values of the form a s + (a term without s) or exp(k s) times
(a factor without s), to see whether it cancels from the results. If a value has neither form, its derivative is lost.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp

from reparax.continuity.analysis import Analysis
from reparax.continuity.expression import SAME
from reparax.continuity.graph import Graph, Node


class Trace(NamedTuple):
    """How a value depends on a stopped one, s.

    Args:
        degree: The factor of s: a or k.
        exponential: Whether it is the factor in the exponent, k.
        axes: Where the axes of s with several elements lie in the value, in their order, each element in its place;
            ``None`` if the dependence is not known.
        unless: A switch, and its outcome for which the value does not depend on s (in each branch of a batched
            ``cond``, jax stops the values that the other branch uses).
    """

    degree: float
    exponential: bool
    axes: tuple[int, ...] | None
    unless: tuple[int, float] | None = None


_LOST = Trace(1.0, False, None)


def held_back(analysis: Analysis) -> int:
    """The variables, as bits, in which a derivative of the results is lost."""
    graph, lost = analysis.graph, 0
    for number, node in enumerate(graph.nodes):
        depends = analysis.facts[node.args[0]].depends & analysis.variables if node.op == "stop_gradient" else 0
        if depends and depends & ~lost and _reaches(analysis, number):
            lost |= depends
    for number, bodies in analysis.bodies.items():
        if any(_uses(graph, output, number) for output in graph.outputs):
            for body in bodies.values():
                lost |= held_back(body)
    return lost


def _uses(graph: Graph, output: int, number: int) -> bool:
    seen, stack = set(), [output]
    while stack:
        current = stack.pop()
        if current == number:
            return True
        if current not in seen:
            seen.add(current)
            stack.extend(arg for arg in graph.nodes[current].args if graph.nodes[current].op != "trusted")
    return False


def _reaches(analysis: Analysis, site: int) -> bool:
    graph = analysis.graph
    axes = tuple(axis for axis, size in enumerate(graph.nodes[site].shape) if size > 1)
    traces: dict[int, Trace] = {site: Trace(1.0, False, axes)}
    for number in range(site + 1, len(graph.nodes)):
        node = graph.nodes[number]
        if any(arg in traces for arg in node.args) and node.op not in {"stop_gradient", "trusted"}:
            trace = _followed(analysis, node, _unswitched(graph, node, traces))
            if trace is not None and trace.degree != 0:
                traces[number] = trace._replace(unless=_condition(graph, node, traces))
    return any(number in traces for number in graph.outputs)


def _unswitched(graph: Graph, node: Node, traces: dict[int, Trace]) -> dict[int, Trace]:
    """The traces without those that the outcome of this switch excludes."""
    if node.op != "select_n":
        return traces
    excluded = {
        arg for outcome, arg in enumerate(node.args[1:])
        if arg in traces and traces[arg].unless == (node.args[0], float(outcome))
    }  # fmt: skip
    return {number: trace for number, trace in traces.items() if number not in excluded}


def _condition(graph: Graph, node: Node, traces: dict[int, Trace]) -> tuple[int, float] | None:
    if node.op == "select_n":
        which = graph.nodes[node.args[0]]
        values = [graph.nodes[arg].params for arg in which.args if graph.nodes[arg].op == "constant"]
        if which.op == "eq" and len(values) == 1 and node.args[2] not in traces:
            switch = next(arg for arg in which.args if graph.nodes[arg].op != "constant")
            return switch, float(values[0])
    conditions = {traces[arg].unless for arg in node.args if arg in traces}
    return conditions.pop() if len(conditions) == 1 else None


def _followed(analysis: Analysis, node: Node, traces: dict[int, Trace]) -> Trace | None:
    graph = analysis.graph
    if node.op == "select_n" and (known := analysis.facts[node.args[0]].interval.value) is not None:
        return traces.get(node.args[1 + int(known)])
    if node.dtype is not None and not jnp.issubdtype(node.dtype, jnp.inexact):
        return None
    if node.op == "select_n" and not any(arg in traces for arg in node.args[1:]):
        return None
    known = [traces.get(arg) for arg in node.args]
    if any(part is not None and part.axes is None for part in known):
        return _LOST
    first = next(part for part in known if part is not None)
    if node.op in _MOVES:
        return _moved(graph, node, first)
    if node.op in _OF_ONE:
        return _of_one(graph, node, first)
    if node.op in {"add", "add_any", "sub", "mul", "div", "max", "min", "select_n", "dot_general"}:
        return _of_two(graph, node, known)
    return _LOST


def _of_one(graph: Graph, node: Node, trace: Trace) -> Trace | None:
    axes = trace.axes or ()
    if node.op in {"reduce_sum", "reduce_max", "reduce_min"}:
        reduced = dict(node.params)["axes"]
        if set(axes) & set(reduced):
            return _LOST
        kept = [axis for axis in range(len(graph.nodes[node.args[0]].shape)) if axis not in reduced]
        count = math.prod(graph.nodes[node.args[0]].shape[axis] for axis in reduced)
        factor = count if node.op == "reduce_sum" and not trace.exponential else 1
        return Trace(trace.degree * factor, trace.exponential, tuple(kept.index(axis) for axis in axes))
    if node.op == "exp" and not trace.exponential:
        return trace._replace(exponential=True)
    if node.op == "log" and trace.exponential:
        return trace._replace(exponential=False)
    if node.op == "neg":
        return trace if trace.exponential else trace._replace(degree=-trace.degree)
    if not trace.exponential:
        return trace if node.op in SAME | {"convert"} else _LOST
    powers = {"sqrt": 0.5, "square": 2.0, "rsqrt": -0.5, "sign": 0.0, "exp": None, "log": None}
    power = float(dict(node.params)["y"]) if node.op == "integer_pow" else powers.get(node.op, 1.0)
    return _LOST if power is None else trace._replace(degree=trace.degree * power)


def _of_two(graph: Graph, node: Node, known: list[Trace | None]) -> Trace | None:
    parts = known[1:] if node.op == "select_n" else known
    present = [part for part in parts if part is not None]
    if not present:
        return None
    axes, exponential = present[0].axes or (), present[0].exponential
    # Elements of s in other places do not cancel.
    if any(part.exponential != exponential or part.axes != present[0].axes for part in present):
        return _LOST
    if node.op in {"mul", "div", "dot_general"}:
        return _product(graph, node, known, exponential, axes)
    degrees = [part.degree if part is not None else 0.0 for part in parts]
    if node.op in {"add", "add_any", "sub"} and not exponential:
        one, other = degrees
        return Trace(one - other if node.op == "sub" else one + other, False, axes)
    same = len(present) == len(parts) and all(degree == degrees[0] for degree in degrees)
    return Trace(degrees[0], exponential, axes) if same else _LOST


def _product(graph: Graph, node: Node, known: list[Trace | None], exponential: bool, axes: tuple[int, ...]) -> Trace:
    degrees = [part.degree if part is not None else 0.0 for part in known]
    if exponential:
        if node.op == "dot_general" and axes:
            return _LOST
        return Trace(degrees[0] - degrees[1] if node.op == "div" else sum(degrees), True, axes)
    factor = graph.nodes[node.args[1] if known[0] is not None else node.args[0]]
    single = len([part for part in known if part is not None]) == 1
    if node.op == "dot_general" or not single or factor.op != "constant" or (node.op == "div" and known[0] is None):
        return _LOST
    value = float(factor.params)
    scaled = sum(degrees) / value if node.op == "div" and value else sum(degrees) * value
    return Trace(scaled, False, axes)


_MOVES = {
    "broadcast_in_dim",
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "slice",
    "dynamic_slice",
    "gather",
    "rev",
}


def _moved(graph: Graph, node: Node, trace: Trace) -> Trace:
    axes, params = trace.axes or (), dict(node.params)
    if not axes:
        return trace
    if node.op == "broadcast_in_dim":
        return trace._replace(axes=tuple(params["broadcast_dimensions"][axis] for axis in axes))
    if node.op == "transpose":
        return trace._replace(axes=tuple(params["permutation"].index(axis) for axis in axes))
    if node.op == "slice" and all(graph.nodes[node.args[0]].shape[axis] == node.shape[axis] for axis in axes):
        return trace
    if node.op == "rev" and not set(axes) & set(params["dimensions"]):
        return trace
    # Axes of size one may be added or removed; the others keep their order.
    before = [axis for axis, size in enumerate(graph.nodes[node.args[0]].shape) if size > 1]
    after = [axis for axis, size in enumerate(node.shape) if size > 1]
    sizes = [graph.nodes[node.args[0]].shape[axis] for axis in before]
    if node.op in {"reshape", "squeeze", "expand_dims"} and sizes == [node.shape[axis] for axis in after]:
        return trace._replace(axes=tuple(after[before.index(axis)] for axis in axes))
    return _LOST


_OF_ONE = SAME | {
    "convert", "reduce_max", "reduce_min", "reduce_sum", "exp", "log", "neg", "abs", "sqrt", "square", "rsqrt",
    "integer_pow", "sign",
}  # fmt: skip
