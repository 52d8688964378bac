import numpy as np
import pytest

from index.dense import Dense
from index.types import Vectors


@pytest.fixture
def vectors() -> Vectors:
    drawn = np.random.default_rng(7).standard_normal((300, 32)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def ranked(vectors: Vectors, query: Vectors, among: list[int], k: int) -> list[int]:
    return sorted(among, key=lambda n: -float(vectors[n] @ query))[:k]


def test_search_is_exact_also_under_a_filter_and_after_removal(vectors: Vectors) -> None:
    dense = Dense(32)
    dense.add(range(200), vectors[:200])
    dense.add(range(200, 300), vectors[200:])
    dense.remove(range(0, 300, 3))
    left = [n for n in range(300) if n % 3]
    assert len(dense) == len(left)
    for query in vectors[:20]:
        assert list(dense.search(query, 10)) == ranked(vectors, query, left, 10)
        allowed = [n for n in left if n % 7 == 1]
        assert list(dense.search(query, 10, allowed)) == ranked(vectors, query, allowed, 10)


def test_scores_are_cosines(vectors: Vectors) -> None:
    dense = Dense(32)
    dense.add([10**12], vectors[:1])
    assert dense.search(vectors[0], 5) == {10**12: pytest.approx(1.0, abs=1e-5)}


def test_nothing_to_find(vectors: Vectors) -> None:
    dense = Dense(32)
    assert dense.search(vectors[0], 5) == {}
    dense.add([], vectors[:0])
    dense.remove([])
    dense.add([1], vectors[:1])
    assert dense.search(vectors[0], 5, []) == {}
    assert dense.search(vectors[0], 5, [99]) == {}


def test_a_wrong_shape_is_refused(vectors: Vectors) -> None:
    with pytest.raises(ValueError, match="dimension 32"):
        Dense(32).add([1], vectors[:1, :16])
    with pytest.raises(ValueError, match="2 chunks"):
        Dense(32).add([1, 2], vectors[:1])
