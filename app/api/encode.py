"""Events to OpenAI's chat completions: streamed and whole are two folds of the same events.

The extension `cogcore` tells what OpenAI's shape has no place for: the decision, the searches, the verified quotes.
"""

import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.agent.events import Calculated, Cited, Decided, Done, Event, Round, Searched, Text, Thinking, ToolCall
from app.api.passages import link
from index.types import Hit

Wire = dict[str, Any]
# What ends a sentence or a line.
STOPS = (". ", "! ", "? ", "\n")


@dataclass(frozen=True, slots=True)
class Head:
    """What every chunk of a reply repeats, where its citations link to, and what signs these links.

    `versions` are those of the stores that may be searched, by their ids, when the turn was asked.
    """

    model: str
    base_url: str
    signing_key: bytes | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def wire(self, kind: str) -> Wire:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": None,
        }


@dataclass(slots=True)
class Ledger:
    """What has happened so far in one turn."""

    head: Head
    reasoning: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    cited: list[Cited] = field(default_factory=list)
    searches: list[Searched] = field(default_factory=list)
    calculations: list[Calculated] = field(default_factory=list)
    need: float | None = None
    looked_up: bool = False
    done: Done | None = None

    def take(self, event: Event) -> None:
        match event:
            case Thinking(text):
                # The thoughts of two rounds are two paragraphs.
                apart = "\n" if self.looked_up and self.reasoning else ""
                self.reasoning.append(apart + text)
                self.looked_up = False
            case Text(text):
                self.text.append(text)
            case Decided(need):
                self.need = need
            case Searched():
                self.searches.append(event)
                self.looked_up = True
            case Calculated():
                self.calculations.append(event)
                self.looked_up = True
            case ToolCall():
                self.calls.append(event)
            case Cited():
                self.cited.append(event)
            case Done():
                self.done = event

    @property
    def end(self) -> Done:
        if self.done is None:
            raise RuntimeError("the turn ended without its last event")
        return self.done

    @property
    def claims(self) -> bool:
        """Whether the turn ended in an answer that stands on what was looked up or calculated."""
        looked = bool(self.searches or self.calculations)
        return looked and not self.end.abstained and self.end.finish_reason != "tool_calls"

    def annotations(self) -> list[Wire]:
        return [
            {
                "type": "url_citation",
                "url_citation": {
                    "url": passage_url(self.head, cited),
                    "title": cited.hit.chunk.filename,
                    "start_index": cited.reply_start,
                    "end_index": cited.reply_end,
                },
            }
            for cited in self.cited
        ]

    def usage(self) -> Wire:
        """Over all rounds of the turn: what each round read again counts again, and as cached."""
        prompt = sum(r.prompt for r in self.end.rounds)
        generated = sum(r.generated for r in self.end.rounds)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": sum(r.cached for r in self.end.rounds)},
            "completion_tokens_details": {"reasoning_tokens": self.end.reasoning_tokens},
        }

    def extension(self) -> Wire:
        return {
            "answer": self.end.answer,
            "need": self.need,
            "confidence": self.end.confidence,
            "abstained": self.end.abstained,
            "stores": [{"id": store, "version": version} for store, version in self.head.versions.items()],
            "searches": [
                {"query": s.query, "store": s.store, "version": s.version, "hits": [hit_wire(hit) for hit in s.hits]}
                for s in self.searches
            ],
            "calculations": [{"expression": c.expression, "result": c.result, "ok": c.ok} for c in self.calculations],
            "citations": [_citation(self.head, cited) for cited in self.cited],
            "rounds": [_round(r) for r in self.end.rounds],
        }


Mark = Callable[[Ledger], Awaitable[Wire]]
"""What the extension tells of the reply as a whole: `status`, and the id of its `review`. Awaited once, at its end."""


async def unmarked(ledger: Ledger) -> Wire:
    """Of a reply that no human has to see."""
    return {"status": "abstained" if ledger.end.abstained else "answered", "review": None}


