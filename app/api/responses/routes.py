"""/v1/responses: a request is validated, becomes a turn, and the turn's events become the response."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.agent.loop import answer
from app.agent.turn import Turn
from app.api.abreast import abreast
from app.api.autonomy import autonomy_of
from app.api.caller import Asking, Caller, NamedResponse
from app.api.encode import Numbered
from app.api.errors import ApiError
from app.api.hangup import ClientGone, EventStream, after, unless_gone
from app.api.ledger import Head, Wire
from app.api.listing import Paged, listing, part
from app.api.logprobs import Spelling
from app.api.parts import Parts
from app.api.responses.ask import about, in_our_words, turn_of
from app.api.responses.background import Run, Runs, appending, keeping
from app.api.responses.encode import Reply, told, unfailing, whole
from app.api.responses.input import wire
from app.api.responses.past import Past, past_of
from app.api.responses.request import ResponseRequest
from app.api.wire import POLL_MS, frames, whole_json

Include = Annotated[list[str] | None, Query(alias="include[]", description="Only when a response is made.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be answered."""

    past: Past
    input: Sequence[Wire]
    turn: Turn
    reply: Reply
    id: str


def routes(parts: Parts, runs: Runs) -> APIRouter:
    router, settings = APIRouter(prefix="/v1/responses", tags=["responses"]), parts.settings

    async def read(request: Request, wanted: ResponseRequest, caller: Caller) -> Asked:
        past = await asyncio.to_thread(past_of, parts.responses, parts.conversations, wanted, caller.owner)
        turn = await turn_of(wanted, past, parts, caller)
        spelled = wanted.includes("message.output_text.logprobs")
        spelling = await asyncio.to_thread(Spelling, parts.core.tokenizer) if spelled else None
        base_url = settings.public_url or str(request.base_url).rstrip("/")
        head = Head(wanted.model, base_url, parts.link_key, turn.versions, spelling, id=f"resp_{uuid.uuid4().hex}")
        hits = turn.policy.hits if wanted.includes("file_search_call.results") else None
        return Asked(past, [wire(item) for item in past.input], turn, Reply(head, about(wanted, turn), hits), head.id)

    @router.post("")
    async def create(request: Request, wanted: ResponseRequest, caller: Asking) -> Response:
        """A turn, whole or streamed.

        The memory is searched when a store is attached: by the tool `file_search`, by a model `cogcore/STORE`, or by
        `cogcore.stores`. Beside OpenAI's fields the response that has ended has the object `cogcore`, as a chat's has.
        """
        asked = await read(request, wanted, caller)
        past, reply, mark = asked.past, asked.reply, autonomy_of(asked.turn, wanted.cogcore, parts, caller).mark
        answered = in_our_words(answer(asked.turn, caller.quota.metered(parts.core), parts.memory), wanted)
        observed = parts.observed(answered, asked.turn, wanted.model, request.headers)
        events = abreast([observed], settings.keep_alive)

        def encoded(source: AsyncGenerator[Numbered | None]) -> AsyncGenerator[Wire | None]:
            return appending(told(source, reply, mark), reply, past, asked.input, parts.conversations, caller.owner)

        def made(source: AsyncGenerator[Numbered | None]) -> AsyncGenerator[Wire | None]:
            if not wanted.store:
                return encoded(source)
            return keeping(encoded(source), reply, past, asked.input, parts.responses, caller.owner)

        if wanted.background:
            run = Run(caller.owner, reply, asked.input, past.files)
            await runs.start(run, unfailing(encoded(events), reply))
            return _streamed(run, 0, settings.keep_alive) if wanted.stream else whole_json(run.now())
        try:
            if wanted.stream:
                # Refusals come with the first event, or long before the first silence: a status can still be chosen.
                first = await unless_gone(request, anext(events))
                return EventStream(frames(unfailing(made(after(first, events)), reply), asked.id), events)
            return whole_json(await unless_gone(request, whole(made(events))))
        except ClientGone:
            return Response(status_code=499)

    @router.get("/{response_id}")
    async def response(
        named: NamedResponse,
        include: Include = None,
        stream: bool = False,
        starting_after: Annotated[
            int | None, Query(ge=0, description="With `stream`: the number of the last event that is known")
        ] = None,
        include_obfuscation: bool = False,
    ) -> Response:
        """A response that was kept, or goes on in the background: as it is, or its stream again."""
        _only_when_made(include)
        if include_obfuscation:
            raise ApiError("Obfuscation is not offered.", param="include_obfuscation")
        if starting_after is not None and not stream:
            raise ApiError("'starting_after' needs 'stream': true.", param="starting_after")
        start = 0 if starting_after is None else starting_after + 1
        if run := runs.get(*named):
            if stream:
                return _streamed(run, start, settings.keep_alive)
            answered = whole_json(run.now())
            answered.headers["openai-poll-after-ms"] = POLL_MS
            return answered
        kept = await asyncio.to_thread(parts.responses.get, *named)
        if not stream:
            return whole_json(kept.body)
        if kept.events is None:
            raise ApiError("Only what was made in the background can be streamed again.", param="stream")
        again = _replayed(kept.events[start:])
        return EventStream(frames(again, named.id), again)

    @router.delete("/{response_id}")
    async def delete(named: NamedResponse) -> Wire:
        """Forget it. One that is under way is cancelled."""
        await runs.cancel(*named)
        await asyncio.to_thread(parts.responses.delete, *named)
        return {"id": named.id, "object": "response", "deleted": True}

    @router.post("/{response_id}/cancel")
    async def cancel(named: NamedResponse) -> Response:
        """End one that is under way in the background. One that has ended stays as it is."""
        await runs.cancel(*named)
        body = (await asyncio.to_thread(parts.responses.get, *named)).body
        if not body["background"]:
            raise ApiError("Only what was made in the background can be cancelled.", param="response_id")
        return whole_json(body)

    @router.get("/{response_id}/input_items")
    async def input_items(named: NamedResponse, cut: Paged, include: Include = None) -> Wire:
        """What came in, without what came in to the responses before."""
        _only_when_made(include)
        kept = await asyncio.to_thread(parts.responses.get, *named)
        return listing(part(kept.input, cut), lambda item: item)

    return router


def _only_when_made(include: list[str] | None) -> None:
    if include:
        raise ApiError("'include' is for when a response is made: what was not told then is not kept.", param="include")


def _streamed(run: Run, start: int, silence: float) -> Response:
    events = run.follow(start, silence)
    return EventStream(frames(events, run.reply.ledger.head.id), events)


async def _replayed(events: Sequence[Wire]) -> AsyncGenerator[Wire]:
    for event in events:
        yield event
