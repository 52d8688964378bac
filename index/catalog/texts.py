"""What the parser read. Offsets of chunks count in it.

A file has one text, as it was read last. A document that was cut before, from a text that is not the same, keeps that
one as its own: a newer parser helps whoever is read by it, and moves nobody else's quotes.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, func, insert, select, update

from index.catalog import Transaction
from index.catalog.schema import chunks, documents, own_texts, texts

TEXT: ColumnElement[str] = func.coalesce(own_texts.c.text, texts.c.text)


def of_file(tx: Transaction, file_n: int) -> str | None:
    return tx.execute(select(texts.c.text).where(texts.c.file == file_n)).scalar_one_or_none()


def of_document(tx: Transaction, document: int) -> str | None:
    return tx.execute(_of_documents(TEXT).where(documents.c.n == document)).scalar_one_or_none()


def of_chunk(tx: Transaction, chunk_id: str) -> str | None:
    """Of its document; None too where the chunk is gone."""
    wanted = _of_documents(TEXT).join(chunks, chunks.c.document == documents.c.n).where(chunks.c.id == chunk_id)
    return tx.execute(wanted).scalar_one_or_none()


def part(tx: Transaction, document: int, start: int, end: int) -> str | None:
    wanted = _of_documents(func.substr(TEXT, start + 1, end - start)).where(documents.c.n == document)
    return tx.execute(wanted).scalar_one_or_none()


def keep(tx: Transaction, file_n: int, text: str) -> None:
    """Unless the file has one."""
    if tx.execute(select(texts.c.file).where(texts.c.file == file_n)).first() is None:
        tx.execute(insert(texts).values(file=file_n, text=text))


def publish(tx: Transaction, document: int, file_n: int, text: str) -> None:
    """What a document was cut from that is completed in this transaction."""
    keep(tx, file_n, text)
    if tx.execute(select(texts.c.file).where(texts.c.file == file_n, texts.c.text != text)).first() is None:
        return
    cut_before = (
        select(documents.c.n, texts.c.text)
        .join(texts, texts.c.file == documents.c.file)
        .where(
            documents.c.file == file_n,
            documents.c.status == "completed",
            documents.c.n != document,
            documents.c.n.not_in(select(own_texts.c.document)),
        )
    )
    tx.execute(insert(own_texts).from_select(["document", "text"], cut_before))
    tx.execute(update(texts).where(texts.c.file == file_n).values(text=text))


def _of_documents(what: ColumnElement[str]) -> Select[Any]:
    joined = documents.outerjoin(own_texts, own_texts.c.document == documents.c.n)
    return select(what).select_from(joined.outerjoin(texts, texts.c.file == documents.c.file))
