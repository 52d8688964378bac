"""A server that is killed in the middle of everything, again and again, and what it then still knows.

    cogcore bench crashes [--times 200] [--moment 3]

Clients upload, attach, attach in batches, delete, move and roll back an alias, export a store and import what was
exported, all at once, until the process is killed (SIGKILL) at a moment that is drawn. It is started again on the same
folder, and asked: what it had acknowledged must be there, whole and searchable; what it had deleted must not; what it
had not acknowledged is there as a whole or not at all, which goes for imports too; an upload that was cut off and is
sent again with its key is there once; the alias points to where it was last moved, or was being moved; and no file
lies around that nothing names. Anything else is a breach: exit status 1.
"""

import argparse
import asyncio
import hashlib
import io
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from app.bench.child import SERVE, NoServer, started
from app.bench.visits import Busy, Fault, Wire, check, client, listed, settled, told
from index.bundle import Bundle
from index.errors import BundleRefused

MAIN, ALIAS, TARGETS = "main", "live", ("left", "right")
STORES, ALIASES, BUNDLES = "/v1/vector_stores", "/v1/cogcore/aliases", "/v1/cogcore/stores"
FEW, MANY = 30, 60  # documents that deletions leave, and from which there are some
BATCH = 3
WITHIN = 180.0  # seconds, until all documents are searchable
LOOKED = 6  # documents searched for after a start, of those that came and of those that went
SHOWN = 10


@dataclass(slots=True)
class Books:
    """What the server has said, and what it was asked when it was killed. Files go by id."""

    files: dict[str, bytes] = field(default_factory=dict)
    attached: set[str] = field(default_factory=set)
    gone: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, set[str]] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)  # where the alias may point
    imports: dict[str, frozenset[str]] = field(default_factory=dict)  # hashes of the originals, by the stores' names
    sending: dict[str, bytes] = field(default_factory=dict)  # by the names of files
    deleting: set[str] = field(default_factory=set)
    importing: dict[str, frozenset[str]] = field(default_factory=dict)
    bundle: bytes = b""
    count: int = 0
    dead: bool = False
    done: Counter[str] = field(default_factory=Counter)
    breaches: list[str] = field(default_factory=list)

    def next(self) -> int:
        self.count += 1
        return self.count

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.breaches.append(what)


def word(data: bytes) -> str:
    """The word that no other document has."""
    return data.split()[2].decode()


def document(number: int) -> tuple[str, bytes]:
    letters = "".join(chr(ord("a") + int(digit)) for digit in str(number))
    return f"{number}.md", f"The keyword zq{letters}zq opens hall {number} of the house.".encode()


def originals(bundle: bytes) -> frozenset[str]:
    return frozenset(Bundle(io.BytesIO(bundle)).originals())


# What goes on until the server is killed


async def upload(server: httpx.AsyncClient, books: Books) -> str:
    name, data = document(books.next())
    books.sending[name] = data
    file = await send(server, name, data)
    books.files[file] = books.sending.pop(name)
    books.done["uploads"] += 1
    return file


async def send(server: httpx.AsyncClient, name: str, data: bytes) -> str:
    sent = {"files": {"file": (name, data)}, "data": {"purpose": "assistants"}, "headers": {"Idempotency-Key": name}}
    file: str = (await told(server, "POST", "/v1/files", **sent))["id"]
    return file


async def attach(server: httpx.AsyncClient, books: Books) -> None:
    file = await upload(server, books)
    await told(server, "POST", f"{STORES}/{MAIN}/files", json={"file_id": file})
    books.attached.add(file)
    if len(books.attached) > FEW:
        await delete(server, books)


async def batch(server: httpx.AsyncClient, books: Books) -> None:
    files = [await upload(server, books) for _ in range(BATCH)]
    made = await told(server, "POST", f"{STORES}/{MAIN}/file_batches", json={"file_ids": files})
    books.batches[made["id"]] = set(files)
    books.attached.update(files)
    books.done["batches"] += 1


async def delete(server: httpx.AsyncClient, books: Books) -> None:
    file = random.choice(sorted(books.attached - books.deleting))
    books.deleting.add(file)
    await told(server, "DELETE", f"/v1/files/{file}")
    _gone(books, file)
    books.done["deletions"] += 1


def _gone(books: Books, file: str) -> None:
    books.deleting.discard(file)
    books.attached.discard(file)
    books.gone[file] = books.files.pop(file)


async def swap(server: httpx.AsyncClient, books: Books) -> None:
    alias = await told(server, "GET", f"{ALIASES}/{ALIAS}")
    if alias["before"] and random.random() < 0.3:
        books.targets.add(alias["before"][0])
        moved = await told(server, "POST", f"{ALIASES}/{ALIAS}/rollback")
    else:
        wanted = (await told(server, "GET", f"{STORES}/{random.choice(TARGETS)}"))["id"]
        books.targets.add(wanted)
        moved = await told(server, "POST", f"{ALIASES}/{ALIAS}", json={"vector_store_id": wanted})
    books.targets = {moved["vector_store_id"]}
    books.done["moves"] += 1


