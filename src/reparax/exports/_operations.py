"""Operations of JAX as operations of a graph, one function for each kind."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reparax.exports._graph import Graph, Operand, Tensor

Shape = tuple[int, ...]
Handler = Callable[[Graph, Sequence[Operand], Mapping[str, Any], Any], Any]
"""Takes the graph, the operands, the parameters of the operation, and the shape and type of its result."""

SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "add_any": "Add", "and": "And", "asin": "Asin",
    "asinh": "Asinh", "atanh": "Atanh",
    "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "div": "Div", "eq": "Equal", "erf": "Erf", "exp": "Exp",
    "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "log": "Log",
    "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg", "not": "Not",
    "or": "Or", "pow": "Pow", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan",
    "tanh": "Tanh", "xor": "Xor", "lt_to": "Less", "le_to": "LessOrEqual",
}  # fmt: skip
"""Operations on single numbers that ONNX has too."""
LOGICAL = frozenset({"And", "Or", "Not", "Xor"})


def shape_of(operand: Operand) -> Shape:
    return tuple(np.shape(operand)) if isinstance(operand, np.ndarray) else operand.shape


def _elementwise(op: str) -> Handler:
    def convert(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
        if op in LOGICAL and out.dtype != np.bool_:
            raise NotImplementedError(f"{op.lower()} of whole numbers")
        aligned = [aligned_to(graph, operand, out.shape) for operand in operands]
        return graph.add(op, aligned, out.shape, out.dtype)

    return convert


def aligned_to(graph: Graph, operand: Operand, shape: Shape) -> Operand:
    """A scalar that depends on the example, with axes to broadcast against a shape; others unchanged."""
    if isinstance(operand, Tensor) and operand.shape == () and shape:
        return reshaped(graph, operand, (1,) * len(shape))
    return operand


def reshaped(graph: Graph, operand: Operand, shape: Sequence[int]) -> Operand:
    shape = tuple(int(size) for size in shape)
    if isinstance(operand, np.ndarray):
        return operand.reshape(shape)
    if operand.shape == shape:
        return operand
    return graph.add("Reshape", [operand], shape, operand.dtype)


def expanded(graph: Graph, operand: Operand, shape: Shape) -> Tensor:
    """A value of the rank of a shape, repeated along axes of size one."""
    if isinstance(operand, Tensor) and operand.shape == tuple(shape):
        return operand
    dtype = operand.dtype
    return graph.add("Expand", [operand], shape, dtype)


def picked(graph: Graph, operand: Tensor, places: np.ndarray, fill: Any = 0) -> Tensor:
    """Numbers of a value at fixed flat places, in the shape of the places; at negative places another number."""
    size = math.prod(operand.shape)
    flat = reshaped(graph, operand, (size,))
    if places.size == size and (places.ravel() == np.arange(size)).all():
        return reshaped(graph, flat, places.shape)  # ty: ignore[invalid-explicit-return]
    outside = places < 0
    result = graph.add("Gather", [flat, np.where(outside, 0, places).astype(np.int64)], places.shape, operand.dtype)
    if not outside.any():
        return result
    return graph.where(outside, np.asarray(fill, operand.dtype), result, places.shape, operand.dtype)


def flat_places(shape: Shape) -> np.ndarray:
    return np.arange(math.prod(shape), dtype=np.int32).reshape(shape)


def _moved(name: str) -> Handler:
    """Operations that only move numbers: what they do to the numbers' places is computed now."""

    def convert(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
        first, *rest = operands
        if any(isinstance(operand, Tensor) for operand in rest[:1] if name != "pad"):
            raise NotImplementedError(f"{name} at places that depend on the example")
        places = jnp.asarray(flat_places(shape_of(first)))
        if name == "pad":
            moved = jax.lax.pad(places, jnp.int32(-1), params["padding_config"])
            fill = rest[0]
            if isinstance(fill, Tensor):
                raise NotImplementedError("padding with a number that depends on the example")
        else:
            primitive = getattr(jax.lax, f"{name}_p")
            moved, fill = primitive.bind(places, *map(jnp.asarray, rest), **params), np.zeros(())
        return picked(graph, first, np.asarray(moved), fill)  # ty: ignore[invalid-argument-type]

    return convert


def _integer_pow(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    x, power = operands[0], params["y"]
    if power in {2, 3}:
        square = graph.add("Mul", [x, x], out.shape, out.dtype)
        return square if power == 2 else graph.add("Mul", [square, x], out.shape, out.dtype)
    return graph.add("Pow", [x, np.asarray(power, out.dtype)], out.shape, out.dtype)


def _square(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    return graph.add("Mul", [operands[0], operands[0]], out.shape, out.dtype)


def _rsqrt(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    return graph.add("Reciprocal", [graph.add("Sqrt", operands, out.shape, out.dtype)], out.shape, out.dtype)


def _ne(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    aligned = [aligned_to(graph, operand, out.shape) for operand in operands]
    if aligned[0] is aligned[1] and isinstance(aligned[0], Tensor) and aligned[0].dtype.kind == "f":
        return graph.add("IsNaN", aligned[:1], out.shape, bool)
    if aligned[0].dtype == np.bool_:
        return graph.add("Xor", aligned, out.shape, bool)
    return graph.add("Not", [graph.add("Equal", aligned, out.shape, bool)], out.shape, bool)


def _is_finite(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    size = graph.add("Abs", operands, out.shape)
    return graph.add("Less", [size, np.asarray(np.inf, np.float32)], out.shape, bool)


def _rem(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    aligned = [aligned_to(graph, operand, out.shape) for operand in operands]
    return graph.add("Mod", aligned, out.shape, out.dtype, fmod=1)


def _round(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    if params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise NotImplementedError("halves are rounded away from zero")
    return graph.add("Round", operands, out.shape, out.dtype)


def _clamp(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    low, x, high = (aligned_to(graph, operand, out.shape) for operand in operands)
    return graph.add("Min", [graph.add("Max", [x, low], out.shape, out.dtype), high], out.shape, out.dtype)


def _select(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    which, *cases = (aligned_to(graph, operand, out.shape) for operand in operands)
    if which.dtype != np.bool_:
        if len(cases) != 2:
            raise NotImplementedError("a choice between more than two cases")
        which = graph.add("Equal", [which, np.asarray(1, which.dtype)], shape_of(which), bool)
    return graph.where(which, cases[1], cases[0], out.shape, out.dtype)


def _cast(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    x = operands[0]
    if isinstance(x, Tensor) and x.dtype == out.dtype:
        return x
    return graph.add("Cast", [x], out.shape, out.dtype)


def _reshape(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    return reshaped(graph, operands[0], out.shape)


def _broadcast(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    x, shape = operands[0], [1] * len(out.shape)
    for axis, size in zip(params["broadcast_dimensions"], shape_of(x), strict=True):
        shape[axis] = size
    return expanded(graph, reshaped(graph, x, shape), out.shape)


def _transpose(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    return transposed(graph, operands[0], params["permutation"])


def transposed(graph: Graph, operand: Operand, order: Sequence[int]) -> Operand:
    if isinstance(operand, np.ndarray):
        return operand.transpose(order)
    if tuple(order) == tuple(range(len(order))):
        return operand
    shape = [operand.shape[axis] for axis in order]
    return graph.add("Transpose", [operand], shape, operand.dtype, order=tuple(map(int, order)))


def _reduced(op: str) -> Handler:
    def convert(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
        x, axes = operands[0], tuple(int(axis) for axis in params["axes"])
        if not axes:
            return x
        if out.dtype == np.bool_:
            numbers = graph.add("Cast", [x], shape_of(x), np.int32)
            return graph.add("Cast", [graph.add(op, [numbers], out.shape, np.int32, axes=axes)], out.shape, bool)
        return graph.add(op, [x], out.shape, out.dtype, axes=axes)

    return convert


def _argmax(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    x = operands[0]
    if x.dtype == np.bool_:
        x = graph.add("Cast", [x], shape_of(x), np.int32)
    place = graph.add("ArgMax", [x], out.shape, np.int64, axis=int(params["axes"][0]))
    return graph.add("Cast", [place], out.shape, out.dtype)


def _argmin(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    return _argmax(graph, [graph.add("Neg", operands, shape_of(operands[0]))], params, out)


def _concatenate(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    return joined(graph, operands, int(params["dimension"]), out)


def joined(graph: Graph, operands: Sequence[Operand], axis: int, out: Any) -> Tensor:
    # ONNX broadcasts an axis of length 1 to 0 as if that were 1.
    pieces = [expanded(graph, each, shape_of(each)) for each in operands if shape_of(each)[axis]]
    return graph.add("Concat", pieces, out.shape, out.dtype, axis=axis)


def _stack(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    axis = int(params["axis"])
    shape = [*out.shape[:axis], 1, *out.shape[axis + 1 :]]
    return joined(graph, [reshaped(graph, operand, shape) for operand in operands], axis, out)


def _unstack(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> list[Operand]:
    x, axis = operands[0], int(params["axis"])
    pieces = [sliced(graph, x, axis, at, at + 1) for at in range(shape_of(x)[axis])]
    return [reshaped(graph, piece, each.shape) for piece, each in zip(pieces, out, strict=True)]


def _split(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> list[Operand]:
    ends = np.cumsum([0, *params["sizes"]])
    axis = int(params["axis"])
    return [sliced(graph, operands[0], axis, low, high) for low, high in itertools.pairwise(ends)]


def sliced(graph: Graph, operand: Operand, axis: int, start: int, stop: int) -> Operand:
    assert isinstance(operand, Tensor)
    shape = [*operand.shape[:axis], int(stop - start), *operand.shape[axis + 1 :]]
    if tuple(shape) == operand.shape:
        return operand
    return graph.add("Slice", [operand], shape, operand.dtype, starts=(int(start),), ends=(int(stop),), axes=(axis,))


def _slice(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    if any(step != 1 for step in params["strides"] or ()):
        return _moved("slice")(graph, operands, params, out)
    x = operands[0]
    for axis, (start, stop) in enumerate(zip(params["start_indices"], params["limit_indices"], strict=True)):
        x = sliced(graph, x, axis, start, stop)
    return x


def _cumulative(op: str) -> Handler:
    def convert(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
        return graph.add(
            op, operands, out.shape, out.dtype, axis=int(params["axis"]), reverse=int(params.get("reverse", False))
        )

    return convert


def _dot(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    (left_sum, right_sum), (left_batch, right_batch) = params["dimension_numbers"]
    # Of JAX, one may be of whole numbers and the other one not.
    first, second = (_of_type(graph, operand, out.dtype) for operand in operands)
    left, left_free = _as_matrices(graph, first, left_batch, left_sum, summed_last=True)
    right, right_free = _as_matrices(graph, second, right_batch, right_sum, summed_last=False)
    batch = [shape_of(operands[0])[axis] for axis in left_batch]
    shape = (*([math.prod(batch)] if batch else []), math.prod(left_free), math.prod(right_free))
    product = graph.add("MatMul", [left, right], shape, out.dtype)
    return reshaped(graph, product, out.shape)


def _of_type(graph: Graph, operand: Operand, dtype: Any) -> Operand:
    if operand.dtype == dtype:
        return operand
    return (
        operand.astype(dtype) if isinstance(operand, np.ndarray) else graph.add("Cast", [operand], operand.shape, dtype)
    )


def _as_matrices(
    graph: Graph, operand: Operand, batch: Sequence[int], summed: Sequence[int], *, summed_last: bool
) -> tuple[Operand, list[int]]:
    """An operand as matrices, and the shape of what is not summed; one matrix for each place of the batch axes."""
    shape = shape_of(operand)
    free = [axis for axis in range(len(shape)) if axis not in (*batch, *summed)]
    order = (*batch, *free, *summed) if summed_last else (*batch, *summed, *free)
    sizes = [math.prod(shape[axis] for axis in axes) for axes in ((free, summed) if summed_last else (summed, free))]
    matrices = [math.prod(shape[axis] for axis in batch)] if batch else []
    return reshaped(graph, transposed(graph, operand, order), (*matrices, *sizes)), [shape[axis] for axis in free]


HANDLERS: dict[str, Handler] = {
    **{name: _elementwise(op) for name, op in SAME.items()},
    **{name: _moved(name) for name in ("rev", "pad", "dynamic_slice", "tile")},
    **{f"reduce_{name}": _reduced(op) for name, op in (
        ("sum", "ReduceSum"), ("max", "ReduceMax"), ("min", "ReduceMin"), ("prod", "ReduceProd"),
        ("or", "ReduceMax"), ("and", "ReduceMin"),
    )},
    "integer_pow": _integer_pow, "square": _square, "rsqrt": _rsqrt, "ne": _ne, "is_finite": _is_finite, "rem": _rem,
    "round": _round, "clamp": _clamp, "select_n": _select, "convert_element_type": _cast, "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape, "broadcast_in_dim": _broadcast, "transpose": _transpose, "argmax": _argmax,
    "argmin": _argmin, "concatenate": _concatenate, "stack": _stack, "unstack": _unstack, "split": _split,
    "slice": _slice, "cumsum": _cumulative("CumSum"), "dot_general": _dot,
}  # fmt: skip
"""Operations that are converted one by one; see also `reparax.exports._indexing` and `reparax.exports._rewrites`."""
