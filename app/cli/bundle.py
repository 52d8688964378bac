"""`cogcore export` and `cogcore import`: a store as one file.

Through the server that runs, or on the data folder itself: no core is needed for it.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import httpx

from app.cli.server import ENDLESS, ServerError, call, checked, refuse_made_key, served
from app.settings import Settings

PIECE = 1 << 20
STORES = "/v1/cogcore/stores"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a bundle is to become."""

    store: str | None
    alias: str | None
    reembed: bool


def export(settings: Settings, store: str, file: Path) -> int:
    """Write the store into the file, which appears when it is whole; the exit status."""
    aside = file.with_name(f"{file.name}.part")
    try:
        size = asyncio.run(_export(settings, store, aside))
        aside.replace(file)
    except (ServerError, OSError) as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    finally:
        aside.unlink(missing_ok=True)
    print(f"{store} -> {file} ({size:,} bytes)")
    return 0


def import_(settings: Settings, file: Path, wanted: Wanted) -> int:
    """Make a store of the file, and point the alias to it; the exit status."""
    try:
        print(asyncio.run(_import(settings, file, wanted)))
    except (ServerError, OSError) as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    return 0


async def _export(settings: Settings, store: str, file: Path) -> int:
    with file.open("wb+") as out:
        async with served(settings) as client:
            if client is None:
                await asyncio.to_thread(_export_here, settings, store, out)
            else:
                await _fetch(client, store, out)
        out.flush()
        os.fsync(out.fileno())
        return out.seek(0, os.SEEK_END)


async def _fetch(client: httpx.AsyncClient, store: str, out: BinaryIO) -> None:
    async with client.stream("GET", f"{STORES}/{quote(store, safe='')}/export", timeout=ENDLESS) as response:
        if not response.is_success:
            await response.aread()
            checked(response)
        async for piece in response.aiter_bytes(PIECE):
            out.write(piece)


def _export_here(settings: Settings, store: str, out: BinaryIO) -> None:
    refuse_made_key(settings)
    # Loads torch, for which a client of a running server need not wait.
    from app.main import open_memory
    from index.errors import MemoryFault

    try:
        with closing(open_memory(settings)) as memory:
            memory.exporter.export(store, out)
    except MemoryFault as error:
        raise ServerError(str(error)) from error


async def _import(settings: Settings, file: Path, wanted: Wanted) -> str:
    async with served(settings) as client:
        if client is None:
            return await asyncio.to_thread(_import_here, settings, file, wanted)
        asked = {"name": wanted.store, "alias": wanted.alias, "reembed": wanted.reembed or None}
        params = {key: value for key, value in asked.items() if value is not None}
        headers = {"Content-Type": "application/zip"}
        made = await call(
            client, "POST", f"{STORES}/import", params=params, content=_pieces(file), headers=headers, timeout=ENDLESS
        )
        return _told(made["name"] or made["id"], made["documents"], made["vectors"] == "kept", made["expired"], wanted)


def _import_here(settings: Settings, file: Path, wanted: Wanted) -> str:
    refuse_made_key(settings)
    from app.main import open_memory
    from index.errors import MemoryFault

    try:
        with file.open("rb") as data, closing(open_memory(settings)) as memory:
            if wanted.alias is not None:
                memory.aliases.check(wanted.alias)
            taken = () if wanted.alias is None else (wanted.alias,)
            made = memory.importer.import_(data, wanted.store, reembed=wanted.reembed, taken=taken)
            if wanted.alias is not None:
                memory.aliases.set(wanted.alias, made.store.id)
    except MemoryFault as error:
        raise ServerError(str(error)) from error
    return _told(made.store.name or made.store.id, made.documents, made.vectors_kept, made.expired, wanted)


def _told(name: str, documents: int, vectors_kept: bool, expired: int, wanted: Wanted) -> str:
    parts = [f"{name}: {documents} documents, searchable"]
    if not vectors_kept:
        parts.append("their vectors made again by this embedder")
    if expired:
        parts.append(f"{expired} had expired and were left out")
    if wanted.alias is not None:
        parts.append(f"the alias {wanted.alias} points to it")
    return "; ".join(parts)


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as data:
        while piece := await asyncio.to_thread(data.read, PIECE):
            yield piece
