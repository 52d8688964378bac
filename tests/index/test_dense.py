from collections.abc import Collection
from pathlib import Path

import faiss
import numpy as np
import pytest

from index.blocks import rounded
from index.dense import REMAINDER, Approximate, Exact, Tiers
from index.errors import FaissRefused
from index.rows import Rows
from index.types import Vectors
from index.vectors import VectorFiles


@pytest.fixture
def vectors() -> Vectors:
    drawn = np.random.default_rng(7).standard_normal((300, 32)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def ranked(vectors: Vectors, query: Vectors, among: list[int], k: int) -> list[int]:
    return sorted(among, key=lambda n: -float(vectors[n] @ query))[:k]


def test_search_is_exact_also_under_a_filter_and_after_removal(vectors: Vectors) -> None:
    dense = Exact(32)
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
    dense = Exact(32)
    dense.add([10**12], vectors[:1])
    assert dense.search(vectors[0], 5) == {10**12: pytest.approx(1.0, abs=1e-5)}


def test_nothing_to_find(vectors: Vectors) -> None:
    dense = Exact(32)
    assert dense.search(vectors[0], 5) == {}
    dense.add([], vectors[:0])
    dense.remove([])
    dense.add([1], vectors[:1])
    assert dense.search(vectors[0], 5, []) == {}
    assert dense.search(vectors[0], 5, [99]) == {}


def test_a_wrong_shape_is_refused(vectors: Vectors) -> None:
    with pytest.raises(ValueError, match="dimension 32"):
        Exact(32).add([1], vectors[:1, :16])
    with pytest.raises(ValueError, match="2 chunks"):
        Exact(32).add([1, 2], vectors[:1])


def clustered(count: int, seed: int = 0) -> Vectors:
    """Unit vectors around 300 centres: as crowded as passages about a few hundred things."""
    dice = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((300, 384)).astype(np.float32)
    drawn = centres[dice.integers(0, 300, count)] + 0.9 * dice.standard_normal((count, 384)).astype(np.float32)
    return rounded(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


class Large:
    """An approximate index over a vector file, and the exact one over the same vectors beside it."""

    def __init__(self, folder: Path, vectors: Vectors, factory: str = "IVF64,PQ128x4fs") -> None:
        self.files = VectorFiles(folder, 384, "an embedder")
        self.rows = Rows("a", self.files.rows)
        self.vectors = vectors
        self.exact = Exact(384)
        self.approximate = Approximate(384, factory, vectors[:8192], self.rows, len(vectors))
        for document, start in enumerate(range(0, len(vectors), 1000)):
            self.add(document, range(start, min(start + 1000, len(vectors))))

    def add(self, document: int, chunks: range) -> None:
        drawn = self.vectors[chunks.start : chunks.stop]
        block = self.files.append("a", document, chunks, drawn)
        self.rows.add(np.arange(chunks.start, chunks.stop), block.rows(384))
        self.exact.add(chunks, drawn)
        self.approximate.add(chunks, drawn)

    def remove(self, chunks: range) -> None:
        self.rows.remove(chunks)
        self.exact.remove(chunks)
        self.approximate.remove(chunks)

    def recall(self, questions: Vectors, allowed: Collection[int] | None = None) -> float:
        both = [(self.exact.search(q, 10, allowed), self.approximate.search(q, 10, allowed)) for q in questions]
        return sum(len(right.keys() & found.keys()) for right, found in both) / sum(len(right) for right, _ in both)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Large:
    return Large(tmp_path_factory.mktemp("vectors"), clustered(30_000))


QUESTIONS = clustered(30, 1)


def test_a_large_index_finds_what_exact_search_finds_with_the_same_scores(large: Large) -> None:
    assert large.recall(QUESTIONS) >= 0.98
    right, found = large.exact.search(QUESTIONS[0], 10), large.approximate.search(QUESTIONS[0], 10)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found == {n: pytest.approx(right[n], abs=1e-5) for n in found}


def test_a_vector_takes_less_than_a_hundred_bytes_of_ram(large: Large) -> None:
    places = large.rows._chunks.nbytes + large.rows._places.nbytes
    large.approximate.tighten()
    assert (faiss.serialize_index(large.approximate._index).nbytes + places) / 30_000 < 100
    assert large.recall(QUESTIONS[:5]) >= 0.98


@pytest.mark.parametrize("share", [100, 10, 4, 2])
def test_a_filter_leaves_no_less_to_find(large: Large, share: int) -> None:
    """Of 30,000, a hundredth and a tenth are compared one by one; more are looked for among the codes."""
    allowed = list(range(7, 30_000, share))
    least = 1.0 if len(allowed) <= REMAINDER else 0.98
    assert large.recall(QUESTIONS, allowed) >= least
    assert large.approximate.search(QUESTIONS[0], 10, allowed).keys() <= set(allowed)


def test_a_filter_that_leaves_nothing(large: Large) -> None:
    assert large.approximate.search(QUESTIONS[0], 10, []) == {}
    assert large.approximate.search(QUESTIONS[0], 10, [10**12]) == {}


def test_adding_and_removing_need_no_training(tmp_path: Path) -> None:
    large = Large(tmp_path, clustered(12_000)[:8_000])
    large.vectors = clustered(12_000)
    large.add(90, range(8_000, 12_000))
    for start in range(0, 12_000, 500):
        large.remove(range(start, start + 137))
    large.remove(range(0))
    large.approximate.add([], large.vectors[:0])
    assert len(large.approximate) == len(large.exact) == len(large.rows) == 12_000 - 24 * 137
    assert large.recall(QUESTIONS) >= 0.98
    assert not {n for n in large.approximate.search(QUESTIONS[0], 100) if n % 500 < 137}


@pytest.mark.parametrize(("factory", "off"), [("IVF64,RaBitQfs", 0.15), ("IVF64,PQ128x4fs", 0.3)])
def test_a_damaged_vector_is_found_by_its_code(tmp_path: Path, factory: str, off: float) -> None:
    """Four bits for three dimensions of noise say less of a cosine of 1; the next best has 0.59."""
    large = Large(tmp_path, clustered(3_000), factory)
    block = next(iter(large.rows._places[1500:1501].tolist()))
    with (tmp_path / "a").open("r+b") as file:
        file.seek(block)
        file.write(b"\xff" * 768)
    for allowed in (None, range(1400, 1600)):
        found = large.approximate.search(large.vectors[1500], 10, allowed)
        assert next(iter(found)) == 1500 and found[1500] == pytest.approx(1.0, abs=off)
    (tmp_path / "a").unlink()
    assert next(iter(large.approximate.search(large.vectors[7], 10))) == 7


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF16,Flat", "PCA64,IVF16,SQ8", "PCA32,SQ8", "IVF64,RaBitQfs"])
def test_other_factory_strings_do_too(tmp_path: Path, factory: str) -> None:
    large = Large(tmp_path, clustered(3_000), factory)
    large.approximate.tighten()
    large.remove(range(100, 200))
    large.add(9, range(150, 200))
    assert large.recall(QUESTIONS) > 0.9
    only = large.approximate.search(large.vectors[7], 3, range(2_900))
    assert next(iter(only)) == 7


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("IVF64,Rabbit", "could not parse"),
        ("", "could not parse"),
        ("PQ7", "multiple of"),
        ("HNSW32", "cannot remove"),
        ("IVF64,Flat,RFlat", "cannot remove"),
        ("RaBitQfs", "cannot filter"),
        ("IVF0,Flat", "no lists"),
        ("IDMap,Flat", "leave IDMap out"),
    ],
)
def test_strings_that_cannot_serve_are_refused(factory: str, reason: str) -> None:
    with pytest.raises(FaissRefused, match=reason):
        Tiers(factory).check(384)


