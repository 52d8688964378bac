"""Documents in progress are jobs. Their table is the queue, so it survives whatever the process does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select, update

from index.catalog import Transaction
from index.catalog.documents import PLACE, Place, count_change, to_place
from index.catalog.files import COLUMNS as FILE_COLUMNS
from index.catalog.files import to_file
from index.catalog.schema import documents, files
from index.types import Chunking, Failure, File, Reason


@dataclass(frozen=True, slots=True)
class Job:
    """A document to be made searchable. `attempts` counts the times it was begun, this one included."""

    document: int
    store: int
    file_n: int
    file: File
    chunking: Chunking
    attempts: int


def waits(tx: Transaction, taken: Collection[int]) -> bool:
    """Whether there is a job that nobody here works on."""
    wanted = select(documents.c.n).where(documents.c.status == "in_progress", documents.c.n.not_in(taken))
    return tx.execute(wanted.limit(1)).first() is not None


def claim(tx: Transaction, taken: Collection[int]) -> Job | None:
    """The next job that nobody here works on, with one more attempt on its count.

    The oldest of those least often begun: a document that takes the process down lets all others go first.
    """
    row = tx.execute(
        select(
            documents.c.n.label("document"),
            documents.c.store,
            documents.c.max_tokens,
            documents.c.overlap,
            documents.c.attempts,
            *FILE_COLUMNS,
        )
        .join(files)
        .where(documents.c.status == "in_progress", documents.c.n.not_in(taken))
        .order_by(documents.c.attempts, documents.c.n)
        .limit(1)
    ).first()
    if row is None:
        return None
    tx.execute(update(documents).where(documents.c.n == row.document).values(attempts=row.attempts + 1))
    chunking = Chunking(row.max_tokens, row.overlap)
    return Job(row.document, row.store, row.n, to_file(row), chunking, row.attempts + 1)


def release(tx: Transaction, document: int) -> None:
    """Put a job back that was begun and, for no fault of its own, not ended."""
    tx.execute(update(documents).where(documents.c.n == document).values(attempts=documents.c.attempts - 1))


def twin(tx: Transaction, job: Job, filtered: bool) -> Place | None:
    """A searchable document of the same bytes, name and chunking, `filtered` or not as this job is to be: its chunks
    are what this job would make. Of the same owner: who is quicker than reading takes would know of others' documents.
    """
    found = tx.execute(
        select(*PLACE)
        .join(files)
        .where(
            files.c.owner == job.file.owner,
            documents.c.status == "completed",
            documents.c.max_tokens == job.chunking.max_tokens,
            documents.c.overlap == job.chunking.overlap,
            files.c.sha256 == job.file.sha256,
            files.c.filename == job.file.filename,  # its words are in the indexed text
            documents.c.left_out.is_not(None) if filtered else documents.c.left_out.is_(None),
        )
        .order_by(documents.c.n.desc())  # read by the newest parser
        .limit(1)
    ).first()
    return to_place(found) if found else None


def complete(tx: Transaction, document: int, usage_bytes: int, left_out: Mapping[Reason, int] | None) -> bool:
    """Mark a job done; False when it was removed or cancelled meanwhile."""
    done = tx.execute(
        update(documents)
        .where(documents.c.n == document, documents.c.status == "in_progress")
        .values(status="completed", usage_bytes=usage_bytes, left_out=left_out)
    )
    if done.rowcount != 1:
        return False
    count_change(tx, document)
    return True


def fail(tx: Transaction, document: int, failure: Failure) -> None:
    tx.execute(
        update(documents)
        .where(documents.c.n == document, documents.c.status == "in_progress")
        .values(status="failed", error_code=failure.code, error_message=failure.message)
    )
