"""Asks a server over HTTP and keeps what it said, with the passages that it found."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import quote

import httpx

from app.eval.questions import EvalError, Question
from index.filters import FILENAME

TOP = 5
TIMEOUT = httpx.Timeout(600, connect=10)


@dataclass(frozen=True, slots=True)
class Found:
    """One of the first hits of the turn's first search; `text` is the whole passage."""

    filename: str
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A passage that the reply cites, whole."""

    filename: str
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server made of one question. `prefilled` holds the new prompt tokens of each round.

    `calls_failed` counts calculations that could not be read or have no result. `error` is set when there was no
    reply; then everything else is empty.
    """

    text: str = ""
    answer: str | None = None
    need: float | None = None
    confidence: float = 0.0
    abstained: bool = False
    searches: int = 0
    found: tuple[Found, ...] = ()
    quotes: tuple[str, ...] = ()
    prefilled: tuple[int, ...] = ()
    generated: int = 0
    seconds: float = 0.0
    error: str | None = None
    finish_reason: str | None = None
    calls_failed: int = 0
    cited: tuple[Cited, ...] = ()


class Asker:
    """A client of one server; it asks `store` whatever names no other."""

    def __init__(self, base_url: str, api_key: str | None, store: str | None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.client = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=TIMEOUT)
        self.store = store
        self.passages: dict[str, str] = {}

    async def ask_all(self, asked: Sequence[Question], concurrency: int) -> list[Reply]:
        """The replies in the order of the questions, at most `concurrency` of them in flight."""
        room = asyncio.Semaphore(concurrency)

        async def one(question: Question) -> Reply:
            async with room:
                return await self.ask(question)

        return await asyncio.gather(*map(one, asked))

    async def ask(self, question: Question) -> Reply:
        store = question.store or self.store
        body: dict[str, Any] = {
            "model": f"cogcore/{store}" if store else "cogcore",
            "messages": question.messages,
        }
        if question.tool_choice:
            body["tool_choice"] = question.tool_choice
        if question.given:
            body["cogcore"] = {"filters": {"type": "eq", "key": FILENAME, "value": question.file}}
        began = time.perf_counter()
        try:
            response = await self.client.post("/v1/chat/completions", json=body)
        except httpx.ConnectError as error:
            raise EvalError(f"--base-url: no server answers at {self.client.base_url}. Start one: {error}") from error
        except httpx.HTTPError as error:
            return Reply(error=f"{type(error).__name__}: {error}")
        seconds = time.perf_counter() - began
        if response.status_code in (401, 404):
            # Wrong for every question, so that there is no sense in going on.
            raise EvalError(refusal(response))
        if not response.is_success:
            return Reply(error=refusal(response), seconds=seconds)
        return await self._reply(response.json(), seconds)

    async def _reply(self, wire: dict[str, Any], seconds: float) -> Reply:
        told = wire.get("cogcore")
        if not isinstance(told, dict):
            raise EvalError("--base-url: the server's replies have no 'cogcore' part, so it is not a Cogcore server.")
        choice = wire["choices"][0]
        hits = told["searches"][0]["hits"][:TOP] if told["searches"] else []
        return Reply(
            text=choice["message"]["content"] or "",
            answer=told["answer"],
            need=told["need"],
            confidence=told["confidence"],
            abstained=told["abstained"],
            searches=len(told["searches"]),
            found=tuple([Found(h["filename"], h["score"], await self.passage(h["chunk_id"])) for h in hits]),
            quotes=tuple(cited["quote"] for cited in told["citations"]),
            prefilled=tuple(r["prompt"] - r["cached"] for r in told["rounds"]),
            generated=sum(r["generated"] for r in told["rounds"]),
            seconds=seconds,
            finish_reason=choice["finish_reason"],
            calls_failed=sum(not calculation["ok"] for calculation in told["calculations"]),
            cited=tuple([Cited(c["filename"], await self.passage(c["chunk_id"])) for c in told["citations"]]),
        )

    async def passage(self, chunk_id: str) -> str:
        """The text of a passage, from the page that citations link to."""
        if chunk_id not in self.passages:
            response = await self.client.get(f"/v1/passages/{quote(chunk_id, safe='')}")
            if not response.is_success:
                raise EvalError(refusal(response))
            inside = response.text.partition("<blockquote>")[2].partition("</blockquote>")[0]
            self.passages[chunk_id] = unescape(inside)
        return self.passages[chunk_id]

    async def close(self) -> None:
        await self.client.aclose()


def refusal(response: httpx.Response) -> str:
    """The server's own words for why it refused."""
    try:
        said = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = response.text[:200]
    return f"{response.request.url.path} answered {response.status_code}: {said}"
