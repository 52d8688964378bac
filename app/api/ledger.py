"""What has happened in one turn, and how each part of it is worded on the wire: by any fold of the turn's events."""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.agent.events import (
    Calculated,
    Cited,
    Decided,
    Done,
    Event,
    Round,
    Searched,
    Searching,
    Text,
    Thinking,
    ToolCall,
)
from app.api.passages import link
from app.engine.types import Token
from index.types import Hit

Wire = dict[str, Any]
# What ends a sentence or a line.
STOPS = (". ", "! ", "? ", "\n")


@dataclass(frozen=True, slots=True)
class Head:
    """What every chunk of a reply repeats, where its citations link to, what signs these links, what spells tokens.

    `versions` are those of the stores that may be searched, by their ids, when the turn was asked.
    """

    model: str
    base_url: str
    signing_key: bytes | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    spelling: Callable[[Sequence[Token]], list[Wire]] | None = None  # None: nobody asked for log-probabilities
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

    def logprobs(self, tokens: Sequence[Token]) -> Wire | None:
        """Of text that these tokens were written for. The server's own words have none."""
        return {"content": self.spelling(tokens), "refusal": None} if self.spelling and tokens else None


@dataclass(slots=True)
class Ledger:
    """What has happened so far in one turn."""

    head: Head
    reasoning: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)  # of the text
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
            case Text(text, tokens):
                self.text.append(text)
                self.tokens.extend(tokens)
            case Decided(need):
                self.need = need
            case Searching():
                pass  # Searched tells it again, with what came back
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

    def extension(self) -> Wire:
        return {
            "answer": self.end.answer,
            "need": self.need,
            "confidence": self.end.confidence,
            "abstained": self.end.abstained,
            "stores": [{"id": store, "version": version} for store, version in self.head.versions.items()],
            "searches": [_search(searched) for searched in self.searches],
            "calculations": [_calculation(calculated) for calculated in self.calculations],
            "citations": [_citation(self.head, cited) for cited in self.cited],
            "rounds": [_round(r) for r in self.end.rounds],
        }


def usage(turns: Sequence[Ledger]) -> Wire:
    """Over all rounds of the turns: what each round read again counts again, and as cached."""
    rounds = [r for turn in turns for r in turn.end.rounds]
    prompt, generated = sum(r.prompt for r in rounds), sum(r.generated for r in rounds)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": sum(r.cached for r in rounds)},
        "completion_tokens_details": {"reasoning_tokens": sum(turn.end.reasoning_tokens for turn in turns)},
    }


def activity(head: Head, event: Decided | Searching | Searched | Calculated | Cited) -> Wire:
    """What a turn does beside thinking and writing, told while it happens."""
    match event:
        case Decided(need, searches):
            return {"type": "decided", "need": need, "searches": searches}
        case Searching(query, stores):
            return {"type": "searching", "query": query, "stores": list(stores)}
        case Searched():
            return {"type": "searched", **_search(event)}
        case Calculated():
            return {"type": "calculated", **_calculation(event)}
        case Cited():
            return {"type": "cited", **_citation(head, event)}


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


def _search(searched: Searched) -> Wire:
    return {
        "query": searched.query,
        "store": searched.store,
        "version": searched.version,
        "hits": [hit_wire(hit) for hit in searched.hits],
    }


def _calculation(calculated: Calculated) -> Wire:
    return {"expression": calculated.expression, "result": calculated.result, "ok": calculated.ok}


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
