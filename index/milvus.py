"""A store's vectors and words in Milvus, for memories beyond one machine: caches like those in RAM, only elsewhere.

Each store has two collections, named after the data folder, the store and the embedder. One holds the chunks' vectors,
searched by inner product; the other their words, as lexical.py cuts and stems them, searched by Milvus' BM25. Both are
strongly consistent: what was written before a search began is seen by it. What they hold is compared with the truth
when a store is opened (remote.py), so Milvus may be away, lose what it was told, or start empty.

Any fault of Milvus or of the way to it is `MilvusAway`. Changes of one store are made one after another: see store.py.
"""

import hashlib
import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from index.errors import MilvusAway
from index.lexical import Entry, analyzer, asked_words
from index.rows import Ids, numbers
from index.types import Vectors

if TYPE_CHECKING:
    from pymilvus import MilvusClient

TIMEOUT = 10.0  # seconds for one request
REST = 1.0  # seconds for which nobody else tries, once it did not answer
# Each request has its own timeout; a server that is pinged every ten seconds, as by default, may hang up.
QUIET = {"grpc.keepalive_time_ms": 300_000, "grpc.keepalive_permit_without_calls": False}
ROWS = 500  # written at once: 384 float32 each are far below the 64 MB that a message may have
LISTED = 16_000  # rows at once when all are listed; Milvus gives no more than 16,384
NUMBERS = 10_000  # in one filter
WIDE = 1_000  # candidates without a filter, where a filter would be longer than that
TEXT_BYTES = 65_535  # of a passage's words, Milvus' longest text; what comes after is not found by words
NONE: Ids = np.empty(0, np.int64)
Mask = npt.NDArray[np.bool_]
T = TypeVar("T")


