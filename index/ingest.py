"""Makes attached files searchable, in threads of its own: parse, split, leave out garbage, embed, publish.

The queue is the catalog's rows in progress. A document appears in one transaction with its `completed`, so a process
killed at any point leaves it untouched, and the next start begins it again. A document that was begun often and never
ended (it takes the process down) is given up as failed. While the catalog's database is away, jobs wait. A job always
ends: what the document did wrong is told to its owner, what we did wrong is logged with its traceback.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from index.blocks import rounded
from index.catalog import Catalog, Transaction, chunks, documents, jobs, stores, texts
from index.catalog.chunks import Draft, Indexed
from index.catalog.documents import Place
from index.catalog.jobs import Job
from index.chunk import split
from index.errors import CatalogAway, InvalidFile, ParseError
from index.garbage import sift, told, with_margins
from index.originals import Originals
from index.parse import Limits, Parsed, parse, suffix_of
from index.parse.suffixes import ARCHIVES
from index.shelf import Shelf
from index.store import Store, indexed_text
from index.types import Chunking, Embedder, Failure, Progress, Reason, Stage, StoreFile, Vectors

MOST_ATTEMPTS = 5
GROUP = 64  # chunks embedded between two looks at whether to go on
REST = 60.0  # seconds between chores
RETRY = 2.0  # seconds, when not even the failure could be written down (a full disk)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Read:
    """A document's text and the passages worth finding, at least one. `left_out` counts the others, if looked for."""

    text: str
    drafts: list[Draft]
    left_out: Mapping[Reason, int] | None


@dataclass(frozen=True, slots=True)
class Work:
    """A document ready to be published."""

    read: Read
    vectors: Vectors


