"""The shapes of what chats, completions, embeddings, reranking and models answer."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Listed(BaseModel, Generic[T]):
    object: Literal["list"]
    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ErrorObject(BaseModel):
    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None = Field(description="The parameter that is wrong")
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorObject


class CachedTokens(BaseModel):
    cached_tokens: Count


class ReasoningTokens(BaseModel):
    reasoning_tokens: Count


class ChatUsage(BaseModel):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class LikelyToken(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(LikelyToken):
    top_logprobs: list[LikelyToken]


class Logprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None


class UrlCitation(BaseModel):
    url: str
    title: str
    start_index: Count
    end_index: Count


class ChatAnnotation(BaseModel):
    type: Literal["url_citation"]
    url_citation: UrlCitation


class CalledFunction(BaseModel):
    name: str
    arguments: str


class ToolCallObject(BaseModel):
    id: str
    type: Literal["function"]
    function: CalledFunction


class FoundHit(BaseModel):
    """A passage and the stretch of it that seems to answer: `quote` is the parsed document's text[start:end]."""

    file_id: str
    filename: str
    chunk_id: str
    score: float
    start: Count
    end: Count
    page: int | None
    quote: str


class SearchMade(BaseModel):
    query: str
    store: str
    version: int
    hits: list[FoundHit]


class CalculationMade(BaseModel):
    expression: str
    result: str
    ok: bool


class CitationMade(BaseModel):
    """A quote that was verified: it is the parsed document's text[start:end]."""

    file_id: str
    filename: str
    chunk_id: str
    page: int | None
    quote: str
    start: Count
    end: Count
    url: str
    reply_start: Count
    reply_end: Count


class RoundMade(BaseModel):
    prompt: Count
    cached: Count
    generated: Count


class StoreVersion(BaseModel):
    id: str
    version: int


class TurnMade(BaseModel):
    """What OpenAI's words have no place for."""

    status: Literal["answered", "abstained", "needs_review"]
    review: str | None
    answer: str | None
    need: Share | None
    confidence: Share
    abstained: bool
    stores: list[StoreVersion]
    searches: list[SearchMade]
    calculations: list[CalculationMade]
    citations: list[CitationMade]
    rounds: list[RoundMade]


class TurnsMade(BaseModel):
    choices: list[TurnMade]


class AssistantMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    annotations: list[ChatAnnotation]
    reasoning: str | None
    reasoning_content: str | None
    tool_calls: list[ToolCallObject] | None = None


FinishReason = Literal["stop", "length", "tool_calls"]


class ChatChoice(BaseModel):
    index: Count
    message: AssistantMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class ChatHead(BaseModel):
    id: str
    created: int
    model: str
    service_tier: Literal["default"]
    system_fingerprint: str | None


class ChatCompletion(ChatHead):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: ChatUsage
    cogcore: TurnMade | TurnsMade


class FunctionDelta(BaseModel):
    name: str | None = None
    arguments: str


class ToolCallDelta(BaseModel):
    index: Count
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class ChatDelta(BaseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    annotations: list[ChatAnnotation] | None = None


class ChatChunkChoice(BaseModel):
    index: Count
    delta: ChatDelta
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class Activity(BaseModel):
    """What a turn does when it does it, as the fields of `cogcore` tell it again at the end."""

    type: Literal["decided", "searching", "searched", "calculated", "cited"]


class ChatChunk(ChatHead):
    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: ChatUsage | None = None
    cogcore_event: Activity | None = None
    cogcore: TurnMade | TurnsMade | None = None


class TextLogprobs(BaseModel):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[Count]


class TextChoice(BaseModel):
    index: Literal[0]
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: TextLogprobs | None
    prompt_token_ids: list[Count] | None = None
    token_ids: list[Count] | None = None


class TextUsage(BaseModel):
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    prompt_tokens_details: CachedTokens


class TextCompletion(BaseModel):
    """Streamed, each of its chunks: `usage` then stands on the last one only, if it was asked for."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[TextChoice]
    usage: TextUsage | None = None


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str = Field(description="As text: base64 of float32, little-endian")


class EmbeddingUsage(BaseModel):
    prompt_tokens: Count
    total_tokens: Count


class Embeddings(BaseModel):
    object: Literal["list"]
    model: str
    usage: EmbeddingUsage
    data: list[Embedding]


class RankedDocument(BaseModel):
    index: Count
    relevance_score: Share
    document: dict[str, Any] | None = None


class RerankUsage(BaseModel):
    total_tokens: Count


class Reranked(BaseModel):
    id: str
    model: str
    results: list[RankedDocument]
    usage: RerankUsage


class ModelObject(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int | None


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelObject]


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["ready"]


class About(BaseModel):
    name: Literal["cogcore"]
    version: str
    core: str
