"""/v1/cogcore/reviews: the answers that were marked `needs_review`, and what a human says of them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.api.caller import Asking
from app.api.limits import Strict
from app.api.listing import Paged, Wire, listing
from app.api.parts import Parts
from app.reviews import Place, Review, Verdict
from index.errors import ChunkNotFound, FileNotFound
from index.memory import Memory

SWEEP_SECONDS = 60
log = logging.getLogger("cogcore.http")


class Decision(Strict):
    """A human's word on an answer. Again: takes the place of the earlier one."""

    verdict: Verdict
    note: str | None = Field(default=None, max_length=4096)


class CitationObject(BaseModel):
    """A stretch of a document, looked up when the review is read."""

    file_id: str
    filename: str | None = Field(description="null once the passage is no longer in the memory")
    chunk_id: str
    page: int | None
    start: int
    end: int
    quote: str | None = Field(description="The parsed document's text[start:end]; null like `filename`")


class HitObject(CitationObject):
    score: float


class ReviewObject(BaseModel):
    """An answer whose confidence was below 1 minus the autonomy it was given."""

    id: str
    object: Literal["cogcore.review"]
    created_at: int
    model: str
    question: str = Field(description="The conversation's last user message")
    reply: str | None = Field(description="As it went out; null once a document that the turn was shown is deleted")
    answer: str | None = Field(description="The bare short answer, if there is one; null like `reply`")
    confidence: float
    citations: list[CitationObject]
    hits: list[HitObject]
    verdict: Verdict | None = Field(description="null until somebody decides")
    note: str | None
    decided_at: int | None


class ReviewList(BaseModel):
    object: Literal["list"]
    data: list[ReviewObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ReviewDeleted(BaseModel):
    id: str
    object: Literal["cogcore.review.deleted"]
    deleted: Literal[True]


def review_object(review: Review, memory: Memory) -> Wire:
    return {
        "id": review.id,
        "object": "cogcore.review",
        "created_at": review.created_at,
        "model": review.model,
        "question": review.question,
        "reply": review.reply,
        "answer": review.answer,
        "confidence": review.confidence,
        "citations": [_place(cited, memory) for cited in review.citations],
        "hits": [{**_place(hit, memory), "score": hit.score} for hit in review.hits],
        "verdict": review.verdict,
        "note": review.note,
        "decided_at": review.decided_at,
    }


def _place(place: Place, memory: Memory) -> Wire:
    filename = quote = None
    with suppress(ChunkNotFound):
        chunk = memory.chunk(place.chunk_id)
        filename, quote = chunk.filename, chunk.text[place.start - chunk.start : place.end - chunk.start]
    return {
        "file_id": place.file_id,
        "filename": filename,
        "chunk_id": place.chunk_id,
        "page": place.page,
        "start": place.start,
        "end": place.end,
        "quote": quote,
    }


def routes(parts: Parts) -> APIRouter:
    router, memory, reviews = APIRouter(prefix="/v1/cogcore/reviews", tags=["reviews"]), parts.memory, parts.reviews

    @router.get("", response_model=ReviewList)
    def page(
        caller: Asking,
        cut: Paged,
        decided: Annotated[bool | None, Query(description="Only those with a verdict, or only those without")] = None,
    ) -> Wire:
        """The answers that were marked `needs_review`."""
        found = reviews.page(cut, caller.organisation, decided)
        return listing(found, lambda review: review_object(review, memory))

    @router.get("/{review_id}", response_model=ReviewObject)
    def review(review_id: str, caller: Asking) -> Wire:
        """One of them."""
        return review_object(reviews.get(review_id, caller.organisation), memory)

    @router.post("/{review_id}", response_model=ReviewObject)
    def decide(review_id: str, decision: Decision, caller: Asking) -> Wire:
        """Approve or reject the answer."""
        decided = reviews.decide(review_id, caller.organisation, decision.verdict, decision.note)
        return review_object(decided, memory)

    @router.delete("/{review_id}", response_model=ReviewDeleted)
    def delete(review_id: str, caller: Asking) -> Wire:
        """Forget the question, the answer and the verdict."""
        reviews.delete(review_id, caller.organisation)
        return {"id": review_id, "object": "cogcore.review.deleted", "deleted": True}

    return router


def forget_gone(parts: Parts) -> None:
    """Erase the replies that drew on a document which is gone, and what is too old."""
    for file_id in {file_id for record in parts.records.values() for file_id in record.files()}:
        try:
            parts.memory.file(file_id)
        except FileNotFound:
            parts.forget(file_id)
    for record in (parts.responses, parts.conversations, parts.uploads):
        record.expire()


@asynccontextmanager
async def sweeping(parts: Parts) -> AsyncIterator[None]:
    """Forget what is gone at once and every minute: documents also go by expiring, and while no server runs."""
    stop = asyncio.Event()
    sweeper = asyncio.create_task(_sweep(parts, stop))
    try:
        yield
    finally:
        stop.set()
        await sweeper


async def _sweep(parts: Parts, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await asyncio.to_thread(forget_gone, parts)
        except Exception:
            log.exception("replies that are kept may hold words of deleted documents")
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), SWEEP_SECONDS)
