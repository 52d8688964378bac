"""/v1/cogcore/aliases: names that point to stores, and are pointed elsewhere while others ask."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.caller import Asking
from app.api.limits import Strict
from app.api.listing import PagedByName, Wire, listing, part
from app.api.parts import Parts
from index.types import Alias


class Target(Strict):
    """Where an alias is to point."""

    vector_store_id: str


class AliasObject(BaseModel):
    """A name by which chats, searches and whoever else names a store reach the one that it points to."""

    id: str = Field(description="The name")
    object: Literal["cogcore.alias"]
    vector_store_id: str
    moved_at: int
    before: list[str] = Field(description="The stores it pointed to before, of those still there, the last one first")


class AliasList(BaseModel):
    object: Literal["list"]
    data: list[AliasObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AliasDeleted(BaseModel):
    id: str
    object: Literal["cogcore.alias.deleted"]
    deleted: Literal[True]


def alias_object(alias: Alias) -> Wire:
    return {
        "id": alias.name,
        "object": "cogcore.alias",
        "vector_store_id": alias.store_id,
        "moved_at": alias.moved_at,
        "before": list(alias.before),
    }


def routes(parts: Parts) -> APIRouter:
    router, aliases = APIRouter(prefix="/v1/cogcore/aliases", tags=["aliases"]), parts.memory.aliases

    @router.get("", response_model=AliasList)
    def page(caller: Asking, cut: PagedByName) -> Wire:
        """The aliases, by name."""
        return listing(part([alias_object(one) for one in aliases.all(caller.sight)], cut), lambda alias: alias)

    @router.get("/{alias}", response_model=AliasObject)
    def alias(alias: str, caller: Asking) -> Wire:
        """One of them."""
        return alias_object(aliases.get(alias, caller.sight))

    @router.post("/{alias}", response_model=AliasObject)
    def point(alias: str, target: Target, caller: Asking) -> Wire:
        """Point the alias to a store, by its name or id. A new name makes an alias."""
        return alias_object(aliases.set(alias, target.vector_store_id, caller.sight))

    @router.post("/{alias}/rollback", response_model=AliasObject)
    def roll_back(alias: str, caller: Asking) -> Wire:
        """Point the alias to the store before; once more, to the one before that."""
        return alias_object(aliases.roll_back(alias, caller.sight))

    @router.delete("/{alias}", response_model=AliasDeleted)
    def remove(alias: str, caller: Asking) -> Wire:
        """Forget the alias. The store stays."""
        aliases.remove(alias, caller.sight)
        return {"id": alias, "object": "cogcore.alias.deleted", "deleted": True}

    return router
