"""BM25 over words, by tantivy, in RAM or in a folder, made from the catalog: 20,000 passages take about a second.

Words are lower-cased, folded to ASCII and stemmed as English. A script written without spaces (Chinese, Thai) is
hardly split, so there the dense index does the work. Not locked: see store.py.
"""

import threading
from collections.abc import Collection, Iterable
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import tantivy
from tantivy import Document, Filter, Occur, Query, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

KIND = f"1, tantivy {version('tantivy')}"  # raise the number when other words are made of the same texts
HEAP_BYTES = 15_000_000  # the least that tantivy takes; it only bounds what is buffered between two segments
WAITING = 512  # texts at most that a search takes in first: some 40 ms
LONGEST_WORD = 60
QUERY_WORDS = 64

Entry = tuple[int, int, str]  # document, chunk, indexed text


class Words(Protocol):
    """Texts under the numbers of their documents and chunks."""

    @property
    def folder(self) -> Path | None:
        """Where they are on this disk, if they are."""

    def __len__(self) -> int: ...

    def add(self, entries: Iterable[Entry]) -> None:
        """All of them become findable."""

    def remove(self, document: int) -> None: ...

    def search(self, question: str, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        """The k chunks with the best BM25, best first; of the `allowed` documents only."""


def analyzer() -> TextAnalyzer:
    """From a text to its words, as they are compared."""
    return (
        TextAnalyzerBuilder(Tokenizer.simple())
        .filter(Filter.remove_long(LONGEST_WORD))
        .filter(Filter.lowercase())
        .filter(Filter.ascii_fold())
        .filter(Filter.stemmer("english"))
        .build()
    )


def asked_words(analyzed: TextAnalyzer, question: str) -> list[str]:
    return list(dict.fromkeys(analyzed.analyze(question)))[:QUERY_WORDS]


class Lexical:
    """Texts under the numbers of their documents and chunks. Raises ValueError where that is damaged.

    In RAM, texts wait for the next search or for many others: a commit and its share of merges cost as much as the
    words of 200 texts. One that fails leaves them waiting.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._schema = (
            tantivy.SchemaBuilder()
            .add_text_field("text", tokenizer_name="words", index_option="freq")
            .add_unsigned_field("document", indexed=True)
            .add_unsigned_field("chunk", fast=True)
            .build()
        )
        self._words = analyzer()
        self._index = tantivy.Index(self._schema, None if folder is None else str(folder))
        self._index.register_tokenizer("words", self._words)
        self._index.config_reader("manual")
        self._index.reload()
        self._waiting: list[Entry] = []
        self._taking_in = threading.Lock()

    def __len__(self) -> int:
        return self._searcher().num_docs

    def add(self, entries: Iterable[Entry]) -> None:
        more = iter(entries)
        if self.folder is None:
            self._waiting += islice(more, WAITING - len(self._waiting))
            if len(self._waiting) < WAITING:
                return
        self._take_in(more)

    def remove(self, document: int) -> None:
        self._waiting = [entry for entry in self._waiting if entry[0] != document]
        writer = self._index.writer(HEAP_BYTES, 1)
        # By query: delete_documents_by_term takes an int for a signed term and then silently deletes nothing.
        writer.delete_documents_by_query(Query.term_query(self._schema, "document", document, "basic"))
        self._commit(writer)

    def search(self, question: str, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        words = asked_words(self._words, question)
        if not words or (allowed is not None and not allowed):
            return {}
        terms = [Query.term_query(self._schema, "text", word, "freq") for word in words]
        query = Query.boolean_query([(Occur.Should, term) for term in terms])
        if allowed is not None:
            filtered = Query.term_set_query(self._schema, "document", list(allowed))
            query = Query.boolean_query([(Occur.Must, query), (Occur.Must, Query.const_score_query(filtered, 0.0))])
        searcher = self._searcher()
        hits = searcher.search(query, k, count=False).hits
        found = searcher.fast_field_values("chunk", [address for _, address in hits])
        return {int(chunk): float(score) for chunk, (score, _) in zip(found, hits, strict=True) if chunk is not None}

    def _searcher(self) -> tantivy.Searcher:
        with self._taking_in:
            if self._waiting:
                self._take_in(())
            return self._index.searcher()

    def _take_in(self, more: Iterable[Entry]) -> None:
        """What waits, and these."""
        writer = self._index.writer(HEAP_BYTES, 1)
        for document, chunk, text in chain(self._waiting, more):
            row = Document()
            row.add_text("text", text)
            row.add_unsigned("document", document)
            row.add_unsigned("chunk", chunk)
            writer.add_document(row)
        self._commit(writer)
        self._waiting.clear()

    def _commit(self, writer: tantivy.IndexWriter) -> None:
        # A writer owns threads: it lives for one change, so that a thousand quiet stores cost none.
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
