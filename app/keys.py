"""API keys: one SQLite file in the data folder, opened with the first use, by the server and by `cogcore key` at once.

A key is an organisation's, and opens what that organisation has. An organisation is there once a key names it.

A key is told once, when it is made; kept is its SHA-256. That is enough: 256 random bits cannot be tried out, so a slow
hash would slow requests and no attacker. Each request looks its key up, so one that is revoked opens nothing from then
on. Revoked and expired keys stay in the file: a server whose last key has gone must not stand open.
Synchronous and thread-safe.
"""

import hashlib
import logging
import re
import secrets
import time
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    delete,
    insert,
    select,
    true,
    update,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from app.sqlfile import SqlFile
from index.catalog.paging import Cut, cut
from index.errors import FolderFault, InvalidRequest, NotFound
from index.types import OWNER, Page

FILE = "keys.sqlite"
PREFIX = "cogcore_"  # by which people, and scanners of what was published by mistake, know one
TOLD = len(PREFIX) + 4  # characters of a key that lists show
USED_SECONDS = 3600  # how exactly the last use is kept: a write for each request would cost more than the request
MOST_STORES = 100
MOST_UPLOADS = 10_000
ORGANISATION = OWNER  # of who runs the server

log = logging.getLogger("cogcore.keys")

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each may do what those before it may

