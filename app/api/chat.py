"""POST /v1/chat/completions: a request is validated, becomes a turn, and the turn's events become the answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request, Response

from app.agent.loop import answer
from app.api.abreast import abreast
from app.api.autonomy import autonomy_of
from app.api.caller import Asking
from app.api.chat_request import ChatRequest
from app.api.encode import Mark, Numbered, chunks, whole
from app.api.hangup import ClientGone, EventStream, after, unless_gone
from app.api.ledger import Head, Wire
from app.api.logprobs import Spelling
from app.api.parts import Parts
from app.api.turn import abreast_of, turn_of
from app.api.wire import frames, whole_json


def routes(parts: Parts) -> APIRouter:
    router, settings = APIRouter(prefix="/v1/chat", tags=["chat"]), parts.settings

    @router.post("/completions")
    async def complete(request: Request, wanted: ChatRequest, caller: Asking) -> Response:
        """A turn, whole or streamed.

        Beside OpenAI's fields the completion, streamed its last chunk, has the object `cogcore`. Its `status` is
        `answered`, `abstained`, or `needs_review`: then `review` is the id under which /v1/cogcore/reviews lists it.
        With `n` above 1 its `choices` are such objects, one for each. In a stream `cogcore_event` tells what a turn
        does when it does it: its `type` is `decided`, `searching`, `searched`, `calculated` or `cited`.
        """
        n = wanted.n or 1
        turn = await turn_of(wanted, parts, caller)
        spelling = await asyncio.to_thread(Spelling, parts.core.tokenizer) if wanted.logprobs else None
        base_url = settings.public_url or str(request.base_url).rstrip("/")
        head = Head(wanted.model, base_url, parts.link_key, turn.versions, spelling)
        mark = autonomy_of(turn, wanted.cogcore, parts, caller).mark
        core = caller.quota.metered(parts.core)
        turns = [
            parts.observed(answer(one, core, parts.memory), one, wanted.model, request.headers)
            for one in abreast_of(turn, n)
        ]
        events = abreast(turns, settings.keep_alive)
        try:
            if wanted.stream:
                # Refusals come with the first event, or long before the first silence: a status can still be chosen.
                first = await unless_gone(request, anext(events))
                made = chunks(after(first, events), head, mark, n=n, include_usage=wanted.include_usage)
                return EventStream(frames(made, head.id), events)
            return whole_json(await unless_gone(request, _closing(events, head, mark, n)))
        except ClientGone:
            return Response(status_code=499)

    return router


async def _closing(events: AsyncGenerator[Numbered | None], head: Head, mark: Mark, n: int) -> Wire:
    async with aclosing(events):
        return await whole(events, head, mark, n=n)
