"""An alias that is moved, and moved back, under clients who chat all the while.

    cogcore bench swaps [--swaps 1000] [--clients 16] [--url URL]

Several stores answer the same questions, each with numbers of its own. Clients ask through the alias, whole and
streamed, and search through it; every fifth move is a rollback. A breach is a request that fails, an answer whose
store, version, searches, hits, citations and numbers are not all of one store, and a move that does not lead where it
was to lead. The exit status is then 1. A move waits for an answer since the one before, so that each is seen.
"""

import argparse
import asyncio
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from app.bench.child import NoServer, serving
from app.bench.visits import Busy, Fault, Wire, client, settled, told, turn

ALIAS = "live"
RIVERS = ("Sorne", "Ebb", "Tavel", "Onk", "Merle", "Quist")
ROLLBACK, SEARCH = 5, 4  # every fifth move, every fourth request
WITHIN = 120.0  # seconds, for a document to become searchable, or a client to have an answer
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Known:
    """A store: what it answers, and from which files."""

    id: str
    version: int
    files: frozenset[str]
    numbers: frozenset[str]


@dataclass(slots=True)
class Seen:
    """What happened."""

    moves: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    by_store: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    over: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)


def number(store: int, river: int) -> int:
    """No other store and no other river has it."""
    return 100 + 100 * store + 7 * river


async def prepare(server: httpx.AsyncClient, count: int) -> list[Known]:
    """So many stores, whose documents are searchable."""
    made = []
    for n in range(count):
        store = (await told(server, "POST", "/v1/vector_stores", json={"name": f"rivers-{n}"}))["id"]
        files = set[str]()
        for at, river in enumerate(RIVERS):
            text = f"# {river}\n\nThe {river} is {number(n, at)} kilometres long and ends in Lake Arven."
            upload = {"files": {"file": (f"{river.lower()}.md", text.encode())}, "data": {"purpose": "assistants"}}
            files.add((await told(server, "POST", "/v1/files", **upload))["id"])
        await told(server, "POST", f"/v1/vector_stores/{store}/file_batches", json={"file_ids": sorted(files)})
        info = await settled(server, store, WITHIN)
        numbers = frozenset(str(number(n, at)) for at in range(len(RIVERS)))
        made.append(Known(store, info["version"], frozenset(files), numbers))
    await told(server, "POST", f"/v1/cogcore/aliases/{ALIAS}", json={"vector_store_id": made[0].id})
    return made


