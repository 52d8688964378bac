"""One searchable collection: a dense and a lexical index over the completed documents of a store, in RAM.

Both are caches: they are built from the catalog when the store is first used and changed after it. Searches run side
by side; a change waits for those running, holds those that come later, and is short (milliseconds). Which dense index
it is follows the size, see dense.py and tiers.py.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Executor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np

from index.blocks import Block, Kept
from index.catalog.chunks import Indexed, Passages
from index.catalog.documents import Searchable
from index.dense import Dense, Exact
from index.filters import FILENAME, Predicate
from index.lexical import Entry, Lexical, Words
from index.rank import DENSE_WEIGHT, DEPTH, fuse
from index.rows import NOWHERE, Ids, Rows, numbers, packed
from index.types import Scalar, Vectors

READABLE = str.maketrans("_-", "  ")
LONGEST_PATH = 400  # bytes: no token is less than one, so the embedder's window of 510 has room for the text too


def indexed_text(filename: str, headings: Iterable[str], text: str) -> str:
    """What is embedded and indexed for a passage: its title and heading path say what it is about.

    Of a path too long the end is kept, which says most.
    """
    title = PurePath(filename).stem.translate(READABLE)
    path = " > ".join((title, *headings)).encode()[-LONGEST_PATH:].decode(errors="ignore")
    return path + "\n" + text


class Gate:
    """Many readers or one writer. A waiting writer goes before readers that come later, so none starves."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False
        self._waiting = 0

    @contextmanager
    def read(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._writing and not self._readers)
                self._writing = True
            finally:
                self._waiting -= 1
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Document:
    """What filters and removal need to know."""

    filename: str
    attributes: Mapping[str, Scalar]
    chunks: Sequence[int]

    @property
    def filterable(self) -> Mapping[str, Scalar]:
        """Its attributes, and its file's name where none of them is called so."""
        return {FILENAME: self.filename, **self.attributes}


