"""POST /v1/rerank: the memory's reader as Cohere and Jina shape it. A score is the probability that a text answers."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from app.api.caller import Asking
from app.api.errors import ApiError
from app.api.hangup import ClientGone, unless_gone
from app.api.limits import Strict
from app.api.listing import Wire
from app.api.models import READER
from app.api.parts import Parts
from app.api.pieces import in_pieces
from app.api.quota import Quota
from app.api.wire import whole_json
from index.types import Embedder, PassageReader

MOST_DOCUMENTS = 1000
MOST_TOKENS = 300_000
COUNTED, READ = 128, 8  # documents in one piece

Document = str | dict[str, Any]


class TextDocument(BaseModel):
    text: str


def _documents(given: Any) -> Any:
    if not isinstance(given, list) or not all(isinstance(one, str) or _has_text(one) for one in given):
        raise ValueError("'documents' must be a list of texts, or of objects with a 'text'.")
    if not 1 <= len(given) <= MOST_DOCUMENTS:
        raise ValueError(f"'documents' must hold 1 to {MOST_DOCUMENTS} documents, not {len(given)}.")
    return given


def _has_text(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("text"), str)


def _asks(query: str) -> str:
    if not query.strip():
        raise ValueError("'query' is empty.")
    return query


class RerankRequest(Strict):
    model: str
    query: Annotated[str, AfterValidator(_asks)]
    documents: Annotated[list[Document], BeforeValidator(_documents, json_schema_input_type=list[str | TextDocument])]
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = None


def routes(parts: Parts) -> APIRouter:
    router, memory = APIRouter(prefix="/v1/rerank", tags=["rerank"]), parts.memory
    limiter = CapacityLimiter(1)

    @router.post("")
    async def rerank(request: Request, wanted: RerankRequest, caller: Asking) -> Response:
        """The documents that answer the query, best first. `relevance_score` is how probably one answers, 0 to 1.

        A long document is read in windows and has the score of its best one. Of a query the first 40 tokens are read.
        """
        if memory.reader is None:
            said = "This server reranks nothing: it runs without a reader."
            raise ApiError(said, param="model", code="model_not_found", status=404)
        if wanted.model != READER:
            said = f"The model '{wanted.model}' reranks nothing: '{READER}' does."
            raise ApiError(said, param="model", code="model_not_found", status=404)
        told = {"gen_ai.operation.name": "rerank", "gen_ai.provider.name": "cogcore", "gen_ai.request.model": READER}
        try:
            with parts.traces.span(f"rerank {READER}", told, request.headers) as span:
                reading = _answer(wanted, memory.reader, memory.embedder, limiter, caller.quota)
                made = await unless_gone(request, reading)
                span.set_attribute("gen_ai.usage.input_tokens", made["usage"]["total_tokens"])
        except ClientGone:
            return Response(status_code=499)
        return whole_json(made)

    return router


async def _answer(
    wanted: RerankRequest, reader: PassageReader, embedder: Embedder, limiter: CapacityLimiter, quota: Quota
) -> Wire:
    texts = [one if isinstance(one, str) else str(one["text"]) for one in wanted.documents]

    def count(some: Sequence[str]) -> list[int]:
        return [embedder.count_tokens(text) for text in some]

    def read(some: Sequence[str]) -> list[float]:
        return [mark.probability for mark in reader.read(wanted.query, some, [()] * len(some))]

    # As chunks are, counted in the embedder's tokens.
    total = sum(await in_pieces(count, [wanted.query, *texts], COUNTED, limiter))
    if total > MOST_TOKENS:
        said = f"Query and documents have {total} tokens together; at most {MOST_TOKENS}. Send several requests."
        raise ApiError(said, param="documents", code="context_length_exceeded")
    quota.spend(total)
    scores = await in_pieces(read, texts, READ, limiter)
    best = sorted(range(len(scores)), key=lambda n: -scores[n])[: wanted.top_n]
    return {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": READER,
        "results": [_result(n, scores[n], wanted) for n in best],
        "usage": {"total_tokens": total},
    }


def _result(n: int, score: float, wanted: RerankRequest) -> Wire:
    scored: Wire = {"index": n, "relevance_score": score}
    if not wanted.return_documents:
        return scored
    given = wanted.documents[n]
    return {**scored, "document": {"text": given} if isinstance(given, str) else given}
