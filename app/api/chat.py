"""POST /v1/chat/completions: a request is validated, becomes a turn, and the turn's events become the answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response

from app.agent.events import Event
from app.agent.loop import answer
from app.api.autonomy import Autonomy
from app.api.chat_request import ChatRequest
from app.api.encode import Head, Mark, chunks, whole
from app.api.hangup import ClientGone, EventStream, after, unless_gone
from app.api.parts import Parts
from app.api.signature import signing_key
from app.api.turn import turn_of
from app.api.wire import frames, whole_json


def routes(parts: Parts) -> APIRouter:
    router, settings = APIRouter(prefix="/v1/chat", tags=["chat"]), parts.settings
    key = signing_key(settings.api_key.get_secret_value()) if settings.api_key else None

    @router.post("/completions")
    async def complete(request: Request, wanted: ChatRequest) -> Response:
        """A turn, whole or streamed.

        Beside OpenAI's fields the completion, streamed its last chunk, has the object `cogcore`. Its `status` is
        `answered`, `abstained`, or `needs_review`: then `review` is the id under which /v1/cogcore/reviews lists it.
        """
        turn = await turn_of(wanted, parts)
        head = Head(wanted.model, settings.public_url or str(request.base_url).rstrip("/"), key, turn.versions)
        mark = autonomy(wanted, parts).mark
        events = parts.metrics.turn(answer(turn, parts.core, parts.memory))
        try:
            if wanted.stream:
                # Refusals come with the first event, while a status can still be chosen.
                first = await unless_gone(request, anext(events))
                made = chunks(after(first, events), head, mark, include_usage=wanted.include_usage)
                return EventStream(frames(made, head.id), events)
            return whole_json(await unless_gone(request, _closing(events, head, mark)))
        except ClientGone:
            return Response(status_code=499)

    return router


def autonomy(wanted: ChatRequest, parts: Parts) -> Autonomy:
    """The request's, else the server's."""
    asked = wanted.cogcore.autonomy if wanted.cogcore else None
    question = next(m.content or "" for m in reversed(wanted.messages) if m.role == "user")
    return Autonomy(parts.settings.autonomy if asked is None else asked, question, parts.reviews)


async def _closing(events: AsyncGenerator[Event], head: Head, mark: Mark) -> dict[str, Any]:
    async with aclosing(events):
        return await whole(events, head, mark)
