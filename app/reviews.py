"""Answers that wait for a human's verdict, and the verdicts: one SQLite file, opened with the first use.

A review holds the question, the reply and the places in the documents that it came from, never their words: whoever
shows it looks them up. The reply itself has words of theirs, so reply and answer are erased, on the disk as well, once
any document that the turn was shown is deleted for good (`forget`). To all but its owner a review is as if it were not
there. Of each owner at most KEPT stay: those decided go first, the oldest before the others.
"""

import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from app.drawn import Drawn, shown_to
from index.catalog.paging import Cut, cut
from index.errors import NotFound
from index.types import OWNER, Page

KEPT = 10_000
Verdict = Literal["approved", "rejected"]
log = logging.getLogger("cogcore.reviews")

schema = MetaData()
reviews = Table(
    "reviews",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("created_at", Integer, nullable=False),
    Column("model", String, nullable=False),
    Column("question", Text, nullable=False),
    Column("reply", Text),
    Column("answer", Text),
    Column("confidence", Float, nullable=False),
    Column("citations", JSON, nullable=False),
    Column("hits", JSON, nullable=False),
    Column("verdict", String),
    Column("note", Text),
    Column("decided_at", Integer),
    Column("owner", String, nullable=False, server_default=OWNER),
    sqlite_autoincrement=True,
)
shown = shown_to(reviews)  # which documents a turn was shown, for as long as they and its words are there


class ReviewNotFound(NotFound):
    """No review of this id."""


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a passage: offsets in the parsed document. `score` is the search's, None for a citation."""

    file_id: str
    chunk_id: str
    page: int | None
    start: int
    end: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """An answer and what a human said of it. `reply` is None once it had to be erased; times are Unix seconds."""

    model: str
    question: str
    reply: str | None
    answer: str | None
    confidence: float
    citations: Sequence[Place] = ()
    hits: Sequence[Place] = ()
    verdict: Verdict | None = None
    note: str | None = None
    decided_at: int | None = None
    owner: str = OWNER
    id: str = field(default_factory=lambda: f"review_{secrets.token_hex(12)}")
    created_at: int = field(default_factory=lambda: int(time.time()))


class Reviews(Drawn):
    """The record."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, schema, "reviews")

    def add(self, review: Review) -> None:
        """On disk when this returns."""
        with self._file.open() as tx:
            n = tx.execute(insert(reviews).values(asdict(review)).returning(reviews.c.n)).scalar_one()
            if files := {place.file_id for place in (*review.citations, *review.hits)}:
                tx.execute(insert(shown), [{"review": n, "file_id": file_id} for file_id in files])
            _drop_oldest(tx, review.owner)

    def get(self, review_id: str, owner: str) -> Review:
        with self._file.open() as tx:
            return _review(tx.execute(select(reviews).where(reviews.c.n == _number(tx, review_id, owner))).one())

    def page(self, limits: Cut, owner: str, decided: bool | None = None) -> Page[Review]:
        """Those decided, those not, or all."""
        wanted = select(reviews).where(reviews.c.owner == owner)
        if decided is not None:
            wanted = wanted.where(reviews.c.verdict.is_not(None) if decided else reviews.c.verdict.is_(None))
        with self._file.open() as tx:
            rows, more = cut(tx, wanted, reviews.c.n, limits, lambda cursor: _number(tx, cursor, owner))
            return Page([_review(row) for row in rows], more)

    def decide(self, review_id: str, owner: str, verdict: Verdict, note: str | None) -> Review:
        """A later verdict takes the place of an earlier one, and so does its note."""
        with self._file.open() as tx:
            n = _number(tx, review_id, owner)
            told = {"verdict": verdict, "note": note, "decided_at": int(time.time())}
            tx.execute(update(reviews).where(reviews.c.n == n).values(told))
            return _review(tx.execute(select(reviews).where(reviews.c.n == n)).one())

    def delete(self, review_id: str, owner: str) -> None:
        with self._file.open() as tx:
            tx.execute(delete(reviews).where(reviews.c.n == _number(tx, review_id, owner)))

    def _erase(self, tx: Connection, drew: Sequence[Row[Any]]) -> None:
        numbers = [row.review for row in drew]
        tx.execute(update(reviews).where(reviews.c.n.in_(numbers)).values(reply=None, answer=None))
        tx.execute(delete(shown).where(shown.c.review.in_(numbers)))


def _drop_oldest(tx: Connection, owner: str) -> None:
    ours = reviews.c.owner == owner
    beyond = tx.execute(select(func.count()).where(ours)).scalar_one() - KEPT
    if beyond <= 0:
        return
    order = (reviews.c.verdict.is_(None), reviews.c.n)
    dropped = tx.execute(select(reviews.c.n, reviews.c.verdict).where(ours).order_by(*order).limit(beyond)).all()
    tx.execute(delete(reviews).where(reviews.c.n.in_([row.n for row in dropped])))
    if any(row.verdict is None for row in dropped):
        log.warning("%d answers wait for review; the oldest was dropped undecided", KEPT)


def _number(tx: Connection, review_id: str, owner: str) -> int:
    ours = select(reviews.c.n).where(reviews.c.id == review_id, reviews.c.owner == owner)
    found = tx.execute(ours).scalar_one_or_none()
    if found is None:
        raise ReviewNotFound(f"there is no review {review_id!r}; list the reviews to see their ids")
    return int(found)


def _review(row: Row[*tuple[Any, ...]]) -> Review:
    kept = dict(row._mapping)
    del kept["n"]
    for name in ("citations", "hits"):
        kept[name] = [Place(**place) for place in kept[name]]
    return Review(**kept)
