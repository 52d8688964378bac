"""One line for each request, and never a word of a document, a question or an answer in the log."""

import io
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api import Parts
from app.cores.load import load_core
from app.logs import OURS, JsonLines
from app.settings import read
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder
from tests.api.live import live

CANARY = "zyzzyva"
RIVER = f"# Rivers\n\nThe {CANARY} is the longest river. It is 312 kilometres long.\n".encode()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that our loggers say, as JSON lines."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    handler.setFormatter(JsonLines())
    levels = {name: logging.getLogger(name).level for name in OURS}
    for name in OURS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel("DEBUG")
    yield said
    for name, level in levels.items():
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(level)


def use(client: httpx.Client) -> None:
    """Every way in which words come in and go out."""
    question = {"model": "cogcore", "messages": [{"role": "user", "content": f"How long is the {CANARY}?"}]}
    file = client.post("/v1/files", files={"file": (f"{CANARY}.md", RIVER)}, data={"purpose": "assistants"}).json()
    client.post("/v1/vector_stores/default/files", json={"file_id": file["id"]})
    while client.get(f"/v1/vector_stores/default/files/{file['id']}").json()["status"] == "in_progress":
        time.sleep(0.05)
    told = client.post("/v1/chat/completions", json=question, headers={"X-Client-Request-Id": "mine"}).json()
    assert CANARY in json.dumps(told)
    link = told["cogcore"]["searches"][0]["hits"][0]["chunk_id"]
    assert CANARY in client.get(f"/v1/passages/{link}?start=0&end=5").text
    assert CANARY in client.post("/v1/chat/completions", json={**question, "stream": True}).text
    assert CANARY in client.post("/v1/vector_stores/default/search", json={"query": CANARY}).text
    client.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": CANARY})
    client.post("/v1/rerank", json={"model": "cogcore-reader", "query": CANARY, "documents": [CANARY]})
    broken = client.post("/v1/files", files={"file": (f"{CANARY}.pdf", RIVER)}, data={"purpose": "assistants"}).json()
    client.post("/v1/vector_stores/default/files", json={"file_id": broken["id"]})
    for path in (f"/v1/models/{CANARY}", f"/{CANARY}", f"/v1/files?after={CANARY}", f"/v1/files?{CANARY}=1"):
        client.get(path)
    client.post("/v1/completions", json={"model": "cogcore", "prompt": [10**6], "user": CANARY})
    client.post("/v1/chat/completions", content=f'{{"{CANARY}'.encode(), headers={"Content-Type": "application/json"})
    client.request(CANARY.upper(), "/v1/files")


def test_no_word_of_what_was_said(
    tmp_path: Path, embedder: Embedder, reader: Reader, device: str, log: io.StringIO
) -> None:
    settings = read(data_dir=tmp_path, api_key="sesame", need_threshold=0, abstain_below=0)
    parts = Parts(load_core(device=device, threads=1), Memory(tmp_path, embedder, reader), settings)
    key = {"Authorization": "Bearer sesame"}
    with live(parts) as base_url, httpx.Client(base_url=base_url, timeout=120, headers=key) as client:
        use(client)
        client.get("/v1/files", headers={"Authorization": "Bearer wrong"})
    said = log.getvalue()
    assert CANARY not in said.lower() and "sesame" not in said
    lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if line["logger"] == "cogcore.requests"]
    (asked,) = [line for line in requests if line["id"] == "mine"]
    assert (asked["method"], asked["route"], asked["status"]) == ("POST", "/v1/chat/completions", 200)
    assert asked["ms"] > 0 and (asked["key"], asked["organisation"]) == ("root", "default")
    told = {"time", "level", "logger", "id", "method", "route", "status", "ms"}
    assert set(asked) == told | {"key", "organisation"}
    assert requests[-1]["status"] == 401 and "key" not in requests[-1]
    assert {line["route"] for line in requests} >= {"unknown", "/v1/models/{model:path}", "/v1/passages/{chunk_id}"}
