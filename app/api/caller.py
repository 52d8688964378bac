"""Who asks, and what of the memory is there for them: what their organisation has, and of it what their key may see."""

import hmac
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from app.api.quota import Quota
from app.engine.types import Whose
from app.keys import Key, Keys
from index.memory import Memory
from index.types import Sight

# Keys that nobody made. Who runs the server is of the default organisation, and makes keys for any.
ROOT = Key("COGCORE_API_KEY", "admin", id="root", requests_per_minute=0, tokens_per_minute=0)
ANYONE = replace(ROOT, name="anyone", id="anyone")  # on an open server
READER = replace(ROOT, name="a signed link", id="link", scope="read")


@dataclass(frozen=True)
class Caller:
    """The key of one request. `bearer` tells clients apart only where nothing else does: on an open server."""

    key: Key
    keys: Keys
    memory: Memory
    bearer: str = ""
    quota: Quota = field(default_factory=Quota)

    @cached_property
    def sight(self) -> Sight | None:
        """What the memory's methods are handed, so that they find nothing else. None: this server signed for it."""
        if self.key is READER:
            return None
        if self.key.stores is None:
            return Sight(self.organisation)
        return Sight(self.organisation, frozenset(self.key.stores), self.keys.uploads(self.key.id))

    @property
    def organisation(self) -> str:
        return self.key.organisation

    @property
    def administered(self) -> str | None:
        """The organisation whose keys this caller may make, see and end; None: any."""
        return None if self.key in (ROOT, ANYONE) else self.organisation

    @property
    def owner(self) -> str:
        """Whose what is kept for later is: the organisation's, or this key's alone where it does not see all stores."""
        return self.organisation if self.key.stores is None else self.key.id

    def whose(self, secret: bytes, salt: str = "") -> Whose:
        """What the engine is told. The key is equal for equal salts of callers of one organisation who see the same.

        It begins with `cache_keys`. Tells nothing of either, since other servers that run the core are sent it.
        """
        seen = "\0".join(sorted(self.key.stores)) if self.key.stores is not None else "all"
        alike = "\0\0".join((self.organisation, seen, self.bearer, salt))
        key = self.cache_keys(secret) + hmac.digest(secret, alike.encode(), "sha256").hex()
        return Whose(key, client=self.bearer or self.key.id)

    def cache_keys(self, secret: bytes) -> str:
        """What the cache keys of this organisation begin with, and no other's."""
        return hmac.digest(secret, f"organisation {self.organisation}".encode(), "sha256").hex()

    def store(self, name: str) -> str:
        """The id of a store. Looked up once: an alias that moves meanwhile leads nobody to what they may not see."""
        return self.memory.store_id(name, self.sight)

    def file(self, file_id: str) -> str:
        return self.memory.file(file_id, self.sight).id

    def uploaded(self, file_id: str) -> None:
        """The file is in no store yet, and there for who uploaded it all the same."""
        if self.key.stores is not None:
            self.keys.uploaded(self.key.id, file_id)

    def delete(self, file_id: str) -> bool:
        """Whether the file is gone. Where stores hold it that this caller does not see, it goes from sight alone."""
        file = self.file(file_id)
        if self.key.stores is not None:
            for store in set(self.key.stores).intersection(self.memory.stores_of(file)):
                self.memory.detach(store, file)
            self.keys.forget_upload(file)
            if self.memory.stores_of(file):
                return False
        self.memory.delete_file(file)
        return True


async def _asking(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller


Asking = Annotated[Caller, Depends(_asking)]


def _store(store_id: str, caller: Asking) -> str:
    return caller.store(store_id)


def _file(file_id: str, caller: Asking) -> str:
    return caller.file(file_id)


# A route's path parameter, which only ever names what the caller may see.
SeenStore = Annotated[str, Depends(_store)]
SeenFile = Annotated[str, Depends(_file)]


class Named(NamedTuple):
    """What a path names of what this owner has had kept, if it is there."""

    id: str
    owner: str


async def _response(response_id: str, caller: Asking) -> Named:
    return Named(response_id, caller.owner)


async def _conversation(conversation_id: str, caller: Asking) -> Named:
    return Named(conversation_id, caller.owner)


NamedResponse = Annotated[Named, Depends(_response)]
NamedConversation = Annotated[Named, Depends(_conversation)]
