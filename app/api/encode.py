"""Events to OpenAI's chat completions: streamed and whole are two folds of the same events.

The extension `cogcore` tells what OpenAI's shape has no place for: the decision, the searches, the verified quotes. In
a stream its parts come as `cogcore_event`, when they happen, and all of it again on the last chunk.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

from app.agent.events import Done, Event, Text, Thinking, ToolCall
from app.api.ledger import Head, Ledger, Wire, activity, usage

Numbered = tuple[int, Event]
"""An event, and which of the request's turns it is of."""

Mark = Callable[[Ledger], Awaitable[Wire]]
"""What the extension tells of the reply as a whole: `status`, and the id of its `review`. Awaited once, at its end."""


async def unmarked(ledger: Ledger) -> Wire:
    """Of a reply that no human has to see."""
    return {"status": "abstained" if ledger.end.abstained else "answered", "review": None}


async def whole(events: AsyncIterator[Numbered | None], head: Head, mark: Mark = unmarked, *, n: int = 1) -> Wire:
    """The completion of `n` turns as one body. None among the events says that time passes."""
    ledgers = [Ledger(head) for _ in range(n)]
    async for numbered in events:
        if numbered:
            ledgers[numbered[0]].take(numbered[1])
    return {
        **head.wire("chat.completion"),
        "choices": [_choice(index, ledger) for index, ledger in enumerate(ledgers)],
        "usage": usage(ledgers),
        "cogcore": _extension([await _told(ledger, mark) for ledger in ledgers]),
    }


async def chunks(
    events: AsyncIterator[Numbered | None], head: Head, mark: Mark = unmarked, *, n: int = 1, include_usage: bool
) -> AsyncGenerator[Wire | None]:
    """The completion of `n` turns as chunks, the extension on the last of them. None passes through."""
    ledgers, told, chunk = [Ledger(head) for _ in range(n)], dict[int, Wire](), _chunker(head, include_usage)
    last: Wire = {}
    for index in range(n):
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
    async for numbered in events:
        if numbered is None:
            yield None
            continue
        index, event = numbered
        ledger = ledgers[index]
        ledger.take(event)
        match event:
            case Thinking():
                thought = ledger.reasoning[-1]
                yield chunk(index, {"reasoning": thought, "reasoning_content": thought})
            case Text(text, tokens):
                yield chunk(index, {"content": text}, logprobs=head.logprobs(tokens))
            case ToolCall(id, name, arguments):
                at = len(ledger.calls) - 1
                function: Wire = {"name": name, "arguments": ""}
                yield chunk(index, {"tool_calls": [{"index": at, "id": id, "type": "function", "function": function}]})
                yield chunk(index, {"tool_calls": [{"index": at, "function": {"arguments": arguments}}]})
            case Done(reason):
                if ledger.cited:
                    yield chunk(index, {"annotations": ledger.annotations()})
                # Before the finish_reason, after which clients may stop reading.
                told[index] = await _told(ledger, mark)
                last = chunk(index, {}, finish=reason)
                if include_usage or len(told) < n:
                    yield last
            case _:
                yield {**chunk(index, {}), "cogcore_event": activity(head, event)}
    spent = usage(ledgers)
    if include_usage:
        last = {**head.wire("chat.completion.chunk"), "choices": [], "usage": spent}
    yield {**last, "cogcore": _extension([told[index] for index in range(n)])}


async def _told(ledger: Ledger, mark: Mark) -> Wire:
    return {**await mark(ledger), **ledger.extension()}


def _extension(told: Sequence[Wire]) -> Wire:
    """Of several choices one for each, in their order."""
    return told[0] if len(told) == 1 else {"choices": list(told)}


def _choice(index: int, ledger: Ledger) -> Wire:
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
    logprobs = ledger.head.logprobs(ledger.tokens)
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": ledger.end.finish_reason}


def _chunker(head: Head, include_usage: bool) -> Callable[..., Wire]:
    def chunk(index: int, delta: Wire, *, logprobs: Wire | None = None, finish: str | None = None) -> Wire:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        made = {**head.wire("chat.completion.chunk"), "choices": [choice]}
        return {**made, "usage": None} if include_usage else made

    return chunk
