"""The body of POST /v1/chat/completions. Every field of OpenAI's is honoured, refused by name, or without effect."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from app.api.limits import Filters, Only, Strict
from app.api.messages import Message, Tool
from app.api.sampling import Sampled

# A function that tool_choice names becomes text that no mode can look like.
NAMED = "function:"


Mode = Literal["auto", "none", "required"]


class NamedFunction(Strict):
    name: str


class ChosenFunction(Strict):
    type: Literal["function"]
    function: NamedFunction


def _choice(given: Any) -> Any:
    match given:
        case None | "auto" | "none" | "required":
            return given
        case {"type": "function", "function": {"name": str(name)}}:
            return NAMED + name
    raise ValueError('\'tool_choice\' must be "auto", "none", "required" or {"type": "function", "function": ...}.')


class Extension(Strict):
    """What OpenAI's words have no place for: the policy of this one request."""

    max_searches: int | None = Field(default=None, ge=0, le=8)
    stores: list[str] | None = Field(default=None, min_length=1, max_length=16)
    filters: Filters | None = None
    need_threshold: float | None = Field(default=None, ge=0, le=1)
    abstain_below: float | None = Field(default=None, ge=0, le=1)
    autonomy: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="An answer that searched or calculated has the status `needs_review`, and is listed by "
        "GET /v1/cogcore/reviews, when its confidence is below 1 minus this. 1: none is; 0: all are. "
        "Small talk and abstentions never are.",
    )


class NamedSchema(Strict):
    name: str = Field(pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = Field(default=None, description="Without effect: a schema is always kept.")


class ReplyFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("'response_format': 'json_schema' comes with the type \"json_schema\", and only with it.")
        return self


class ChatRequest(Sampled):
    messages: list[Message] = Field(min_length=1)
    cogcore: Extension | None = None

    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: Annotated[
        str | None, BeforeValidator(_choice, json_schema_input_type=Mode | ChosenFunction | None)
    ] = None
    parallel_tool_calls: bool | None = None

    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    n: int | None = Field(default=None, ge=1, le=8, description="With a `seed`, each of the answers is repeatable.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    prompt_cache_key: str | None = Field(
        default=None, description="Only requests of equal key, and of the same client, share cached prompts."
    )

    response_format: ReplyFormat | None = None

    # Not offered: only what asks for nothing passes.
    modalities: Annotated[Any, Only(["text"], remedy="'modalities' must be [\"text\"]")] = None
    audio: Annotated[Any, Only(remedy="'audio' is not offered; leave it out")] = None
    functions: Annotated[Any, Only(remedy="'functions' is out of use; send 'tools'")] = None
    function_call: Annotated[Any, Only(remedy="'function_call' is out of use; send 'tool_choice'")] = None
    reasoning_effort: Annotated[Any, Only(remedy="'reasoning_effort' is not offered; leave it out")] = None
    verbosity: Annotated[Any, Only(remedy="'verbosity' is not offered; leave it out")] = None
    web_search_options: Annotated[
        Any, Only(remedy="'web_search_options' is not offered: this server searches its own memory; leave it out")
    ] = None
    moderation: Annotated[Any, Only(remedy="'moderation' is not offered; leave it out")] = None

    # Without effect on the answer.
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    safety_identifier: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    service_tier: Literal["auto", "default"] | None = None

    @property
    def reply_schema(self) -> dict[str, Any] | None:
        """What the reply must follow; None: any text."""
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        return wanted.json_schema.schema_ if wanted.json_schema else {"type": "object"}
