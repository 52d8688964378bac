"""Many clients for a long time, some of whom leave and some of whom mean harm; then whether the server is as it was.

    cogcore bench soak [--minutes 30] [--clients 32] [--url URL]

Of what clients do, 70 % is a question, half of them streamed, answered or refused for want of room; 15 % is to leave
before the end; 15 % is hostile and must be refused. Watched through GET /metrics: memory, requests, slots. A breach is
an answer without an end or an unexpected status, a request that is not over in time, memory that has grown, and, once
everybody has left, a request that still runs or a slot that is not free. The exit status is then 1.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median

import httpx
from prometheus_client.parser import text_string_to_metric_families

from app.bench.child import NoServer, serving
from app.bench.visits import Busy, Fault, ask, client, hang_up, misbehave, questions

LEAVE, HOSTILE = 0.15, 0.15
SAMPLES = 120  # in the whole time
MIB = 2**20
GROWTH, SLACK = 1.05, 32 * MIB  # what memory may grow by: a share and, beside it, bytes
SHOWN = 5
BACK_OFF = 0.5  # seconds after a refusal for want of room

GAUGES = {
    "memory": "process_resident_memory_bytes",
    "running": "cogcore_num_requests_running",
    "waiting": "cogcore_num_requests_waiting",
    "slots": "cogcore_kv_cache_slots",
    "free": "cogcore_kv_cache_slots_free",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """What /metrics says at one moment; memory in bytes."""

    memory: float
    running: float
    waiting: float
    slots: float
    free: float

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting and self.free == self.slots


@dataclass(slots=True)
class Seen:
    """What became of the visits, and the samples."""

    ended: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stuck: int = 0
    samples: list[Sample] = field(default_factory=list)
    last: Sample | None = None


def breaches(seen: Seen) -> Iterator[str]:
    """What should not be, in words."""
    if not seen.ended["answered"]:
        yield "not one question was answered"
    if seen.faults:
        yield f"{len(seen.faults)} visits ended as they must not: " + "; ".join(seen.faults[:SHOWN])
    if seen.stuck:
        yield f"{seen.stuck} requests were not over in time"
    if seen.last and not seen.last.idle:
        last = seen.last
        yield (
            f"with everybody gone {last.running:.0f} requests run, {last.waiting:.0f} wait, "
            f"and {last.free:.0f} of {last.slots:.0f} slots are free"
        )
    before, after = memory(seen.samples)
    if after > max(before * GROWTH, before + SLACK):
        yield f"memory has grown from {_mib(before)} to {_mib(after)}"


def memory(samples: Sequence[Sample]) -> tuple[float, float]:
    """Medians of the second fifth, when everything has been touched once, and of the last."""
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]
    return median(one.memory for one in early), median(one.memory for one in late)


async def soak(url: str, clients: int, seconds: float, patience: float) -> Seen:
    seen = Seen()
    async with client(url) as server:
        seen.samples.append(await _sample(server))
        ends = time.monotonic() + seconds
        watching = asyncio.create_task(_watch(server, seen, seconds / SAMPLES))
        await asyncio.gather(*(_visit(server, seen, ends, patience, random.Random(n)) for n in range(clients)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        try:
            seen.last = await _drained(server, patience)
        except httpx.HTTPError as error:
            seen.faults.append(f"the server's state at the end: {type(error).__name__}: {error}")
    return seen


async def _visit(server: httpx.AsyncClient, seen: Seen, ends: float, patience: float, chance: random.Random) -> None:
    """One client: a visit after the other until the time is over."""
    asked = questions()
    while time.monotonic() < ends:
        question, kind = chance.choice(asked), chance.random()
        try:
            async with asyncio.timeout(patience) as limit:
                if kind < LEAVE:
                    await hang_up(server, question, chance)
                    seen.ended["left"] += 1
                elif kind < LEAVE + HOSTILE:
                    await misbehave(server, question, chance)
                    seen.ended["hostile"] += 1
                else:
                    await ask(server, question, stream=chance.random() < 0.5)
                    seen.ended["answered"] += 1
        except Busy:
            seen.ended["refused: no room"] += 1
            await asyncio.sleep(chance.uniform(0, 2 * BACK_OFF))
        except TimeoutError:
            seen.stuck += limit.expired()
        except (Fault, httpx.HTTPError, ValueError, LookupError) as error:  # the last two: no answer as it should be
            seen.faults.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(BACK_OFF)  # a server that is gone would be asked without end


async def _watch(server: httpx.AsyncClient, seen: Seen, every: float) -> None:
    while True:
        await asyncio.sleep(every)
        with suppress(httpx.HTTPError):  # the visits say it
            seen.samples.append(await _sample(server))


async def _drained(server: httpx.AsyncClient, patience: float) -> Sample:
    """The state once nothing runs, or when waiting has become too long."""
    ends = time.monotonic() + patience
    while True:
        last = await _sample(server)
        if last.idle or time.monotonic() > ends:
            return last
        await asyncio.sleep(0.1)


async def _sample(server: httpx.AsyncClient) -> Sample:
    text = (await server.get("/metrics")).raise_for_status().text
    told = {one.name: one.value for family in text_string_to_metric_families(text) for one in family.samples}
    return Sample(**{field: told[name] for field, name in GAUGES.items()})


def report(seen: Seen) -> str:
    before, after = memory(seen.samples)
    lines = [f"{count:>8} {what}" for what, count in sorted(seen.ended.items())]
    busiest = max(one.running + one.waiting for one in seen.samples)
    lines.append(f"{len(seen.samples)} samples: memory {_mib(before)} early, {_mib(after)} at the end")
    lines.append(f"at most {busiest:.0f} requests in the engine, at least {min(one.free for one in seen.samples):.0f}")
    lines[-1] += f" of {seen.samples[0].slots:.0f} slots free"
    return "\n".join(lines)


def _mib(size: float) -> str:
    return f"{size / MIB:.0f} MiB"


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "cogcore bench soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=30)
    add("--clients", type=int, default=32)
    add(
        "--url", help="a Cogcore server over the sample that runs already, and answers nobody else; else one is started"
    )
    add("--device", default="auto", help="of the server that is started: auto, cpu or cuda")
    add("--threads", type=int, default=os.cpu_count(), help="of the server that is started")
    add("--patience", type=float, default=120, help="seconds after which a request is stuck (120)")
    given = parser.parse_args(arguments)
    try:
        with serving(given.url, device=given.device, threads=given.threads) as url:
            seen = asyncio.run(soak(url, given.clients, 60 * given.minutes, given.patience))
    except (NoServer, httpx.HTTPError) as error:
        sys.exit(f"cogcore bench soak: {error}")
    print(report(seen))
    found = list(breaches(seen))
    for breach in found:
        print(f"BREACH: {breach}")
    if found:
        sys.exit(1)
    print("no breach")
