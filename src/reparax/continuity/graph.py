"""A jaxpr as a graph of numbered values in which equal expressions are one value (value numbering).

Calls (jit, checkpoint, functions with custom derivatives) are inlined, and branches become selections between their
results. Each loop is one node, with a graph of its body.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from reparax.continuity.markers import marker_of, trusted_name
from reparax.jaxprs import scan_sizes

_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_INLINED = {
    "jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr", "core_closed_call", "xla_call", "custom_lin",
}  # fmt: skip
_CUSTOM_DERIVATIVE = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
_ALIASES = {"copy", "copy_p", "pvary", "pcast", "optimization_barrier", "mesh_cast"}
# With fewer bits than these, rounding counts as a jump.
_MANTISSA, _BYTES = 7, 2
_SYMMETRIC = {"add", "mul", "max", "min", "add_any", "eq", "ne", "and", "or", "xor"}
_LOOPS = {"scan", "while", "shard_map"}
_UNINTERESTING = {"sharding", "out_sharding", "precision", "preferred_element_type", "algorithm", "accuracy"}
_SMALL = 16_384


class Node(NamedTuple):
    """One value: an operation on other values.

    Args:
        op: The primitive's name, or ``input``, ``constant``, ``array``, ``out``, or a marker.
        args: The numbers of its operands.
        params: The other parameters that determine it, hashable.
        shape: Its shape.
        dtype: Its data type.
        graphs: The graphs of the bodies of a loop.
    """

    op: str
    args: tuple[int, ...]
    params: Any
    shape: tuple[int, ...]
    dtype: Any
    graphs: tuple["Graph", ...] = ()


class Graph:
    """The values of a closed jaxpr.

    Args:
        closed: The jaxpr.

    Attributes:
        nodes: All values, operands before results.
        inputs: The numbers of the jaxpr's arguments.
        traced: The constants that are tracers, with their numbers, in the order of the jaxpr's constants.
        outputs: The numbers of the results.
        key: What the analysis depends on: graphs of equal keys have equal verdicts.
    """

    def __init__(self, closed: ClosedJaxpr) -> None:
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}
        self.values: dict[int, np.ndarray] = {}
        self.inputs = [self._leaf("input", place, var.aval) for place, var in enumerate(closed.jaxpr.invars)]
        self.traced: list[tuple[int, int]] = []
        constants = [self._constant(value, place) for place, value in enumerate(closed.consts)]
        self.outputs = tuple(self._inline(closed.jaxpr, constants, self.inputs, False))
        self.key = (tuple(self.nodes), self.outputs)
        self._hash = hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.key == other.key

    def _add(self, node: Node) -> int:
        number = self._numbers.get(node)
        if number is None:
            number = self._numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return number

    def _leaf(self, op: str, params: Any, aval: Any) -> int:
        return self._add(Node(op, (), params, tuple(aval.shape), aval.dtype))

    def _constant(self, value: Any, place: int = -1) -> int:
        aval = jax.typeof(value)
        if isinstance(value, Tracer) or not _is_numeric(aval.dtype):
            number = self._leaf("traced", (place, len(self.nodes)), aval)
            if place >= 0 and jnp.issubdtype(aval.dtype, jnp.inexact):
                self.traced.append((place, number))
            return number
        if aval.size > _SMALL:
            # Data: inspecting them would take long, and the cached verdict would keep them in memory.
            return self._leaf("array", len(self.nodes), aval)
        array = np.asarray(value)
        if array.size and _all_equal(array):
            return self._add(Node("constant", (), _scalar(array.reshape(-1)[0]), tuple(aval.shape), aval.dtype))
        number = self._leaf("array", (array.tobytes(), str(array.dtype)), aval)
        self.values[number] = array
        return number

    def _inline(
        self, jaxpr: Jaxpr, constants: Sequence[int], inputs: Sequence[int], custom_derivative: bool
    ) -> list[int]:
        names: dict[Any, int] = dict(zip(jaxpr.constvars, constants, strict=True))
        names.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> int:
            return self._literal(atom) if isinstance(atom, Literal) else names[atom]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [read(atom) for atom in equation.invars], custom_derivative)
            names.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _literal(self, atom: Any) -> int:
        if jnp.issubdtype(atom.aval.dtype, jax.dtypes.prng_key):
            return self._leaf("traced", (-1, len(self.nodes)), atom.aval)
        value = np.asarray(atom.val)
        return self._add(Node("constant", (), _scalar(value.reshape(-1)[0]), tuple(atom.aval.shape), atom.aval.dtype))

    def _equation(self, equation: JaxprEqn, args: list[int], custom_derivative: bool) -> list[int]:
        name, params = equation.primitive.name, equation.params
        if name in _INLINED:
            return self._call(equation, args, custom_derivative)
        if name == "cond":
            return self._branches(equation, args, custom_derivative)
        avals: list[Any] = [var.aval for var in equation.outvars]
        if (
            name in _ALIASES
            or (name == "stop_gradient" and custom_derivative)
            or (name == "reduce_precision" and params["mantissa_bits"] >= _MANTISSA)
            or _changes_nothing(name, self.nodes, args, avals)
        ):
            return args
        if name == "mul" and args[0] == args[1]:
            name, args, params = "square", args[:1], {}
        if name == "convert_element_type":
            return [self._converted(args[0], avals[0])]
        if name in _SYMMETRIC:
            args = sorted(args)
        if name == "reduce_sum" and (terms := self._terms(args[0], params["axes"])):
            return [self._total(terms, avals[0])]
        if name == "argmax" and (conditions := self._conditions(args[0], params["axes"])):
            return [self._first_true(conditions, avals[0])]
        if name in _LOOPS:
            graphs = tuple(Graph(_closed(params[field])) for field in _bodies(name))
            frozen = scan_sizes(params) if name == "scan" else tuple(params[field] for field in _COUNTS[name])
            return self._outputs(Node(name, tuple(args), frozen, (), None, graphs), avals)
        node = Node(
            name,
            tuple(args),
            _frozen(params),
            tuple(avals[0].shape) if avals else (),
            avals[0].dtype if avals else None,
        )
        if equation.primitive.multiple_results:
            return self._outputs(node._replace(shape=(), dtype=None), avals)
        return [self._add(node)]

    def _terms(self, number: int, axes: Any) -> list[int]:
        """The terms of a sum, if a few arrays were stacked along the axis of the sum."""
        node = self.nodes[number]
        shape = tuple(size for axis, size in enumerate(node.shape) if axis not in axes)
        if len(axes) != 1 or len(node.args) > 8:
            return []
        if node.op == "stack":
            return list(node.args) if dict(node.params)["axis"] == axes[0] else []
        if node.op != "concatenate" or dict(node.params)["dimension"] != axes[0]:
            return []
        parts = [self.nodes[arg] for arg in node.args]
        views = all(
            p.op in {"broadcast_in_dim", "reshape", "expand_dims"} and self.nodes[p.args[0]].shape == shape
            for p in parts
        )
        return [part.args[0] for part in parts] if views else []

    def _conditions(self, number: int, axes: Any) -> list[int]:
        """The truth values whose first true one is searched (`jax.numpy.select`)."""
        return self._terms(number, axes) if self.nodes[number].dtype == np.bool_ else []

    def _first_true(self, conditions: list[int], aval: Any) -> int:
        def constant(value: int) -> int:
            return self._add(Node("constant", (), float(value), tuple(aval.shape), aval.dtype))

        selected = constant(0)
        for place, condition in reversed(list(enumerate(conditions))):
            selected = self._add(
                Node("select_n", (condition, selected, constant(place)), (), tuple(aval.shape), aval.dtype)
            )
        return selected

    def _total(self, terms: list[int], aval: Any) -> int:
        total = terms[0]
        for term in terms[1:]:
            total = self._add(Node("add", tuple(sorted((total, term))), (), tuple(aval.shape), aval.dtype))
        return total

    def _converted(self, number: int, aval: Any) -> int:
        """A conversion of types: to truth values it is a comparison, to integers a truncation."""
        source = self.nodes[number].dtype
        shape = tuple(aval.shape)
        if aval.dtype == np.bool_ and source != np.bool_:
            zero = self._add(Node("constant", (), 0.0, shape, source))
            return self._add(Node("ne", tuple(sorted((number, zero))), (), shape, aval.dtype))
        cuts = jnp.issubdtype(source, jnp.floating) and not jnp.issubdtype(aval.dtype, jnp.inexact)
        rounds = jnp.issubdtype(source, jnp.floating) and aval.dtype.itemsize < _BYTES and not cuts
        name = "truncate" if cuts else "rounded to few bits" if rounds else "convert"
        return self._add(Node(name, (number,), (), shape, aval.dtype))

    def _outputs(self, node: Node, avals: Sequence[Any]) -> list[int]:
        several = self._add(node)
        return [
            self._add(Node("out", (several,), place, tuple(aval.shape), getattr(aval, "dtype", None)))
            for place, aval in enumerate(avals)
        ]

    def _call(self, equation: JaxprEqn, args: list[int], custom_derivative: bool) -> list[int]:
        closed = _closed(next(equation.params[field] for field in _CALLS if field in equation.params))
        avals: list[Any] = [var.aval for var in equation.outvars]
        marker = marker_of(closed.jaxpr)
        if marker is not None:
            return [
                self._add(Node(marker[0], (arg,), marker[1], tuple(aval.shape), aval.dtype))
                for arg, aval in zip(args, avals, strict=True)
            ]
        library = trusted_name(closed.jaxpr, [self.values.get(arg) for arg in args])
        if library is not None:
            return self._outputs(Node("library", tuple(args), library, (), None), avals)
        constants = [self._constant(value) for value in closed.consts]
        inside = custom_derivative or equation.primitive.name in _CUSTOM_DERIVATIVE
        return self._inline(closed.jaxpr, constants, args, inside)

    def _branches(self, equation: JaxprEqn, args: list[int], custom_derivative: bool) -> list[int]:
        index, *operands = args
        avals: list[Any] = [var.aval for var in equation.outvars]
        results = []
        for branch in equation.params["branches"]:
            constants = [self._constant(value) for value in branch.consts]
            results.append(self._inline(branch.jaxpr, constants, operands, custom_derivative))
        return [
            self._add(Node("select_n", (index, *cases), (), tuple(aval.shape), aval.dtype))
            for aval, cases in zip(avals, zip(*results, strict=True), strict=True)
        ]


_COUNTS = {
    "while": ("cond_nconsts", "body_nconsts"),
    "shard_map": (),
}


def _bodies(name: str) -> tuple[str, ...]:
    return ("cond_jaxpr", "body_jaxpr") if name == "while" else ("jaxpr",)


def _closed(inner: Any) -> ClosedJaxpr:
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())


def _changes_nothing(name: str, nodes: list[Node], args: list[int], avals: list[Any]) -> bool:
    if name == "convert_element_type":
        floats = jnp.issubdtype(nodes[args[0]].dtype, jnp.floating) and jnp.issubdtype(avals[0].dtype, jnp.floating)
        return floats and avals[0].dtype.itemsize >= _BYTES
    same_shape = len(args) == 1 and len(avals) == 1 and nodes[args[0]].shape == tuple(avals[0].shape)
    return same_shape and name in {"broadcast_in_dim", "reshape", "squeeze", "expand_dims"}


def _frozen(params: dict[str, Any]) -> tuple[Any, ...]:
    return tuple((k, _hashable(v)) for k, v in sorted(params.items()) if k not in _UNINTERESTING)


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray | jax.Array):
        return repr(value)
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _is_numeric(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_


def _scalar(value: Any) -> Any:
    number = complex(value) if np.iscomplexobj(value) else float(value)
    # Two NaNs are one constant.
    return "nan" if number != number else number


def _all_equal(array: np.ndarray) -> bool:
    return bool((array == array.reshape(-1)[0]).all())