async def export(server: httpx.AsyncClient, books: Books) -> None:
    response = await server.get(f"{BUNDLES}/{MAIN}/export")
    check(response)
    originals(response.content)
    books.bundle = response.content
    books.done["exports"] += 1


async def bring(server: httpx.AsyncClient, books: Books) -> None:
    if not books.bundle:
        await asyncio.sleep(0.05)
        return
    name, sent = f"import-{books.next()}", books.bundle
    books.importing[name] = originals(sent)
    await told(server, "POST", f"{BUNDLES}/import", params={"name": name}, content=sent)
    books.imports[name] = books.importing.pop(name)
    books.done["imports"] += 1


WORK: Sequence[Callable[[httpx.AsyncClient, Books], Awaitable[None]]] = (attach, attach, batch, swap, export, bring)


async def work(
    server: httpx.AsyncClient, books: Books, one: Callable[[httpx.AsyncClient, Books], Awaitable[None]]
) -> None:
    """The same thing over and over, until nobody answers."""
    while not books.dead:
        try:
            await one(server, books)
        except httpx.HTTPError as error:
            if not books.dead:
                books.breaches.append(f"{one.__name__}, with the server alive: {type(error).__name__}: {error}")
            return
        except (Busy, Fault, BundleRefused) as error:
            books.breaches.append(f"{one.__name__} was refused: {error}")
            return


async def life(base: str, process: "subprocess.Popen[bytes]", books: Books, seconds: float) -> None:
    """Work, and the end of it."""
    books.dead = False
    async with client(base) as server:
        tasks = [asyncio.create_task(work(server, books, one)) for one in WORK]
        await asyncio.sleep(seconds)
        books.dead = True
        process.kill()
        await asyncio.wait(tasks)


# What it knows afterwards


async def verify(base: str, folder: Path, books: Books) -> None:
    async with client(base) as server:
        await _check_counts(server, books)
        stores = {one["name"]: one for one in await listed(server, STORES)}
        brought = await _check_imports(server, stores, books)
        await _check_files(server, brought, books)
        await _check_documents(server, books)
        for batch_id, files in books.batches.items():
            total = (await told(server, "GET", f"{STORES}/{MAIN}/file_batches/{batch_id}"))["file_counts"]["total"]
            here = len(files & books.attached)
            books.expect(total == here, f"the batch {batch_id} has {total} files instead of {here}")
        books.batches.clear()
        points = (await told(server, "GET", f"{ALIASES}/{ALIAS}"))["vector_store_id"]
        books.expect(points in books.targets, f"the alias points to {points}, not to one of {books.targets}")
        books.targets = {points}
        named = {hashlib.sha256(data).hexdigest() for data in books.files.values()}.union(*books.imports.values())
        kept = {path.name for path in (folder / "data" / "originals").rglob("*") if path.is_file()}
        books.expect(kept == named, f"{len(kept - named)} originals lie around, {len(named - kept)} are missing")
        await _tidy(server, books)


async def _check_counts(server: httpx.AsyncClient, books: Books) -> None:
    counts = (await settled(server, MAIN, WITHIN))["file_counts"]
    books.expect(counts["completed"] == counts["total"], f"documents have failed: {counts}")


async def _check_imports(server: httpx.AsyncClient, stores: dict[str, Wire], books: Books) -> set[str]:
    """The ids of the files of imported stores."""
    found = {name for name in stores if name.startswith("import-")}
    books.expect(books.imports.keys() <= found, f"imports are lost: {books.imports.keys() - found}")
    strange = found - books.imports.keys() - books.importing.keys()
    books.expect(not strange, f"there are stores that nobody made: {strange}")
    books.imports |= {name: held for name, held in books.importing.items() if name in found}
    books.importing.clear()
    files = set[str]()
    for name in found & books.imports.keys():
        counts, wanted = stores[name]["file_counts"], len(books.imports[name])
        whole = counts["completed"] == counts["total"] == wanted
        books.expect(whole, f"the store {name} has {counts}, and its bundle {wanted} documents")
        members = await listed(server, f"{STORES}/{stores[name]['id']}/files")
        files.update(one["id"] for one in members)
        if members:
            text = (await server.get(f"/v1/files/{members[0]['id']}/content")).content
            await _expect_found(server, name, word(text), members[0]["id"], books)
    return files


