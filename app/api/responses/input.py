"""The input of a response: its items, the order they must keep, and the conversation that they are."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from app.agent.turn import Message
from app.api.errors import ApiError
from app.api.ledger import Wire
from app.api.limits import Strict
from app.api.messages import flattened

PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "reasoning": "rs",
    "file_search_call": "fs",
}
Read = flattened("input_text", "output_text", "text", "refusal")


class Said(Strict):
    """A message. Of one that a response held, its other fields (id, status, annotations) change nothing."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[str, Read]
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class Reference(Strict):
    """An item of a response that is kept."""

    type: Literal["item_reference"]
    id: str


class Called(Strict):
    """A call of a client's function."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)
    name: str
    arguments: str
    id: str | None = None
    status: str | None = None


class Returned(Strict):
    """What the client's function said."""

    type: Literal["function_call_output"]
    call_id: str
    output: Annotated[str, Read]
    id: str | None = None
    status: str | None = None


class Thought(Strict):
    """Thoughts of an earlier response, which the core is not shown again."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[Any] | None = None
    encrypted_content: str | None = None
    status: str | None = None


class Searched(Strict):
    """A search of an earlier response. What it found is not shown again: the memory may know better now."""

    type: Literal["file_search_call"]
    id: str | None = None
    queries: list[str] | None = None
    results: list[Any] | None = None
    status: str | None = None


KINDS: Mapping[str, type[Strict]] = {
    "message": Said,
    "function_call": Called,
    "function_call_output": Returned,
    "reasoning": Thought,
    "file_search_call": Searched,
    "item_reference": Reference,
}


def by_type(kinds: Mapping[str, type[Strict]], what: str, default: str = "") -> BeforeValidator:
    """Reads a value as what its `type` says. Clients echo what they were sent, with the fields that are empty."""

    def read(given: Any) -> Any:
        kind = given.get("type") or default if isinstance(given, dict) else type(given).__name__
        if not isinstance(kind, str) or kind not in kinds:
            known = ", ".join(f"'{name}'" for name in kinds)
            raise ValueError(f"{what} of type '{kind}' are not offered; these are: {known}.")
        return kinds[kind].model_validate({key: value for key, value in given.items() if value is not None})

    return BeforeValidator(read)


Kind = Said | Called | Returned | Thought | Searched
Item = Annotated[Kind | Reference, by_type(KINDS, "Items of 'input'", "message")]
READER: TypeAdapter[list[Any]] = TypeAdapter(list[Item])


def read(items: Sequence[Wire]) -> list[Kind]:
    """Items as they were kept."""
    return READER.validate_python(items)


def wire(item: Kind) -> Wire:
    """The item as /input_items lists it. One without an id gets one."""
    made = item.model_dump(exclude_none=True)
    if isinstance(item, Said):
        part: Wire = {"type": "input_text", "text": item.content}
        if item.role == "assistant":
            part = {"type": "output_text", "text": item.content, "annotations": [], "logprobs": []}
        made = {**made, "status": "completed", "content": [part]}
    elif isinstance(item, Called | Returned):
        made["status"] = "completed"
    return {"id": f"{PREFIXES[item.type]}_{uuid.uuid4().hex}", **made}


def conversation(items: Sequence[Kind], before: int = 0) -> list[Message]:
    """The items as chat templates read them. Raises ApiError at the first that cannot follow those before it.

    The first `before` of them stand in earlier responses or in a conversation.
    """
    messages: list[dict[str, Any]] = []
    waiting: dict[str, int] = {}
    for n, item in enumerate(items, -before):
        here = f"input[{n}]"
        match item:
            case Returned():
                if item.call_id not in waiting:
                    raise ApiError(
                        f"{here} answers no call: its 'call_id' must be that of a function_call before it.",
                        param=f"{here}.call_id",
                    )
                del waiting[item.call_id]
                messages.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
            case Called():
                waiting[item.call_id] = n
                _calls(messages).append(_call(item))
            case Said():
                if item.role == "user":
                    _unanswered(waiting)
                    if not item.content.strip():
                        raise ApiError(f"{here} is empty. Send a question.", param=f"{here}.content")
                role = "system" if item.role == "developer" else item.role
                messages.append({"role": role, "content": item.content})
    _unanswered(waiting)
    if not any(message["role"] == "user" for message in messages):
        raise ApiError("A message with the role 'user' is needed: it holds the question.", param="input")
    if messages[-1]["role"] not in ("user", "tool"):
        raise ApiError("The last item must be a message of the user or a function_call_output.", param="input")
    return list(messages)


def _calls(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls of the assistant's last message: those of one reply are one message."""
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    calls: list[dict[str, Any]] = messages[-1].setdefault("tool_calls", [])
    return calls


def _call(item: Called) -> dict[str, Any]:
    return {"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}}


def _unanswered(waiting: Mapping[str, int]) -> None:
    for call, n in waiting.items():
        where = f"of input[{n}]" if n >= 0 else "from before"
        raise ApiError(
            f"The call '{call}' {where} has no answer: a function_call_output must follow it.",
            param=f"input[{n}]" if n >= 0 else "input",
        )
