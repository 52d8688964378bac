"""A question to hits: embed, search both indexes, fuse, let the reader look, merge the questions."""

from collections.abc import Mapping, Sequence

from index.catalog import Catalog, chunks
from index.checks import check_hits, check_queries, check_share
from index.filters import Predicate, compile_filter
from index.rank import READ, reread
from index.shelf import Shelf
from index.types import Chunk, Embedder, Hit, PassageReader


class Searcher:
    """Stateless beside what it was given; any number of threads may use it."""

    def __init__(self, catalog: Catalog, shelf: Shelf, embedder: Embedder, reader: PassageReader | None) -> None:
        self._catalog, self._shelf, self._embedder, self._reader = catalog, shelf, embedder, reader

    def search(
        self,
        store: int,
        queries: str | Sequence[str],
        k: int,
        filters: Mapping[str, object] | None,
        rerank: bool,
        threshold: float,
        dense_weight: float,
    ) -> tuple[list[Hit], int]:
        """The hits, and the version of the store that they were found in.

        A chunk that several questions found keeps its best score. Raises InvalidRequest and StoreNotFound.
        """
        asked = check_queries(queries)
        check_hits(k)
        check_share("ranking_options.score_threshold", threshold)
        check_share("ranking_options.hybrid_search.embedding_weight", dense_weight)
        accepts = None if filters is None else compile_filter(filters)
        reader = self._reader if rerank else None
        all_found, version = self._each(store, asked, accepts, dense_weight)
        best: dict[str, Hit] = {}
        for question, fused in zip(asked, all_found, strict=False):  # nothing was asked of an empty store
            found = self._chunks(fused, max(k, READ) if reader else k)
            for hit in _read(reader, question, found) if reader else [Hit(chunk, score) for chunk, score in found]:
                known = best.get(hit.chunk.id)
                if hit.score >= threshold and (known is None or hit.score > known.score):
                    best[hit.chunk.id] = hit
        return sorted(best.values(), key=lambda hit: -hit.score)[:k], version

    def _each(
        self, store: int, asked: Sequence[str], accepts: Predicate | None, weight: float
    ) -> tuple[list[dict[int, float]], int]:
        """What each question finds, all in one version of the store."""
        opened = self._shelf.get(store)
        with opened.gate.read():
            if not len(opened):
                return [], opened.version
        vectors = self._embedder.encode_queries(asked)
        with opened.gate.read():
            found = [opened.search(q, vector, accepts, weight) for q, vector in zip(asked, vectors, strict=True)]
            return found, opened.version

    def _chunks(self, fused: Mapping[int, float], count: int) -> list[tuple[Chunk, float]]:
        """The best that still exist: a document may have been removed since its chunks were found."""
        numbers = list(fused)
        with self._catalog.read() as tx:
            rows = chunks.get(tx, numbers[:count])
            if len(rows) < min(count, len(numbers)):
                rows |= chunks.get(tx, numbers[count:])
        return [(rows[n], score) for n, score in fused.items() if n in rows][:count]


def _read(reader: PassageReader, question: str, found: Sequence[tuple[Chunk, float]]) -> list[Hit]:
    """The first passages reordered by the reader; the others after them, in their order."""
    first = found[:READ]
    if not first:
        return []
    judged = reread(reader, question, [chunk for chunk, _ in first], [score for _, score in first])
    read = [Hit(chunk, score, mark) for (chunk, _), (score, mark) in zip(first, judged, strict=True)]
    least = min(hit.score for hit in read)
    return read + [Hit(chunk, least * score) for chunk, score in found[READ:]]