async def _check_files(server: httpx.AsyncClient, brought: set[str], books: Books) -> None:
    for name, data in books.sending.items():  # as clients do that heard nothing
        await send(server, name, data)
    books.done["uploads sent again"] += len(books.sending)
    found = {one["id"]: one for one in await listed(server, "/v1/files")}
    names = Counter(one["filename"] for one in found.values())
    doubled = [name for name in books.sending if names[name] != 1]
    books.expect(not doubled, f"uploads that were sent again with their key are not there once: {doubled}")
    for file in sorted(books.deleting - found.keys()):
        _gone(books, file)
    books.deleting.clear()
    books.expect(books.files.keys() <= found.keys(), f"files are lost: {books.files.keys() - found.keys()}")
    back = books.gone.keys() & found.keys()
    books.expect(not back, f"deleted files are back: {back}")
    for file in found.keys() - books.files.keys() - brought:
        name = found[file]["filename"]
        data = (await server.get(f"/v1/files/{file}/content")).content
        books.expect(books.sending.get(name) == data, f"the file {name} is not what was sent, or was never sent")
        books.files[file] = data
    books.sending.clear()
    for file in random.sample(sorted(books.files), min(LOOKED, len(books.files))):
        data = (await server.get(f"/v1/files/{file}/content")).content
        books.expect(data == books.files[file], f"the file {file} has other bytes")


async def _check_documents(server: httpx.AsyncClient, books: Books) -> None:
    members = {one["id"] for one in await listed(server, f"{STORES}/{MAIN}/files")}
    books.expect(books.attached <= members, f"documents are lost: {books.attached - members}")
    books.expect(members <= books.files.keys(), f"documents without a file: {members - books.files.keys()}")
    books.attached = members & books.files.keys()
    for file in list(books.files)[-LOOKED:]:
        if file in books.attached:
            await _expect_found(server, MAIN, word(books.files[file]), file, books)
    for data in list(books.gone.values())[-LOOKED:]:
        hits = (await told(server, "POST", f"{STORES}/{MAIN}/search", json={"query": word(data)}))["data"]
        lost = [hit for hit in hits if word(data) in hit["content"][0]["text"]]
        books.expect(not lost, f"a deleted document is found by {word(data)}")


async def _expect_found(server: httpx.AsyncClient, store: str, wanted: str, file: str, books: Books) -> None:
    hits = (await told(server, "POST", f"{STORES}/{store}/search", json={"query": f"keyword {wanted}"}))["data"]
    found = {hit["file_id"] for hit in hits if wanted in hit["content"][0]["text"]}
    books.expect(found == {file}, f"{wanted} is found in {found or 'nothing'} of {store}, not in {file}")


async def _tidy(server: httpx.AsyncClient, books: Books) -> None:
    """So that a long campaign checks no more than a short one: imports go, with their files, and most documents."""
    for name in list(books.imports):
        for one in await listed(server, f"{STORES}/{name}/files"):
            await told(server, "DELETE", f"/v1/files/{one['id']}")
        await told(server, "DELETE", f"{STORES}/{name}")
        del books.imports[name]
    for file in set(books.files) - books.attached:
        await told(server, "DELETE", f"/v1/files/{file}")
        _gone(books, file)
    while len(books.attached) > MANY:
        await delete(server, books)


async def prepare(base: str, books: Books) -> None:
    async with client(base) as server:
        for name in (MAIN, *TARGETS):
            await told(server, "POST", STORES, json={"name": name})
        moved = await told(server, "POST", f"{ALIASES}/{ALIAS}", json={"vector_store_id": TARGETS[0]})
        books.targets = {moved["vector_store_id"]}


def crashes(times: int, moment: float, command: Sequence[str] = SERVE, show: bool = True) -> Books:
    """The books after so many kills, each at most `moment` seconds into the work."""
    books = Books()
    with TemporaryDirectory() as made:
        folder = Path(made)
        for n in range(times + 1):
            with started(folder, command, sample=False, threads=1, audit=False) as (base, process):
                asyncio.run(prepare(base, books) if n == 0 else verify(base, folder, books))
                if n < times:
                    asyncio.run(life(base, process, books, random.uniform(0.05, moment)))
            if show:
                print(f"{n} kills, {len(books.breaches)} breaches", file=sys.stderr, flush=True)
            if books.breaches:
                break
        books.done["kills"] = n
    return books


def report(books: Books) -> Iterator[str]:
    kills = books.done.pop("kills")
    yield f"{kills} kills, between " + ", ".join(f"{count} {what}" for what, count in sorted(books.done.items()))
    for breach in books.breaches[:SHOWN]:
        yield f"BREACH: {breach}"
    if not books.breaches:
        yield "no breach"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "cogcore bench crashes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--moment", type=float, default=3.0, help="the latest that a kill comes, in seconds (3)")
    given = parser.parse_args(arguments)
    try:
        books = crashes(given.times, given.moment)
    except (NoServer, Busy, Fault, httpx.HTTPError) as error:
        sys.exit(f"cogcore bench crashes: {error}")
    for line in report(books):
        print(line)
    if books.breaches:
        sys.exit(1)
