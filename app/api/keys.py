"""/v1/cogcore/keys: API keys, made, listed and revoked by whoever has the scope `admin`, for its own organisation.

Who runs the server (COGCORE_API_KEY, or anybody while there is no key) does so for every organisation.
"""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.api.caller import Asking
from app.api.errors import ApiError
from app.api.limits import Strict
from app.api.listing import Paged, Wire, listing
from app.api.parts import Parts
from app.keys import Key, Scope
from index.types import Sight

Bound = Annotated[int, Field(ge=0, le=10**12)] | None


class NewKey(Strict):
    """What a key is to be good for."""

    name: str = Field(min_length=1, max_length=100)
    scope: Scope = "read"
    stores: list[str] | None = Field(default=None, description="Names or ids; all others are not there for the key")
    organisation: str | None = Field(default=None, description="null: of who makes it. Another needs COGCORE_API_KEY")
    requests_per_minute: Bound = Field(default=None, description="null: as the settings say; 0: any number")
    tokens_per_minute: Bound = Field(default=None, description="Of prompts and answers; null and 0 likewise")
    expires_at: Bound = None


class KeyObject(BaseModel):
    """A key, but for the secret itself. `read` asks and reads, `write` changes documents too, `admin` all."""

    id: str
    object: Literal["cogcore.key"]
    name: str
    hint: str = Field(description="How the secret begins")
    scope: Scope
    stores: list[str] | None = Field(description="The ids of the stores it is limited to; null: all")
    organisation: str = Field(description="Whose files, stores, aliases, responses and reviews it opens")
    requests_per_minute: int | None
    tokens_per_minute: int | None
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None = Field(description="To the hour")


class CreatedKey(KeyObject):
    key: str = Field(description="The secret: told now and never again")


class KeyList(BaseModel):
    object: Literal["list"]
    data: list[KeyObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def key_object(key: Key) -> Wire:
    return {"object": "cogcore.key", **asdict(key)}


def routes(parts: Parts) -> APIRouter:
    router, keys = APIRouter(prefix="/v1/cogcore/keys", tags=["keys"]), parts.keys

    def seen(store: str, organisation: str) -> str:
        return parts.memory.store_id(store, Sight(organisation))

    @router.post("", response_model=CreatedKey)
    def create(wanted: NewKey, caller: Asking) -> Wire:
        """Make a key. From the first one on, the server answers nobody without one."""
        own, whose = caller.administered, wanted.organisation or caller.organisation
        if own not in (None, whose):
            said = f"This API key makes keys of the organisation '{own}' only. Leave 'organisation' out."
            raise ApiError(said, param="organisation", code="insufficient_scope", status=403)
        given = wanted.model_dump(exclude={"stores", "organisation"})
        stores = None if wanted.stores is None else tuple(seen(name, whose) for name in wanted.stores)
        key, secret = keys.create(Key(**given, stores=stores, organisation=whose))
        return {**key_object(key), "key": secret}

    @router.get("", response_model=KeyList)
    def page(caller: Asking, cut: Paged) -> Wire:
        """The keys that were ever made."""
        return listing(keys.page(cut, caller.administered), key_object)

    @router.get("/{key_id}", response_model=KeyObject)
    def key(key_id: str, caller: Asking) -> Wire:
        """One of them."""
        return key_object(keys.get(key_id, caller.administered))

    @router.delete("/{key_id}", response_model=KeyObject)
    def revoke(key_id: str, caller: Asking) -> Wire:
        """It opens nothing from now on. It stays in the list."""
        return key_object(keys.revoke(key_id, caller.administered))

    return router
