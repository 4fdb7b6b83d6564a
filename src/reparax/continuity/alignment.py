"""Whether a reduction of an array stands beside the elements that it was computed from, as in x / sum x."""

from collections.abc import Collection

import numpy as np

from reparax.continuity.graph import Graph, Node

Axes = tuple[int | None, ...]


def reduction_beside(graph: Graph, value: int, number: int, through: Collection[str] = ()) -> Node | None:
    """The reduction behind an operand of the same operation as a value, if each result meets what it is a result of.

    Args:
        graph: The program.
        value: The other operand, whose axes those that the reduction keeps are compared with.
        number: The operand.
        through: Functions of one number that may be applied to the reduction.
    """
    rank = len(graph.nodes[value].shape)
    axes: Axes | None = tuple(range(rank)) if len(graph.nodes[number].shape) == rank else ()
    while axes is not None and len(axes) == len(graph.nodes[number].shape):
        node = graph.nodes[number]
        if node.op.startswith("reduce_"):
            kept = [axis for axis in range(rank) if axis not in dict(node.params)["axes"]]
            beside = zip(axes, node.shape, kept, strict=False)
            same = len(kept) == len(axes) and all(size == 1 or axis == own for axis, size, own in beside)
            return node if same and len(graph.nodes[node.args[0]].shape) == rank else None
        axes, number = _before(graph, node, axes, through)
    return None


def _before(graph: Graph, node: Node, axes: Axes, through: Collection[str]) -> tuple[Axes | None, int]:
    """The axes of the value along which those of the operand lie, and the operand."""
    if node.op in {"stop_gradient", "convert", *through}:
        return axes, node.args[0]
    if node.op == "max" and (limits := [a for a in node.args if _is_minus_infinity(graph, a)]):
        return axes, next((a for a in node.args if a not in limits), node.args[0])
    if node.op == "select_n" and graph.nodes[node.args[0]].op == "is_finite":
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
    return None, -1


def _is_minus_infinity(graph: Graph, number: int) -> bool:
    node = graph.nodes[number]
    return node.op == "constant" and node.params == -np.inf
