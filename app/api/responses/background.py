"""Responses that are kept; and those that go on when nobody listens: polled, streamed from any event, cancelled."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from app.api.ledger import Wire
from app.api.parts import Parts
from app.api.responses.encode import Reply
from app.api.responses.past import Past
from app.conversations import Conversations
from app.responses import Kept, Responses

ENDED_WELL = ("response.completed", "response.incomplete")
LAST = (*ENDED_WELL, "response.failed")
STOPPED = {"code": "server_error", "message": "The server was stopped before the response had ended."}
log = logging.getLogger("cogcore.http")


@dataclass
class Run:
    """A response under way, and the events of its stream so far. `files` are what earlier responses drew on."""

    owner: str
    reply: Reply
    input: Sequence[Wire]
    files: frozenset[str]
    events: list[Wire] = field(default_factory=list)
    body: Wire | None = None  # once it has ended
    task: asyncio.Task[None] | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, event: Wire) -> None:
        self.events.append(event)
        if event["type"] in LAST:
            self.body = event["response"]
        self.news.set()
        self.news = asyncio.Event()

    def now(self) -> Wire:
        """The response as it is."""
        return self.body or self.reply.response("in_progress" if self.events else "queued")

    def kept(self) -> Kept:
        return Kept(
            self.owner, self.now(), self.input, self.files | drawn_on(self.reply), self.events if self.body else None
        )

    async def follow(self, start: int, silence: float) -> AsyncGenerator[Wire | None]:
        """Its events from number `start` on, as they come; None after `silence` seconds of nothing."""
        at = start
        while True:
            while at < len(self.events):
                yield self.events[at]
                at += 1
            if self.body:
                return
            try:
                await asyncio.wait_for(self.news.wait(), silence)
            except TimeoutError:
                yield None


class Runs:
    """All responses of this server that are under way in the background. Lives on the event loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runs: dict[str, Run] = {}
        self._stopping = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """First those are marked failed that an earlier server left; at the end those that still run."""
        try:
            await asyncio.to_thread(self._end_left)
        except Exception:
            log.exception("responses that an earlier server left may seem to go on")
        try:
            yield
        finally:
            self._stopping = True
            for run in list(self._runs.values()):
                await _cancelled(run)

    def get(self, response_id: str, owner: str) -> Run | None:
        run = self._runs.get(response_id)
        return run if run and run.owner == owner else None

    async def start(self, run: Run, made: AsyncGenerator[Wire | None]) -> None:
        """Begin. On disk when this returns."""
        first = run.kept()
        await asyncio.to_thread(self._parts.responses.keep, first)
        self._runs[first.id] = run
        run.task = asyncio.create_task(self._go(first.id, run, made))
        await asyncio.sleep(0)  # a task that is cancelled before it began would never end its run

    async def cancel(self, response_id: str, owner: str) -> None:
        """End it, if it runs, and wait until it has ended."""
        if run := self.get(response_id, owner):
            await _cancelled(run)

    def _end_left(self) -> None:
        for left in self._parts.responses.unended():
            body = {**left.body, "status": "failed", "error": STOPPED}
            self._parts.responses.keep(Kept(left.owner, body, left.input))

    async def _go(self, response_id: str, run: Run, made: AsyncGenerator[Wire | None]) -> None:
        try:
            with self._parts.drain.busy():
                async with aclosing(made):
                    async for event in made:
                        if event:
                            run.tell(event)
        except asyncio.CancelledError:
            run.tell(run.reply.stopped("failed", STOPPED) if self._stopping else run.reply.stopped("cancelled"))
        try:
            await asyncio.to_thread(self._parts.responses.keep, run.kept())
        except Exception:
            log.exception("response %s could not be kept", response_id)
        del self._runs[response_id]


async def _cancelled(run: Run) -> None:
    if run.task:
        if not run.body:
            run.task.cancel()
        await asyncio.wait([run.task])


async def keeping(
    made: AsyncGenerator[Wire | None],
    reply: Reply,
    past: Past,
    given: Sequence[Wire],
    record: Responses,
    owner: str,
) -> AsyncGenerator[Wire | None]:
    """The events of a response in the foreground, which is kept before the last of them is told. It goes out even where
    that failed, and says so.
    """
    async with aclosing(made):
        async for event in made:
            if event and event["type"] in ENDED_WELL:
                try:
                    kept = Kept(owner, event["response"], given, past.files | drawn_on(reply))
                    await asyncio.to_thread(record.keep, kept)
                except Exception:
                    log.exception("response %s could not be kept", event["response"]["id"])
                    event["response"]["store"] = False
            yield event


async def appending(
    made: AsyncGenerator[Wire | None],
    reply: Reply,
    past: Past,
    given: Sequence[Wire],
    record: Conversations,
    owner: str,
) -> AsyncGenerator[Wire | None]:
    """The events of a response. If it is part of a conversation, its input and output stand at the end of that before
    its own end is told, which goes out even where the conversation is gone meanwhile, and names none then.
    """
    async with aclosing(made):
        async for event in made:
            if event and past.conversation is not None and event["type"] in ENDED_WELL:
                try:
                    told = [*given, *event["response"]["output"]]
                    files = past.files | drawn_on(reply)
                    await asyncio.to_thread(record.append, past.conversation, owner, told, files)
                except Exception:
                    log.exception("response %s is in no conversation", event["response"]["id"])
                    event["response"]["conversation"] = None
            yield event


def drawn_on(reply: Reply) -> frozenset[str]:
    """The documents that the turn was shown."""
    return frozenset(hit.chunk.file_id for search in reply.ledger.searches for hit in search.hits)