schema = MetaData()
keys = Table(
    "keys",
    schema,
    Column("n", Integer, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("name", String, nullable=False),
    Column("organisation", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("stores", JSON(none_as_null=True)),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("created_at", Integer, nullable=False),
    Column("expires_at", Integer),
    Column("revoked_at", Integer),
    Column("last_used_at", Integer),
    sqlite_autoincrement=True,
)
uploads = Table(
    "uploads",  # what keys that do not see all stores have uploaded: in no store yet, it is there for them alone
    schema,
    Column("n", Integer, primary_key=True),
    Column("key", ForeignKey("keys.id"), nullable=False, index=True),
    Column("file_id", String, nullable=False, unique=True),
    sqlite_autoincrement=True,
)
made = Table(
    "made",
    schema,
    Column("what", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


class KeyNotFound(NotFound):
    """No key of this id."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a key is good for. `stores` are the ids it is limited to, None: all. Times are Unix seconds."""

    name: str
    scope: Scope = "read"
    stores: tuple[str, ...] | None = None
    organisation: str = ORGANISATION
    requests_per_minute: int | None = None  # None: as the settings say; 0: any number
    tokens_per_minute: int | None = None
    expires_at: int | None = None
    hint: str = ""  # how the key itself begins
    revoked_at: int | None = None
    last_used_at: int | None = None  # to the hour
    id: str = field(default_factory=lambda: f"key_{secrets.token_hex(12)}")
    created_at: int = field(default_factory=lambda: int(time.time()))

    def may(self, scope: Scope) -> bool:
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def opens(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Keys:
    """The keys of one data folder. Every method but `close` raises FolderFault when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SqlFile(path, schema, "file of API keys")
        self._exist = False

    def close(self) -> None:
        self._file.close()

    def create(self, wanted: Key) -> tuple[Key, str]:
        """The key as it is kept, and the secret itself, which nobody can tell again. Raises InvalidRequest."""
        _check(wanted)
        secret = PREFIX + secrets.token_urlsafe(32)
        key = replace(wanted, hint=secret[:TOLD])
        with self._file.open() as tx:
            tx.execute(insert(keys).values(**asdict(key), sha256=_digest(secret)))
        return key, secret

    def find(self, secret: str) -> Key | None:
        """The key that this is, if it may still be used."""
        if not (secret.startswith(PREFIX) and self.path.exists()):
            return None
        now = int(time.time())
        with self._file.open() as tx:
            row = tx.execute(select(keys).where(keys.c.sha256 == _digest(secret))).one_or_none()
        found = _key(row) if row else None
        if found is None or not found.opens(now):
            return None
        if found.last_used_at is None or now - found.last_used_at >= USED_SECONDS:
            self._used(found.id, now)
        return found

    def organisation_of(self, secret: str) -> str | None:
        """Whose key this is, though it be revoked or expired; None when it was not made here."""
        if not (secret.startswith(PREFIX) and self.path.exists()):
            return None
        with self._file.open() as tx:
            return tx.execute(select(keys.c.organisation).where(keys.c.sha256 == _digest(secret))).scalar_one_or_none()

    def _used(self, key_id: str, now: int) -> None:
        try:
            with self._file.open() as tx:
                tx.execute(update(keys).where(keys.c.id == key_id).values(last_used_at=now))
        except FolderFault as error:  # a full disk must not keep out who only reads
            log.warning("the last use of %s is not kept: %s", key_id, error)

    def exist(self) -> bool:
        """Whether one was ever made."""
        if not self._exist and self.path.exists():
            with self._file.open() as tx:
                self._exist = tx.execute(select(keys.c.n).limit(1)).first() is not None
        return self._exist

    def get(self, key_id: str, organisation: str | None = None) -> Key:
        """One of an organisation's, or of any."""
        with self._file.open() as tx:
            return _key(tx.execute(select(keys).where(keys.c.n == _number(tx, key_id, organisation))).one())

    def page(self, limits: Cut, organisation: str | None = None) -> Page[Key]:
        """With those that are revoked or have expired."""
        wanted = select(*keys.c).where(_of(organisation))
        with self._file.open() as tx:
            rows, more = cut(tx, wanted, keys.c.n, limits, lambda cursor: _number(tx, cursor, organisation))
            return Page([_key(row) for row in rows], more)

    def revoke(self, key_id: str, organisation: str | None = None) -> Key:
        """It opens nothing any more. Again: it stays as it is."""
        with self._file.open() as tx:
            n = _number(tx, key_id, organisation)
            unrevoked = update(keys).where(keys.c.n == n, keys.c.revoked_at.is_(None))
            tx.execute(unrevoked.values(revoked_at=int(time.time())))
            tx.execute(delete(uploads).where(uploads.c.key == key_id))
            return _key(tx.execute(select(keys).where(keys.c.n == n)).one())

    def uploaded(self, key_id: str, file_id: str) -> None:
        """Remember whose upload a file is; of one key the last MOST_UPLOADS."""
        with self._file.open() as tx:
            tx.execute(insert(uploads).values(key=key_id, file_id=file_id))
            ours = uploads.c.key == key_id
            oldest = select(uploads.c.n).where(ours).order_by(uploads.c.n.desc()).offset(MOST_UPLOADS).limit(1)
            tx.execute(delete(uploads).where(ours, uploads.c.n <= oldest.scalar_subquery()))

    def uploads(self, key_id: str) -> frozenset[str]:
        with self._file.open() as tx:
            return frozenset(tx.execute(select(uploads.c.file_id).where(uploads.c.key == key_id)).scalars())

    def forget_upload(self, file_id: str) -> None:
        with self._file.open() as tx:
            tx.execute(delete(uploads).where(uploads.c.file_id == file_id))

    @cached_property
    def secret(self) -> bytes:
        """Random, made once, and the same after every start."""
        with self._file.open() as tx:
            new = {"what": "secret", "value": secrets.token_bytes(32)}
            tx.execute(upsert(made).values(new).on_conflict_do_nothing())
            return bytes(tx.execute(select(made.c.value).where(made.c.what == "secret")).scalar_one())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _check(key: Key) -> None:
    if not (0 < len(key.name) <= 100 and key.name.isprintable()):
        raise InvalidRequest("name", "a key needs a name of 1 to 100 printable characters, by which people know it")
    if not re.fullmatch(r"(?!key_)[A-Za-z0-9._-]{1,64}", key.organisation):  # ids of keys are owners too
        said = "an organisation is named by 1 to 64 letters, digits, '.', '_' and '-', and not key_ first"
        raise InvalidRequest("organisation", said)
    if key.expires_at is not None and key.expires_at <= key.created_at:
        raise InvalidRequest("expires_at", "a key must expire later than now")
    for name in ("requests_per_minute", "tokens_per_minute"):
        if (getattr(key, name) or 0) < 0:
            raise InvalidRequest(name, f"{name} must be 1 or more; 0 is any number")
    if key.stores is None:
        return
    if not 1 <= len(key.stores) <= MOST_STORES:
        raise InvalidRequest("stores", f"a key is limited to 1 to {MOST_STORES} stores; leave 'stores' out for all")
    if key.scope == "admin":
        raise InvalidRequest("stores", "a key of scope 'admin' cannot be limited to stores; use 'write' or 'read'")


def _of(organisation: str | None) -> ColumnElement[bool]:
    return true() if organisation is None else keys.c.organisation == organisation


def _number(tx: Connection, key_id: str, organisation: str | None) -> int:
    found = tx.execute(select(keys.c.n).where(keys.c.id == key_id, _of(organisation))).scalar_one_or_none()
    if found is None:
        raise KeyNotFound(f"there is no key {key_id!r}; list the keys to see their ids")
    return int(found)


def _key(row: Row[*tuple[Any, ...]]) -> Key:
    kept = dict(row._mapping)
    del kept["n"], kept["sha256"]
    stores = kept.pop("stores")
    return Key(**kept, stores=None if stores is None else tuple(stores))
