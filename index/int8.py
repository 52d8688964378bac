"""A BERT encoder's weights in int8: linear layers with one scale per output column, embeddings with one per row.

What enters a linear layer is rounded to 8 bits while it runs, with a scale per token. Norms and biases stay in float32.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Floats = npt.NDArray[np.float32]
# 7 bits: processors without VNNI add two products of 8-bit weights in 16 bits and would overflow.
LEVELS = 63


def quantized(weight: Floats, axis: int) -> tuple[npt.NDArray[np.int8], Floats]:
    """int8 values and float32 scales, symmetric, one scale per index along the other axis."""
    scale: Floats = np.maximum(np.abs(weight).max(axis=axis, keepdims=True), np.float32(1e-12)) / np.float32(LEVELS)
    return np.round(weight / scale).astype(np.int8), scale


def encoder(state: Mapping[str, Floats], layers: int, rounded: bool = True) -> dict[str, Array]:
    """The tensors of a BertModel as the graphs name them: input-major, query, key and value side by side."""
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
        weight(name, state[f"embeddings.{name}_embeddings.weight"], axis=1)
    out["type.weight"] = state["embeddings.token_type_embeddings.weight"]
    norm("embedding_norm", "embeddings.LayerNorm")
    for i in range(layers):
        source = f"encoder.layer.{i}"
        linear(f"{i}.qkv", *(f"{source}.attention.self.{part}" for part in ("query", "key", "value")))
        linear(f"{i}.out", f"{source}.attention.output.dense")
        norm(f"{i}.attention_norm", f"{source}.attention.output.LayerNorm")
        linear(f"{i}.up", f"{source}.intermediate.dense")
        linear(f"{i}.down", f"{source}.output.dense")
        norm(f"{i}.norm", f"{source}.output.LayerNorm")
    return out
