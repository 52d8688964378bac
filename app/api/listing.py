"""OpenAI's lists: one page of them, and the query that asks for it. And all pages of stores."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query

from index.catalog.paging import Cut
from index.errors import InvalidRequest
from index.memory import Memory
from index.types import Page, Sight, StoreInfo

T = TypeVar("T")
Wire = dict[str, Any]

Order = Literal["asc", "desc"]


def _cut(default: int = 20, most: int = 100, first: Order = "desc") -> Callable[..., Awaitable[Cut]]:
    async def cut(
        limit: Annotated[int, Query(ge=1, le=most)] = default,
        order: Annotated[Order, Query()] = first,
        after: Annotated[str | None, Query()] = None,
        before: Annotated[str | None, Query()] = None,
    ) -> Cut:
        return Cut(limit, after, before, order)

    return cut


# The query of lists, and of those that differ in what they take or do unasked.
Paged = Annotated[Cut, Depends(_cut())]
PagedFiles = Annotated[Cut, Depends(_cut(10_000, 10_000))]
PagedByName = Annotated[Cut, Depends(_cut(first="asc"))]


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


def part(items: Sequence[Wire], cut: Cut) -> Page[Wire]:
    """One page of items that are all at hand, in ascending order. Raises InvalidRequest."""
    asked = list(items if cut.order == "asc" else reversed(items))
    ids = [item["id"] for item in asked]
    for field, cursor in (("after", cut.after), ("before", cut.before)):
        if cursor is not None and cursor not in ids:
            raise InvalidRequest(field, f"{field} names nothing in this list: {cursor!r}")
    start = 0 if cut.after is None else ids.index(cut.after) + 1
    found = asked[start : len(asked) if cut.before is None else ids.index(cut.before)]
    backwards = cut.before is not None and cut.after is None
    return Page(found[-cut.limit :] if backwards else found[: cut.limit], len(found) > cut.limit)


def everything(memory: Memory, sight: Sight | None = None) -> list[StoreInfo]:
    """All stores that are seen, oldest first."""
    stores: list[StoreInfo] = []
    while True:
        found = memory.stores(limit=100, order="asc", after=stores[-1].id if stores else None, sight=sight)
        stores.extend(found.data)
        if not found.has_more:
            return stores
