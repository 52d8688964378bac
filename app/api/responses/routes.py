"""POST /v1/responses: a request is validated, becomes a turn, and the turn's events become the response."""

import asyncio
import uuid

from fastapi import APIRouter, Request, Response

from app.agent.loop import answer
from app.api.abreast import abreast
from app.api.autonomy import autonomy_of
from app.api.caller import cache_key
from app.api.hangup import ClientGone, EventStream, after, unless_gone
from app.api.ledger import Head
from app.api.logprobs import Spelling
from app.api.parts import Parts
from app.api.responses.ask import about, in_our_words, turn_of
from app.api.responses.encode import Reply, told, unfailing, whole
from app.api.responses.request import ResponseRequest
from app.api.signature import signing_key
from app.api.wire import frames, whole_json


def routes(parts: Parts) -> APIRouter:
    router, settings = APIRouter(prefix="/v1/responses", tags=["responses"]), parts.settings
    key = signing_key(settings.api_key.get_secret_value()) if settings.api_key else None

    @router.post("")
    async def create(request: Request, wanted: ResponseRequest) -> Response:
        """A turn, whole or streamed.

        The memory is searched when a store is attached: by the tool `file_search`, by a model `cogcore/STORE`, or by
        `cogcore.stores`. Beside OpenAI's fields the response that has ended has the object `cogcore`, as a chat's has.
        """
        turn = await turn_of(wanted, parts, cache_key(request, parts.secret, wanted.prompt_cache_key or ""))
        spelled = wanted.includes("message.output_text.logprobs")
        spelling = await asyncio.to_thread(Spelling, parts.core.tokenizer) if spelled else None
        base_url = settings.public_url or str(request.base_url).rstrip("/")
        head = Head(wanted.model, base_url, key, turn.versions, spelling, id=f"resp_{uuid.uuid4().hex}")
        hits = turn.policy.hits if wanted.includes("file_search_call.results") else None
        reply = Reply(head, about(wanted, turn), hits)
        mark = autonomy_of(turn, wanted.cogcore, parts).mark
        answered = in_our_words(answer(turn, parts.core, parts.memory))
        events = abreast([parts.metrics.turn(answered)], settings.keep_alive)
        try:
            if wanted.stream:
                # Refusals come with the first event, or long before the first silence: a status can still be chosen.
                first = await unless_gone(request, anext(events))
                made = unfailing(told(after(first, events), reply, mark), reply)
                return EventStream(frames(made, head.id), events)
            return whole_json(await unless_gone(request, whole(told(events, reply, mark))))
        except ClientGone:
            return Response(status_code=499)

    return router
