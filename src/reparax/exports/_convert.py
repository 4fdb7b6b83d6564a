"""From a function of JAX to a graph: constants are computed now, loops of fixed length are unrolled."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from reparax.errors import RecipeError
from reparax.exports._functions import Function
from reparax.exports._graph import Graph, Operand, Tensor
from reparax.exports._indexing import INDEXING
from reparax.exports._operations import HANDLERS, expanded
from reparax.exports._rewrites import REWRITES
from reparax.jaxprs import scan_sizes

LONGEST_LOOP = 1024
"""The largest number of steps of a loop that is unrolled."""
UNCHANGED = frozenset({"copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision"})
CONVERTERS = {**HANDLERS, **INDEXING}


def graph_of(function: Function) -> Graph:
    """The graph of a function of one example.

    Raises:
        RecipeError: It has an operation that graphs lack, or draws random numbers that depend on the example.
    """
    graph = Graph()
    inputs = [graph.input(port.name, port.shape) for port in function.inputs]
    traced, shapes = jax.make_jaxpr(function.call, return_shape=True)(*function.specs())
    results = _evaluated(graph, traced.jaxpr, [np.asarray(each) for each in traced.consts], inputs)
    names = jax.tree.unflatten(jax.tree.structure(shapes), results)
    for name, value in names.items():
        # A value that is the same for all examples is repeated for each.
        graph.outputs[name] = (
            value if isinstance(value, Tensor) else expanded(graph, np.asarray(value), np.shape(value))
        )
    return graph.pruned()


def _evaluated(graph: Graph, jaxpr: Jaxpr, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a traced function: tensors of the graph, or constants."""
    values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))

    def read(atom: Any) -> Any:
        return _constant(atom.val) if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        results = _converted(graph, equation, [read(atom) for atom in equation.invars])
        values |= dict(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _converted(graph: Graph, equation: Any, operands: list[Any]) -> Sequence[Any]:
    """The results of one operation."""
    name, params = equation.primitive.name, equation.params
    if name == "platform_index":
        return [np.asarray(_for_processor(params["platforms"]), np.int32)]
    if name == "cond" and not isinstance(operands[0], Tensor):
        branches = params["branches"]
        chosen = branches[int(np.clip(operands[0], 0, len(branches) - 1))]
        return _inlined(graph, chosen, operands[1:])
    if not any(isinstance(operand, Tensor) for operand in operands):
        return _computed(equation, operands)
    if name in UNCHANGED:
        return operands
    inner = params.get("jaxpr") or params.get("call_jaxpr")
    if name == "scan":
        return _unrolled(graph, params, operands)
    if inner is not None and name not in {"while", "cond"}:
        return _inlined(graph, inner, operands)
    return _one(graph, equation, operands)


def _for_processor(platforms: Sequence[Sequence[str] | None]) -> int:
    """Which way of computing to take: that of a CPU, where a transposed convolution has no zeros between the pixels."""
    return next((place for place, names in enumerate(platforms) if names and "cpu" in names), len(platforms) - 1)


def _one(graph: Graph, equation: Any, operands: list[Any]) -> Sequence[Any]:
    name, params = equation.primitive.name, equation.params
    results = [each.aval for each in equation.outvars]
    try:
        if name in REWRITES:
            return _rewritten(graph, name, params, operands)
        if name in CONVERTERS:
            out = results[0] if not equation.primitive.multiple_results else results
            made = CONVERTERS[name](graph, operands, params, out)
            return made if isinstance(made, list) else [made]
    except NotImplementedError as error:
        raise _refused(f"{name}: {error}") from None
    raise _refused(name)


def _refused(got: str) -> RecipeError:
    return RecipeError(
        expected="a model whose operations ONNX and the browser have",
        got=got,
        cure="export with --format stablehlo, use reparax serve, or fit with another part",
    )


def _sliced(x: np.ndarray, params: Mapping[str, Any]) -> list[np.ndarray]:
    steps = params["strides"] or [None] * x.ndim
    return [x[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]]


def _broadcast(x: np.ndarray, params: Mapping[str, Any]) -> list[np.ndarray]:
    shape = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = size
    return [np.broadcast_to(x.reshape(shape), params["shape"])]


MOVES: dict[str, Callable[[np.ndarray, Mapping[str, Any]], list[np.ndarray]]] = {
    "slice": _sliced,
    "broadcast_in_dim": _broadcast,
    "squeeze": lambda x, params: [np.squeeze(x, params["dimensions"])],
    "unstack": lambda x, params: list(np.moveaxis(x, params["axis"], 0)),
}
"""Operations on constants that NumPy does at once, where compiling a program for each shape would take seconds."""


def _computed(equation: Any, operands: list[Any]) -> list[Any]:
    """The results of an operation on constants; moving numbers needs no compiled program."""
    name = equation.primitive.name
    if name in MOVES and all(isinstance(operand, np.ndarray) for operand in operands):
        return MOVES[name](operands[0], equation.params)
    params = equation.primitive.get_bind_params(equation.params)
    results = equation.primitive.bind(*map(_as_array, operands), **params)
    results = results if equation.primitive.multiple_results else [results]
    return [_constant(each) for each in results]


def _constant(value: Any) -> Any:
    """A constant as NumPy has it, except for random keys."""
    is_key = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return value if is_key else np.asarray(value)


def _as_array(value: Any) -> Any:
    return jnp.asarray(value) if isinstance(value, np.ndarray) else value


def _inlined(graph: Graph, inner: Any, operands: Sequence[Any]) -> list[Any]:
    if isinstance(inner, ClosedJaxpr):
        return _evaluated(graph, inner.jaxpr, [_constant(each) for each in inner.consts], operands)
    return _evaluated(graph, inner, [], operands)


def _rewritten(graph: Graph, name: str, params: Any, operands: Sequence[Any]) -> list[Any]:
    shapes = [jax.ShapeDtypeStruct(_shape(operand), operand.dtype) for operand in operands]
    traced = jax.make_jaxpr(lambda *arrays: REWRITES[name](*arrays, **params))(*shapes)
    return _inlined(graph, traced, operands)


def _shape(operand: Operand) -> tuple[int, ...]:
    return operand.shape if isinstance(operand, Tensor) else np.shape(operand)


def _unrolled(graph: Graph, params: Any, operands: list[Any]) -> list[Any]:
    """The results of a loop of fixed length, step after step."""
    if params["length"] > LONGEST_LOOP:
        raise _refused(f"a loop of {params['length']} steps")
    num_constants, num_carried = scan_sizes(params)
    constants, carried = operands[:num_constants], operands[num_constants : num_constants + num_carried]
    sequences = operands[num_constants + num_carried :]
    collected: list[list[Any]] = []
    order = range(params["length"])
    for step in reversed(order) if params["reverse"] else order:
        pieces = [_at(graph, sequence, step) for sequence in sequences]
        results = _inlined(graph, params["jaxpr"], [*constants, *carried, *pieces])
        carried = results[:num_carried]
        collected.append(results[num_carried:])
    collected = collected[::-1] if params["reverse"] else collected
    return [*carried, *(_stacked(graph, list(pieces)) for pieces in zip(*collected, strict=True))]


def _at(graph: Graph, sequence: Any, step: int) -> Any:
    if not isinstance(sequence, Tensor):
        return _constant(sequence)[step]
    return _inlined(
        graph, jax.make_jaxpr(lambda x: x[step])(jax.ShapeDtypeStruct(sequence.shape, sequence.dtype)), [sequence]
    )[0]


def _stacked(graph: Graph, pieces: list[Any]) -> Any:
    if not any(isinstance(piece, Tensor) for piece in pieces):
        return np.stack(pieces)
    shapes = [jax.ShapeDtypeStruct(_shape(piece), piece.dtype) for piece in pieces]
    return _inlined(graph, jax.make_jaxpr(lambda *each: jnp.stack(each))(*shapes), pieces)[0]
