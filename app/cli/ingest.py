"""`cogcore ingest`: files and folders into a store. Run again, it adds what is new and replaces what has changed.

A document keeps its path and its bytes' SHA-256 as attributes: by these a later run knows it again, named alone or by
its folder. What has disappeared from a folder stays in the store. Of a folder, what is hidden is left out and what no
parser reads is skipped, and the summary says so; a file that was named and is not read has failed.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from app.cli.progress import Progress
from app.cli.server import ServerError, Wire, call, connected, everything
from app.settings import Settings
from index.folder import find_files, left_out
from index.garbage import told
from index.parse import FORMATS, READABLE, suffix_of

POLL = 0.3
Versions = Mapping[str, list[Wire]]  # of a store's documents, by their paths, the newest last


@dataclass(slots=True)
class Summary:
    """What became of each file, by its path."""

    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    hidden: list[Path] = field(default_factory=list)

    def text(self) -> str:
        numbers = f"{len(self.done)} done, {len(self.unchanged)} unchanged"
        lines = [f"{numbers}, {len(self.skipped)} skipped, {len(self.failed)} failed{left_out(self.hidden)}"]
        for what, reasons in (("skipped", self.skipped), ("failed", self.failed)):
            lines += [f"  {what} {path}: {reason}" for path, reason in reasons.items()]
        lines += [f"  left out of {path}: {what}" for path, what in self.left_out.items()]
        lines += [f"  hidden {path}: its name begins with a dot" for path in self.hidden]
        return "\n".join(lines)


def ingest(settings: Settings, paths: Sequence[Path], store: str) -> int:
    """Print progress and a summary; the exit status is 1 when a document failed, 2 when nothing was begun."""
    if wrong := [said for path in paths if (said := _unread(path))]:
        print("\n".join(f"cogcore: {said}" for said in wrong), file=sys.stderr)
        return 2
    try:
        summary = asyncio.run(_ingest(settings, [_one_name(path) for path in paths], store))
    except ServerError as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    print(summary.text())
    return 1 if summary.failed else 0


def _unread(path: Path) -> str:
    """Why what was named cannot be read; empty when it can."""
    if not path.exists():
        return f"{path} does not exist. Name files, or folders that hold the documents."
    if not (path.is_dir() or path.is_file()):
        return f"{path} is neither a file nor a folder. Name files, or folders that hold the documents."
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        return f"{path} cannot be read by this user. Change its permissions, or leave it out."
    return ""


def _one_name(path: Path) -> Path:
    """However it was spelled. A file that is a link keeps its own name, as it does below a folder."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


async def _ingest(settings: Settings, named: Sequence[Path], name: str) -> Summary:
    summary = Summary()
    paths = readable(named, summary)
    async with connected(settings) as (client, _):
        store = await store_named(client, name)
        await bring(client, store, paths, await members(client, store), summary)
    return summary


async def members(client: httpx.AsyncClient, store: str) -> Versions:
    """The store's documents."""
    found: dict[str, list[Wire]] = {}
    for member in await everything(client, f"/v1/vector_stores/{store}/files"):
        found.setdefault(member["attributes"].get("path", ""), []).append(member)
    return found


async def bring(
    client: httpx.AsyncClient, store: str, paths: Sequence[Path], versions: Versions, summary: Summary
) -> None:
    """Send the files that the store does not have as they are, and wait until they are searchable or have failed."""
    waiting: dict[str, str] = {}
    progress = Progress("Sending documents")
    for n, path in enumerate(paths, 1):
        try:
            file_id, new = await _send(client, store, path, versions.get(str(path), []))
        except UnicodeEncodeError:
            summary.failed[str(path)] = "its name, or that of a folder above it, is not UTF-8: rename it"
        except ServerError as error:
            summary.failed[str(path)] = str(error)
        except OSError as error:
            summary.failed[str(path)] = f"cannot be read: {error.strerror}"
        else:
            if new:
                waiting[file_id] = str(path)
            else:
                summary.unchanged.append(str(path))
                await _forget(client, versions[str(path)], file_id)
        progress.show(n, len(paths))
    await _finish(client, store, waiting, versions, summary)


