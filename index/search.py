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
    ) -> list[Hit]:
        """A chunk that several questions found keeps its best score. Raises InvalidRequest."""
        asked = check_queries(queries)
        check_hits(k)
        check_share("ranking_options.score_threshold", threshold)
        check_share("ranking_options.hybrid_search.embedding_weight", dense_weight)
        accepts = None if filters is None else compile_filter(filters)
        best: dict[str, Hit] = {}
        for hit in self._each(store, asked, k, accepts, self._reader if rerank else None, dense_weight):
            known = best.get(hit.chunk.id)
            if hit.score >= threshold and (known is None or hit.score > known.score):
                best[hit.chunk.id] = hit
        return sorted(best.values(), key=lambda hit: -hit.score)[:k]

    def _each(
        self,
        store: int,
        asked: Sequence[str],
        k: int,
        accepts: Predicate | None,
        reader: PassageReader | None,
        weight: float,
    ) -> list[Hit]:
        opened = self._shelf.get(store)
        if not len(opened):
            return []
        hits: list[Hit] = []
        for question, vector in zip(asked, self._embedder.encode_queries(asked), strict=True):
            fused = opened.search(question, vector, accepts, weight)
            found = self._chunks(fused, max(k, READ) if reader else k)
            hits += _read(reader, question, found) if reader else [Hit(chunk, score) for chunk, score in found]
        return hits

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
