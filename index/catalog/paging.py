"""One page of a listing, by cursor, as OpenAI's lists work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column, Row, Select

from index.catalog import Transaction
from index.errors import InvalidRequest, NotFound


@dataclass(frozen=True, slots=True)
class Cut:
    """Which part of a listing: the `limit` rows just after one id, or just before another."""

    limit: int = 20
    after: str | None = None
    before: str | None = None
    order: Literal["asc", "desc"] = "desc"

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= 10_000:
            raise InvalidRequest("limit", f"limit must be between 1 and 10000, not {self.limit}")
        if self.order not in ("asc", "desc"):
            raise InvalidRequest("order", f"order must be 'asc' or 'desc', not {self.order!r}")


def cut(
    tx: Transaction,
    wanted: Select[*tuple[Any, ...]],
    key: Column[int],
    limits: Cut,
    number: Callable[[str], int],
) -> tuple[Sequence[Row[*tuple[Any, ...]]], bool]:
    """The rows in the asked order, and whether there are more beyond them. `number` turns an id into its key."""
    backwards = limits.before is not None and limits.after is None
    ascending = (limits.order == "asc") != backwards
    for field, cursor in (("after", limits.after), ("before", limits.before)):
        if cursor is not None:
            try:
                place = number(cursor)
            except NotFound as error:
                raise InvalidRequest(field, f"{field} names nothing in this list: {cursor!r}") from error
            wanted = wanted.where(key > place if (field == "after") == (limits.order == "asc") else key < place)
    rows = tx.execute(wanted.order_by(key.asc() if ascending else key.desc()).limit(limits.limit + 1)).all()
    kept = rows[: limits.limit]
    return (kept[::-1] if backwards else kept), len(rows) > limits.limit
