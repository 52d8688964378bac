"""A question to hits: embed, search both indexes, fuse, let the reader look, merge the questions.

A question's words are looked up while it is embedded. Searches that meet are together compared with all vectors of a
small store (dense.py). All questions of a search are answered in one version of the store. When its time is over, a
search ends with what was found and read until then, and says so; before anything was found it goes on, which takes
milliseconds once a store is open.

A score lies in [0, 1]. With a reader it is a probability that the passage answers, lowered by how far the passage was
from first before it was read; what the reader did not get to see comes after what it saw. Without one it ranks, and
says nothing about how good the best is.
"""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice

from index.catalog import Catalog, chunks
from index.checks import check_hits, check_neighbours, check_queries, check_share, check_timeout
from index.distinct import distinct
from index.filters import Predicate, compile_filter
from index.rank import FEW, READ, SURE, WORTH, reread
from index.shelf import Shelf
from index.types import Chunk, Embedder, Hit, PassageReader

PIECE = 2  # passages read between two looks at the clock
REACH = 16  # neighbours on each side


class Searcher:
    """Any number of threads may use it. What a search does not say is as given here.

    `only_distinct`: hits that say the same as a better one are left out. `timeout` in seconds; None: no limit.
    """

    def __init__(
        self,
        catalog: Catalog,
        shelf: Shelf,
        embedder: Embedder,
        reader: PassageReader | None,
        only_distinct: bool = True,
        timeout: float | None = None,
    ) -> None:
        self._catalog, self._shelf, self._embedder, self._reader = catalog, shelf, embedder, reader
        self._only_distinct, self._timeout = only_distinct, timeout
        self._pool = ThreadPoolExecutor(os.cpu_count(), "words")

    def search(
        self,
        store: int,
        queries: str | Sequence[str],
        k: int,
        filters: Mapping[str, object] | None,
        rerank: bool,
        threshold: float,
        dense_weight: float,
        only_distinct: bool | None = None,
        neighbours: int = 0,
        timeout: float | None = None,
        until_sure: bool = False,
    ) -> tuple[list[Hit], int, bool]:
        """The hits, the version of the store that they were found in, and whether there was time for the reader.

        A chunk that several questions found keeps its best score. Raises InvalidRequest and StoreNotFound.
        """
        asked = check_queries(queries)
        check_hits(k)
        check_neighbours(neighbours)
        check_share("ranking_options.score_threshold", threshold)
        check_share("ranking_options.hybrid_search.embedding_weight", dense_weight)
        limit = self._timeout if check_timeout(timeout) is None else timeout
        until = None if limit is None else time.monotonic() + limit
        accepts = None if filters is None else compile_filter(filters)
        reader = self._reader if rerank else None
        folds = self._only_distinct if only_distinct is None else only_distinct

        all_found, version = self._each(store, asked, accepts, dense_weight)
        # Of those that are read some may prove alike: others take their places.
        count = (max(k, READ) + READ if folds else max(k, READ)) if reader else k
        hits = [self._hits(fused, count, folds) for fused in all_found]
        complete = True
        if reader:
            hits, complete = _read(reader, asked, hits, until, max(k, FEW) if until_sure else READ)
        best: dict[str, Hit] = {}
        for hit in chain.from_iterable(hits):
            known = best.get(hit.chunk.id)
            if hit.score >= threshold and (known is None or hit.score > known.score):
                best[hit.chunk.id] = hit
        ranked = sorted(best.values(), key=lambda hit: -hit.score)
        if folds and (reader or len(hits) > 1):
            ranked = distinct(ranked, " ".join(asked), k)
        return self._among(ranked[:k], neighbours), version, complete

    def _each(
        self, store: int, asked: Sequence[str], accepts: Predicate | None, weight: float
    ) -> tuple[list[dict[int, float]], int]:
        """What each question finds, all in one version of the store."""
        opened, encode = self._shelf.get(store), self._embedder.encode_queries
        with opened.gate.read():
            if not len(opened):
                return [], opened.version
            return opened.search_each(asked, encode, accepts, weight, self._pool), opened.version

    def _hits(self, fused: Mapping[int, float], count: int, folds: bool) -> list[Hit]:
        """The best that still exist: a document may have been removed since its chunks were found."""
        numbers = list(fused)
        with self._catalog.read() as tx:
            rows = chunks.get(tx, numbers[:count])
            hits = _chosen(rows, fused, count, folds)
            if len(hits) < min(count, len(numbers)):
                rows |= chunks.get(tx, numbers[count:])
                hits = _chosen(rows, fused, count, folds)
        return hits

    def _among(self, hits: list[Hit], tokens: int) -> list[Hit]:
        """The hits with what stands around them, up to so many tokens for each."""
        if not tokens or not hits:
            return hits
        with self._catalog.read() as tx:
            around = chunks.around(tx, [hit.chunk.id for hit in hits], REACH)
        none = list[Chunk](), list[Chunk]()  # its document was removed just now
        return [replace(hit, neighbours=self._fitting(*around.get(hit.chunk.id, none), tokens)) for hit in hits]

    def _fitting(self, before: Sequence[Chunk], after: Sequence[Chunk], tokens: int) -> tuple[Chunk, ...]:
        """From both sides in turn, each until its next does not fit."""
        sides, taken = [iter(after), iter(before)], list[Chunk]()
        while sides:
            side = sides.pop(0)
            for chunk in islice(side, 1):
                length = self._embedder.count_tokens(chunk.text)
                if length <= tokens:
                    tokens -= length
                    taken.append(chunk)
                    sides.append(side)
        return tuple(sorted(taken, key=lambda chunk: chunk.start))


def _chosen(rows: Mapping[int, Chunk], fused: Mapping[int, float], count: int, folds: bool) -> list[Hit]:
    hits = (Hit(rows[n], score) for n, score in fused.items() if n in rows)
    return distinct(hits, most=count) if folds else list(islice(hits, count))


def _read(
    reader: PassageReader, asked: Sequence[str], found: Sequence[Sequence[Hit]], until: float | None, least: int
) -> tuple[list[list[Hit]], bool]:
    """The first passages of each question as the reader scores them, the others after them; whether there was time.

    After the first `least` it goes on only while none of them is sure, with those that are worth it.
    """
    read, complete = list[list[Hit]](), True
    for question, hits in zip(asked, found, strict=False):  # nothing was asked of an empty store
        left, judged = list(hits[:READ]), list[Hit]()
        while left and complete:
            if until is not None and time.monotonic() >= until:
                complete = False
                break
            step = PIECE if until is not None else READ if judged else least
            part, left = left[:step], left[step:]
            scores = reread(reader, question, [hit.chunk for hit in part], [hit.score for hit in part])
            judged += [replace(hit, score=score, mark=mark) for hit, (score, mark) in zip(part, scores, strict=True)]
            if len(judged) >= least:
                sure = max(hit.score for hit in judged) >= SURE
                left = [] if sure else [hit for hit in left if hit.score >= WORTH]
        read.append(judged)
    lowest = min((hit.score for hit in chain.from_iterable(read)), default=1.0)
    return [judged + _below(judged, hits, lowest) for judged, hits in zip(read, found, strict=True)], complete


def _below(judged: Sequence[Hit], hits: Sequence[Hit], lowest: float) -> list[Hit]:
    """What was not read, after what was: its score only ranks."""
    least = min((hit.score for hit in judged), default=lowest)
    return [replace(hit, score=least * hit.score) for hit in hits[len(judged) :]]