class Ingest:
    """The workers. `wake` after an attach; `settled` is notified whenever a job ends."""

    def __init__(
        self,
        catalog: Catalog,
        originals: Originals,
        shelf: Shelf,
        embedder: Embedder,
        limits: Limits,
        filtered: bool,
        workers: int,
        chores: Callable[[], None],
    ) -> None:
        self._catalog, self._originals, self._shelf = catalog, originals, shelf
        self._embedder, self._limits, self._filtered, self._chores = embedder, limits, filtered, chores
        self.settled = threading.Condition()
        self._work = threading.Condition()
        self._taken: set[int] = set()
        self._progress: dict[tuple[int, str], Progress] = {}  # of what is worked on, by store and file
        self._closing = False
        self._rested = time.monotonic()
        self._threads = [threading.Thread(target=self._run, name=f"ingest-{i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        with self._work:
            self._work.notify_all()

    def wait(self, look: Callable[[], StoreFile], timeout: float | None) -> StoreFile:
        """What `look` sees once it is no longer in progress, or when the time is over."""
        end = None if timeout is None else time.monotonic() + timeout
        with self.settled:
            while True:
                seen = look()
                left = None if end is None else end - time.monotonic()
                if seen.status != "in_progress" or self._closing or (left is not None and left <= 0):
                    return seen
                self.settled.wait(left)

    def told(self, store: int, document: StoreFile) -> StoreFile:
        """With how far it is."""
        if document.status != "in_progress":
            return document
        return replace(document, progress=self._progress.get((store, document.id), Progress()))

    def close(self, timeout: float = 10.0) -> None:
        """Leave what is begun to the next start. A parse under way is waited for, up to the timeout."""
        self._closing = True
        self.wake()
        for thread in self._threads:
            thread.join(timeout)
        with self.settled:
            self.settled.notify_all()

    def _run(self) -> None:
        while not self._closing:
            try:
                job = self._claim()
                if job is not None:
                    self._do(job)
                self._do_chores()
            except CatalogAway:  # the catalog has told the log
                with self._work:
                    self._work.wait(RETRY)
            except Exception:
                log.exception("the ingest worker stumbled; it tries again in %s s", RETRY)
                with self._work:
                    self._work.wait(RETRY)

    def _claim(self) -> Job | None:
        with self._work:
            if self._closing:
                return None
            with self._catalog.read() as tx:
                waiting = jobs.waits(tx, self._taken)
            if not waiting:
                self._work.wait(REST)
                return None
            with self._catalog.write() as tx:
                job = jobs.claim(tx, self._taken)
            if job is not None:
                self._taken.add(job.document)
            return job

    def _do(self, job: Job) -> None:
        try:
            try:
                failure = self._attempt(job)
            except CatalogAway:
                self._put_back(job)
                return
            if self._closing:  # whatever happened may have happened because the server ends
                with self._catalog.write() as tx:
                    jobs.release(tx, job.document)
            elif failure is not None:
                with self._catalog.write() as tx:
                    jobs.fail(tx, job.document, failure)
        finally:
            self._progress.pop((job.store, job.file.id), None)
            with self._work:
                self._taken.discard(job.document)
            with self.settled:
                self.settled.notify_all()

    def _attempt(self, job: Job) -> Failure | None:
        if job.attempts > MOST_ATTEMPTS:
            return Failure("server_error", f"the server stopped {MOST_ATTEMPTS} times while reading this document")
        try:
            # The lock is held until what is replaced has left the disk: no vectors may be moved in between.
            with self._catalog.writing:
                copied = self._copy_twin(job)
            work = None if copied else self._prepare(job)
            if work is not None:
                with self._catalog.writing:
                    self._publish(job, work)
        except ParseError as error:
            return Failure(error.code, str(error))
        except CatalogAway:
            raise
        except BaseException as error:  # also a native library's panic, which is no Exception
            log.exception("could not ingest document %s (file %s)", job.document, job.file.id)
            return Failure("server_error", f"an error of the server ({type(error).__name__}); its log says more")
        return None

    def _put_back(self, job: Job) -> None:
        """As soon as the catalog answers again."""
        while not self._closing:
            try:
                with self._catalog.write() as tx:
                    jobs.release(tx, job.document)
            except CatalogAway:
                with self._work:
                    self._work.wait(RETRY)
            else:
                return

    def _prepare(self, job: Job) -> Work | None:
        """None when the server is closing: the job stays in the queue."""
        self._tell(job, "parsing")
        data = self._originals.get(job.file.sha256)
        parsed = parse(job.file.filename, data, self._limits)
        self._tell(job, "chunking")
        read = drafted(job.file.filename, parsed, job.chunking, self._embedder, self._filtered)
        drafts = read.drafts
        vectors = np.empty((len(drafts), self._embedder.dimension), np.float32)
        for start in range(0, len(drafts), GROUP):
            if self._closing:
                return None
            self._tell(job, "embedding", start, len(drafts))
            group = drafts[start : start + GROUP]
            vectors[start : start + GROUP] = self._embedder.encode(
                [indexed_text(job.file.filename, draft.headings, draft.text) for draft in group]
            )
        return None if self._closing else Work(read, vectors)

    def _tell(self, job: Job, stage: Stage, done: int = 0, total: int | None = None) -> None:
        self._progress[job.store, job.file.id] = Progress(stage, done, total)

    def _publish(self, job: Job, work: Work) -> None:
        read = work.read
        self._tell(job, "indexing", len(read.drafts), len(read.drafts))
        size = sum(len(draft.text.encode()) for draft in read.drafts) + work.vectors.size * 2
        with self._shelf.change(job.store) as store:
            with self._catalog.write() as tx:
                if not jobs.complete(tx, job.document, size, read.left_out):
                    return  # removed or cancelled meanwhile
                texts.publish(tx, job.document, job.file_n, read.text)
                chunks.add(tx, job.document, read.drafts)
                parts = self._written(tx, job, work.vectors)
                replaced = documents.replaced(tx, job.store, job.file.id)
            if store is not None:
                _exchange(store, parts, replaced)
        self._forget(replaced)

    def _copy_twin(self, job: Job) -> bool:
        """The same bytes under the same name, already searchable somewhere, need no reading."""
        with self._shelf.change(job.store) as store:
            with self._catalog.write() as tx:
                twin = jobs.twin(tx, job, self._filtered)
                if twin is None:
                    return False
                left_out = documents.left_out(tx, twin.document)
                with self._shelf.files.reading(stores.vector_file(tx, twin.store)) as read:
                    kept = read(twin.document, twin.block)
                if kept is None:
                    return False
                if not jobs.complete(tx, job.document, twin.usage_bytes, left_out):
                    return True  # removed or cancelled meanwhile
                text = texts.of_document(tx, twin.document)
                if text is not None:
                    texts.publish(tx, job.document, job.file_n, text)
                chunks.copy(tx, twin.document, job.document)
                parts = self._written(tx, job, kept.vectors)
                replaced = documents.replaced(tx, job.store, job.file.id)
            if store is not None:
                _exchange(store, parts, replaced)
        self._forget(replaced)
        return True

    def _forget(self, replaced: Sequence[Place]) -> None:
        """On the disk."""
        if replaced:
            self._shelf.remove(replaced)
            self._catalog.forget()

    def _written(self, tx: Transaction, job: Job, vectors: Vectors) -> list[Indexed]:
        """What the indexes need of a document whose chunks are in the catalog, its vectors on the disk."""
        passages = chunks.of_document(tx, job.document)
        if passages is None:
            return []
        file = stores.vector_file(tx, job.store)
        block = self._shelf.files.append(file, job.document, passages.chunks, vectors)
        documents.keep_block(tx, job.document, block)
        return [passages.indexed(rounded(vectors), block)]

    def _do_chores(self) -> None:
        if time.monotonic() - self._rested >= REST:
            self._rested = time.monotonic()
            self._chores()


def _exchange(store: Store, parts: Sequence[Indexed], replaced: Sequence[Place]) -> None:
    store.add(parts)
    for place in replaced:
        store.remove(place.document)


def drafted(filename: str, parsed: Parsed, chunking: Chunking, embedder: Embedder, filtered: bool) -> Read:
    """What is searchable of a document; all of it unless `filtered`. Raises ParseError."""
    left: Counter[Reason] = Counter()
    marked, margins = with_margins(parsed) if filtered else (parsed, 0)
    passages = split(marked, embedder.count_tokens, chunking.max_tokens, chunking.overlap)
    if not passages:
        raise InvalidFile("The document holds no text; a searchable file needs some words.")
    if filtered:
        passages, left = sift(marked, passages, in_parts=suffix_of(filename) in ARCHIVES)
        left += Counter({"boilerplate": margins})
    if not passages:
        raise InvalidFile(
            f"Nothing in the document is fit to be found: {told(left)}. Mend it, or try again without the filter."
        )
    drafts = [Draft(p.text, p.start, p.end, p.page, tuple(p.headings)) for p in passages]
    return Read(parsed.text, drafts, dict(left) if filtered else None)
