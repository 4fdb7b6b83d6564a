"""Whether a reduction of an array stands beside the elements that it was computed from, as in x / sum x."""

import numpy as np

from reparax.continuity.graph import Graph, Node

Axes = tuple[int | None, ...]


def reduction_beside(graph: Graph, value: int, number: int, under: str | None = None) -> Node | None:
    """The reduction behind an operand of the same operation as a value, if each result meets what it is a result of.

    Args:
        graph: The program.
        value: The other operand, whose axes those that the reduction keeps are compared with.
        number: The operand.
        under: A function of one number that is applied to the reduction, once.
    """
    rank = len(graph.nodes[value].shape)
    axes: Axes = tuple(range(rank)) if len(graph.nodes[number].shape) == rank else ()
    axes, number = _moved_back(graph, axes, number)
    if under is not None:
        if graph.nodes[number].op != under:
            return None
        axes, number = _moved_back(graph, axes, graph.nodes[number].args[0])
    node = graph.nodes[number]
    if (
        not node.op.startswith("reduce_")
        or len(graph.nodes[node.args[0]].shape) != rank
        or len(axes) != len(node.shape)
    ):
        return None
    kept = [axis for axis in range(rank) if axis not in dict(node.params)["axes"]]
    beside = zip(axes, node.shape, kept, strict=True)
    return node if all(size == 1 or axis == own for axis, size, own in beside) else None


def axes_reduced_beside(graph: Graph, op: str, value: int, number: int) -> tuple[int, ...] | None:
    """The axes over which a value itself was reduced to the operand beside it, such as the total in x / sum x."""
    node = reduction_beside(graph, value, number)
    return dict(node.params)["axes"] if node is not None and node.op == op and node.args[0] == value else None


def _moved_back(graph: Graph, axes: Axes, number: int) -> tuple[Axes, int]:
    """The first value behind an operand that is more than the same elements in other axes, and where its axes lie."""
    while (before := _before(graph, graph.nodes[number], axes)) is not None:
        axes, number = before
    return axes, number


def _before(graph: Graph, node: Node, axes: Axes) -> tuple[Axes, int] | None:
    """The axes of the value along which those of the operand lie, and the operand; None if it is more than moved."""
    if len(axes) != len(node.shape):  # a number beside an array
        return None
    if node.op in {"stop_gradient", "convert"}:
        return axes, node.args[0]
    if node.op == "max" and (limits := [a for a in node.args if _is_minus_infinity(graph, a)]):
        return axes, next((a for a in node.args if a not in limits), node.args[0])
    if node.op == "select_n" and (test := graph.nodes[node.args[0]]).op == "is_finite" and test.args[0] == node.args[2]:
        return axes, node.args[2]
    before = graph.nodes[node.args[0]].shape if node.args else ()
    if node.op == "broadcast_in_dim":
        places = dict(node.params)["broadcast_dimensions"]
        return tuple(axes[place] for place in places), node.args[0]
    if node.op in {"reshape", "expand_dims", "squeeze"}:
        left = [(axis, size) for axis, size in zip(axes, node.shape, strict=True) if size > 1]
        if [size for _, size in left] == [size for size in before if size > 1]:
            rest = iter(left)
            return tuple(next(rest)[0] if size > 1 else None for size in before), node.args[0]
    return None


def _is_minus_infinity(graph: Graph, number: int) -> bool:
    node = graph.nodes[number]
    return node.op == "constant" and node.params == -np.inf
