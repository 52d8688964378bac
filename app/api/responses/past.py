"""What stands before a response: the ones that it goes on from or a conversation, and items that the input names."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.api.errors import ApiError
from app.api.ledger import Wire
from app.api.responses.input import Item, Kind, Reference, read
from app.api.responses.request import ResponseRequest
from app.conversations import ConversationNotFound, Conversations
from app.responses import Kept, ResponseNotFound, Responses


@dataclass(frozen=True, slots=True)
class Past:
    """`before` are the items of earlier responses or of the `conversation`, `input` those of this one. All of them draw
    on `files`.
    """

    before: Sequence[Kind]
    input: Sequence[Kind]
    files: frozenset[str]
    conversation: str | None = None


def past_of(record: Responses, conversations: Conversations, wanted: ResponseRequest, owner: str) -> Past:
    """Raises ApiError on what is not kept, or has not ended well."""
    before, files = list[Wire](), frozenset[str]()
    if wanted.conversation is not None:
        told, files = _told(conversations, wanted.conversation, owner)
        before.extend(told)
    elif wanted.previous_response_id is not None:
        for kept in _chain(record, wanted.previous_response_id, owner):
            before.extend((*kept.input, *kept.body["output"]))
            files |= frozenset(kept.files)
    own, theirs = resolved(record, wanted.input, owner)
    return Past(read(before), own, files | theirs, wanted.conversation)


def resolved(
    record: Responses, given: Sequence[Item], owner: str, field: str = "input"
) -> tuple[Sequence[Kind], frozenset[str]]:
    """The items themselves where some are referred to, and the documents that these draw on. Raises ApiError."""
    references = {item.id for item in given if isinstance(item, Reference)}
    holding = record.holding(references, owner) if references else {}
    own = [
        _found(item, f"{field}[{n}]", holding.get(item.id)) if isinstance(item, Reference) else item
        for n, item in enumerate(given)
    ]
    return own, frozenset(file_id for kept in holding.values() for file_id in kept.files)


def _told(conversations: Conversations, conversation: str, owner: str) -> tuple[Sequence[Wire], frozenset[str]]:
    try:
        return conversations.told(conversation, owner)
    except ConversationNotFound as error:
        raise ApiError(f"{error}.", param="conversation", code="not_found", status=404) from error


def _chain(record: Responses, previous: str, owner: str) -> list[Kept]:
    try:
        chain = record.chain(previous, owner)
    except ResponseNotFound as error:
        raise ApiError(f"{error}.", param="previous_response_id", code="previous_response_not_found") from error
    status = chain[-1].body["status"]
    if status not in ("completed", "incomplete"):
        raise ApiError(f"The response '{previous}' is {status}: nothing can follow it.", param="previous_response_id")
    return chain


def _found(reference: Reference, here: str, kept: Kept | None) -> Kind:
    if kept is None:
        raise ApiError(f"There is no item '{reference.id}': no response with it is kept.", param=f"{here}.id")
    return read([next(item for item in kept.body["output"] if item["id"] == reference.id)])[0]
