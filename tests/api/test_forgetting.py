"""What is deleted is not in the engine's cache either."""

import time
from collections.abc import Callable

import httpx
import openai
import pytest
from openai import OpenAI

from app.api import Parts

Delete = Callable[[OpenAI, str, str, Parts], object]


def expire_file(client: OpenAI, store: str, file: str, parts: Parts) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("index.memory.now", lambda: int(time.time()) + 3601)
        parts.memory.tidy()
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file)


def expire_store(client: OpenAI, store: str, file: str, parts: Parts) -> None:
    """A store that has expired is told to be, holds nothing, and is not searched; it is there until it is deleted."""
    parts.memory.wait(store, file)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("index.memory", "index.facets.documents"):
            patch.setattr(f"{module}.now", lambda: int(time.time()) + 86401)
        patch.setattr("app.api.stores.time.time", lambda clock=time.time: clock() + 86401)
        parts.memory.tidy()
        lasting = client.files.create(file=("weir.md", b"The weir is older."), purpose="assistants").id
        assert client.vector_stores.retrieve(store).status == "expired"
        assert client.vector_stores.files.list(store).data == []
        for attempt in (
            lambda: client.vector_stores.search(store, query="mill"),
            lambda: client.vector_stores.files.create(file_id=lasting, vector_store_id=store),
        ):
            with pytest.raises(openai.BadRequestError, match="expired after 1 days without use"):
                attempt()


@pytest.mark.parametrize(
    "delete",
    [
        lambda client, store, file, _: client.vector_stores.files.delete(file, vector_store_id=store),
        lambda client, store, file, _: client.vector_stores.delete(store),
        lambda client, store, file, _: client.files.delete(file),
        expire_file,
        expire_store,
    ],
    ids=["document", "store", "file", "a file that expires", "a store that expires"],
)
def test_what_goes_leaves_no_kv(delete: Delete, client: OpenAI, raw: httpx.Client, parts: Parts) -> None:
    def cached() -> list[list[int]]:
        slots = parts.core.engine._scheduler.slots.slots  # type: ignore[attr-defined]
        return [slot.ids for slot in slots if slot.ids]

    file = client.files.create(
        file=("mill.md", b"The mill was built in 1874."),
        purpose="assistants",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    store = client.vector_stores.create(file_ids=[file.id], expires_after={"anchor": "last_active_at", "days": 1})
    asked = {"model": "cogcore", "prompt": "The mill was built in", "max_tokens": 1}
    assert raw.post("/v1/completions", json=asked).status_code == 200
    assert cached()
    delete(client, store.id, file.id, parts)
    assert not cached()