class Store:
    """An open store. Chunks and documents go by their numbers in the catalog.

    Changes are made, and `version` is set, by who holds the gate for writing or is the only one to know this store.
    """

    def __init__(self, dimension: int, version: int = 1, rows: Rows | None = None) -> None:
        self.gate = Gate()
        self.version = version
        self.checked = True  # whether its vectors are known to be whole in their file
        self.saved: Dense | None = None  # the dense index whose codes are on the disk
        if rows is None:  # with no file behind them
            rows = Rows("", lambda _, places: np.zeros((len(places), dimension), np.float32))
        self.rows = rows
        self.dimension = dimension
        self._dense: Dense = Exact(dimension)
        self._lexical: Words = Lexical()
        self._documents: dict[int, Document] = {}

    def __len__(self) -> int:
        return len(self._dense)

    @property
    def dense(self) -> Dense:
        return self._dense

    @property
    def local(self) -> bool:
        """Whether its indexes are this process's to keep."""
        return isinstance(self._lexical, Lexical)

    @property
    def documents(self) -> Set[int]:
        return self._documents.keys()

    def add(self, parts: Iterable[Indexed]) -> None:
        """Make documents searchable."""
        self._lexical.add(self._take(parts))

    def hold(self, held: Sequence[tuple[Searchable, Kept]]) -> None:
        """Documents with their vectors; their words come with `index`, or are there."""
        if held:
            chunks = np.concatenate([kept.chunks for _, kept in held])
            self._dense.add(chunks, np.concatenate([kept.vectors for _, kept in held]))
            self.rows.add(chunks, np.concatenate([self._places(one.block, len(kept.chunks)) for one, kept in held]))
        for one, kept in held:
            self._documents[one.document] = Document(one.filename, one.attributes, packed(kept.chunks.tolist()))

    def restore(self, dense: Dense, held: Iterable[tuple[Searchable, Sequence[int]]], chunks: Ids, places: Ids) -> None:
        """Documents whose vectors the index has already; all their chunks, and where their vectors are."""
        self._dense = dense
        self.rows.add(chunks, places)
        for one, theirs in held:
            self._documents[one.document] = Document(one.filename, one.attributes, theirs)

    def held(self) -> dict[int, Sequence[int]]:
        """The chunks of each document."""
        return {n: document.chunks for n, document in self._documents.items()}

    def index(self, passages: Iterable[Passages]) -> None:
        """The words of documents that are held; others are left out."""
        self._lexical.add(entry for one in passages if one.document in self._documents for entry in words(one))

    def swap_words(self, lexical: Words) -> None:
        self._lexical = lexical

    def swap_vectors(self, dense: Dense) -> None:
        self._dense = dense

    def located(self, blocks: Mapping[int, Block | None]) -> tuple[Ids, Ids]:
        """Its chunks and their places, once its documents are in these blocks."""
        known = [(document.chunks, blocks.get(n)) for n, document in self._documents.items()]
        if not known:
            return numbers([]), numbers([])
        chunks = np.concatenate([numbers(chunks) for chunks, _ in known])
        return chunks, np.concatenate([self._places(block, len(chunks)) for chunks, block in known])

    @property
    def folder(self) -> Path | None:
        """Where its words are, unless in RAM."""
        return self._lexical.folder

    def remove(self, document: int) -> None:
        """Forget a document, if it is here."""
        known = self._documents.pop(document, None)
        if known is not None:
            self._dense.remove(known.chunks)
            self.rows.remove(known.chunks)
            self._lexical.remove(document)

    def retag(self, document: int, attributes: Mapping[str, Scalar]) -> None:
        known = self._documents.get(document)
        if known is not None:
            self._documents[document] = replace(known, attributes=attributes)

    def search(
        self, question: str, vector: Vectors, accepts: Predicate | None = None, weight: float = DENSE_WEIGHT
    ) -> dict[int, float]:
        """Chunks with their fused scores, best first. The caller holds the gate for reading."""
        documents, chunks = self._left_by(accepts)
        near, worded = self._dense.search(vector, DEPTH, chunks), self._lexical.search(question, DEPTH, documents)
        return fuse(near, worded, weight)

    def search_each(
        self,
        questions: Sequence[str],
        encode: Callable[[Sequence[str]], Vectors],
        accepts: Predicate | None,
        weight: float,
        pool: Executor,
    ) -> list[dict[int, float]]:
        """The same for each of several questions: a thread of the pool looks their words up while they are encoded."""
        documents, chunks = self._left_by(accepts)
        looking = pool.submit(lambda: [self._lexical.search(question, DEPTH, documents) for question in questions])
        try:
            near = self._dense.search_each(encode(questions), DEPTH, chunks)
        finally:
            wait([looking])  # the gate is not left before
        return [fuse(one, worded, weight) for one, worded in zip(near, looking.result(), strict=True)]

    def _left_by(self, accepts: Predicate | None) -> tuple[list[int] | None, Ids | None]:
        """The documents that a filter leaves, and their chunks; without a filter None, which is all."""
        if accepts is None:
            return None, None
        documents = [n for n, document in self._documents.items() if accepts(document.filterable)]
        left = [numbers(self._documents[n].chunks) for n in documents]
        return documents, np.concatenate(left) if left else numbers([])

    def _take(self, parts: Iterable[Indexed]) -> Iterator[Entry]:
        for part in parts:
            chunks = [entry.chunk for entry in part.entries]
            self._dense.add(chunks, part.vectors)
            self.rows.add(numbers(chunks), self._places(part.block, len(chunks)))
            known = self._documents.get(part.document)
            before = known.chunks if known else ()
            self._documents[part.document] = Document(part.filename, part.attributes, packed([*before, *chunks]))
            yield from words(part)

    def _places(self, block: Block | None, count: int) -> Ids:
        return np.full(count, NOWHERE) if block is None else block.rows(self.dimension)


def words(part: Indexed | Passages) -> Iterator[Entry]:
    """What the lexical index needs of a document."""
    for entry in part.entries:
        yield part.document, entry.chunk, indexed_text(part.filename, entry.headings, entry.text)