class Milvus:
    """One Milvus, and the collections that one data folder has there. `url` may end in a database's name."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self._token = url, token
        self._lock = threading.Lock()
        self._client: MilvusClient | None = None
        self._rested_at = 0.0

    @contextmanager
    def asked(self) -> Iterator["MilvusClient"]:
        """A client for some requests. Raises MilvusAway where one fails."""
        pymilvus, grpc = _libraries()
        try:
            yield self._connected(pymilvus.MilvusClient)
        except (pymilvus.MilvusException, grpc.RpcError, ValueError) as error:
            if isinstance(error, ValueError) and "closed channel" not in str(error):
                raise
            self.close()  # others that ask meanwhile find their channel closed
            self._rested_at = time.monotonic() + REST
            raise MilvusAway(
                f"Milvus at {self.url} does not do its part ({_reason(error)}): start it, or mend its address or token"
            ) from error

    def opened(self, name: str, schema: Callable[[], tuple[Any, Any]]) -> None:
        """The collection, made if it is not there, ready to be searched. `schema` gives its fields and its index."""
        with self.asked() as client:
            if client.has_collection(name, timeout=TIMEOUT):
                client.load_collection(name, timeout=TIMEOUT)
            else:
                fields, index = schema()
                client.create_collection(
                    name, schema=fields, index_params=index, consistency_level="Strong", timeout=TIMEOUT
                )

    def put(self, name: str, rows: Iterable[dict[str, Any]]) -> None:
        """In the place of those that have the same number."""
        with self.asked() as client:
            for batch in _batches(rows, ROWS):
                client.upsert(name, batch, timeout=TIMEOUT)

    def delete(self, name: str, chunks: Collection[int]) -> None:
        with self.asked() as client:
            for batch in _batches(chunks, NUMBERS):
                client.delete(name, ids=batch, timeout=TIMEOUT)

    def search(self, name: str, field: str, wanted: object, k: int, only: str = "") -> dict[int, float]:
        """The k best chunks with Milvus' scores, best first."""
        with self.asked() as client:
            (hits,) = client.search(
                name,
                [wanted],
                filter=only,
                limit=k,
                anns_field=field,
                output_fields=["chunk"],
                consistency_level="Strong",
                timeout=TIMEOUT,
            )
        return {int(hit["chunk"]): float(hit["distance"]) for hit in hits}

    def listed(self, name: str, *fields: str) -> list[Ids]:
        """These numbers of all rows, in the order of the first."""
        columns: list[list[Ids]] = [[NONE] for _ in fields]
        with self.asked() as client:
            pages = client.query_iterator(
                name, batch_size=LISTED, output_fields=list(fields), consistency_level="Strong", timeout=TIMEOUT
            )
            while page := pages.next():
                for column, field in zip(columns, fields, strict=True):
                    column.append(numbers([row[field] for row in page]))
            pages.close()
        listed = [np.concatenate(column) for column in columns]
        order = np.argsort(listed[0])
        return [column[order] for column in listed]

    def seal(self, name: str) -> None:
        """What was written so far becomes what is searched fastest. Milvus does that by itself, in time."""
        with self.asked() as client:
            client.flush(name, timeout=60)

    def drop(self, name: str) -> None:
        with self.asked() as client:
            client.drop_collection(name, timeout=TIMEOUT)

    def sweep(self, prefix: str, known: Collection[str]) -> None:
        """Drop the collections of this prefix that are not among the known ones."""
        with self.asked() as client:
            for name in client.list_collections(timeout=TIMEOUT):
                if name.startswith(prefix) and name not in known:
                    client.drop_collection(name, timeout=TIMEOUT)

    def close(self) -> None:
        """The next request connects again."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # it goes in any case
                client.close()

    def _connected(self, client: type["MilvusClient"]) -> "MilvusClient":
        with self._lock:
            if self._client is None:
                if time.monotonic() < self._rested_at:
                    raise MilvusAway(f"Milvus at {self.url} did not answer a moment ago")
                self._client = client(uri=self.url, token=self._token, timeout=TIMEOUT, grpc_options=QUIET)
            return self._client


class RemoteVectors:
    """The Dense of one store. Each row has the CRC-32 of its vector, which witnesses whose row it is."""

    def __init__(self, milvus: Milvus, name: str, dimension: int) -> None:
        self._milvus, self._name, self._dimension, self._count = milvus, name, dimension, 0
        self._there = self._checks = NONE
        milvus.opened(name, self._schema)

    def __len__(self) -> int:
        return self._count

    def compare(self) -> None:
        """From now until `settle` what is there already is not written again."""
        self._there, self._checks = self._milvus.listed(self._name, "chunk", "crc")

    def has(self, chunks: Ids, vectors: Vectors) -> Mask:
        """Which of them were there, with these vectors."""
        at = found(self._there, chunks)
        return (at >= 0) & (self._checks[at] == checks(vectors)) if len(self._there) else at >= 0

    def settle(self, known: Ids) -> None:
        """Forget all others that were there."""
        self._milvus.delete(self._name, self._there[found(known, self._there) < 0].tolist())
        self._there = self._checks = NONE

    def add(self, chunks: Collection[int], vectors: Vectors) -> None:
        ids = numbers(chunks)
        new = ~self.has(ids, vectors)
        rows = zip(ids[new].tolist(), checks(vectors[new]).tolist(), vectors[new], strict=True)
        self._milvus.put(self._name, ({"chunk": n, "crc": crc, "vector": one} for n, crc, one in rows))
        self._count += len(ids)

    def remove(self, chunks: Collection[int]) -> None:
        self._milvus.delete(self._name, chunks)
        self._count -= len(chunks)

    def search(self, vector: Vectors, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        if allowed is None:
            return self._milvus.search(self._name, "vector", vector, k)
        if len(allowed) > NUMBERS:  # a filter that lets most pass leaves enough of the nearest
            among = set(allowed)
            near = self._milvus.search(self._name, "vector", vector, WIDE)
            left = [(n, score) for n, score in near.items() if n in among][:k]
            if len(left) == k:
                return dict(left)
        filters = (f"chunk in {batch}" for batch in _batches(sorted(map(int, allowed)), NUMBERS))
        return _merged((self._milvus.search(self._name, "vector", vector, k, only) for only in filters), k)

    def search_each(self, vectors: Vectors, k: int, allowed: Collection[int] | None = None) -> list[dict[int, float]]:
        return [self.search(vector, k, allowed) for vector in vectors]

    def _schema(self) -> tuple[Any, Any]:
        pymilvus, _ = _libraries()
        fields = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        fields.add_field("chunk", pymilvus.DataType.INT64, is_primary=True)
        fields.add_field("crc", pymilvus.DataType.INT64)
        fields.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=self._dimension)
        index = pymilvus.MilvusClient.prepare_index_params()
        index.add_index("vector", index_type="AUTOINDEX", metric_type="IP")
        return fields, index


class RemoteWords:
    """The Words of one store."""

    folder: Path | None = None

    def __init__(self, milvus: Milvus, name: str) -> None:
        self._milvus, self._name, self._analyzer = milvus, name, analyzer()
        self._there = NONE
        milvus.opened(name, _words_schema)

    def __len__(self) -> int:
        return len(self._milvus.listed(self._name, "chunk")[0])

    def compare(self) -> None:
        (self._there,) = self._milvus.listed(self._name, "chunk")

    def has(self, chunks: Ids) -> Mask:
        """Which of them were there."""
        return found(self._there, chunks) >= 0

    def settle(self, known: Ids) -> None:
        """Forget all others that were there."""
        self._milvus.delete(self._name, self._there[found(known, self._there) < 0].tolist())
        self._there = NONE

    def add(self, entries: Iterable[Entry]) -> None:
        self._milvus.put(
            self._name,
            (
                {"chunk": chunk, "document": document, "text": _cut(" ".join(self._analyzer.analyze(text)))}
                for document, chunk, text in entries
            ),
        )

    def remove(self, document: int) -> None:
        with self._milvus.asked() as client:
            client.delete(self._name, filter=f"document == {document}", timeout=TIMEOUT)

    def search(self, question: str, k: int, allowed: Collection[int] | None = None) -> dict[int, float]:
        wanted = " ".join(asked_words(self._analyzer, question))
        if not wanted:
            return {}
        filters: Iterable[str] = [""]
        if allowed is not None:
            filters = (f"document in {batch}" for batch in _batches(sorted(map(int, allowed)), NUMBERS))
        answers = (self._milvus.search(self._name, "words", wanted, k, only) for only in filters)
        # Milvus Lite gives BM25 a minus sign, Milvus none.
        return _merged(({n: abs(score) for n, score in one.items()} for one in answers), k)


def names(folder: str, store: int, embedder: str) -> tuple[str, str]:
    """Of a store's two collections."""
    made_by = hashlib.blake2b(embedder.encode(), digest_size=4).hexdigest()
    return f"{prefix(folder)}{store}_{made_by}_vectors", f"{prefix(folder)}{store}_{made_by}_words"


