"""A small graph of array operations: what ONNX files and pages in the browser are made from.

Every tensor of the graph belongs to one example; in ONNX it has a batch axis in front. Constants have none, so that
they broadcast against it. Names and meanings of the operations are those of ONNX, with axes counted for one example.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Tensor(NamedTuple):
    """A value that depends on the inputs.

    Attributes:
        name: Its name in the graph.
        shape: Its shape for one example.
        dtype: The type of its numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


Operand = Tensor | np.ndarray
"""A value that depends on the inputs, or a constant."""


class Node(NamedTuple):
    """One operation.

    Attributes:
        op: Its name.
        inputs: The names of its inputs.
        output: The name of its output.
        settings: Its attributes.
        shape: The shape of its output for one example.
        dtype: The type of the numbers of its output.
    """

    op: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass
class Graph:
    """Operations in the order in which they are computed.

    Attributes:
        inputs: The inputs.
        outputs: The outputs by name.
        nodes: The operations.
        constants: The constants by name.
    """

    inputs: list[Tensor] = field(default_factory=list)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)
    _known: dict[tuple, str] = field(default_factory=dict)

    def input(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Adds an input of float32 numbers."""
        tensor = Tensor(name, shape, np.dtype(np.float32))
        self.inputs.append(tensor)
        return tensor

    def add(
        self, op: str, operands: Sequence[Operand], shape: Sequence[int], dtype: Any = np.float32, **settings: Any
    ) -> Tensor:
        """Adds an operation; the same one with the same operands is added once."""
        names = tuple(self.name_of(operand) for operand in operands)
        key = (op, names, repr(sorted(settings.items())), tuple(shape), str(dtype))
        if key not in self._known:
            self._known[key] = f"t{next(self._numbers)}"
            self.nodes.append(Node(op, names, self._known[key], settings, tuple(shape), np.dtype(dtype)))
        return Tensor(self._known[key], tuple(shape), np.dtype(dtype))

    def where(self, which: Operand, yes: Operand, no: Operand, shape: Sequence[int], dtype: Any) -> Tensor:
        """Adds a choice between two values; of truth values as "and" and "or", as onnxruntime chooses numbers only."""
        if np.dtype(dtype) != np.bool_:
            return self.add("Where", [which, yes, no], shape, dtype)
        otherwise = self.add("And", [self.add("Not", [which], which.shape, bool), no], shape, bool)
        return self.add("Or", [self.add("And", [which, yes], shape, bool), otherwise], shape, bool)

    def name_of(self, operand: Operand) -> str:
        """The name of a value; equal constants have one."""
        if isinstance(operand, Tensor):
            return operand.name
        array = np.ascontiguousarray(operand)
        key = ("constant", array.dtype.str, np.shape(operand), array.tobytes())
        if key not in self._known:
            self._known[key] = f"c{next(self._numbers)}"
            self.constants[self._known[key]] = array.reshape(np.shape(operand))
        return self._known[key]

    def pruned(self) -> "Graph":
        """The graph without what no output depends on."""
        needed = {tensor.name for tensor in self.outputs.values()}
        nodes = []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed |= set(node.inputs)
                nodes.append(node)
        constants = {name: array for name, array in self.constants.items() if name in needed}
        return Graph(self.inputs, self.outputs, nodes[::-1], constants)
