"""`cogcore watch`: a store follows a folder while the server runs: what is added, changed, moved and deleted there.

What disappears from the folder, or is emptied, is deleted from the memory, also what was while nobody watched. A file
that was moved or renamed is known by its bytes and only told its new path: it keeps the title that it was embedded
under until it changes. A server that is away is waited for. When the folder itself is gone, or another stands in its
place, watching ends and nothing is forgotten; nor is it when watching begins with a folder that holds nothing to read,
as where a disk is not mounted.
"""

import asyncio
import hashlib
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import httpx
from watchfiles import Change, awatch

from app.cli.ingest import Summary, bring, members, readable, store_named
from app.cli.server import ServerError, Wire, address, call, served
from app.settings import Settings

DEBOUNCE_MS, QUIET_MS = 1000, 200  # how long changes are gathered at most, and how long none must follow
LOOK_MS = 5000  # a look at the folder though nothing was told: what changed during a pass, or on a network's disk
RETRY = 1.0  # seconds

Stamps = dict[Path, tuple[int, int]]


def watch(settings: Settings, folder: Path, store: str) -> int:
    """Until Ctrl-C, or until the folder is gone."""
    if folder.is_dir():
        asyncio.run(_watch(settings, folder.resolve(), store))
        said = f"{folder} is gone, or another stands in its place. Nothing is forgotten: start again when it is back."
    else:
        said = f"{folder} is not a folder. Name the folder that holds the documents."
    print(f"cogcore: {said}", file=sys.stderr)
    return 2


async def _watch(settings: Settings, folder: Path, name: str) -> None:
    def is_shown(_: Change, path: str) -> bool:
        return not any(part.startswith(".") for part in Path(path).relative_to(folder).parts)

    print(f"Watching {folder} for the store '{name}'. Ctrl-C ends it.", flush=True)
    follower = _Follower(settings, folder, name)
    options: dict[str, Any] = {"debounce": DEBOUNCE_MS, "step": QUIET_MS, "rust_timeout": LOOK_MS}
    with suppress(FileNotFoundError):  # the folder went before it could be watched
        while await follower.follow():
            try:
                async for _ in awatch(folder, watch_filter=is_shown, yield_on_timeout=True, **options):
                    if not await follower.follow():
                        return
            except ExceptionGroup as group:  # by a name that is not UTF-8, which `follow` tells of
                if group.split(RuntimeError)[1] is not None:
                    raise
                await asyncio.sleep(RETRY)


@dataclass(slots=True)
class _Seen:
    """The folder at one moment: the files to read, and when each was changed."""

    stamps: Stamps
    summary: Summary


class _Follower:
    def __init__(self, settings: Settings, folder: Path, name: str) -> None:
        self._settings, self._folder, self._name = settings, folder, name
        self._began = _identity(folder)
        self._stamps: Stamps | None = None  # of the files as the store has them

    async def follow(self) -> bool:
        """Bring the store to what the folder holds; False when there is no folder any more.

        Asks the server nothing when nothing has changed.
        """
        told = ""
        while self._is_there():
            try:
                seen = await asyncio.to_thread(_look, self._folder)
                if seen.stamps == self._stamps:
                    return True
                async with served(self._settings) as client:
                    if client is None:
                        raise ServerError(f"No server runs at {address(self._settings)}")
                    await self._pass(client, seen)
            except (ServerError, OSError) as error:  # also a file that went while it was looked at
                if str(error) != told:
                    told = str(error)
                    print(f"cogcore: {told}; trying again until it works.", file=sys.stderr, flush=True)
                await asyncio.sleep(RETRY)
            else:
                self._stamps = seen.stamps
                return True
        return False

    async def _pass(self, client: httpx.AsyncClient, seen: _Seen) -> None:
        store = await store_named(client, self._name)
        versions = dict(await members(client, store))
        before = self._stamps or {}
        fresh = [path for path, stamp in seen.stamps.items() if before.get(path) != stamp]
        gone = {path: known for path, known in versions.items() if self._is_gone(path)}
        if not self._is_there():
            return  # that is why they are gone
        if gone and not seen.stamps and self._stamps is None:
            said = f"{self._folder} holds nothing to read. {len(gone)} documents that were there stay in the store"
            print(f"cogcore: {said}, for a disk that is not mounted looks like this.", file=sys.stderr, flush=True)
            gone = {}
        for path in fresh:
            old = None if str(path) in versions else await _moved(client, store, path, gone)
            if old is not None:
                versions[str(path)] = gone.pop(old)
                print(f"moved {old} -> {path}", flush=True)
        for deleted, known in gone.items():
            for one in known:
                await call(client, "DELETE", f"/v1/files/{one['id']}")
            reason = seen.summary.skipped.get(deleted)
            print(f"deleted {deleted}{f': {reason}' if reason else ''}", flush=True)
        await bring(client, store, fresh, versions, seen.summary)
        if self._stamps is None:
            print(seen.summary.text(), flush=True)
        else:
            _tell(seen.summary)

    def _is_there(self) -> bool:
        """Whether it is the folder that watching began with. Where a disk was unmounted, another one stands."""
        return _identity(self._folder) == self._began is not None

    def _is_gone(self, path: str) -> bool:
        file = Path(path)
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return file.is_relative_to(self._folder)
        except OSError:  # what cannot be looked at may be there
            return False
        return file.is_relative_to(self._folder) and not (S_ISREG(found.st_mode) and found.st_size)


def _identity(folder: Path) -> tuple[int, int] | None:
    """By which a folder is known to be the same; None when there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if S_ISDIR(found.st_mode) else None


def _look(folder: Path) -> _Seen:
    summary = Summary()
    stamps: Stamps = {}
    for path in readable([folder], summary):
        found = path.stat()
        stamps[path] = (found.st_mtime_ns, found.st_size)
    return _Seen(stamps, summary)


async def _moved(client: httpx.AsyncClient, store: str, path: Path, gone: dict[str, list[Wire]]) -> str | None:
    """Where a document of the same bytes was that is there no more; it now knows its new path."""
    if not gone:
        return None
    try:
        sha256 = hashlib.sha256(await asyncio.to_thread(path.read_bytes)).hexdigest()
        for old, known in gone.items():
            newest = known[-1]
            same_kind = Path(old).suffix.lower() == path.suffix.lower()
            if newest["status"] == "completed" and newest["attributes"].get("sha256") == sha256 and same_kind:
                attributes = {**newest["attributes"], "path": str(path)}
                newest |= await call(
                    client, "POST", f"/v1/vector_stores/{store}/files/{newest['id']}", json={"attributes": attributes}
                )
                return old
    except (OSError, UnicodeEncodeError, ServerError):
        pass  # it is new, then, and whoever sends it tells why it cannot be
    return None


def _tell(summary: Summary) -> None:
    for path in summary.done:
        print(f"done {path}", flush=True)
    for what, reasons in (("failed", summary.failed), ("left out of", summary.left_out)):
        for path, reason in reasons.items():
            print(f"{what} {path}: {reason}", flush=True)
