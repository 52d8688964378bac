"""Conversations: items that clients and responses put there, in order, until somebody deletes them.

Of each owner at most KEPT stay, the ones that were added to longest ago go first, and none longer than so many seconds
after that.
From the first item on that may hold words of a document, all goes once that document is deleted for good (`forget`):
what comes later may repeat it. The conversation itself stays, with what stood before.
"""

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)

from app.drawn import KEPT_SECONDS, Drawn, shown_to
from index.errors import NotFound

KEPT = 10_000
Wire = dict[str, Any]

schema = MetaData()
conversations = Table(
    "conversations",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False, index=True),
    Column("created_at", Integer, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("added_at", Integer, nullable=False, server_default="0"),  # 0: by a program that did not note it
    sqlite_autoincrement=True,
)
items = Table(
    "items",
    schema,
    Column("n", Integer, primary_key=True),
    Column("conversation", ForeignKey("conversations.n", ondelete="CASCADE"), nullable=False),
    Column("id", String, nullable=False),
    Column("body", JSON, nullable=False),
    UniqueConstraint("conversation", "id"),
    sqlite_autoincrement=True,
)
# And the first item that the document's words may stand in.
shown = shown_to(conversations, Column("item", ForeignKey("items.n", ondelete="CASCADE"), nullable=False))
ADDED = func.max(conversations.c.added_at, conversations.c.created_at)


class ConversationNotFound(NotFound):
    """No conversation of this id is kept."""