def test_the_kind_follows_the_size() -> None:
    tiers = Tiers()
    assert tiers.factory(20_000, 384) is None and tiers.factory(20_001, 384) == "IVF64,PQ128x4fs"
    assert [tiers.factory(count, 1024) for count in (200_000, 2_000_000, 10**7)] == [
        f"IVF{lists},PQ256x4fs" for lists in (256, 1024, 4096)
    ]
    assert Tiers("exact").factory(10**7, 384) is None
    assert Tiers("SQ8", 100).factory(101, 384) == "SQ8" and Tiers("SQ8", 100).factory(100, 384) is None
    for factory in ("auto", "exact", "IVF16,SQ8"):
        Tiers(factory).check(384)


@pytest.mark.parametrize("dimension", [384, 768, 1024, 514, 7])
def test_faiss_makes_the_index_of_any_dimension(dimension: int) -> None:
    Tiers(Tiers().factory(100_000, dimension) or "").check(dimension)


def test_an_index_stays_until_there_are_four_times_as_many(large: Large) -> None:
    tiers = Tiers()
    assert tiers.suits(Exact(384), 20_000) and not tiers.suits(Exact(384), 20_001)
    assert tiers.suits(large.approximate, 119_999) and not tiers.suits(large.approximate, 120_000)
    assert tiers.suits(large.approximate, 10_001) and not tiers.suits(large.approximate, 10_000)
