"""Who asks, and what of the memory is there for them."""

import hmac
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from app.api.quota import Quota
from app.keys import Key, Keys
from index.memory import Memory
from index.types import Sight


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
        """What the memory's methods are handed, so that they find nothing else. None: everything."""
        if self.key.stores is None:
            return None
        return Sight(frozenset(self.key.stores), self.keys.uploads(self.key.id))

    @property
    def owner(self) -> str:
        """Whose what is kept for later is: the organisation's, or this key's alone where it does not see all stores."""
        return self.key.organisation if self.key.stores is None else self.key.id

    def cache_key(self, secret: bytes, salt: str = "") -> str:
        """Equal for equal salts of callers of one organisation who see the same: these alone share cached prompts.

        Tells nothing of either, since other servers that run the core are sent it.
        """
        seen = "\0".join(sorted(self.key.stores)) if self.key.stores is not None else "all"
        whose = "\0\0".join((self.key.organisation, seen, self.bearer, salt))
        return hmac.digest(secret, whose.encode(), "sha256").hex()

    def store(self, name: str) -> str:
        """The id of a store. Looked up once: an alias that moves meanwhile leads nobody to what they may not see."""
        if self.sight is None or name in self.sight.stores:
            return name
        return self.memory.store(name, self.sight).id

    def file(self, file_id: str) -> str:
        return file_id if self.sight is None else self.memory.file(file_id, self.sight).id

    def uploaded(self, file_id: str) -> None:
        """The file is in no store yet, and there for who uploaded it all the same."""
        if self.key.stores is not None:
            self.keys.uploaded(self.key.id, file_id)

    def delete(self, file_id: str) -> bool:
        """Whether the file is gone. Where stores hold it that this caller does not see, it goes from sight alone."""
        file = self.memory.file(file_id, self.sight).id
        if self.sight is not None:
            for store in self.sight.stores.intersection(self.memory.stores_of(file)):
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
