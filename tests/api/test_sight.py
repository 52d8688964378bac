"""Two keys, each limited to a store, and random requests of both: nothing of one ever reaches the other."""

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import Parts
from app.keys import Key
from tests.api.live import live
from tests.api.test_access import parts_in
from tests.api.test_mcp import call

STEPS = 120
EACH = "number sings"  # stands in every document
ATTACHED = {"file_id": "{file}"}
STORE = "/v1/vector_stores/{store}"
# What is asked, of stores and files that may be either side's or nobody's.
REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/files", None),
    ("GET", "/v1/files?after={file}", None),
    ("GET", "/v1/files/{file}", None),
    ("GET", "/v1/files/{file}/content", None),
    ("DELETE", "/v1/files/{file}", None),
    ("GET", "/v1/vector_stores", None),
    ("GET", "/v1/vector_stores?after={store}", None),
    ("GET", "/v1/cogcore/aliases", None),
    ("GET", "/v1/models", None),
    ("GET", f"{STORE}/files", None),
    ("GET", f"{STORE}/files/{{file}}/content", None),
    ("DELETE", f"{STORE}/files/{{file}}", None),
    *[("POST", f"{STORE}/files", ATTACHED)] * 3,
    *[("POST", f"{STORE}/search", {"query": EACH, "max_num_results": 50})] * 3,
]


class Side:
    """One key and its store. Each document that it uploads holds its word, which nobody else may read."""

    def __init__(self, name: str, base_url: str, parts: Parts) -> None:
        self.word, self.files = f"canary{name}", list[str]()
        self.store = parts.memory.create_store("same name").id
        _, self.secret = parts.keys.create(Key(name, "write", (self.store,)))
        self.client = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {self.secret}"}, timeout=60)

    def upload(self, number: float) -> None:
        document = f"{self.word}.md", f"The {self.word} number {number} sings.".encode()
        made = self.client.post("/v1/files", files={"file": document}, data={"purpose": "assistants"})
        self.files.append(made.json()["id"])

    def request(self, method: str, path: str, body: Any, **named: str) -> str:
        if body == ATTACHED:
            body = {"file_id": named["file"]}
        answer = self.client.request(method, path.format(**named), json=body)
        assert answer.status_code < 500, answer.text
        return answer.text


@contextmanager
def two_sides(folder: Path) -> Iterator[tuple[Parts, list[Side], str]]:
    parts = parts_in(folder, api_key="sesame")
    with live(parts) as base_url, ExitStack() as opened:
        sides = [Side(name, base_url, parts) for name in ("one", "two")]
        for side in sides:
            opened.enter_context(side.client)
        yield parts, sides, base_url


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_crosses(tmp_path: Path, seed: int) -> None:
    dice, read = random.Random(seed), 0
    with two_sides(tmp_path) as (parts, sides, base_url):
        for _ in range(STEPS):
            us, them = dice.sample(sides, 2)
            if dice.random() < 0.3:
                parts.memory.aliases.set("moving", dice.choice(sides).store)
            if dice.random() < 0.2:
                us.upload(dice.random())
            file = dice.choice([*us.files[-5:], *them.files[-5:], "file-none"])
            store = dice.choice([us.store, us.store, them.store, "moving", "same name", "default"])
            told = (
                str(call(base_url, "search", key=us.secret, query=EACH))
                if dice.random() < 0.05
                else us.request(*dice.choice(REQUESTS), file=file, store=store)
            )
            for secret in (them.word, *{them.store, *them.files} - {file, store}):
                assert secret not in told, told
            read += us.word in told
        for side in sides:
            kept = [one.id for one in parts.memory.store_files(side.store, limit=10_000).data]
            assert set(kept) <= set(side.files) and kept
    assert read > 10, "each reads its own"
