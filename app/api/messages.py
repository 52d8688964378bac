"""The conversation of a chat request: which shapes are read, and the order they must keep."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.api.errors import ApiError
from app.api.limits import Only, Strict

# Offered to the core by the server itself; a client's function of that name could not be told apart.
HOSTED = ("search_memory", "calculate")
STRICT = (
    "Calls have arguments after `parameters`, whatever the core would write. Refused where that cannot be kept: by "
    "cores whose calls are no JSON, and by those that other servers run."
)
FUNCTION_NAME = r"^[a-zA-Z0-9_-]{1,64}$"


class ContentPart(Strict):
    type: str
    text: str | None = None
    refusal: str | None = None


def flattened(*kinds: str) -> BeforeValidator:
    """Text, or text parts of these kinds joined by newlines; a part of any other kind is refused by its name."""

    def flatten(content: Any) -> Any:
        if not isinstance(content, list):
            return content
        texts: list[str] = []
        for part in content:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
            if kind not in kinds:
                raise ValueError(f"Content parts of type '{kind}' cannot be read: the core reads text only.")
            if not isinstance(text, str):
                raise ValueError(f"A content part of type '{kind}' needs its text.")
            texts.append(text)
        return "\n".join(texts)

    return BeforeValidator(flatten, json_schema_input_type=str | list[ContentPart] | None)


class FunctionCall(Strict):
    name: str
    arguments: str


class MadeCall(Strict):
    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int | None = None  # clients that put a streamed message back together keep it


class Message(Strict):
    """One message. What a client echoes of our own replies (annotations, reasoning, empty fields) is accepted."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, flattened("text", "refusal")] = None
    name: str | None = None
    tool_calls: list[MadeCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    annotations: list[Any] | None = None
    provider_specific_fields: dict[str, Any] | None = None  # where litellm keeps what it had no place for
    audio: Annotated[Any, Only(remedy="'audio' cannot be read; send text")] = None
    function_call: Annotated[Any, Only(remedy="'function_call' is out of use; send 'tool_calls'")] = None

    def plain(self) -> dict[str, Any]:
        """The message as chat templates read it."""
        role = "system" if self.role == "developer" else self.role
        message: dict[str, Any] = {"role": role, "content": self.content or self.refusal or ""}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": call.function.model_dump()} for call in self.tool_calls
            ]
        if self.tool_call_id is not None:
            message["tool_call_id"] = self.tool_call_id
        return message


class Function(Strict):
    name: str = Field(pattern=FUNCTION_NAME)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = Field(default=None, description=STRICT)


class Tool(Strict):
    type: Literal["function"]
    function: Function


def check_order(messages: Sequence[Message]) -> None:
    """Raise ApiError at the first message that cannot follow the ones before it."""
    if not any(message.role == "user" for message in messages):
        raise ApiError("A message with the role 'user' is needed: it holds the question.", param="messages")
    waiting: dict[str, int] = {}
    for n, message in enumerate(messages):
        here = f"messages[{n}]"
        if message.role == "tool":
            if message.tool_call_id not in waiting:
                raise ApiError(
                    f"{here} answers no call: its 'tool_call_id' must be the id of a tool call "
                    "in the assistant message before it.",
                    param=f"{here}.tool_call_id",
                )
            del waiting[message.tool_call_id or ""]
        elif waiting:
            _unanswered(waiting)
        _check_fields(message, here)
        waiting.update({call.id: n for call in message.tool_calls or ()})
    if waiting:
        _unanswered(waiting)
    if messages[-1].role not in ("user", "tool"):
        raise ApiError(
            f"The last message must have the role 'user' or 'tool', not '{messages[-1].role}'.", param="messages"
        )


def _check_fields(message: Message, here: str) -> None:
    if message.tool_calls and message.role != "assistant":
        raise ApiError(f"{here}: only an assistant message has 'tool_calls'.", param=f"{here}.tool_calls")
    if message.tool_call_id is not None and message.role != "tool":
        raise ApiError(f"{here}: only a tool message has a 'tool_call_id'.", param=f"{here}.tool_call_id")
    if message.content is None and message.role != "assistant":
        raise ApiError(f"{here} needs its 'content'.", param=f"{here}.content")
    if message.role == "user" and not (message.content or "").strip():
        raise ApiError(f"{here} is empty. Send a question.", param=f"{here}.content")


def _unanswered(waiting: dict[str, int]) -> None:
    call, n = next(iter(waiting.items()))
    raise ApiError(
        f"The tool call '{call}' of messages[{n}] has no answer: a message with the role 'tool' must follow it.",
        param=f"messages[{n}].tool_calls",
    )


def check_names(names: Sequence[tuple[str, str]], chosen: str | None) -> None:
    """Raise ApiError on names of functions that collide, or on a choice that is not offered.

    Beside each name stands the parameter that gives it.
    """
    seen: set[str] = set()
    for name, here in names:
        if name in HOSTED:
            raise ApiError(f"'{name}' is a tool of the server itself. Name yours differently.", param=here)
        if name in seen:
            raise ApiError(f"Two tools are named '{name}'. Name them differently.", param=here)
        seen.add(name)
    if chosen is not None and chosen not in seen and chosen not in HOSTED:
        raise ApiError(f"tool_choice names '{chosen}', which is not among the tools.", param="tool_choice")
