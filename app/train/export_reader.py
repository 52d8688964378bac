"""Turns a trained reader (a BertForQuestionAnswering folder) into the form that the package carries.

Weights of linear layers become int8 with one scale per output column, embeddings int8 with one scale per row; norms,
biases and the two-column head stay in float32. What goes into a linear layer is rounded to 8 bits while it runs, with
one scale per token: one scale for a whole passage cost 6 % of the spans. `model.safetensors` holds the numbers,
`model.onnx` only the graph: its tensors are external data at their offsets in the safetensors file, so ONNX Runtime
and torch read one file.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

from app.train.calibrate_reader import logistic, outcomes
from app.train.readings import Readings
from index.reader import load_reader

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
KINDS = {"F32": TensorProto.FLOAT, "I8": TensorProto.INT8, "I64": TensorProto.INT64}
# 7 bits: processors without VNNI add two products of 8-bit weights in 16 bits and would overflow.
LEVELS = 63


def quantized(weight: Floats, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """int8 values and float32 scales, symmetric, one scale per index along the other axis."""
    scale: Floats = np.maximum(np.abs(weight).max(axis=axis, keepdims=True), np.float32(1e-12)) / np.float32(LEVELS)
    return np.round(weight / scale).astype(np.int8), scale


def packed(state: Mapping[str, Floats], layers: int, rounded: bool = True) -> dict[str, Array]:
    """The tensors of the package: linear layers input-major, query, key and value side by side."""
    out: dict[str, Array] = {}

    def weight(name: str, value: Floats, axis: int) -> None:
        if not rounded:
            out[f"{name}.weight"] = np.ascontiguousarray(value)
            return
        values, scale = quantized(value, axis)
        out[f"{name}.weight"] = np.ascontiguousarray(values)
        out[f"{name}.scale"] = np.ascontiguousarray(scale if axis else scale[0])

    def linear(name: str, *sources: str) -> None:
        weight(name, np.concatenate([state[f"{source}.weight"] for source in sources]).T, axis=0)
        out[f"{name}.bias"] = np.concatenate([state[f"{source}.bias"] for source in sources])

    def norm(name: str, source: str) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = state[f"{source}.weight"], state[f"{source}.bias"]

    for name in ("word", "position"):
        weight(name, state[f"bert.embeddings.{name}_embeddings.weight"], axis=1)
    out["type.weight"] = state["bert.embeddings.token_type_embeddings.weight"]
    norm("embedding_norm", "bert.embeddings.LayerNorm")
    for i in range(layers):
        source = f"bert.encoder.layer.{i}"
        linear(f"{i}.qkv", *(f"{source}.attention.self.{part}" for part in ("query", "key", "value")))
        linear(f"{i}.out", f"{source}.attention.output.dense")
        norm(f"{i}.attention_norm", f"{source}.attention.output.LayerNorm")
        linear(f"{i}.up", f"{source}.intermediate.dense")
        linear(f"{i}.down", f"{source}.output.dense")
        norm(f"{i}.norm", f"{source}.output.LayerNorm")
    out["head.weight"] = np.ascontiguousarray(state["qa_outputs.weight"].T)
    out["head.bias"] = state["qa_outputs.bias"]
    return out


class Graph:
    """The reader as ONNX nodes; one row (one window) at a time, so there is no padding and no mask."""

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

    def build(self) -> None:
        words = self.add("Add", [self.embedding("word", "ids"), self.embedding("position", "positions")])
        x = self.norm("embedding_norm", self.add("Add", [words, self.add("Gather", ["type.weight", "types"])]))
        for i in range(self.layers):
            x = self.layer(i, x)
        self.add("Add", [self.add("MatMul", [x, "head.weight"]), "head.bias"], "logits")


def external(weights: Path) -> list[onnx.TensorProto]:
    """The tensors of a safetensors file as ONNX initializers that point into it."""
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    tensors = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        tensor = TensorProto(name=name, data_type=KINDS[entry["dtype"]], dims=entry["shape"])
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": weights.name, "offset": 8 + size + begin, "length": end - begin}
        tensor.external_data.extend(onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items())
        tensors.append(tensor)
    return tensors


def model(config: Mapping[str, Any], weights: Path) -> onnx.ModelProto:
    """The whole graph, its tensors in the file of weights."""
    graph = Graph(config["num_attention_heads"], config["num_hidden_layers"])
    graph.build()
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "length"]) for n in ("ids", "positions", "types")]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, "length", 2])
    constants = {
        "step": np.float32(1 / 127),
        "zero": np.uint8(128),
        "tiny": np.float32(1e-9),
        "last": np.array([-1]),
        "epsilon": np.float32(config["layer_norm_eps"]),
    }
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(graph.nodes, "reader", inputs, [output], [*tensors, *external(weights)])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


def export(checkpoint: Path, folder: Path, rounded: bool = True) -> None:
    """Writes the folder, with a logistic that is still to be fitted; unrounded without a graph, to compare with."""
    config = json.loads((checkpoint / "config.json").read_text())
    state = {name: t.astype(np.float32) for name, t in load_file(checkpoint / "model.safetensors").items()}
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    save_file(packed(state, config["num_hidden_layers"], rounded), weights)
    weights.chmod(0o644)
    if rounded:
        (folder / "model.onnx").write_bytes(model(config, weights).SerializeToString())
    names = {"heads": "num_attention_heads", "layers": "num_hidden_layers", "epsilon": "layer_norm_eps"}
    shape = {name: config[source] for name, source in names.items()}
    write_config(folder, shape | {"slope": 1.0, "intercept": 0.0})


def write_config(folder: Path, config: Mapping[str, float]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def package(checkpoint: Path, folder: Path, readings: Readings, questions: int = 600) -> str:
    """Exports, fits the logistic, and says what it was fitted on."""
    export(checkpoint, folder)
    found = outcomes(load_reader(str(folder)), readings, questions)
    slope, intercept = logistic(found)
    config = json.loads((folder / "config.json").read_text())
    write_config(folder, config | {"slope": round(slope, 4), "intercept": round(intercept, 4)})
    return f"{folder}: {len(found)} readings, slope {slope:.4f}, intercept {intercept:.4f}"