async def whole(events: AsyncIterator[Event], head: Head, mark: Mark = unmarked) -> Wire:
    """The completion as one body."""
    ledger = Ledger(head)
    async for event in events:
        ledger.take(event)
    text, reasoning = "".join(ledger.text), "".join(ledger.reasoning) or None
    message: Wire = {
        "role": "assistant",
        "content": text if text or not ledger.calls else None,
        "refusal": None,
        "annotations": ledger.annotations(),
        "reasoning": reasoning,
        "reasoning_content": reasoning,
    }
    if ledger.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in ledger.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ledger.end.finish_reason}
    return {
        **head.wire("chat.completion"),
        "choices": [choice],
        "usage": ledger.usage(),
        "cogcore": {**await mark(ledger), **ledger.extension()},
    }


async def chunks(
    events: AsyncIterator[Event], head: Head, mark: Mark = unmarked, *, include_usage: bool
) -> AsyncGenerator[Wire]:
    """The completion as chunks, the extension on the last of them."""
    ledger, chunk = Ledger(head), _chunker(head, include_usage)
    yield chunk({"role": "assistant", "content": "", "refusal": None})
    async for event in events:
        ledger.take(event)
        match event:
            case Thinking():
                thought = ledger.reasoning[-1]
                yield chunk({"reasoning": thought, "reasoning_content": thought})
            case Text(text):
                yield chunk({"content": text})
            case ToolCall(id, name, arguments):
                n = len(ledger.calls) - 1
                function: Wire = {"name": name, "arguments": ""}
                yield chunk({"tool_calls": [{"index": n, "id": id, "type": "function", "function": function}]})
                yield chunk({"tool_calls": [{"index": n, "function": {"arguments": arguments}}]})
            case _:
                # Told at the end: in annotations and in the extension.
                pass
    if ledger.cited:
        yield chunk({"annotations": ledger.annotations()})
    # Before the finish_reason, after which clients may stop reading.
    told = {**await mark(ledger), **ledger.extension()}
    last = chunk({}, ledger.end.finish_reason)
    if include_usage:
        yield last
        last = {**head.wire("chat.completion.chunk"), "choices": [], "usage": ledger.usage()}
    yield {**last, "cogcore": told}


def _chunker(head: Head, include_usage: bool) -> Callable[..., Wire]:
    def chunk(delta: Wire, finish: str | None = None) -> Wire:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        made = {**head.wire("chat.completion.chunk"), "choices": [choice]}
        return {**made, "usage": None} if include_usage else made

    return chunk


def passage_url(head: Head, cited: Cited) -> str:
    """Where the cited passage can be read, its quote highlighted."""
    return link(head.base_url, head.signing_key, cited.hit.chunk.id, cited.start, cited.end)


def hit_wire(hit: Hit) -> Wire:
    """A hit and the stretch of it that seems to answer: `quote` is the parsed document's text[start:end]."""
    chunk = hit.chunk
    start, end = sentence(chunk.text, hit.mark.start, hit.mark.end) if hit.mark else (0, len(chunk.text))
    return {
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "chunk_id": chunk.id,
        "score": hit.score,
        "start": chunk.start + start,
        "end": chunk.start + end,
        "page": chunk.page,
        "quote": chunk.text[start:end],
    }


def sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence or line around text[start:end], without spaces at its ends."""
    begin = max(text.rfind(stop, 0, start) + len(stop) if stop in text[:start] else 0 for stop in STOPS)
    # The mark itself may end with the stop.
    ends = [at + 1 for stop in STOPS if (at := text.find(stop, max(start, end - 1))) >= 0]
    finish = max(min(ends, default=len(text)), end)
    begin += len(text[begin:start]) - len(text[begin:start].lstrip())
    return begin, begin + len(text[begin:finish].rstrip())


def _citation(head: Head, cited: Cited) -> Wire:
    chunk = cited.hit.chunk
    return {
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "chunk_id": chunk.id,
        "page": chunk.page,
        "quote": cited.quote,
        "start": cited.start,
        "end": cited.end,
        "url": passage_url(head, cited),
        "reply_start": cited.reply_start,
        "reply_end": cited.reply_end,
    }


def _round(r: Round) -> Wire:
    return {"prompt": r.prompt, "cached": r.cached, "generated": r.generated}