def readable(named: Sequence[Path], summary: Summary) -> list[Path]:
    """The files to send."""
    kept: list[Path] = []
    found = find_files(named)
    summary.hidden = found.hidden
    summary.failed |= {str(folder): reason for folder, reason in found.closed.items()}
    for file in found.files:
        reasons = summary.failed if file in named else summary.skipped
        if suffix_of(file.name) not in FORMATS:
            reasons[str(file)] = f"'{file.suffix or file.name}' is not read; readable are {READABLE}"
        elif not file.stat().st_size:
            reasons[str(file)] = "the file is empty"
        else:
            kept.append(file)
    return kept


async def store_named(client: httpx.AsyncClient, name: str) -> str:
    """The id of the store of this name, alias or id; a new store when there is none."""
    # Looked for in the list: a name may hold what a path cannot.
    stores = await everything(client, "/v1/vector_stores")
    found = [s["id"] for s in stores if name in (s["id"], s["name"], *s["aliases"])]
    if len(found) > 1:
        raise ServerError(f"{len(found)} stores are named '{name}': name one by its id, {' or '.join(found)}.")
    return str(found[0] if found else (await call(client, "POST", "/v1/vector_stores", json={"name": name}))["id"])


async def _send(client: httpx.AsyncClient, store: str, file: Path, versions: list[Wire]) -> tuple[str, bool]:
    """The id of the file's document, and whether it still has to become searchable, in the place of its versions."""
    known = versions[-1] if versions else None
    path = str(file)
    path.encode()  # before anything is sent: raises UnicodeEncodeError
    data = await asyncio.to_thread(file.read_bytes)
    attributes = {"path": path, "sha256": hashlib.sha256(data).hexdigest()}
    same = known is not None and known["attributes"].get("sha256") == attributes["sha256"]
    if known and same and known["status"] == "completed":
        return str(known["id"]), False
    if known and same:
        file_id = known["id"]
    else:
        form = {"purpose": "assistants"}
        file_id = (await call(client, "POST", "/v1/files", data=form, files={"file": (file.name, data)}))["id"]
    # Attaching what is attached asks again for what has failed.
    older = [old["id"] for old in versions if old["id"] != file_id]
    wanted = {"file_id": file_id, "attributes": attributes, **({"cogcore": {"replaces": older}} if older else {})}
    await call(client, "POST", f"/v1/vector_stores/{store}/files", json=wanted)
    return file_id, True


async def _forget(client: httpx.AsyncClient, versions: list[Wire], newest: str) -> None:
    """Delete a document's older versions; an ingest that was interrupted may have left several."""
    for old in versions:
        if old["id"] != newest:
            await call(client, "DELETE", f"/v1/files/{old['id']}")


async def _finish(
    client: httpx.AsyncClient, store: str, waiting: dict[str, str], versions: Versions, summary: Summary
) -> None:
    """Wait until all are searchable or have failed. An older version goes once the newer one is searchable."""
    progress, total = Progress("Reading documents"), len(waiting)
    while waiting:
        at = ""
        for file_id, path in list(waiting.items()):
            now = await call(client, "GET", f"/v1/vector_stores/{store}/files/{file_id}")
            if now["status"] == "in_progress":
                # They are read in the order they came, so the later ones need not be asked for.
                at = _told(path, now["cogcore"]["progress"])
                break
            del waiting[file_id]
            if now["status"] != "completed":
                summary.failed[path] = (now["last_error"] or {"message": now["status"]})["message"]
                continue
            summary.done.append(path)
            if garbage := now["cogcore"]["left_out"]:
                summary.left_out[path] = told(garbage)
            await _forget(client, versions.get(path, []), file_id)
        progress.show(total - len(waiting), total, at)
        if waiting:
            await asyncio.sleep(POLL)


def _told(path: str, far: Wire) -> str:
    """How far a document is: `handbook.pdf: embedding 64/512`."""
    embedded = f" {far['chunks_embedded']}/{far['chunks']}" if far["chunks"] else ""
    return f"{Path(path).name}: {far['stage']}{embedded}"
