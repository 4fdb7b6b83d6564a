"""Graphs as ONNX files, with a batch axis of any size in front of every input and output."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, checker, helper, numpy_helper
from onnx import TensorProto as Types

from reparax.exports._graph import Graph, Node, Tensor

OPSET, IR_VERSION = 18, 9
BATCH = "batch"
TYPES = {"float32": Types.FLOAT, "int32": Types.INT32, "int64": Types.INT64, "bool": Types.BOOL}
REDUCTIONS = frozenset({"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"})


def onnx_model(graph: Graph, name: str, metadata: Mapping[str, str]) -> ModelProto:
    """The ONNX model of a graph.

    Args:
        graph: The graph.
        name: The name of the function.
        metadata: Notes that are kept in the file.
    """
    writer = _Writer(graph)
    nodes = [made for node in graph.nodes for made in writer.nodes_of(node)]
    outputs = []
    for output, tensor in graph.outputs.items():
        nodes.append(helper.make_node("Identity", [tensor.name], [output]))
        outputs.append(_port(output, tensor))
    proto = helper.make_graph(
        [*writer.first, *nodes], name, [_port(each.name, each) for each in graph.inputs], outputs,
        [numpy_helper.from_array(array, key) for key, array in writer.constants.items()],
    )  # fmt: skip
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="reparax"
    )
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model, full_check=True)
    return model


def _port(name: str, tensor: Tensor) -> Any:
    return helper.make_tensor_value_info(name, TYPES[tensor.dtype.name], [BATCH, *tensor.shape])


class _Writer:
    """Makes the nodes of ONNX for those of a graph; axes are counted from the batch axis.

    Attributes:
        constants: All constants by name.
        first: Nodes that come before all others.
    """

    def __init__(self, graph: Graph) -> None:
        self.constants = {name: _writable(array) for name, array in graph.constants.items()}
        self.first: list[NodeProto] = [
            helper.make_node("Shape", [graph.inputs[0].name], ["batch_size"], start=0, end=1)
        ]

    def integers(self, values: tuple[int, ...]) -> str:
        """The name of a constant list of integers."""
        name = "i_" + "_".join(map(str, values)) if values else "i"
        self.constants[name] = np.asarray(values, np.int64)
        return name

    def nodes_of(self, node: Node) -> list[NodeProto]:
        """The nodes for one operation."""
        op, inputs, output, settings = node.op, list(node.inputs), [node.output], node.settings
        if op == "Reshape":
            return [helper.make_node(op, [*inputs, self.integers((0, *node.shape))], output)]
        if op == "Expand":
            return self._expand(node)
        if op == "Transpose":
            return [helper.make_node(op, inputs, output, perm=[0, *(axis + 1 for axis in settings["order"])])]
        if op in REDUCTIONS:
            axes = self.integers(tuple(axis + 1 for axis in settings["axes"]))
            return [helper.make_node(op, [*inputs, axes], output, keepdims=0)]
        if op == "ArgMax":
            return [helper.make_node(op, inputs, output, axis=settings["axis"] + 1, keepdims=0)]
        if op == "CumSum":
            axis = f"a_{settings['axis'] + 1}"
            self.constants[axis] = np.asarray(settings["axis"] + 1, np.int64)
            return [helper.make_node(op, [*inputs, axis], output, reverse=settings["reverse"])]
        if op == "Slice":
            axes = tuple(axis + 1 for axis in settings["axes"])
            more = [self.integers(values) for values in (settings["starts"], settings["ends"], axes)]
            return [helper.make_node(op, [*inputs, *more], output)]
        if op == "Cast":
            return [helper.make_node(op, inputs, output, to=TYPES[node.dtype.name])]
        if op in {"Concat", "GatherElements"}:
            return [helper.make_node(op, inputs, output, axis=settings["axis"] + 1)]
        if op == "Gather":
            return [self._gather(node)]
        if op == "Conv":
            return self._conv(node)
        return [helper.make_node(op, inputs, output, **settings)]

    def _gather(self, node: Node) -> NodeProto:
        """Numbers of each example at fixed places, or of a constant at the places of each example."""
        of_constant = node.inputs[0] in self.constants
        return helper.make_node("Gather", list(node.inputs), [node.output], axis=0 if of_constant else 1)

    def _conv(self, node: Node) -> list[NodeProto]:
        """A convolution of the images of all examples as one batch."""
        images, kernel = node.inputs
        flat, made = f"{node.output}_images", f"{node.output}_made"
        spatial = len(node.shape) - 2
        sizes = self.integers((-1, *node.settings["image"]))
        settings = {name: node.settings[name] for name in ("strides", "dilations", "group")}
        return [
            helper.make_node("Reshape", [images, sizes], [flat]),
            helper.make_node("Conv", [flat, kernel], [made], **settings, pads=[0] * 2 * spatial),
            helper.make_node("Reshape", [made, self.integers((-1, *node.shape))], [node.output]),
        ]

    def _expand(self, node: Node) -> list[NodeProto]:
        """A value repeated along axes of size one; a constant is repeated for every example."""
        if node.inputs[0] not in self.constants:
            return [helper.make_node("Expand", [node.inputs[0], self.integers((1, *node.shape))], [node.output])]
        shape = f"{node.output}_shape"
        return [
            helper.make_node("Concat", ["batch_size", self.integers(node.shape)], [shape], axis=0),
            helper.make_node("Expand", [node.inputs[0], shape], [node.output]),
        ]


def _writable(array: np.ndarray) -> np.ndarray:
    """A constant in a type that ONNX has."""
    if array.dtype == np.float64:
        return array.astype(np.float32)
    return array if array.dtype.name in TYPES else array.astype(np.int64)
