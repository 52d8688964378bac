"""What is deleted is not in the engine's cache either."""

from collections.abc import Callable

import httpx
import pytest
from openai import OpenAI

from app.api import Parts

Delete = Callable[[OpenAI, str, str], object]


@pytest.mark.parametrize(
    "delete",
    [
        lambda client, store, file: client.vector_stores.files.delete(file, vector_store_id=store),
        lambda client, store, file: client.vector_stores.delete(store),
        lambda client, store, file: client.files.delete(file),
    ],
    ids=["document", "store", "file"],
)
def test_a_deletion_leaves_no_kv(delete: Delete, client: OpenAI, raw: httpx.Client, parts: Parts) -> None:
    def cached() -> list[list[int]]:
        slots = parts.core.engine._scheduler.slots.slots  # type: ignore[attr-defined]
        return [slot.ids for slot in slots if slot.ids]

    file = client.files.create(file=("mill.md", b"The mill was built in 1874."), purpose="assistants")
    store = client.vector_stores.create(file_ids=[file.id])
    asked = {"model": "cogcore", "prompt": "The mill was built in", "max_tokens": 1}
    assert raw.post("/v1/completions", json=asked).status_code == 200
    assert cached()
    delete(client, store.id, file.id)
    assert not cached()
