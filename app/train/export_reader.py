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
import onnx
from onnx import TensorProto
from safetensors.numpy import load_file, save_file

from app.train.calibrate_reader import logistic, outcomes
from app.train.graph import Graph, elsewhere, model
from app.train.readings import Readings
from index.int8 import Array, Floats, encoder
from index.reader import load_reader

KINDS = {"F32": TensorProto.FLOAT, "I8": TensorProto.INT8, "I64": TensorProto.INT64}


def packed(state: Mapping[str, Floats], layers: int, rounded: bool = True) -> dict[str, Array]:
    """The tensors of the package: the encoder's, and the two-column head."""
    bert = {name.removeprefix("bert."): value for name, value in state.items()}
    head = {"head.weight": np.ascontiguousarray(state["qa_outputs.weight"].T), "head.bias": state["qa_outputs.bias"]}
    return encoder(bert, layers, rounded) | head


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
        place = {"location": weights.name, "offset": 8 + size + begin, "length": end - begin}
        tensors.append(elsewhere(name, KINDS[entry["dtype"]], entry["shape"], place))
    return tensors


def reader_model(config: Mapping[str, Any], weights: Path) -> onnx.ModelProto:
    """The whole graph, its tensors in the file of weights."""
    graph = Graph(config["num_attention_heads"], config["num_hidden_layers"])
    graph.add("Add", [graph.add("MatMul", [graph.encoder("types"), "head.weight"]), "head.bias"], "logits")
    inputs = "ids", "positions", "types"
    return model("reader", graph, inputs, ("logits", [1, "length", 2]), config["layer_norm_eps"], external(weights))


def export(checkpoint: Path, folder: Path, rounded: bool = True) -> None:
    """Writes the folder, with a logistic that is still to be fitted; unrounded without a graph, to compare with."""
    config = json.loads((checkpoint / "config.json").read_text())
    state = {name: t.astype(np.float32) for name, t in load_file(checkpoint / "model.safetensors").items()}
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    save_file(packed(state, config["num_hidden_layers"], rounded), weights)
    weights.chmod(0o644)
    if rounded:
        (folder / "model.onnx").write_bytes(reader_model(config, weights).SerializeToString())
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
