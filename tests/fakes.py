"""Stand-ins that do the real thing in a smaller way. They answer from their input, never from the test's wishes."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from index.types import Vectors


class HashedWords:
    """An embedder without a model: each word has a direction of its own, a text is the sum of its words."""

    def __init__(self, dimension: int = 128, name: str = "hashed-words") -> None:
        self.dimension = dimension
        self.fingerprint = f"{name}/{dimension}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._one(text) for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode(texts)

    def count_tokens(self, text: str) -> int:
        return len(_words(text))

    def _one(self, text: str) -> Vectors:
        total = np.full(self.dimension, 1e-6)
        for word in _words(text):
            seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            total += np.random.default_rng(seed).standard_normal(self.dimension)
        return np.asarray(total / np.linalg.norm(total), np.float32)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
