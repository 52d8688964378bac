"""`cogcore key`: API keys, made, listed and revoked in the data folder itself, whether a server runs or not."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from app.audit import FILE as AUDIT
from app.audit import Audit
from app.keys import FILE, Key, Keys
from app.settings import Settings
from index.catalog import glimpse, stores
from index.catalog.paging import Cut
from index.errors import MemoryFault
from index.types import Sight

DAY = 86_400
PAGE = 1000


def key(settings: Settings, asked: argparse.Namespace) -> int:
    """Print what was made, is there, or was revoked; the exit status."""
    try:
        with closing(Keys(settings.data_dir / FILE)) as keys:
            match asked.action:
                case "create":
                    made, secret = keys.create(_wanted(asked, settings))
                    _note(settings, "create", made)
                    print(f"{secret}\n{_line(made)}")
                    print("This is the key's only showing: what is kept of it opens nothing.", file=sys.stderr)
                case "revoke":
                    ended = keys.revoke(asked.id)
                    _note(settings, "revoke", ended)
                    print(_line(ended))
                case _:
                    _list(keys)
    except MemoryFault as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    return 0


def _note(settings: Settings, action: str, key: Key) -> None:
    if not settings.audit:
        return
    log = Audit(settings.data_dir / AUDIT)
    try:
        log.note(f"command, user {os.getuid()}", key.organisation, f"cogcore key {action}", {"key_id": key.id})
    except OSError as error:  # the change is made, and a secret is told only now
        print(f"cogcore: this is not in {log.path}, which cannot be written: {error.strerror}", file=sys.stderr)


def _list(keys: Keys) -> None:
    after, more = None, keys.exist()
    while more:
        page = keys.page(Cut(PAGE, after, order="asc"))
        for one in page.data:
            print(_line(one))
        after, more = page.data[-1].id, page.has_more


def _wanted(asked: argparse.Namespace, settings: Settings) -> Key:
    return Key(
        name=asked.name,
        scope=asked.scope,
        stores=_ids(settings, asked.stores, asked.organisation) if asked.stores else None,
        organisation=asked.organisation,
        requests_per_minute=asked.requests,
        tokens_per_minute=asked.tokens,
        expires_at=int(time.time()) + asked.days * DAY if asked.days else None,
    )


def _ids(settings: Settings, names: Sequence[str], organisation: str) -> tuple[str, ...]:
    with glimpse(settings.data_dir / "catalog.sqlite", settings.catalog) as tx:
        return tuple(stores.known(tx, name, Sight(organisation)) for name in names)


def _line(key: Key) -> str:
    over = "revoked" if key.revoked_at else "" if key.opens(time.time()) else "expired"
    told = [key.id, f"{key.hint}…", key.scope, ",".join(key.stores) if key.stores else "all stores", key.organisation]
    told.append(f"expires {_day(key.expires_at)}" if key.expires_at else "does not expire")
    told.append(f"used {_day(key.last_used_at)}" if key.last_used_at else "never used")
    return "  ".join((*told, *filter(None, [over]), key.name))


def _day(moment: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))
