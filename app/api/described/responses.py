"""The shapes of responses, of the events of their streams, and of conversations."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from app.api.described.chats import Count, TokenLogprob, TurnMade

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class FileCitation(BaseModel):
    type: Literal["file_citation"]
    file_id: str
    filename: str
    index: Count


class LinkCitation(BaseModel):
    type: Literal["url_citation"]
    url: str
    title: str
    start_index: Count
    end_index: Count


class OutputText(BaseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[Annotated[FileCitation | LinkCitation, Field(discriminator="type")]]
    logprobs: list[TokenLogprob]


class InputText(BaseModel):
    type: Literal["input_text"]
    text: str


class MessageItem(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant", "user", "system", "developer"]
    status: ItemStatus
    content: list[Annotated[OutputText | InputText, Field(discriminator="type")]]


class ReasoningItem(BaseModel):
    """The core's thoughts. An item that a client sent holds what the client sent."""

    id: str
    type: Literal["reasoning"]
    summary: list[Any] | None = None


class FileSearchItem(BaseModel):
    id: str
    type: Literal["file_search_call"]
    status: str | None = None
    queries: list[str] | None = None
    results: list[Any] | None = Field(default=None, description="null unless `include` asks for them")


class FunctionCallItem(BaseModel):
    id: str
    type: Literal["function_call"]
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


class FunctionOutputItem(BaseModel):
    id: str
    type: Literal["function_call_output"]
    status: ItemStatus
    call_id: str
    output: str


AnyItem = MessageItem | ReasoningItem | FileSearchItem | FunctionCallItem | FunctionOutputItem


class ItemObject(RootModel[Annotated[AnyItem, Field(discriminator="type")]]):
    """What came in or went out."""


class ResponseError(BaseModel):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class Incomplete(BaseModel):
    reason: Literal["max_output_tokens"]


class InputDetails(BaseModel):
    cached_tokens: Count
    cache_write_tokens: Count


class OutputDetails(BaseModel):
    reasoning_tokens: Count


class ResponseUsage(BaseModel):
    input_tokens: Count
    input_tokens_details: InputDetails
    output_tokens: Count
    output_tokens_details: OutputDetails
    total_tokens: Count


class ConversationReference(BaseModel):
    id: str


class TextSettings(BaseModel):
    format: dict[str, Any]


class ReasoningSettings(BaseModel):
    effort: None
    summary: str | None


class ResponseObject(BaseModel):
    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    error: ResponseError | None
    incomplete_details: Incomplete | None
    model: str
    instructions: str | None
    previous_response_id: str | None
    conversation: ConversationReference | None = None
    background: bool
    store: bool
    tools: list[dict[str, Any]]
    tool_choice: str | dict[str, Any]
    parallel_tool_calls: bool
    max_tool_calls: int | None
    max_output_tokens: int | None
    temperature: float
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: Count
    text: TextSettings
    reasoning: ReasoningSettings
    truncation: Literal["disabled"]
    service_tier: Literal["default"]
    metadata: dict[str, str]
    safety_identifier: str | None
    prompt_cache_key: str | None
    user: str | None
    output: list[ItemObject]
    usage: ResponseUsage | None
    cogcore: TurnMade | None = Field(default=None, description="Once it has ended")


class ResponseEvent(BaseModel):
    """One event of a stream; the line `event:` names it too. Beside these it has the fields of its type."""

    type: Literal[
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.output_text.delta",
        "response.output_text.annotation.added",
        "response.output_text.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.file_search_call.in_progress",
        "response.file_search_call.searching",
        "response.file_search_call.completed",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ]
    sequence_number: Count
    response: ResponseObject | None = None
    item: ItemObject | None = None
    item_id: str | None = None
    output_index: Count | None = None


class ResponseDeleted(BaseModel):
    id: str
    object: Literal["response"]
    deleted: Literal[True]


class ConversationObject(BaseModel):
    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(BaseModel):
    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]
