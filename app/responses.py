"""Responses that were asked to be kept: what came in, what went out, and which documents that drew on.

Once any of these documents is deleted for good, the response goes too (`forget`): its words are theirs. Of each owner
at most KEPT stay, the oldest go first, and none longer than so many seconds after it was made.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    and_,
    delete,
    insert,
    select,
    update,
)

from app.drawn import KEPT_SECONDS, Drawn, shown_to
from index.errors import NotFound

KEPT = 10_000
UNENDED = ("queued", "in_progress")
Wire = dict[str, Any]

schema = MetaData()
responses = Table(
    "responses",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False, index=True),
    Column("created_at", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("body", JSON, nullable=False),
    Column("input", JSON, nullable=False),
    Column("events", JSON(none_as_null=True)),
    sqlite_autoincrement=True,
)
shown = shown_to(responses)  # which documents the turn, or one before it, was shown
outputs = Table(
    "outputs",  # where an output item is that a client refers to
    schema,
    Column("item", String, primary_key=True),
    Column("response", ForeignKey("responses.n", ondelete="CASCADE"), nullable=False, index=True),
)


class ResponseNotFound(NotFound):
    """No response of this id is kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A response. `body` is the object as clients see it, `input` are its items, `files` the documents it drew on;
    `events` are those of its stream, if it may be resumed. To all but its `owner` it is as if it were not there.
    """

    owner: str
    body: Wire
    input: Sequence[Wire]
    files: Collection[str] = field(default=frozenset())
    events: Sequence[Wire] | None = None

    @property
    def id(self) -> str:
        return str(self.body["id"])

    @property
    def previous(self) -> str | None:
        before: str | None = self.body["previous_response_id"]
        return before


class Responses(Drawn):
    """The record, of what is younger than `seconds`; 0: of any age."""

    def __init__(self, path: Path, seconds: int = KEPT_SECONDS) -> None:
        super().__init__(path, schema, "responses")
        self._seconds = seconds

    def keep(self, kept: Kept) -> None:
        """On disk when this returns. A later state of the same response takes the place of the earlier one."""
        values = {"status": kept.body["status"], "body": kept.body, "events": kept.events}
        with self._file.open() as tx:
            new = insert(responses).values(
                id=kept.id, owner=kept.owner, created_at=kept.body["created_at"], input=list(kept.input), **values
            )
            changed = update(responses).where(responses.c.id == kept.id).values(values).returning(responses.c.n)
            n = tx.execute(changed).scalar_one_or_none()
            if n is None:
                n = tx.execute(new.returning(responses.c.n)).scalar_one()
            if files := set(kept.files) - set(_files(tx, n)):
                tx.execute(insert(shown), [{"response": n, "file_id": file_id} for file_id in files])
            if items := kept.body["output"]:
                tx.execute(insert(outputs), [{"item": item["id"], "response": n} for item in items])
            ours = select(responses.c.n).where(responses.c.owner == kept.owner).order_by(responses.c.n.desc())
            _drop(tx, tx.execute(ours.offset(KEPT)).scalars().all())

    def get(self, response_id: str, owner: str) -> Kept:
        with self._file.open() as tx:
            return _get(tx, response_id, owner)

    def chain(self, response_id: str, owner: str) -> list[Kept]:
        """The response and all before it, oldest first."""
        found: list[Kept] = []
        wanted: str | None = response_id
        with self._file.open() as tx:
            while wanted is not None:
                found.append(_get(tx, wanted, owner))
                wanted = found[-1].previous
        return found[::-1]

    def holding(self, item_ids: Collection[str], owner: str) -> Mapping[str, Kept]:
        """The responses in whose output these items are."""
        with self._file.open() as tx:
            joined = select(outputs.c.item, responses).join(responses).where(outputs.c.item.in_(item_ids))
            return {row.item: _kept(tx, row) for row in tx.execute(joined.where(responses.c.owner == owner))}

    def delete(self, response_id: str, owner: str) -> None:
        with self._file.open() as tx:
            if not tx.execute(delete(responses).where(_is(response_id, owner))).rowcount:
                raise _unknown(response_id)

    def unended(self) -> list[Kept]:
        """Those that a server left when it was killed."""
        if not self._file.exists():
            return []
        with self._file.open() as tx:
            rows = tx.execute(select(responses).where(responses.c.status.in_(UNENDED))).all()
            return [_kept(tx, row) for row in rows]

    def expire(self) -> None:
        """Erase those that are too old."""
        if not self._seconds or not self._file.exists():
            return
        with self._file.open() as tx:
            tx.execute(delete(responses).where(responses.c.created_at < time.time() - self._seconds))

    def _erase(self, tx: Connection, drew: Sequence[Row[Any]]) -> None:
        _drop(tx, [row.response for row in drew])


def _is(response_id: str, owner: str) -> ColumnElement[bool]:
    return and_(responses.c.id == response_id, responses.c.owner == owner)


def _get(tx: Connection, response_id: str, owner: str) -> Kept:
    row = tx.execute(select(responses).where(_is(response_id, owner))).one_or_none()
    if row is None:
        raise _unknown(response_id)
    return _kept(tx, row)


def _kept(tx: Connection, row: Row[*tuple[Any, ...]]) -> Kept:
    return Kept(row.owner, row.body, row.input, frozenset(_files(tx, row.n)), row.events)


def _files(tx: Connection, n: int) -> Sequence[str]:
    return tx.execute(select(shown.c.file_id).where(shown.c.response == n)).scalars().all()


def _drop(tx: Connection, numbers: Sequence[int]) -> None:
    tx.execute(delete(responses).where(responses.c.n.in_(numbers)))


def _unknown(response_id: str) -> ResponseNotFound:
    return ResponseNotFound(f"there is no response {response_id!r}; it was not stored, or it is deleted or too old")
