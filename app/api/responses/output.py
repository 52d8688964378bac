"""The output of a response: its items, as they grow."""

import uuid
from dataclasses import dataclass, field
from typing import Literal

from app.agent.events import ToolCall
from app.api.ledger import Wire
from index.types import Hit

Status = Literal["in_progress", "completed", "incomplete"]


@dataclass(slots=True)
class Thought:
    """A reasoning item. The core's thoughts are its summary: the form that every client shows."""

    text: str = ""
    id: str = field(default_factory=lambda: _id("rs"))

    def wire(self, status: Status) -> Wire:
        return {"id": self.id, "type": "reasoning", "summary": [summary(self.text)] if self.text else []}


@dataclass(slots=True)
class Search:
    """A file_search_call: one query, over all stores of the turn. `told` at most of its hits; None: none of them."""

    query: str
    stores: int  # that are yet to answer
    told: int | None
    hits: list[Hit] = field(default_factory=list)
    id: str = field(default_factory=lambda: _id("fs"))

    def wire(self, status: Status) -> Wire:
        best = sorted(self.hits, key=lambda hit: -hit.score)[: self.told]
        results = None if self.told is None or status != "completed" else [_result(hit) for hit in best]
        return {
            "id": self.id,
            "type": "file_search_call",
            "status": status,
            "queries": [self.query],
            "results": results,
        }


@dataclass(slots=True)
class Called:
    """A call of the client's function."""

    call: ToolCall
    id: str = field(default_factory=lambda: _id("fc"))

    def wire(self, status: Status) -> Wire:
        arguments = self.call.arguments if status == "completed" else ""
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call.id,
            "name": self.call.name,
            "arguments": arguments,
        }


@dataclass(slots=True)
class Said:
    """A message. `start` is where its text begins in the turn's whole reply."""

    start: int
    text: str = ""
    logprobs: list[Wire] = field(default_factory=list)
    annotations: list[Wire] = field(default_factory=list)
    id: str = field(default_factory=lambda: _id("msg"))

    def part(self) -> Wire:
        told = {"annotations": list(self.annotations), "logprobs": list(self.logprobs)}
        return {"type": "output_text", "text": self.text, **told}

    def wire(self, status: Status) -> Wire:
        content = [self.part()] if self.text else []
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}


Item = Thought | Search | Called | Said


def _id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


def summary(text: str) -> Wire:
    return {"type": "summary_text", "text": text}


def _result(hit: Hit) -> Wire:
    chunk = hit.chunk
    return {
        "file_id": chunk.file_id,
        "filename": chunk.filename,
        "score": hit.score,
        "text": chunk.text,
        "attributes": dict(chunk.attributes),
    }
