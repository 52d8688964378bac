"""A BERT encoder in int8 as an ONNX graph: one text at a time, so there is no padding and no mask.

A graph has no weights in it: its tensors are named as index/int8.py names them, and lie elsewhere.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Graph:
    """Nodes, in order. `add` gives the name of what they make."""

    def __init__(self, heads: int, layers: int) -> None:
        self.heads, self.layers = heads, layers
        self.nodes: list[onnx.NodeProto] = []

    def add(self, op: str, inputs: list[str], outputs: str = "", domain: str = "", **attributes: Any) -> str:
        name = outputs or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, name.split(), domain=domain, **attributes))
        return name

    def fused(self, op: str, inputs: list[str], **attributes: Any) -> str:
        return self.add(op, inputs, domain="com.microsoft", **attributes)

    def embedding(self, name: str, ids: str) -> str:
        rows = self.add("Cast", [self.add("Gather", [f"{name}.weight", ids])], to=TensorProto.FLOAT)
        return self.add("Mul", [rows, self.add("Gather", [f"{name}.scale", ids])])

    def linear(self, name: str, x: str) -> str:
        top = self.add("Max", [self.add("ReduceMax", [self.add("Abs", [x]), "last"]), "tiny"])
        rounded = self.add("QuantizeLinear", [self.add("Div", [x, top]), "step", "zero"])
        product = self.fused("MatMulIntegerToFloat", [rounded, f"{name}.weight", "step", f"{name}.scale", "zero"])
        return self.add("Add", [self.add("Mul", [product, top]), f"{name}.bias"])

    def norm(self, name: str, x: str) -> str:
        # Spelt out, this takes a third of the time of ONNX Runtime's own kernel, which is not vectorised.
        centred = self.add("Sub", [x, self.add("ReduceMean", [x, "last"])])
        variance = self.add("ReduceMean", [self.add("Mul", [centred, centred]), "last"])
        deviation = self.add("Sqrt", [self.add("Add", [variance, "epsilon"])])
        scaled = self.add("Mul", [self.add("Div", [centred, deviation]), f"{name}.weight"])
        return self.add("Add", [scaled, f"{name}.bias"])

    def layer(self, i: int, x: str) -> str:
        qkv = self.add("Split", [self.linear(f"{i}.qkv", x)], f"q{i} k{i} v{i}", axis=2, num_outputs=3)
        read = self.fused("MultiHeadAttention", qkv.split(), num_heads=self.heads)
        x = self.norm(f"{i}.attention_norm", self.add("Add", [x, self.linear(f"{i}.out", read)]))
        wide = self.fused("Gelu", [self.linear(f"{i}.up", x)])
        return self.norm(f"{i}.norm", self.add("Add", [x, self.linear(f"{i}.down", wide)]))

    def encoder(self, types: str) -> str:
        """Of the inputs `ids`, `positions` and the token types under this name: hidden states, (1, length, width)."""
        words = self.add("Add", [self.embedding("word", "ids"), self.embedding("position", "positions")])
        x = self.norm("embedding_norm", self.add("Add", [words, self.add("Gather", ["type.weight", types])]))
        for i in range(self.layers):
            x = self.layer(i, x)
        return x


def model(
    name: str,
    graph: Graph,
    inputs: Sequence[str],
    output: tuple[str, list[int | str]],
    epsilon: float,
    tensors: Iterable[onnx.TensorProto],
) -> onnx.ModelProto:
    """The whole model; `output` is a name and its shape."""
    given = [helper.make_tensor_value_info(one, TensorProto.INT64, [1, "length"]) for one in inputs]
    made = helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])
    constants = {
        "step": np.float32(1 / 127),
        "zero": np.uint8(128),
        "tiny": np.float32(1e-9),
        "last": np.array([-1]),
        "length": np.array([1]),
        "first": np.array(0),
        "epsilon": np.float32(epsilon),
    }
    used = {one for node in graph.nodes for one in node.input}
    known = [numpy_helper.from_array(np.asarray(value), one) for one, value in constants.items() if one in used]
    whole = helper.make_graph(graph.nodes, name, given, [made], [*known, *tensors])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=10)


def elsewhere(name: str, kind: int, shape: Sequence[int], place: Mapping[str, object]) -> onnx.TensorProto:
    """A tensor that is not in the graph's file."""
    tensor = TensorProto(name=name, data_type=kind, dims=shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=str(value)) for key, value in place.items())
    return tensor
