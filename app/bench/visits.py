"""What clients do to a server: ask and read to the end, ask and leave, and ask what cannot be answered.

A visit that does not end as it must raises Fault: a status that it should not have, or an answer without an end.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from app.eval.ask import refusal
from app.eval.questions import load

Wire = dict[str, Any]
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SAME_ID = {"X-Client-Request-Id": "one-and-the-same"}
BUSY = 429
LEAVES_WITHIN = 1.0  # seconds
TIMEOUT = httpx.Timeout(None, connect=10)  # who waits decides for how long


class Fault(Exception):
    """The server has done what it must not."""


class Busy(Exception):
    """The server has no room now, and has said so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn came to. `rounds` are its prompts' and texts' tokens, round by round."""

    text: str
    searched: int
    cited: int
    rounds: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Hostile:
    """A request that must be refused with this status. Bytes are sent as they are."""

    name: str
    status: int
    body: Wire | bytes
    path: str = CHAT


def asking(question: str, **more: Any) -> Wire:
    return {"model": "cogcore", "messages": [{"role": "user", "content": question}], **more}


TWICE = {"type": "function", "function": {"name": "same", "parameters": {"type": "object"}}}
HOSTILE = (
    Hostile("a message too long", 400, asking("tell me more " * 20_000)),
    Hostile("a prompt too long", 400, {"model": "cogcore", "prompt": [5] * 100_000}, COMPLETIONS),
    Hostile("ids that no token has", 400, {"model": "cogcore", "prompt": [5, 10**9]}, COMPLETIONS),
    Hostile("a bias for no token", 400, asking("Hi", logit_bias={"999999999": 5})),
    Hostile("temperature 9", 400, asking("Hi", temperature=9)),
    Hostile("a seed that is a word", 400, asking("Hi", seed="seven")),
    Hostile("a field of nobody", 400, asking("Hi", please=True)),
    Hostile("a hundred answers", 400, asking("Hi", n=100)),
    Hostile("two tools of one name", 400, asking("Hi", tools=[TWICE, TWICE])),
    Hostile("no messages", 400, {"model": "cogcore", "messages": []}),
    Hostile("half a body", 400, b'{"model": "cogcore", "messa'),
    Hostile("no such model", 404, {**asking("Hi"), "model": "cogcore/nowhere"}),
)


def questions() -> list[str]:
    """The sample's, as far as its documents answer them."""
    return [one.question for one in load("sample") if one.documented]


def client(base_url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=base_url, timeout=TIMEOUT, limits=limits, trust_env=False)


async def ask(server: httpx.AsyncClient, question: str, *, stream: bool = False) -> Answer:
    """The whole answer. Raises Busy and Fault."""
    return _answer(*await turn(server, asking(question), stream=stream))


async def turn(server: httpx.AsyncClient, body: Wire, *, stream: bool) -> tuple[str, Wire]:
    """The text of a turn's answer, and what `cogcore` tells beside it. Raises Busy and Fault."""
    if stream:
        return await _read(server, body)
    response = await server.post(CHAT, json=body)
    check(response)
    wire = response.json()
    choice = wire["choices"][0]
    if choice["finish_reason"] != "stop":
        raise Fault(f"an answer ended with {choice['finish_reason']!r}")
    return choice["message"]["content"] or "", wire["cogcore"]


async def _read(server: httpx.AsyncClient, body: Wire) -> tuple[str, Wire]:
    text, finish, beside, done = "", None, None, False
    async with aclosing(_events(server, body)) as events:
        async for data in events:
            if data == "[DONE]":
                done = True
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                raise Fault(f"a stream broke off: {chunk['error']['message']}")
            choice = chunk["choices"][0]
            text += choice["delta"].get("content") or ""
            finish, beside = choice["finish_reason"] or finish, chunk.get("cogcore") or beside
    if not done or finish != "stop" or beside is None:
        raise Fault(f"a stream ended with {finish!r}, {'with' if done else 'without'} its [DONE]")
    return text, beside


async def _events(server: httpx.AsyncClient, body: Wire) -> AsyncGenerator[str]:
    async with server.stream("POST", CHAT, json={**body, "stream": True}) as response:
        if not response.is_success:
            await response.aread()
        check(response)
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                yield line.removeprefix("data: ")


def check(response: httpx.Response) -> None:
    """Raises Busy and Fault where it is no success."""
    if response.status_code == BUSY:
        raise Busy(refusal(response))
    if not response.is_success:
        raise Fault(refusal(response))


def _answer(text: str, told: Wire) -> Answer:
    rounds = tuple((one["prompt"], one["generated"]) for one in told["rounds"])
    return Answer(text, len(told["searches"]), len(told["citations"]), rounds)


async def told(server: httpx.AsyncClient, method: str, path: str, **given: Any) -> Wire:
    """The JSON of a route. Raises Busy and Fault."""
    response = await server.request(method, path, **given)
    check(response)
    body: Wire = response.json()
    return body


async def listed(server: httpx.AsyncClient, path: str) -> list[Wire]:
    """All items of a listing, oldest first. Raises Busy and Fault."""
    found: list[Wire] = []
    while True:
        after = {"after": found[-1]["id"]} if found else {}
        page = await told(server, "GET", path, params={"limit": 100, "order": "asc", **after})
        found += page["data"]
        if not page["has_more"]:
            return found


async def settled(server: httpx.AsyncClient, store: str, patience: float) -> Wire:
    """A vector store none of whose documents waits any more. Raises Busy, and Fault after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        info = await told(server, "GET", f"/v1/vector_stores/{store}")
        if info["status"] != "in_progress":
            return info
        if time.monotonic() > end:
            raise Fault(f"after {patience:.0f} s the store {store} has {info['file_counts']}")
        await asyncio.sleep(0.1)


async def offend(server: httpx.AsyncClient, hostile: Hostile) -> None:
    """All of them under the same id. Raises Fault unless it is refused as it must be."""
    content = hostile.body if isinstance(hostile.body, bytes) else json.dumps(hostile.body).encode()
    headers = {"Content-Type": "application/json", **SAME_ID}
    response = await server.post(hostile.path, content=content, headers=headers)
    if response.status_code not in (hostile.status, BUSY):
        raise Fault(f"{hostile.name}: {response.status_code} instead of {hostile.status}: {response.text[:200]}")


async def hang_up(server: httpx.AsyncClient, question: str, chance: random.Random) -> None:
    """Ask, and leave before the end. Raises Busy and Fault."""
    if chance.random() < 0.5:
        try:
            async with asyncio.timeout(chance.uniform(0, LEAVES_WITHIN)):
                await ask(server, question)
        except TimeoutError:
            return
    else:
        left = chance.randint(1, 20)
        async with aclosing(_events(server, asking(question))) as events:
            async for _ in events:
                left -= 1
                if not left:
                    return


async def misbehave(server: httpx.AsyncClient, question: str, chance: random.Random) -> None:
    """One of all that is hostile; hang-ups as often as everything else. Raises Busy and Fault."""
    if chance.random() < 0.5:
        await hang_up(server, question, chance)
    else:
        await offend(server, chance.choice(HOSTILE))