class ItemNotFound(NotFound):
    """The conversation has no item of this id."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """To all but its owner it is as if it were not there. `created_at` is in Unix seconds."""

    id: str
    created_at: int
    metadata: Mapping[str, str]


class Conversations(Drawn):
    """The record, of what was added to within so many `seconds`; 0: of all. Methods that take a conversation's id raise
    ConversationNotFound.
    """

    def __init__(self, path: Path, seconds: int = KEPT_SECONDS) -> None:
        super().__init__(path, schema, "conversations")
        self._seconds = seconds

    def create(
        self, owner: str, metadata: Mapping[str, str], given: Sequence[Wire] = (), files: Collection[str] = ()
    ) -> Conversation:
        """On disk when this returns, its first items too. `files` are the documents whose words these may hold."""
        made = Conversation(f"conv_{uuid.uuid4().hex}", int(time.time()), dict(metadata))
        with self._file.open() as tx:
            row = {"id": made.id, "owner": owner, "created_at": made.created_at, "metadata": made.metadata}
            n = tx.execute(insert(conversations).values(row).returning(conversations.c.n)).scalar_one()
            _append(tx, n, given, files)
            ours = select(conversations.c.n).where(conversations.c.owner == owner)
            beyond = ours.order_by(ADDED.desc(), conversations.c.n.desc()).offset(KEPT)
            tx.execute(delete(conversations).where(conversations.c.n.in_(tx.execute(beyond).scalars().all())))
        return made

    def get(self, conversation_id: str, owner: str) -> Conversation:
        with self._file.open() as tx:
            row = _row(tx, conversation_id, owner)
            return Conversation(row.id, row.created_at, row.metadata)

    def describe(self, conversation_id: str, owner: str, metadata: Mapping[str, str]) -> Conversation:
        """Give it other metadata."""
        with self._file.open() as tx:
            row = _row(tx, conversation_id, owner)
            tx.execute(update(conversations).where(conversations.c.n == row.n).values(metadata=dict(metadata)))
            return Conversation(row.id, row.created_at, dict(metadata))

    def delete(self, conversation_id: str, owner: str) -> None:
        """Erase it with its items."""
        with self._file.open() as tx:
            tx.execute(delete(conversations).where(conversations.c.n == _row(tx, conversation_id, owner).n))

    def append(
        self, conversation_id: str, owner: str, given: Sequence[Wire], files: Collection[str] = ()
    ) -> Sequence[Wire]:
        """The items as they now stand there, all of them or none: one whose id is taken gets another."""
        with self._file.open() as tx:
            return _append(tx, _row(tx, conversation_id, owner).n, given, files)

    def told(self, conversation_id: str, owner: str) -> tuple[Sequence[Wire], frozenset[str]]:
        """Its items, oldest first, and the documents whose words may stand in them."""
        with self._file.open() as tx:
            n = _row(tx, conversation_id, owner).n
            bodies = select(items.c.body).where(items.c.conversation == n).order_by(items.c.n)
            files = select(shown.c.file_id).where(shown.c.conversation == n)
            return tx.execute(bodies).scalars().all(), frozenset(tx.execute(files).scalars())

    def item(self, conversation_id: str, owner: str, item_id: str) -> Wire:
        """Raises ItemNotFound."""
        with self._file.open() as tx:
            n = _row(tx, conversation_id, owner).n
            asked = select(items.c.body).where(items.c.conversation == n, items.c.id == item_id)
            body: Wire | None = tx.execute(asked).scalar_one_or_none()
            if body is None:
                raise _no_item(conversation_id, item_id)
            return body

    def delete_item(self, conversation_id: str, owner: str, item_id: str) -> Conversation:
        """Erase one. What came after it may repeat the words of its documents as before. Raises ItemNotFound."""
        with self._file.open() as tx:
            row = _row(tx, conversation_id, owner)
            here = items.c.conversation == row.n
            at = tx.execute(select(items.c.n).where(here, items.c.id == item_id)).scalar_one_or_none()
            if at is None:
                raise _no_item(conversation_id, item_id)
            after = tx.execute(select(func.min(items.c.n)).where(here, items.c.n > at)).scalar_one()
            if after is not None:
                tx.execute(update(shown).where(shown.c.item == at).values(item=after))
            tx.execute(delete(items).where(items.c.n == at))
            return Conversation(row.id, row.created_at, row.metadata)

    def expire(self) -> None:
        """Erase those that nobody has added to for too long."""
        if not self._seconds or not self._file.exists():
            return
        with self._file.open() as tx:
            tx.execute(delete(conversations).where(time.time() - self._seconds > ADDED))

    def _erase(self, tx: Connection, drew: Sequence[Row[Any]]) -> None:
        for at in drew:
            tx.execute(delete(items).where(items.c.conversation == at.conversation, items.c.n >= at.item))


def _append(tx: Connection, conversation: int, given: Sequence[Wire], files: Collection[str]) -> Sequence[Wire]:
    now = {"added_at": int(time.time())}
    tx.execute(update(conversations).where(conversations.c.n == conversation).values(now))
    taken = set(tx.execute(select(items.c.id).where(items.c.conversation == conversation)).scalars())
    made: list[Wire] = []
    for item in given:
        body = {**item, "id": f"{item['id'].partition('_')[0]}_{uuid.uuid4().hex}"} if item["id"] in taken else item
        taken.add(body["id"])
        made.append(body)
    if not made:
        return made
    new = insert(items).returning(items.c.n)
    rows = [{"conversation": conversation, "id": body["id"], "body": body} for body in made]
    first = min(tx.execute(new, rows).scalars())
    known = set(tx.execute(select(shown.c.file_id).where(shown.c.conversation == conversation)).scalars())
    if fresh := set(files) - known:
        tx.execute(insert(shown), [{"conversation": conversation, "file_id": one, "item": first} for one in fresh])
    return made


def _row(tx: Connection, conversation_id: str, owner: str) -> Row[*tuple[Any, ...]]:
    wanted = select(conversations).where(conversations.c.id == conversation_id, conversations.c.owner == owner)
    row = tx.execute(wanted).one_or_none()
    if row is None:
        raise ConversationNotFound(f"there is no conversation {conversation_id!r}; it is deleted or too old")
    return row


def _no_item(conversation_id: str, item_id: str) -> ItemNotFound:
    return ItemNotFound(f"the conversation {conversation_id!r} has no item {item_id!r}, or it is deleted")
