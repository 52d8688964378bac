"""What a log tells, and what it must not: words of documents, of questions, of answers."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from app.logs import JsonLines

CANARY = "zyzzyva"
RIVER = f"# Rivers\n\nThe {CANARY} is the longest river. It is 312 kilometres long.\n".encode()


def test_an_error_keeps_its_words_to_itself() -> None:
    record: logging.LogRecord
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ValueError(f"no {CANARY}") from error
    except ValueError:
        record = logging.LogRecord("cogcore.http", logging.ERROR, __file__, 1, "%s failed", ("req_1",), sys.exc_info())
    line = json.loads(JsonLines().format(record))
    assert (line["level"], line["logger"], line["message"]) == ("error", "cogcore.http", "req_1 failed")
    assert (line["error"], line["cause"]["error"]) == ("ValueError", "KeyError")
    assert line["raised_in"][0].endswith("in test_an_error_keeps_its_words_to_itself".removeprefix("in "))
    assert CANARY not in json.dumps(line)


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


def test_json_lines_without_a_word_of_what_was_said(tmp_path: Path) -> None:
    """The whole server, at its most talkative."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"LOG_FORMAT": "json", "LOG_LEVEL": "debug", "API_KEY": "sesame", "PORT": port, "SAMPLE": "false"}
    settings |= {"DATA_DIR": tmp_path / "data", "THREADS": 1, "NEED_THRESHOLD": 0, "ABSTAIN_BELOW": 0}
    log = tmp_path / "log"
    with log.open("w") as err:
        served = subprocess.Popen(
            [sys.executable, "-m", "app", "serve"],
            stdout=subprocess.DEVNULL,
            stderr=err,
            env={**os.environ, **{f"COGCORE_{name}": str(value) for name, value in settings.items()}},
        )
    try:
        end = time.monotonic() + 240
        while "startup complete" not in log.read_text():
            assert served.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        key = {"Authorization": "Bearer sesame"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, headers=key) as client:
            use(client)
            client.get("/v1/files", headers={"Authorization": "Bearer wrong"})
    finally:
        served.send_signal(signal.SIGINT)
        assert served.wait(60) == 0
    said = log.read_text()
    assert CANARY not in said.lower() and "sesame" not in said
    lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if line["logger"] == "cogcore.requests"]
    (asked,) = [line for line in requests if line["id"] == "mine"]
    assert (asked["method"], asked["route"], asked["status"]) == ("POST", "/v1/chat/completions", 200)
    assert asked["ms"] > 0 and len(asked["tenant"]) == 12
    assert {"time", "level", "logger", "id", "method", "route", "status", "ms", "tenant"} == set(asked)
    assert (requests[-1]["status"], requests[-1]["tenant"]) == (401, None)
    assert {line["route"] for line in requests} >= {"unknown", "/v1/models/{model:path}", "/v1/passages/{chunk_id}"}
