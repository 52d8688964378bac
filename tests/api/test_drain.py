"""A server that is told to stop finishes what runs, and tells what is new to come again."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from app.api import Parts, create_app
from app.cli import serve
from app.cli.serve import Server
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.settings import read
from index.memory import Memory
from tests.api.test_chat_stream import UNSURE, Slow, ids
from tests.api.test_responses_kept import Waiting
from tests.fakes import HashedWords, ScriptedEngine

CHAT: dict[str, Any] = {"model": "cogcore", "messages": [{"role": "user", "content": "Hello"}]}


@contextmanager
def served(engine: ScriptedEngine, folder: Path) -> Iterator[tuple[Server, threading.Thread, httpx.Client]]:
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES["hermes"], engine)
    parts = Parts(core, Memory(folder, HashedWords()), read(data_dir=folder))
    ready = threading.Event()
    config = uvicorn.Config(create_app(parts), log_level="warning", timeout_graceful_shutdown=1)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(config, ready.set, parts.drain)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    assert ready.wait(60)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            yield server, thread, client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def refused(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    assert answer.status_code == 503 and error["code"] == "shutting_down" and error["type"] == "server_error"
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("5", "true")
    assert answer.headers["x-request-id"]
    return True


def test_what_runs_is_finished(tmp_path: Path) -> None:
    with served(Slow([ids("Hello!")], [UNSURE]), tmp_path) as (server, thread, client), ThreadPoolExecutor() as pool:
        assert client.get("/readyz").status_code == 200
        running = pool.submit(client.post, "/v1/chat/completions", json={**CHAT, "stream": True})
        while server.drain.idle:
            time.sleep(0.01)
        server.handle_exit(signal.SIGTERM, None)
        assert refused(client.get("/readyz")) and refused(client.post("/v1/chat/completions", json=CHAT))
        assert client.get("/healthz").status_code == 200  # alive all the same
        answer = running.result()
        assert "Hello!" in answer.text and answer.text.rstrip().endswith("data: [DONE]")
        thread.join(10)
        assert not thread.is_alive()


def test_so_is_what_goes_on_in_the_background(tmp_path: Path) -> None:
    with served(Slow([ids("Hello!")], [UNSURE]), tmp_path) as (server, thread, client):
        asked = {"model": "cogcore/default", "input": "Hello", "background": True}
        made = client.post("/v1/responses", json=asked).json()["id"]
        server.handle_exit(signal.SIGTERM, None)
        thread.join(20)
        assert not thread.is_alive()
    with served(Slow([], []), tmp_path) as (_, _, client):
        assert client.get(f"/v1/responses/{made}").json()["status"] == "completed"


def test_but_not_for_ever(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(serve, "DRAIN_SECONDS", 0.3)
    with served(Waiting(), tmp_path) as (server, thread, client), ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, "/v1/chat/completions", json=CHAT)
        while server.drain.idle:
            time.sleep(0.01)
        server.handle_exit(signal.SIGTERM, None)
        thread.join(20)
        assert not thread.is_alive()
        assert isinstance(running.exception(), httpx.RemoteProtocolError) or running.result().status_code >= 500


def test_idle_it_stops_at_once_and_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with served(Waiting(), tmp_path) as (server, thread, client):
        server.handle_exit(signal.SIGTERM, None)
        thread.join(10)
        assert not thread.is_alive()
    with served(Waiting(), tmp_path) as (server, thread, client), ThreadPoolExecutor() as pool:
        running = pool.submit(client.post, "/v1/chat/completions", json=CHAT)
        while server.drain.idle:
            time.sleep(0.01)
        server.handle_exit(signal.SIGINT, None)
        server.handle_exit(signal.SIGINT, None)
        thread.join(10)
        assert not thread.is_alive()
        running.exception(30)
