"""Stores out of a memory into bundles, while searches and ingest go on.

An export is the store as it was at one moment, and all of it was still there when the export ended: where a document
was removed meanwhile it begins again, and in the end lets nothing change until it is done.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from index.blocks import Kept
from index.bundle import (
    CHUNKS,
    DOCUMENTS,
    DTYPE,
    ORIGINALS,
    PIECE,
    VECTORS,
    ChunkLine,
    DocumentLine,
    Made,
    Manifest,
    Sizes,
    StoreLine,
    Writer,
)
from index.catalog import Catalog, chunks, documents, stores, texts
from index.catalog.chunks import Draft
from index.catalog.documents import Whole
from index.errors import FolderFault
from index.loading import Loader
from index.originals import Originals
from index.shelf import Shelf
from index.types import Embedder, Vectors

ATTEMPTS = 3  # of an export, before it lets nothing be removed
BATCH = 256  # documents read in one transaction


class _Vanished(Exception):
    """A document that was to be exported is no longer there."""


class Exporter:
    """The exports of one memory."""

    def __init__(
        self, catalog: Catalog, originals: Originals, shelf: Shelf, loader: Loader, embedder: Embedder
    ) -> None:
        self._catalog, self._originals, self._shelf = catalog, originals, shelf
        self._loader, self._embedder = loader, embedder

    def export(self, store: str, into: IO[bytes]) -> Manifest:
        """What can be found in a store, as a bundle. Raises StoreNotFound and FolderFault."""
        for _ in range(ATTEMPTS):
            with suppress(_Vanished):
                return self._export(store, into)
            into.seek(0)
            into.truncate()
        with self._catalog.writing:
            return self._export(store, into)

    def _export(self, store: str, into: IO[bytes]) -> Manifest:
        with self._catalog.read() as tx:
            number = stores.number(tx, store)
            info, notes, listed = stores.get(tx, store), stores.notes_of(tx, number), documents.whole(tx, number)
        with Writer(into) as writer:
            counts = self._write(writer, number, listed)
            manifest = Manifest(
                created_at=int(time.time()),
                store=StoreLine(
                    name=info.name,
                    description=info.description,
                    metadata=dict(info.metadata),
                    expires_after_days=info.expires_after_days,
                    version=info.version,
                    notes=notes,
                ),
                embedder=Made(fingerprint=self._embedder.fingerprint, dimension=self._embedder.dimension),
                documents=len(listed),
                chunks=sum(counts.values()),
                members=writer.members,
            )
            writer.seal(manifest)
        self._check_there(number, listed)
        into.seek(0)
        return manifest

    def _write(self, writer: Writer, store: int, listed: Sequence[Whole]) -> dict[int, int]:
        """All but the manifest; how many passages each document has."""
        counts = dict[int, int]()
        with writer.member(CHUNKS) as sink:
            for batch in _batches(listed):
                for document, drafts in self._drafts(batch):
                    counts[document] = len(drafts)
                    for draft in drafts:
                        sink.line(_chunk_line(draft))
        with writer.member(VECTORS) as sink:
            for batch in _batches(listed):
                for one, kept in self._kept(store, batch):
                    whole = kept is not None and len(kept.vectors) == counts[one.number]
                    vectors = kept.vectors if kept is not None and whole else self._again(one)
                    sink.write(vectors.astype(DTYPE).tobytes())
        with writer.member(DOCUMENTS) as sink:
            for one in listed:
                sink.line(self._document_line(one, counts[one.number]))
        for sha256 in dict.fromkeys(one.file.sha256 for one in listed):
            with self._original(sha256, store, listed) as source, writer.member(ORIGINALS + sha256) as sink:
                while piece := source.read(PIECE):
                    sink.write(piece)
            if sink.hash.hexdigest() != sha256:
                raise FolderFault(f"the original {sha256} is damaged; delete its file and upload it again")
        return counts

    def _drafts(self, batch: Sequence[Whole]) -> Iterator[tuple[int, list[Draft]]]:
        with self._catalog.read() as tx:
            found = chunks.drafts(tx, [one.number for one in batch])
        for one in batch:
            if one.number not in found:
                raise _Vanished
            yield one.number, found[one.number]

    def _kept(self, store: int, batch: Sequence[Whole]) -> Iterator[tuple[Whole, Kept | None]]:
        with self._catalog.writing, self._catalog.read() as tx:  # no vectors may be moved meanwhile
            blocks = {place.document: place.block for place in documents.places(tx, [one.number for one in batch])}
            with self._shelf.files.reading(stores.vector_file(tx, store)) as read:
                kept = [read(one.number, blocks.get(one.number)) for one in batch]
        yield from zip(batch, kept, strict=True)

    def _again(self, one: Whole) -> Vectors:
        """Those that the disk has lost, from the text."""
        with self._catalog.read() as tx:
            passages = chunks.of_document(tx, one.number)
        if passages is None:
            raise _Vanished
        return self._loader.encoded(passages)

    def _document_line(self, one: Whole, count: int) -> DocumentLine:
        with self._catalog.read() as tx:
            text = texts.of_document(tx, one.number)
        return DocumentLine(
            filename=one.file.filename,
            original=one.file.sha256,
            purpose=one.file.purpose,
            expires_at=one.file.expires_at,
            attributes=dict(one.attributes),
            chunking=Sizes(max_tokens=one.chunking.max_tokens, overlap=one.chunking.overlap),
            left_out=None if one.left_out is None else dict(one.left_out),
            chunks=count,
            text=text,
        )

    @contextmanager
    def _original(self, sha256: str, store: int, listed: Sequence[Whole]) -> Iterator[IO[bytes]]:
        try:
            source = self._originals.open(sha256)
        except FolderFault:
            self._check_there(store, listed)
            raise
        with source:
            yield source

    def _check_there(self, store: int, listed: Sequence[Whole]) -> None:
        with self._catalog.read() as tx:
            now = documents.completed(tx, store)
        if any(one.number not in now for one in listed):
            raise _Vanished


def _batches(listed: Sequence[Whole]) -> Iterator[Sequence[Whole]]:
    for start in range(0, len(listed), BATCH):
        yield listed[start : start + BATCH]


def _chunk_line(draft: Draft) -> ChunkLine:
    return ChunkLine(text=draft.text, start=draft.start, end=draft.end, page=draft.page, headings=list(draft.headings))
