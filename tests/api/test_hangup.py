"""A client that hangs up frees the engine, streamed and whole, while the others are served. And what fails midway."""

import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from app.cores.load import TINY_FOLDER, load_tokenizer
from app.engine.types import ANYBODY, EngineBusy, RequestFailed, Sampling, Scored, Token, Whose
from tests.api.live import scripted
from tests.fakes import ScriptedEngine

Serving = Callable[[ScriptedEngine], AbstractContextManager[str]]
UNSURE = -20.0
ASK = {"model": "cogcore", "messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 50_000}


def endless(turns: int) -> ScriptedEngine:
    """An engine that sees no need to search and talks for a very long time."""
    return ScriptedEngine([[300] * 100_000] * turns, [UNSURE] * turns, context_length=200_000)


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    return lambda engine: scripted(engine, tmp_path)


def until(true: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.005)
    return False


def test_several_answers_that_are_left(serving: Serving) -> None:
    engine = endless(4)
    with serving(engine) as base_url:
        ask = {**ASK, "n": 4, "stream": True}
        with httpx.stream("POST", f"{base_url}/v1/chat/completions", json=ask, timeout=30) as leaving:
            chunks = (json.loads(line[6:]) for line in leaving.iter_lines() if line)
            # Side by side: all of them have words before any is done.
            begun = set[int]()
            while len(begun) < 4:
                begun |= {choice["index"] for choice in next(chunks)["choices"] if choice["delta"].get("content")}
            assert engine.running == 4
        assert until(lambda: engine.running == 0), "the engine writes on for nobody"


def test_a_stream_that_is_left(serving: Serving) -> None:
    engine = endless(2)
    with serving(engine) as base_url, httpx.Client(base_url=base_url, timeout=30) as client:
        with client.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as staying:
            lines = staying.iter_lines()
            with client.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as leaving:
                # Kept: an iterator that is dropped hangs up at once.
                left = leaving.iter_lines()
                assert next(left).startswith("data: ")
                assert until(lambda: engine.running == 2)
            assert until(lambda: engine.running == 1), "the engine writes on for nobody"
            # The other one is served as before.
            texts = [json.loads(line[6:]) for line, _ in zip(lines, range(40), strict=False) if line]
            assert any(chunk["choices"][0]["delta"].get("content") for chunk in texts)
            assert engine.running == 1
        assert until(lambda: engine.running == 0)
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_that_is_left(serving: Serving, stream: bool) -> None:
    engine = endless(1)
    ask = {"model": "cogcore", "input": "Tell me a story", "max_output_tokens": 50_000, "stream": stream}
    with serving(engine) as base_url, httpx.Client(base_url=base_url) as client:
        with suppress(httpx.ReadTimeout), client.stream("POST", "/v1/responses", json=ask, timeout=1) as leaving:
            # Kept: an iterator that is dropped hangs up at once.
            left = leaving.iter_lines()
            assert next(left) == "event: response.created"
            assert until(lambda: engine.running == 1)
        assert until(lambda: engine.running == 0), "the engine writes on for nobody"


@pytest.mark.parametrize("n", [1, 3])
def test_a_whole_answer_that_is_left(serving: Serving, n: int) -> None:
    engine = endless(n)
    with serving(engine) as base_url:
        host, port = httpx.URL(base_url).host, httpx.URL(base_url).port
        body = json.dumps({**ASK, "n": n}).encode()
        with socket.create_connection((host, port)) as caller:
            head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert until(lambda: engine.running == n)
        assert until(lambda: engine.running == 0), "the engine writes on for nobody"


def test_many_that_leave_while_others_stay(serving: Serving) -> None:
    engine = endless(12)
    with serving(engine) as base_url:

        def leave() -> None:
            url = f"{base_url}/v1/chat/completions"
            with httpx.stream("POST", url, json={**ASK, "stream": True}, timeout=30) as answer:
                next(answer.iter_lines())

        leaving = [threading.Thread(target=leave) for _ in range(10)]
        for thread in leaving:
            thread.start()
        with httpx.Client(base_url=base_url, timeout=30) as client:
            short = client.post("/v1/chat/completions", json={**ASK, "max_tokens": 30})
        for thread in leaving:
            thread.join()
        assert short.json()["choices"][0]["finish_reason"] == "length"
        assert until(lambda: engine.running == 0)


class Failing(ScriptedEngine):
    """Breaks after some tokens, as an engine does whose logits are no numbers."""

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY
    ) -> AsyncGenerator[Token]:
        count = 0
        async for token in super().generate(prompt, sampling, whose=whose):
            yield token
            count += 1
            if count == 30:
                raise RequestFailed("the logits are no numbers")


class Full(ScriptedEngine):
    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        raise EngineBusy("64 requests wait already", 1.5)


def test_a_failure_midway(serving: Serving) -> None:
    engine = Failing([[300] * 1000] * 3, [UNSURE] * 3)
    with serving(engine) as base_url:
        with httpx.stream("POST", f"{base_url}/v1/chat/completions", json={**ASK, "stream": True}) as answer:
            lines = [line for line in answer.iter_lines() if line]
        # No [DONE]: that says an answer is complete.
        error = json.loads(lines[-1].removeprefix("data: "))["error"]
        assert (error["code"], error["type"], set(error)) == (
            "engine_error",
            "server_error",
            {"message", "type", "param", "code"},
        )
        client = OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIError, match="no numbers"):
            list(
                client.chat.completions.create(
                    model="cogcore", messages=[{"role": "user", "content": "Hi"}], stream=True
                )
            )
        with pytest.raises(openai.InternalServerError, match="no numbers"):
            client.chat.completions.create(model="cogcore", messages=[{"role": "user", "content": "Hi"}])


def test_a_failure_of_one_answer_ends_them_all(serving: Serving) -> None:
    # The first of them ends by itself, before any fails.
    engine = Failing([[300] * 5 + [load_tokenizer(TINY_FOLDER).eos_token_id], *[[300] * 1000] * 2], [UNSURE] * 3)
    with serving(engine) as base_url:
        ask = {**ASK, "n": 3, "stream": True}
        with httpx.stream("POST", f"{base_url}/v1/chat/completions", json=ask) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert "error" in json.loads(lines[-1].removeprefix("data: "))
        assert any(json.loads(line[6:])["choices"][0]["finish_reason"] == "stop" for line in lines[:-1])
        assert until(lambda: engine.running == 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue(serving: Serving, stream: bool) -> None:
    with serving(Full()) as base_url:
        answer = httpx.post(f"{base_url}/v1/chat/completions", json={**ASK, "stream": stream})
    assert answer.status_code == 429
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1500")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
