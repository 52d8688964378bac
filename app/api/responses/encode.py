"""Events of a turn to those of OpenAI's Responses. The whole response is what the last event of its stream holds."""

import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from app.agent.events import Calculated, Cited, Decided, Done, Event, Searched, Searching, Text, Thinking, ToolCall
from app.api.encode import Mark, Numbered
from app.api.errors import describe
from app.api.ledger import Head, Ledger, Wire, passage_url, usage
from app.api.responses.output import Called, Item, Said, Search, Status, Thought, summary

BETWEEN_ROUNDS = "\n\n"  # what the turn puts between the visible texts of two rounds
log = logging.getLogger("cogcore.http")


class Reply:
    """A response that grows with its turn. `about` is what it repeats of its request; `hits` as in Search.told."""

    def __init__(self, head: Head, about: Wire, hits: int | None = None) -> None:
        self.ledger = Ledger(head)
        self._head, self._about, self._hits = head, about, hits
        self._items: list[tuple[Item, Status]] = []
        self._length = 0  # of the turn's whole reply
        self._sent = 0

    def begin(self) -> Iterator[Wire]:
        for name in ("created", "in_progress"):
            yield self._event(f"response.{name}", response=self.response("in_progress"))

    def take(self, event: Event) -> Iterator[Wire]:
        """What an event of the turn adds."""
        self.ledger.take(event)
        match event:
            case Thinking(text):
                thought = self._open
                if not isinstance(thought, Thought):
                    thought = Thought()
                    yield from self._begin(thought)
                thought.text += text
                yield self._of_item("response.reasoning_summary_text.delta", summary_index=0, delta=text)
            case Text():
                yield from self._say(event)
            case Searching(query, stores):
                yield from self._begin(Search(query, len(stores), self._hits))
            case Searched(_, _, hits):
                if isinstance(search := self._open, Search):
                    search.hits.extend(hits)
                    search.stores -= 1
                    if not search.stores:
                        yield from self._close("completed")
            case Calculated():
                if isinstance(self._open, Thought):
                    yield from self._close("completed")
            case ToolCall(_, _, arguments):
                yield from self._begin(Called(event))
                yield self._of_item("response.function_call_arguments.delta", delta=arguments)
                yield from self._close("completed")
            case Decided() | Cited() | Done():
                pass

    def end(self, extension: Wire) -> Iterator[Wire]:
        """After the turn's last event. `extension` is what OpenAI's words have no place for."""
        done = self.ledger.end
        ended: Status = "incomplete" if done.finish_reason == "length" else "completed"
        for cited in self.ledger.cited:
            yield from self._annotate(cited)
        yield from self._close(ended)
        told: Wire = {"usage": _usage(self.ledger), "cogcore": extension}
        if ended == "incomplete":
            told["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            told["completed_at"] = int(time.time())
        yield self._event(f"response.{ended}", response=self.response(ended, **told))

    def failed(self, error: Exception) -> Wire:
        """The last event where the turn failed."""
        message, row, _ = describe(error)
        kind = "rate_limit_exceeded" if row.status == 429 else "server_error" if row.status >= 500 else "invalid_prompt"
        told = {"code": kind, "message": message}
        return self._event("response.failed", response=self.response("failed", error=told))

    def stopped(self, status: str, error: Wire | None = None) -> Wire:
        """The last event where the turn was ended from outside. OpenAI has no event for what was cancelled."""
        kind = "response.failed" if error else "response.incomplete"
        return self._event(kind, response=self.response(status, error=error))

    def response(self, status: str, **told: Any) -> Wire:
        """The response object as it now is."""
        return {
            "id": self._head.id,
            "object": "response",
            "created_at": self._head.created,
            "completed_at": None,
            "status": status,
            "error": None,
            "incomplete_details": None,
            **self._about,
            "output": [item.wire("incomplete" if now == "in_progress" else now) for item, now in self._items],
            "usage": None,
            **told,
        }

    @property
    def _open(self) -> Item | None:
        """The item that is not done."""
        return self._items[-1][0] if self._items and self._items[-1][1] == "in_progress" else None

    def _begin(self, item: Item) -> Iterator[Wire]:
        yield from self._close("completed")
        self._items.append((item, "in_progress"))
        yield self._event("response.output_item.added", output_index=self._last, item=item.wire("in_progress"))
        match item:
            case Thought():
                yield self._of_item("response.reasoning_summary_part.added", summary_index=0, part=summary(""))
            case Search():
                yield self._of_item("response.file_search_call.in_progress")
                yield self._of_item("response.file_search_call.searching")
            case Said():
                yield self._of_item("response.content_part.added", content_index=0, part=item.part())
            case Called():
                pass

    def _close(self, status: Status) -> Iterator[Wire]:
        told: Wire
        match item := self._open:
            case None:
                return
            case Thought(text):
                yield self._of_item("response.reasoning_summary_text.done", summary_index=0, text=text)
                yield self._of_item("response.reasoning_summary_part.done", summary_index=0, part=summary(text))
            case Search():
                yield self._of_item("response.file_search_call.completed")
            case Called(call):
                told = {"name": call.name, "arguments": call.arguments}
                yield self._of_item("response.function_call_arguments.done", **told)
            case Said(_, text, logprobs):
                told = {"text": text, "logprobs": list(logprobs)}
                yield self._of_item("response.output_text.done", content_index=0, **told)
                yield self._of_item("response.content_part.done", content_index=0, part=item.part())
        self._items[-1] = (item, status)
        yield self._event("response.output_item.done", output_index=self._last, item=item.wire(status))

    def _say(self, event: Text) -> Iterator[Wire]:
        start, text = self._length, event.text
        self._length += len(text)
        said = self._open
        if not isinstance(said, Said):
            if any(isinstance(item, Said) for item, _ in self._items):
                text = text.removeprefix(BETWEEN_ROUNDS)
            if not text:
                return
            said = Said(start + len(event.text) - len(text))
            yield from self._begin(said)
        told = self._head.logprobs(event.tokens)
        # OpenAI's type knows no token without bytes.
        logprobs = [_with_bytes(one) for one in told["content"]] if told else []
        said.text += text
        said.logprobs.extend(logprobs)
        yield self._of_item("response.output_text.delta", content_index=0, delta=text, logprobs=logprobs)

    def _annotate(self, cited: Cited) -> Iterator[Wire]:
        """Both kinds of annotation: by file, and with a link to the passage.

        Quotes are verified at the turn's end, so a message before a second search may be annotated after it was done.
        """
        number, said = self._message_at(cited.reply_start)
        start, end = cited.reply_start - said.start, cited.reply_end - said.start
        chunk = cited.hit.chunk
        for annotation in (
            {"type": "file_citation", "file_id": chunk.file_id, "filename": chunk.filename, "index": start},
            {
                "type": "url_citation",
                "url": passage_url(self._head, cited),
                "title": chunk.filename,
                "start_index": start,
                "end_index": end,
            },
        ):
            at = len(said.annotations)
            said.annotations.append(annotation)
            yield self._event(
                "response.output_text.annotation.added",
                item_id=said.id,
                output_index=number,
                content_index=0,
                annotation_index=at,
                annotation=annotation,
            )

    def _message_at(self, place: int) -> tuple[int, Said]:
        """The message that holds this place of the turn's whole reply, and its number among the items."""
        items = reversed(list(enumerate(self._items)))
        return next((n, item) for n, (item, _) in items if isinstance(item, Said) and item.start <= place)

    @property
    def _last(self) -> int:
        return len(self._items) - 1

    def _of_item(self, kind: str, **told: Any) -> Wire:
        return self._event(kind, item_id=self._items[-1][0].id, output_index=self._last, **told)

    def _event(self, kind: str, **told: Any) -> Wire:
        self._sent += 1
        return {"type": kind, "sequence_number": self._sent - 1, **told}


async def told(events: AsyncGenerator[Numbered | None], reply: Reply, mark: Mark) -> AsyncGenerator[Wire | None]:
    """The turn as the events of a response. None, that time passes, goes through."""
    for made in reply.begin():
        yield made
    async with aclosing(events):
        async for numbered in events:
            if numbered is None:
                yield None
                continue
            for made in reply.take(numbered[1]):
                yield made
    for made in reply.end({**await mark(reply.ledger), **reply.ledger.extension()}):
        yield made


async def unfailing(made: AsyncGenerator[Wire | None], reply: Reply) -> AsyncGenerator[Wire | None]:
    """The same, a failure told as its last event."""
    try:
        async with aclosing(made):
            async for event in made:
                yield event
    except Exception as error:
        if describe(error)[1].status >= 500:
            log.exception("response %s failed", reply.ledger.head.id)
        yield reply.failed(error)


async def whole(made: AsyncGenerator[Wire | None]) -> Wire:
    """The response that the last event holds."""
    last: Wire = {}
    async with aclosing(made):
        async for event in made:
            last = event or last
    response: Wire = last["response"]
    return response


def _with_bytes(entry: Wire) -> Wire:
    top = [{**likely, "bytes": likely["bytes"] or []} for likely in entry["top_logprobs"]]
    return {**entry, "bytes": entry["bytes"] or [], "top_logprobs": top}


def _usage(ledger: Ledger) -> Wire:
    """Chat's count in the words of Responses. Each token that was read anew was kept for the next round."""
    spent = usage([ledger])
    read, cached = spent["prompt_tokens"], spent["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": read - cached},
        "output_tokens": spent["completion_tokens"],
        "output_tokens_details": spent["completion_tokens_details"],
        "total_tokens": spent["total_tokens"],
    }
