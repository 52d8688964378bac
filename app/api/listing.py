"""OpenAI's lists: one page of them, and the query that asks for it. And all pages of stores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query

from app.api.errors import ApiError
from index.memory import Memory
from index.types import Page, Sight, StoreInfo

T = TypeVar("T")
Wire = dict[str, Any]

Limit = Annotated[int, Query(ge=1, le=100)]
Order = Annotated[Literal["asc", "desc"], Query()]
Cursor = Annotated[str | None, Query()]


def listing(page: Page[T], wire: Callable[[T], Mapping[str, Any]]) -> Wire:
    """`{object: list, data, first_id, last_id, has_more}`."""
    data = [wire(item) for item in page.data]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }


def part(items: Sequence[Wire], limit: int, order: str, after: str | None) -> Page[Wire]:
    """One page of items that are all at hand, oldest first. Raises ApiError."""
    asked = list(items if order == "asc" else reversed(items))
    ids = [item["id"] for item in asked]
    if after is not None and after not in ids:
        raise ApiError(f"after names nothing in this list: '{after}'.", param="after")
    start = 0 if after is None else ids.index(after) + 1
    return Page(asked[start : start + limit], len(asked) > start + limit)


def everything(memory: Memory, sight: Sight | None = None) -> list[StoreInfo]:
    """All stores that are seen, oldest first."""
    stores: list[StoreInfo] = []
    while True:
        found = memory.stores(limit=100, order="asc", after=stores[-1].id if stores else None, sight=sight)
        stores.extend(found.data)
        if not found.has_more:
            return stores
