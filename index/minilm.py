"""The packaged embedder, all-MiniLM-L6-v2, in int8 on a CPU, through ONNX Runtime.

The graph comes with this package (`python -m app.train.export_embedder` made it), the weights with the model's own,
and are rounded when it is loaded. Beside the graph are a few texts and their vectors in float32, to be held against.
"""

import json
import os
import threading
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from index.int8 import encoder
from index.niceness import TAKING_IN, pool
from index.tokens import Tokens
from index.types import Vectors

HOME = Path(str(files("index") / "weights" / "embedder"))
GRAPH, REFERENCE = HOME / "model.onnx", HOME / "reference.json"
SAME = 0.99  # the least cosine to float32


class MiniLM(Tokens):
    """An Embedder. A text is one thread's, and its vector never depends on the texts beside it."""

    def __init__(self, folder: Path, source: str, weights: str, window: int) -> None:
        """`source` and `weights` as in SentenceEmbedder; `window` counts special tokens; longer texts are cut."""
        super().__init__(Tokenizer.from_file(str(folder / "tokenizer.json")))
        self._cls, self._sep = self._tokens.encode("").ids
        config = json.loads((folder / "config.json").read_text())
        self.dimension = int(config["hidden_size"])
        self.fingerprint = f"{source}@{weights}/{self.dimension}"
        self.name, self.window = source, window - 2
        tensors = encoder(load_file(folder / "model.safetensors"), config["num_hidden_layers"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # threads that shared a text would wait for one another in it
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in tensors.values()]
        options.add_external_initializers(list(tensors), values)
        self._session = onnxruntime.InferenceSession(GRAPH.read_bytes(), options, providers=["CPUExecutionProvider"])
        cores = os.cpu_count() or 1
        self._pool, self._turn = pool(cores, "embedder", TAKING_IN), threading.Semaphore(max(1, cores // 2))

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._vectors(list(self._pool.map(self._pooled, self._cut(texts))))

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """In the caller's thread: questions are short, and do not wait for passages.

        Half of the cores embed questions at once; the others have what else a search is: with more, sixteen searchers
        get a fifth less done.
        """
        with self._turn:
            return self._vectors([self._pooled(ids) for ids in self._cut(texts)])

    def _cut(self, texts: Sequence[str]) -> list[list[int]]:
        encoded = self._tokens.encode_batch_fast(list(texts), add_special_tokens=False)
        return [[self._cls, *one.ids[: self.window], self._sep] for one in encoded]

    def _pooled(self, ids: list[int]) -> Vectors:
        fed = {"ids": np.array([ids]), "positions": np.arange(len(ids))[None]}
        vector: Vectors = self._session.run(["pooled"], fed)[0][0]
        return vector

    def _vectors(self, pooled: Sequence[Vectors]) -> Vectors:
        vectors: Vectors = np.array(pooled, np.float32).reshape(-1, self.dimension)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def agrees(self) -> bool:
        """Whether this machine, and the weights that are here, give the vectors that they should."""
        told = json.loads(REFERENCE.read_text())
        return bool((self.encode(told["texts"]) * np.array(told["vectors"])).sum(1).min() >= SAME)
