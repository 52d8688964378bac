"""What stands before a response: the ones that it goes on from, and items of kept ones that its input refers to."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.api.errors import ApiError
from app.api.ledger import Wire
from app.api.responses.input import Item, Kind, Reference, read
from app.responses import Kept, ResponseNotFound, Responses


@dataclass(frozen=True, slots=True)
class Past:
    """`before` are the items of earlier responses, `input` those of this one; all of them draw on `files`."""

    before: Sequence[Kind]
    input: Sequence[Kind]
    files: frozenset[str]


def past_of(record: Responses, previous: str | None, given: Sequence[Item], owner: str) -> Past:
    """Raises ApiError on what is not kept, or has not ended well."""
    chain = _chain(record, previous, owner) if previous is not None else []
    items: list[Wire] = [item for kept in chain for item in (*kept.input, *kept.body["output"])]
    references = {item.id for item in given if isinstance(item, Reference)}
    holding = record.holding(references, owner) if references else {}
    files = frozenset(file_id for kept in (*chain, *holding.values()) for file_id in kept.files)
    own = [
        _found(item, n, holding.get(item.id)) if isinstance(item, Reference) else item for n, item in enumerate(given)
    ]
    return Past(read(items), own, files)


def _chain(record: Responses, previous: str, owner: str) -> list[Kept]:
    try:
        chain = record.chain(previous, owner)
    except ResponseNotFound as error:
        raise ApiError(f"{error}.", param="previous_response_id", code="previous_response_not_found") from error
    status = chain[-1].body["status"]
    if status not in ("completed", "incomplete"):
        raise ApiError(f"The response '{previous}' is {status}: nothing can follow it.", param="previous_response_id")
    return chain


def _found(reference: Reference, n: int, kept: Kept | None) -> Kind:
    if kept is None:
        raise ApiError(f"There is no item '{reference.id}': no response with it is kept.", param=f"input[{n}].id")
    return read([next(item for item in kept.body["output"] if item["id"] == reference.id)])[0]
