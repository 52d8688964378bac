"""OpenAI's lists: one page of them, and the query that asks for it. And all pages of stores."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Query

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


def everything(memory: Memory, sight: Sight | None = None) -> list[StoreInfo]:
    """All stores that are seen, oldest first."""
    stores: list[StoreInfo] = []
    while True:
        found = memory.stores(limit=100, order="asc", after=stores[-1].id if stores else None, sight=sight)
        stores.extend(found.data)
        if not found.has_more:
            return stores
