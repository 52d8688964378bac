"""The body of POST /v1/responses. Every field of OpenAI's is honoured, refused by name, or without effect."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from app.agent.tools import SEARCH
from app.api.chat_request import NAMED, Extension, Mode
from app.api.limits import Filters, Metadata, Only, Strict
from app.api.messages import FUNCTION_NAME, STRICT
from app.api.responses.input import Item, by_type
from app.api.sampling import Sampled, StreamOptions
from app.api.stores import Ranking

Includable = Literal[
    "file_search_call.results",
    "message.output_text.logprobs",
    # Without effect: they belong to what no response here has.
    "reasoning.encrypted_content",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]


class FunctionTool(Strict):
    type: Literal["function"]
    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = Field(default=None, description=STRICT)


class FileSearch(Strict):
    """Search of these stores, by id, name or alias; without any, of the model's own."""

    type: Literal["file_search"]
    vector_store_ids: list[str] | None = Field(default=None, min_length=1, max_length=16)
    max_num_results: int | None = Field(default=None, ge=1, le=50)
    filters: Filters | None = None
    ranking_options: Ranking = Ranking()


Tool = Annotated[
    FunctionTool | FileSearch, by_type({"function": FunctionTool, "file_search": FileSearch}, "Items of 'tools'")
]


class Format(Strict):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(default=None, pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = Field(default=None, description="Without effect: a schema is always kept.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = [self.name, self.schema_]
        if self.type == "json_schema" and None in given:
            raise ValueError("'text.format' of the type \"json_schema\" needs its 'name' and its 'schema'.")
        if self.type != "json_schema" and any((*given, self.description, self.strict)):
            raise ValueError("'text.format': a schema comes with the type \"json_schema\".")
        return self


class TextOptions(Strict):
    format: Format = Format(type="text")
    verbosity: Annotated[Any, Only(remedy="'text.verbosity' is not offered; leave it out")] = None


class Reasoning(Strict):
    """The core's thoughts are told as they are, whatever summary is asked for."""

    summary: Literal["auto", "concise", "detailed"] | None = Field(default=None, description="Without effect.")
    generate_summary: Literal["auto", "concise", "detailed"] | None = Field(default=None, description="As `summary`.")
    effort: Annotated[Any, Only(remedy="'reasoning.effort' is not offered; leave it out")] = None
    context: Annotated[Any, Only("auto", remedy="'reasoning.context' is not offered; leave it out")] = None
    mode: Annotated[Any, Only("standard", remedy="'reasoning.mode' is not offered; leave it out")] = None


class NoUsage(StreamOptions):
    include_usage: Annotated[None, Only(remedy="A response always tells its usage; leave it out")] = None


class ChosenSearch(Strict):
    type: Literal["file_search"]


class ChosenFunction(Strict):
    type: Literal["function"]
    name: str


def _choice(given: Any) -> Any:
    match given:
        case None | "auto" | "none" | "required" | {"type": "file_search"} | {"type": "function", "name": str()}:
            return given
    raise ValueError(
        '\'tool_choice\' must be "auto", "none", "required", {"type": "file_search"} or '
        '{"type": "function", "name": ...}.'
    )


def _input(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class ConversationNamed(Strict):
    id: str


def _conversation(given: Any) -> Any:
    return ConversationNamed.model_validate(given).id if isinstance(given, dict) else given


def _store(given: Any) -> Any:
    return True if given is None else given


class ResponseRequest(Sampled):
    input: Annotated[list[Item], BeforeValidator(_input, json_schema_input_type=str | list[Item])] = Field(min_length=1)
    instructions: str | None = None
    cogcore: Extension | None = None
    stream_options: NoUsage | None = None

    tools: list[Tool] | None = Field(default=None, max_length=128)
    tool_choice: Annotated[
        str | dict[str, Any] | None,
        BeforeValidator(_choice, json_schema_input_type=Mode | ChosenFunction | ChosenSearch | None),
    ] = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: int | None = Field(default=None, ge=0, description="Searches at most.")
    include: list[Includable] | None = None

    max_output_tokens: int | None = Field(default=None, ge=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    text: TextOptions = TextOptions()
    reasoning: Reasoning | None = None
    prompt_cache_key: str | None = Field(
        default=None, description="Only requests of equal key, and of the same client, share cached prompts."
    )

    store: Annotated[bool, BeforeValidator(_store)] = Field(
        default=True,
        description="Keep the response: for COGCORE_KEEP_DAYS (30), or until a document that it drew on is deleted.",
    )
    previous_response_id: str | None = Field(
        default=None, description="What came in and went out there stands before `input`, but for its instructions."
    )
    conversation: Annotated[
        str | None, BeforeValidator(_conversation, json_schema_input_type=str | ConversationNamed | None)
    ] = Field(
        default=None,
        description="A conversation, by id: its items stand before `input`, and when the response has ended, input and "
        "output stand at its end.",
    )
    background: bool | None = Field(default=None, description="Answer at once, and go on when nobody listens.")

    # Told again in the response, and without effect on it.
    metadata: Metadata | None = None
    safety_identifier: str | None = None

    # Without effect.
    service_tier: Literal["auto", "default"] | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: dict[str, Any] | None = None

    # Not offered: only what asks for nothing passes.
    truncation: Annotated[
        Any, Only("disabled", remedy="'truncation' must be \"disabled\": send less when a prompt is too long")
    ] = None
    prompt: Annotated[Any, Only(remedy="'prompt' is not offered; send 'instructions' and 'input'")] = None
    context_management: Annotated[Any, Only([], remedy="'context_management' is not offered; leave it out")] = None
    moderation: Annotated[Any, Only(remedy="'moderation' is not offered; leave it out")] = None
    image: Annotated[Any, Only(remedy="'image' is not offered: the core reads text only; leave it out")] = None
    access_programs: Annotated[Any, Only(remedy="'access_programs' is not offered; leave it out")] = None

    @model_validator(mode="after")
    def _kept(self) -> Self:
        if self.background and not self.store:
            raise ValueError("'background' needs 'store': nobody could fetch the response.")
        if self.conversation is not None and self.previous_response_id is not None:
            raise ValueError("What stands before is named once: by 'conversation' or by 'previous_response_id'.")
        return self

    @property
    def functions(self) -> list[tuple[int, FunctionTool]]:
        """The client's functions, each with its place among the tools."""
        return [(n, tool) for n, tool in enumerate(self.tools or ()) if isinstance(tool, FunctionTool)]

    @property
    def searches(self) -> list[tuple[int, FileSearch]]:
        return [(n, tool) for n, tool in enumerate(self.tools or ()) if isinstance(tool, FileSearch)]

    @property
    def chosen(self) -> str | None:
        """tool_choice as a mode, or as a function's name after NAMED."""
        choice = self.tool_choice
        return f"{NAMED}{choice.get('name', SEARCH)}" if isinstance(choice, dict) else choice

    @property
    def reply_schema(self) -> dict[str, Any] | None:
        """What the reply must follow; None: any text."""
        wanted = self.text.format
        if wanted.type == "text":
            return None
        return {"type": "object"} if wanted.schema_ is None else wanted.schema_

    def includes(self, what: Includable) -> bool:
        return what in (self.include or ())