def prefix(folder: str) -> str:
    return f"cogcore_{folder}_"


def found(known: Ids, wanted: Ids) -> Ids:
    """Where each is among the known ones, which are in order; -1 where it is not."""
    if not len(known):
        return np.full(len(wanted), -1)
    at = np.searchsorted(known, wanted) % len(known)
    return np.where(known[at] == wanted, at, -1)


def checks(vectors: Vectors) -> Ids:
    """One number for each vector; the same whether it comes from the file or is about to go there."""
    return numbers([zlib.crc32(row.tobytes()) for row in vectors.astype("<f2")])


def _words_schema() -> tuple[Any, Any]:
    pymilvus, _ = _libraries()
    fields = pymilvus.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    fields.add_field("chunk", pymilvus.DataType.INT64, is_primary=True)
    fields.add_field("document", pymilvus.DataType.INT64)
    fields.add_field(
        "text",
        pymilvus.DataType.VARCHAR,
        max_length=TEXT_BYTES,
        enable_analyzer=True,
        analyzer_params={"tokenizer": "standard"},  # leaves our words as they are
    )
    fields.add_field("words", pymilvus.DataType.SPARSE_FLOAT_VECTOR)
    fields.add_function(
        pymilvus.Function(
            name="bm25",
            function_type=pymilvus.FunctionType.BM25,
            input_field_names=["text"],
            output_field_names=["words"],
        )
    )
    index = pymilvus.MilvusClient.prepare_index_params()
    index.add_index(
        "words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25", params={"bm25_k1": 1.2, "bm25_b": 0.75}
    )
    return fields, index


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _merged(answers: Iterable[dict[int, float]], k: int) -> dict[int, float]:
    """The k best of all."""
    scores = {n: score for one in answers for n, score in one.items()}
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:k])


def _cut(words: str) -> str:
    return words if len(words.encode()) <= TEXT_BYTES else words.encode()[:TEXT_BYTES].decode("utf-8", "ignore")


def _reason(error: Any) -> str:
    said = getattr(error, "message", "") or (error.details() if hasattr(error, "details") else "") or str(error)
    return " ".join(str(said).split())[:300]


def _libraries() -> tuple[Any, Any]:
    """Imported when first used: that takes seconds, and few have them."""
    try:
        import grpc
        import pymilvus
    except ImportError as error:
        raise MilvusAway("Milvus needs a package that is not installed: pip install 'cogcore[milvus]'") from error
    # It logs each failed try with several tracebacks; what matters of them is in our error.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus, grpc
