"""An embedder without a model: each word has a direction, a text is the sum of its words."""

import re
import zlib
from collections.abc import Sequence

import numpy as np

from index.types import Vectors


class Hashed:
    """Words have no numbers here, so all token ids are another's. `name` also decides on the directions."""

    window = 8192

    def __init__(self, name: str = "hashed", dimension: int = 64) -> None:
        self.name, self.dimension = name, dimension
        self.fingerprint = f"{name}/{dimension}"
        self._known: dict[str, Vectors] = {}

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._one(text) for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode(texts)

    def count_tokens(self, text: str) -> int:
        return len(_words(text))

    def decode(self, ids: Sequence[int]) -> str | None:
        return None

    def _one(self, text: str) -> Vectors:
        total = np.full(self.dimension, 1e-6, np.float32)
        for word in _words(text):
            if word not in self._known:
                seed = zlib.crc32(f"{self.name} {word}".encode())
                self._known[word] = np.random.default_rng(seed).standard_normal(self.dimension, np.float32)
            total += self._known[word]
        return total / np.linalg.norm(total)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
