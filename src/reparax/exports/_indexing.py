"""Operations of JAX that look numbers up, or put them, at places; and convolutions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from reparax.exports._graph import Graph, Operand, Tensor
from reparax.exports._operations import Handler, flat_places, picked, reshaped, shape_of, transposed


def _gather(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Tensor:
    operand, indices = operands
    mode = jax.lax.GatherScatterMode.from_any(params["mode"])
    if isinstance(indices, np.ndarray):
        fill = params["fill_value"]
        settings = {**params, "mode": jax.lax.GatherScatterMode.FILL_OR_DROP, "fill_value": -1}
        if mode != jax.lax.GatherScatterMode.FILL_OR_DROP:
            settings = {**params, "fill_value": None}
        places = jnp.asarray(flat_places(shape_of(operand)))
        moved = np.asarray(jax.lax.gather_p.bind(places, jnp.asarray(indices), **settings))
        nothing = np.nan if fill is None and out.dtype.kind == "f" else fill or 0
        return picked(graph, operand, moved, nothing)  # ty: ignore[invalid-argument-type]
    places = _places(graph, shape_of(operand), indices, params, out.shape)
    size = math.prod(shape_of(operand))
    flat = reshaped(graph, operand, (size,))
    if isinstance(flat, np.ndarray):
        return graph.add("Gather", [flat, places], out.shape, out.dtype)
    count = math.prod(out.shape)
    chosen = graph.add("GatherElements", [flat, reshaped(graph, places, (count,))], (count,), out.dtype, axis=0)
    return reshaped(graph, chosen, out.shape)  # ty: ignore[invalid-explicit-return]


def _places(
    graph: Graph, shape: tuple[int, ...], indices: Tensor, params: Mapping[str, Any], out_shape: tuple[int, ...]
) -> Tensor:
    """The flat places of the results of a gather, whose indices are moved into range.

    The start of a slice depends on the example, and where a result is in its slice does not: its place is the sum.
    """
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    of_index = np.asarray([strides[axis] for axis in numbers.start_index_map], np.int32)
    highest = np.asarray([shape[axis] - sizes[axis] for axis in numbers.start_index_map], np.int32)
    count = math.prod(indices.shape[:-1])
    starts = reshaped(graph, indices, (count, indices.shape[-1]))
    starts = graph.add("Cast", [starts], shape_of(starts), np.int32)
    low = graph.add("Max", [starts, np.zeros((), np.int32)], starts.shape, np.int32)
    starts = graph.add("Min", [low, highest], starts.shape, np.int32)
    starts = graph.add("Mul", [starts, of_index], starts.shape, np.int32)
    first = graph.add("ReduceSum", [starts], (count,), np.int32, axes=(1,))
    # With all starts at 0, the result is where in its slice each number is, and with other slices, which slice it is.
    within = _gathered(flat_places(shape), np.zeros(indices.shape, np.int32), params)
    which = _which_slice(indices.shape[:-1], out_shape, numbers)
    chosen = graph.add("Gather", [first, which.astype(np.int64)], out_shape, np.int32)
    return graph.add("Add", [chosen, within], out_shape, np.int32)


def _gathered(values: np.ndarray, indices: np.ndarray, params: Mapping[str, Any]) -> np.ndarray:
    settings = {**params, "mode": jax.lax.GatherScatterMode.CLIP, "fill_value": None}
    return np.asarray(jax.lax.gather_p.bind(jnp.asarray(values), jnp.asarray(indices), **settings))


def _which_slice(batch_shape: tuple[int, ...], out_shape: tuple[int, ...], numbers: Any) -> np.ndarray:
    batch_axes = [axis for axis in range(len(out_shape)) if axis not in numbers.offset_dims]
    shape = [out_shape[axis] if axis in batch_axes else 1 for axis in range(len(out_shape))]
    return np.broadcast_to(flat_places(batch_shape).reshape(shape), out_shape)


def _scattered(combined: str = "") -> Handler:
    """Numbers put at places, where an operation combines them with those there; replacing them by default."""

    def convert(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
        operand, indices, updates = operands
        if isinstance(indices, Tensor):
            raise NotImplementedError("numbers put at places that depend on the example")
        size, count = math.prod(out.shape), math.prod(shape_of(updates))
        # Which update each number becomes: the update's number from 1, put in the place of zeros.
        which = jnp.arange(1, count + 1, dtype=jnp.int32).reshape(shape_of(updates))
        put = jax.lax.scatter(
            jnp.zeros(out.shape, jnp.int32), jnp.asarray(indices), which, params["dimension_numbers"],
            indices_are_sorted=params["indices_are_sorted"], unique_indices=params["unique_indices"],
            mode=params["mode"],
        )  # fmt: skip
        placed = np.asarray(put).ravel()
        if len(np.unique(placed[placed > 0])) != count:
            raise NotImplementedError("numbers put at the same place")
        flat = reshaped(graph, updates, (count,))
        index = np.maximum(placed - 1, 0).astype(np.int64)
        chosen = flat[index] if isinstance(flat, np.ndarray) else graph.add("Gather", [flat, index], (size,), out.dtype)
        before = reshaped(graph, operand, (size,))
        if combined:
            of_truth = combined == "Max" and out.dtype == bool  # which ONNX has for numbers only
            chosen = graph.add("Or" if of_truth else combined, [before, chosen], (size,), out.dtype)
        return reshaped(graph, graph.where(placed > 0, chosen, before, (size,), out.dtype), out.shape)

    return convert


def _convolution(graph: Graph, operands: Sequence[Operand], params: Mapping[str, Any], out: Any) -> Operand:
    image, kernel = operands
    numbers = params["dimension_numbers"]
    if isinstance(kernel, Tensor) or params["batch_group_count"] != 1:
        raise NotImplementedError("a convolution with a kernel that depends on the example")
    image, kernel = transposed(graph, image, numbers.lhs_spec), kernel.transpose(numbers.rhs_spec)
    count, channels, *sizes = shape_of(image)
    spread = [(size - 1) * step + 1 for size, step in zip(sizes, params["lhs_dilation"], strict=True)]
    low, high = zip(*params["padding"], strict=True)
    padded = [size + a + b for size, a, b in zip(spread, low, high, strict=True)]
    if padded != sizes:  # zeros around the pixels, and between them for a transposed convolution
        config = [
            (0, 0, 0),
            (0, 0, 0),
            *((a, b, s - 1) for a, b, s in zip(low, high, params["lhs_dilation"], strict=True)),
        ]
        places = jax.lax.pad(jnp.asarray(flat_places((count, channels, *sizes))), jnp.int32(-1), config)
        image = picked(graph, image, np.asarray(places), 0.0)  # ty: ignore[invalid-argument-type]
    shape = [out.shape[axis] for axis in numbers.out_spec]
    result = graph.add(
        "Conv", [image, kernel], shape, out.dtype, strides=tuple(params["window_strides"]),
        dilations=tuple(params["rhs_dilation"]), group=int(params["feature_group_count"]),
        image=(channels, *padded),
    )  # fmt: skip
    return transposed(graph, result, np.argsort(numbers.out_spec).tolist())


INDEXING: dict[str, Handler] = {
    "gather": _gather,
    "scatter": _scattered(),
    "scatter-add": _scattered("Add"),
    "scatter_add": _scattered("Add"),
    "scatter-max": _scattered("Max"),
    "scatter_max": _scattered("Max"),
    "conv_general_dilated": _convolution,
}
"""Operations at places, by name."""
