"""Requests to several servers of one model: the least busy first, and none to one that is sick.

A server that cannot be reached, breaks off, is silent or fails (5xx) rests, longer each time, and must answer /health
before it is asked again; one that says 429 or 503 rests for as long as it says, a minute at most. Until the first
choice of a reply has come, a request goes on to the next server that does not rest, and waits PATIENCE seconds for one;
of servers that fail it meets two at most, for it may be what fails them. Afterwards nothing is asked twice, nor after a
silence: the work may still be done there. Closing the stream of choices closes the connection, which cancels.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx

from app.engine.types import EngineBusy, EngineClosed, EngineUnavailable, RequestFailed

Wire = dict[str, Any]
CONNECT = 5.0  # seconds for a connection, and for an answer of /health
PATIENCE = 10.0
FIRST_REST, LONGEST_REST = 0.5, 60.0
BUSY = (429, 503)
AWAY = (*BUSY, 502, 504)  # says nothing of the request


class _Busy(Exception):
    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class _Failed(Exception):
    """The message is the server's."""


@dataclass(eq=False, slots=True)
class Replica:
    """One server. `failures` counts those in a row."""

    url: str
    running: int = 0
    failures: int = 0
    awake: float = 0.0
    busy: bool = False
    why: str = ""

    def rest(self, why: str, *, busy: bool = False, seconds: float | None = None) -> None:
        """Requests that fail together are one failure."""
        now = time.monotonic()
        if self.awake > now:
            return
        wanted = FIRST_REST * 2.0 ** min(self.failures, 7) if seconds is None else max(seconds, FIRST_REST)
        self.failures += 1
        self.busy, self.why = busy, why
        self.awake = now + min(wanted, LONGEST_REST)


class Replicas:
    """`timeout` is the longest silence in seconds. Belongs to one event loop, as its connections do."""

    def __init__(self, urls: Sequence[str], key: str, timeout: float) -> None:
        self.all = [Replica(url) for url in urls]
        self._client = httpx.AsyncClient(**options(key, timeout), limits=httpx.Limits(max_connections=None))

    async def choices(self, body: Mapping[str, Any]) -> AsyncGenerator[Wire]:
        """What a completion's `choices[0]` is, whole, or piece by piece when the body asks for a stream.

        Raises EngineBusy, EngineUnavailable, EngineClosed, and RequestFailed for what another try would not mend.
        """
        deadline, failed = time.monotonic() + PATIENCE, False
        while True:
            replica, begun = await self._choose(deadline), False
            replica.running += 1
            try:
                async with aclosing(self._ask(replica.url, body)) as choices:
                    async for choice in choices:
                        begun, replica.failures = True, 0
                        yield choice
                return
            except _Busy as said:
                replica.rest(str(said), busy=True, seconds=said.seconds)
            except _Failed as said:
                replica.rest(str(said))
                if failed:
                    raise RequestFailed(str(said)) from said
                failed = True
            except httpx.TransportError as error:
                silent = isinstance(error, httpx.ReadTimeout)
                replica.rest(f"{replica.url} {f'was silent for {self._silence:g} s' if silent else words(error)}")
                if begun or silent:
                    raise EngineUnavailable(replica.why) from error
            finally:
                replica.running -= 1

    async def close(self) -> None:
        await self._client.aclose()

    @property
    def _silence(self) -> float:
        return self._client.timeout.read or 0.0

    async def _choose(self, deadline: float) -> Replica:
        """The server to ask: it may take until the deadline for one to be there."""
        while True:
            if self._client.is_closed:
                raise EngineClosed("the engine is shutting down")
            now = time.monotonic()
            awake = [replica for replica in self.all if replica.awake <= now]
            if awake:
                replica = min(awake, key=lambda one: one.running)
                if not replica.failures or replica.busy or await self._well(replica):
                    return replica
                continue
            first = min(self.all, key=lambda one: one.awake)
            if first.awake > deadline:
                raise EngineBusy(first.why, first.awake - now) if first.busy else EngineUnavailable(first.why)
            await asyncio.sleep(first.awake - now)

    async def _well(self, replica: Replica) -> bool:
        try:
            answer = await self._client.get(f"{replica.url}/health", timeout=CONNECT)
        except httpx.TransportError as error:
            replica.rest(f"{replica.url} {words(error)}")
            return False
        if answer.is_server_error:
            replica.rest(complaint(answer))
        return not answer.is_server_error

    async def _ask(self, url: str, body: Mapping[str, Any]) -> AsyncGenerator[Wire]:
        async with self._client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            if not answer.is_success or not body["stream"]:
                await answer.aread()
                if answer.status_code in BUSY:
                    raise _Busy(complaint(answer), _seconds(answer.headers.get("retry-after", "")))
                if answer.is_server_error:
                    raise _Failed(complaint(answer))
                yield choice_of(answer)
                return
            done = False
            # To the very end, though [DONE] comes before it: only then can the connection be used again.
            async for line in _lines(answer):
                if not line.startswith("data:"):
                    continue
                text = line.removeprefix("data:").strip()
                if text == "[DONE]":
                    done = True
                elif choices := _frame(url, text):
                    yield choices[0]
            if not done:
                raise httpx.RemoteProtocolError("ended in the middle")


def options(key: str, timeout: float) -> dict[str, Any]:
    """How an httpx client talks to these servers."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"headers": headers, "timeout": httpx.Timeout(timeout, connect=CONNECT, pool=None)}


def choice_of(answer: httpx.Response) -> Wire:
    """The one choice of a whole answer that has been read. Raises RequestFailed for what is none."""
    if not answer.is_success:
        raise RequestFailed(complaint(answer))
    try:
        choice: Wire = answer.json()["choices"][0]
    except (ValueError, LookupError, TypeError) as error:
        raise RequestFailed(f"{answer.url} answered what is no completion: {answer.text[:200]!r}") from error
    return choice


async def _lines(answer: httpx.Response) -> AsyncGenerator[str]:
    """As they come. httpx's own lines end at U+2028 and its like too, which JSON may hold."""
    rest = ""
    async for text in answer.aiter_text():
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line
    yield rest


def _frame(url: str, text: str) -> list[Wire]:
    """The choices of one event of a stream; none in one that tells usage."""
    try:
        frame = json.loads(text)
        choices: list[Wire] = frame.get("choices", [])
    except (ValueError, AttributeError) as error:
        raise RequestFailed(f"{url} sent what is no completion: {text[:200]!r}") from error
    if "error" in frame:
        raise RequestFailed(f"{url} failed: {_message(frame)}")
    return choices


def complaint(answer: httpx.Response) -> str:
    """What a refusal says, with the server's address and status."""
    try:
        said = _message(answer.json())
    except ValueError:
        said = answer.text[:200]
    return f"{answer.url} answered {answer.status_code}: {said or answer.reason_phrase}"


def words(error: httpx.TransportError) -> str:
    return f"cannot be reached or broke off: {str(error) or type(error).__name__}"


def _message(told: Any) -> str:
    error = told.get("error", told) if isinstance(told, dict) else told
    return str(error.get("message", error) if isinstance(error, dict) else error)


def _seconds(retry_after: str) -> float | None:
    return float(retry_after) if retry_after.replace(".", "", 1).isdecimal() else None
