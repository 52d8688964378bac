"""POST /v1/embeddings: the memory's embedder, for whoever keeps vectors of their own.

Texts are embedded as passages are. Token ids are those of the embedder's own tokenizer; ids that it would make of no
text are refused, since they are another model's and their vector would mean nothing.
"""

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response
from opentelemetry.trace import Span
from pydantic import BeforeValidator

from app.api.caller import Asking
from app.api.errors import ApiError
from app.api.hangup import ClientGone, unless_gone
from app.api.limits import Strict
from app.api.parts import Parts
from app.api.pieces import in_pieces
from app.api.quota import Quota
from index.types import Embedder, Vectors

# OpenAI's own limits.
MOST_INPUTS = 2048
MOST_TOKENS = 300_000
COUNTED, EMBEDDED = 128, 32  # inputs in one piece


def _inputs(given: Any) -> Any:
    """One input as a list of one."""
    inputs = [given] if isinstance(given, str) or _is_ids(given) else given
    if not isinstance(inputs, list) or not all(isinstance(one, str) or _is_ids(one) for one in inputs):
        raise ValueError("'input' must be a text, a list of texts, a list of token ids, or a list of such lists.")
    if not 1 <= len(inputs) <= MOST_INPUTS:
        raise ValueError(f"'input' must hold 1 to {MOST_INPUTS} texts, not {len(inputs)}. Send several requests.")
    for n, one in enumerate(inputs):
        if not one:
            raise ValueError(f"'input' holds nothing at position {n}. Leave empty texts out.")
    return inputs


def _is_ids(given: Any) -> bool:
    return isinstance(given, list) and bool(given) and all(type(n) is int and 0 <= n < 2**31 for n in given)


class EmbeddingRequest(Strict):
    model: str
    input: Annotated[
        list[str | list[int]],
        BeforeValidator(_inputs, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None  # without effect


def routes(parts: Parts) -> APIRouter:
    router, embedder = APIRouter(prefix="/v1/embeddings", tags=["embeddings"]), parts.memory.embedder
    limiter = CapacityLimiter(1)

    @router.post("")
    async def embed(request: Request, wanted: EmbeddingRequest, caller: Asking) -> Response:
        """Vectors of length 1, by the model that the memory searches with. GET /v1/models names it.

        An input longer than the model reads is refused, not cut. `encoding_format` base64 is float32, little-endian.
        """
        if wanted.model != embedder.name:
            said = f"The model '{wanted.model}' makes no embeddings: '{embedder.name}' does."
            raise ApiError(said, param="model", code="model_not_found", status=404)
        if wanted.dimensions not in (None, embedder.dimension):
            said = f"'dimensions' must be {embedder.dimension}: vectors of '{embedder.name}' cannot be shortened."
            raise ApiError(said, param="dimensions", code="invalid_value")
        told = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": "cogcore",
            "gen_ai.request.model": embedder.name,
            "gen_ai.request.encoding_formats": [wanted.encoding_format],
            "gen_ai.embeddings.dimension.count": embedder.dimension,
        }
        try:
            with parts.traces.span(f"embeddings {embedder.name}", told, request.headers) as span:
                return await unless_gone(request, _answer(wanted, embedder, limiter, caller.quota, span))
        except ClientGone:
            return Response(status_code=499)

    return router


async def _answer(
    wanted: EmbeddingRequest, embedder: Embedder, limiter: CapacityLimiter, quota: Quota, span: Span
) -> Response:
    texts, total = await _texts(wanted.input, embedder, limiter)
    quota.spend(total)
    span.set_attribute("gen_ai.usage.input_tokens", total)
    vectors = await in_pieces(
        lambda some: _written(embedder.encode(some), wanted.encoding_format), texts, EMBEDDED, limiter
    )
    items = ",".join(f'{{"object":"embedding","index":{n},"embedding":{vector}}}' for n, vector in enumerate(vectors))
    usage = {"prompt_tokens": total, "total_tokens": total}
    about = json.dumps({"object": "list", "model": embedder.name, "usage": usage})
    return Response(f'{about[:-1]}, "data":[{items}]}}', media_type="application/json")


async def _texts(
    inputs: Sequence[str | list[int]], embedder: Embedder, limiter: CapacityLimiter
) -> tuple[list[str], int]:
    """The inputs as texts, and how many tokens they have in all. Raises ApiError, naming the input."""

    def read(one: str | list[int]) -> tuple[str | None, int]:
        return (one, embedder.count_tokens(one)) if isinstance(one, str) else (embedder.decode(one), len(one))

    texts, total = list[str](), 0
    for n, (text, count) in enumerate(await in_pieces(lambda some: map(read, some), inputs, COUNTED, limiter)):
        if text is None:
            said = (
                f"Input {n} is a list of token ids that '{embedder.name}' makes of no text: another tokenizer made "
                "them. Send texts; langchain does with check_embedding_ctx_length=False."
            )
            raise ApiError(said, param=f"input[{n}]", code="invalid_value")
        if count > embedder.window:
            said = f"Input {n} has {count} tokens; '{embedder.name}' reads {embedder.window}. Split it."
            raise ApiError(said, param=f"input[{n}]", code="context_length_exceeded")
        texts.append(text)
        total += count
    if total > MOST_TOKENS:
        said = f"The inputs have {total} tokens together; at most {MOST_TOKENS} at once. Send several requests."
        raise ApiError(said, param="input", code="context_length_exceeded")
    return texts, total


def _written(vectors: Vectors, encoding: str) -> list[str]:
    """Each vector as JSON. Here, in a thread: thousands of lists of floats would hold the event loop for a second."""
    if encoding == "float":
        return [json.dumps(vector) for vector in vectors.tolist()]
    return [f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"' for vector in vectors]