async def swap(server: httpx.AsyncClient, known: Sequence[Known], moves: int, seen: Seen) -> None:
    """Move the alias around, one move after an answer."""
    now, before = known[0].id, list[str]()
    for n in range(1, moves + 1):
        seen.answered.clear()
        async with asyncio.timeout(WITHIN):
            await seen.answered.wait()
        if n % ROLLBACK == 0 and before:
            wanted, moved = before.pop(), await told(server, "POST", f"/v1/cogcore/aliases/{ALIAS}/rollback")
        else:
            wanted = known[(n + n // ROLLBACK) % len(known)].id
            if wanted != now:
                before.append(now)
            body = {"vector_store_id": wanted}
            moved = await told(server, "POST", f"/v1/cogcore/aliases/{ALIAS}", json=body)
        if moved["vector_store_id"] != wanted:
            raise Fault(f"move {n} led to {moved['vector_store_id']}, not to {wanted}")
        now = wanted
        seen.moves += 1


async def chat(server: httpx.AsyncClient, known: Sequence[Known], one: int, seen: Seen) -> None:
    """One client: a request after the other until it is over."""
    stores = {store.id: store for store in known}
    asked = one
    while not seen.over:
        asked += 1
        river = RIVERS[asked % len(RIVERS)]
        try:
            if asked % SEARCH:
                body = {
                    "model": f"cogcore/{ALIAS}",
                    "messages": [{"role": "user", "content": f"How long is the {river}?"}],
                    "cogcore": {"need_threshold": 0, "abstain_below": 0},
                }
                store = stores[_agreed(*await turn(server, body, stream=bool(asked % 2)), stores)]
            else:
                path = f"/v1/vector_stores/{ALIAS}/search"
                store = stores[_found(await told(server, "POST", path, json={"query": river}), stores)]
        except Busy:
            seen.ended["refused: no room"] += 1
            await asyncio.sleep(0.2)
        except (Fault, httpx.HTTPError, ValueError, LookupError) as error:
            seen.faults.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.2)  # a server that is gone would be asked without end
        else:
            seen.ended["answers" if asked % SEARCH else "searches"] += 1
            seen.by_store[store.id] += 1
            seen.answered.set()


def _agreed(text: str, beside: Wire, stores: dict[str, Known]) -> str:
    """The store that all of an answer is from. Raises Fault where it is not of one."""
    named = [(one["id"], one["version"]) for one in beside["stores"]]
    if len(named) != 1:
        raise Fault(f"an answer names the stores {named}")
    store = stores[named[0][0]]
    searched = {(one["store"], one["version"]) for one in beside["searches"]}
    if named[0][1] != store.version or searched != {(store.id, store.version)}:
        raise Fault(f"an answer of {named[0]} searched {searched}; the store is at version {store.version}")
    _within(store, [hit for one in beside["searches"] for hit in one["hits"]] + beside["citations"])
    _numbers(store, f"{text} {beside['answer']}", stores)
    return store.id


def _found(page: Wire, stores: dict[str, Known]) -> str:
    """The same for a search."""
    store = stores[page["vector_store_id"]]
    if page["version"] != store.version:
        raise Fault(f"a search of {store.id} says version {page['version']}; it is at {store.version}")
    _within(store, page["data"])
    _numbers(store, " ".join(part["text"] for hit in page["data"] for part in hit["content"]), stores)
    return store.id


def _within(store: Known, named: Sequence[Wire]) -> None:
    strange = {one["file_id"] for one in named} - store.files
    if strange or not named:
        raise Fault(f"an answer of {store.id} names files of another store: {sorted(strange)}")


def _numbers(store: Known, text: str, stores: dict[str, Known]) -> None:
    others = {number for one in stores.values() for number in one.numbers} - store.numbers
    strange = others.intersection(re.findall(r"\d+", text))
    if strange:
        raise Fault(f"an answer of {store.id} has numbers of another store: {sorted(strange)}")


async def swaps(url: str, moves: int, clients: int, stores: int) -> Seen:
    seen = Seen()
    async with client(url) as server:
        known = await prepare(server, stores)
        chats = [asyncio.create_task(chat(server, known, n, seen)) for n in range(clients)]
        try:
            await swap(server, known, moves, seen)
        except (Fault, Busy, TimeoutError, httpx.HTTPError) as error:
            seen.faults.append(f"a move: {type(error).__name__}: {error}")
        seen.over = True
        _, late = await asyncio.wait(chats, timeout=WITHIN)
        for one in late:
            one.cancel()
            seen.faults.append(f"a request was not over after {WITHIN:.0f} s")
    return seen


def breaches(seen: Seen, moves: int) -> Iterator[str]:
    if seen.faults:
        yield f"{len(seen.faults)} requests: " + "; ".join(seen.faults[:SHOWN])
    if seen.moves < moves:
        yield f"{moves - seen.moves} moves were not made"
    if len(seen.by_store) < 2:
        yield "no two stores ever answered: nothing was swapped"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "cogcore bench swaps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--swaps", type=int, default=1000)
    add("--clients", type=int, default=16)
    add("--stores", type=int, default=3)
    add("--url", help="a Cogcore server that runs already, and may be given stores; else one is started")
    add("--threads", type=int, default=os.cpu_count(), help="of the server that is started")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        with serving(given.url, sample=False, threads=given.threads) as url:
            seen = asyncio.run(swaps(url, given.swaps, given.clients, given.stores))
    except (NoServer, httpx.HTTPError, Fault, Busy) as error:
        sys.exit(f"cogcore bench swaps: {error}")
    ended = ", ".join(f"{count} {what}" for what, count in sorted(seen.ended.items()))
    print(f"{seen.moves} moves among {given.stores} stores under {given.clients} clients: {ended}", end=" ")
    print(f"(by store: {sorted(seen.by_store.values())}) in {time.monotonic() - began:.0f} s")
    found = list(breaches(seen, given.swaps))
    for breach in found:
        print(f"BREACH: {breach}")
    if found:
        sys.exit(1)
    print("no breach")
