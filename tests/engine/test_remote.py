"""The engine over HTTP against real servers: what it says is what the engine behind them says, whatever goes wrong."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.api import Parts
from app.engine.remote import connect
from app.engine.types import (
    Engine,
    EngineBusy,
    EngineClosed,
    EngineUnavailable,
    InvalidPrompt,
    InvalidSampling,
    PromptTooLong,
    RequestFailed,
    Sampling,
    Token,
    UnsupportedModel,
)
from tests.api.live import live
from tests.engine.servers import Between, parts_in, reading, remote, until_slots

PROMPT = [300, 41, 977, 1200, 55, 8, 2048, 410]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return parts_in(tmp_path_factory.mktemp("near"))


@pytest.fixture(scope="module")
def between() -> Between:
    return Between()


@pytest.fixture(scope="module")
def server(parts: Parts, between: Between) -> Iterator[str]:
    with live(parts, between) as url:
        yield url


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Between, Parts]]:
    before, behind = Between(), parts_in(tmp_path_factory.mktemp("far"))
    with live(behind, before) as url:
        yield url, before, behind


@pytest.fixture
def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


async def collect(engine: Engine, sampling: Sampling, prompt: Sequence[int] = PROMPT) -> list[Token]:
    return [token async for token in engine.generate(prompt, sampling)]


def endless(parts: Parts) -> Sampling:
    """Writes until it is stopped: no end token may come."""
    return Sampling(max_tokens=1500, logit_bias=tuple((end, -100.0) for end in parts.core.ends))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(max_tokens=20),
        Sampling(max_tokens=20, top_logprobs=4),
        Sampling(max_tokens=20, temperature=1.2, top_p=0.9, top_k=50, min_p=0.01, seed=7, frequency_penalty=0.5),
        Sampling(max_tokens=8, logit_bias=((500, 60.0), (500, 60.0)), presence_penalty=2.0),
    ],
)
async def test_it_says_what_the_engine_there_says(parts: Parts, server: str, sampling: Sampling) -> None:
    local = await collect(parts.core.engine, sampling)
    async with remote(server) as engine:
        assert engine.context_length == parts.core.engine.context_length
        far = await collect(engine, sampling)
    assert [(token.id, token.finish) for token in far] == [(token.id, token.finish) for token in local]
    assert [token.logprob for token in far] == pytest.approx([token.logprob for token in local], abs=1e-4)
    for one, two in zip(far, local, strict=True):
        assert [id_ for id_, _ in one.top] == [id_ for id_, _ in two.top]
        assert [score for _, score in one.top] == pytest.approx([score for _, score in two.top], abs=1e-4)


async def test_the_end(parts: Parts, server: str) -> None:
    (end, *_) = parts.core.ends
    always = ((end, 100.0),)
    async with remote(server) as engine:
        ours = await collect(engine, Sampling(logit_bias=always, stop_ids=frozenset({end})))
        assert [(token.id, token.finish) for token in ours] == [(end, "stop")]
        # An end of the server's own is followed by one of ours.
        theirs = await collect(engine, Sampling(logit_bias=always, stop_ids=frozenset({4000, 4001})))
        assert [(token.id, token.finish) for token in theirs] == [(end, None), (4000, "stop")]
        full = await collect(engine, endless(parts), PROMPT * ((engine.context_length - 4) // len(PROMPT)))
        assert full[-1].finish == "length" and len(full) < 16


async def test_score(parts: Parts, server: str, between: Between) -> None:
    written = [token.id for token in await collect(parts.core.engine, Sampling(max_tokens=12))]
    unlikely = [written[0], 5000, 17]
    want = [(await parts.core.engine.score(PROMPT, more)).logprobs for more in (written, unlikely)]
    async with remote(server) as engine:
        for more, scores in zip((written, unlikely), want, strict=True):
            assert (await engine.score(PROMPT, more)).logprobs == pytest.approx(scores, abs=1e-4)
        beside = await engine.score(PROMPT, written[:2], instead=[unlikely[1], written[1]])
        first = (await parts.core.engine.score(PROMPT, [written[0], unlikely[1]])).logprobs
        assert beside.instead == pytest.approx((first[1], want[0][1]), abs=1e-4)
    between.echoes = False
    try:
        async with remote(server) as engine:
            assert (await engine.score(PROMPT, written)).logprobs == pytest.approx(want[0], abs=1e-4)
            # A step aside is exact while it is among the likeliest.
            aside = (await collect(engine, Sampling(max_tokens=1, top_logprobs=2)))[0].top[1][0]
            exact = (await parts.core.engine.score(PROMPT, [aside, written[1]])).logprobs
            assert (await engine.score(PROMPT, [aside, written[1]])).logprobs[0] == pytest.approx(exact[0], abs=1e-4)
            bound = (await engine.score(PROMPT, unlikely)).logprobs
            assert bound[0] == pytest.approx(want[1][0], abs=1e-4)
            assert want[1][1] <= bound[1] < -2.9 and bound[2] == 0.0  # ln(1/20)
    finally:
        between.echoes = True


async def test_refused_up_front(server: str) -> None:
    async with remote(server) as engine:
        with pytest.raises(InvalidPrompt, match="no tokens"):
            engine.generate([], Sampling())
        with pytest.raises(InvalidPrompt, match="outside"):
            await engine.score(PROMPT, [engine.vocab_size])
        with pytest.raises(PromptTooLong):
            engine.generate([1] * engine.context_length, Sampling())
        with pytest.raises(PromptTooLong):
            await engine.score([1] * (engine.context_length - 1), [1])
        with pytest.raises(InvalidSampling, match="engine on this machine"):
            engine.generate(PROMPT, Sampling(mask=lambda generated: [1]))
        with pytest.raises(InvalidSampling, match="top_p"):
            engine.generate(PROMPT, Sampling(top_p=2))


async def test_closing_a_stream_frees_the_slot_there(parts: Parts, server: str) -> None:
    async with remote(server) as engine:
        stream = engine.generate(PROMPT, endless(parts))
        async with aclosing(stream):
            await anext(stream)
            await until_slots(parts, 1)
        await until_slots(parts, 0)
        task = asyncio.create_task(collect(engine, endless(parts)))
        await until_slots(parts, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_slots(parts, 0)


async def test_no_more_than_so_many_at_once(parts: Parts, server: str) -> None:
    async with remote(server, max_sequences=1, queue=1) as engine:
        first = engine.generate(PROMPT, endless(parts))
        async with aclosing(first):
            await anext(first)
            waiting = asyncio.create_task(collect(engine, Sampling(max_tokens=2)))
            await asyncio.sleep(0.2)
            with pytest.raises(EngineBusy, match="1 requests are waiting"):
                await collect(engine, Sampling(max_tokens=2))
            await until_slots(parts, 1)
        assert len(await waiting) == 2


async def test_a_busy_server_is_asked_again_when_it_says(server: str, between: Between) -> None:
    async with remote(server) as engine:
        before, began = between.asked, time.monotonic()
        between.busy = ["1"]
        assert len(await collect(engine, Sampling(max_tokens=2))) == 2
        assert between.asked == before + 2
        assert time.monotonic() - began >= 1
        between.busy = ["60"]
        with pytest.raises(EngineBusy, match=rf"{server}.* 503: too much to do") as refused:
            await collect(engine, Sampling(max_tokens=2))
        assert 50 < refused.value.retry_after <= 60
        # Until then it is left alone.
        with pytest.raises(EngineBusy):
            await engine.score(PROMPT, [1])
        assert between.asked == before + 3


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_server_that_fails_is_passed_over(
    server: str, between: Between, other: tuple[str, Between, Parts], status: int
) -> None:
    url, before, _ = other
    async with remote(server, url) as engine:
        between.fails, asked = [status], before.asked
        assert len(await collect(engine, Sampling(max_tokens=2))) == 2
        assert (between.fails, before.asked) == ([], asked + 1)


async def test_what_fails_two_servers_is_asked_no_third_time(server: str, between: Between) -> None:
    async with remote(server) as engine:
        between.fails = [500, 500, 500]
        with pytest.raises(RequestFailed, match=rf"{server}.* 500: gone"):
            await collect(engine, Sampling(max_tokens=2))
        assert between.fails == [500]
        between.fails = []


async def test_the_least_busy_is_asked(
    parts: Parts, server: str, between: Between, other: tuple[str, Between, Parts]
) -> None:
    url, before, behind = other
    async with remote(server, url) as engine:
        one, two = (engine.generate(PROMPT, endless(parts)) for _ in range(2))
        async with aclosing(one), aclosing(two):
            await anext(one)
            await anext(two)
            await until_slots(parts, 1)
            await until_slots(behind, 1)
        await until_slots(parts, 0)
        await until_slots(behind, 0)
        between.busy, asked = ["60"], before.asked
        assert len(await collect(engine, Sampling(max_tokens=2))) == 2
        assert before.asked == asked + 1


async def test_after_forgetting_a_server_finds_nothing(parts: Parts, server: str) -> None:
    gained = []
    async with remote(server) as engine:
        for forgets in (False, False, True, False):
            if forgets:
                engine.forget()
            before = parts.core.engine.usage().cached_tokens  # type: ignore[attr-defined]
            await collect(engine, Sampling(max_tokens=1))
            gained.append(parts.core.engine.usage().cached_tokens - before)  # type: ignore[attr-defined]
    assert gained[1:] == [len(PROMPT) - 1, 0, len(PROMPT) - 1]


async def test_silence_is_an_error_that_names_the_server(server: str, between: Between) -> None:
    async with remote(server, silence=8) as engine:
        between.silent, asked = True, between.asked
        try:
            with pytest.raises(EngineUnavailable, match=f"{server} was silent for 8 s"):
                await collect(engine, Sampling(max_tokens=2))
        finally:
            between.silent = False
        assert between.asked == asked + 1
        assert len(await collect(engine, Sampling(max_tokens=2))) == 2


async def test_a_server_that_is_not_there_is_left_out(nobody: str, server: str, between: Between) -> None:
    between.fails = [502]
    with pytest.raises(EngineUnavailable, match="502: gone"):
        connect([server], "cogcore", reading())
    async with remote(nobody, server) as engine:
        for _ in range(2):
            assert len(await collect(engine, Sampling(max_tokens=2))) == 2


def test_a_start_that_cannot_work(nobody: str, server: str) -> None:
    with pytest.raises(EngineUnavailable, match=f"{nobody} cannot be reached"):
        connect([nobody], "cogcore", reading())
    right = reading()
    wrong = type(right)(right.vocab_size, right.text, [*right.ids[:-1], 9])
    with pytest.raises(UnsupportedModel, match="not those of Qwen/Qwen3-8B"):
        connect([server], "Qwen/Qwen3-8B", wrong)


async def test_closing_the_engine(parts: Parts, server: str) -> None:
    async with remote(server) as engine:
        running = asyncio.create_task(collect(engine, endless(parts)))
        await until_slots(parts, 1)
        await engine.close()
        with pytest.raises((EngineClosed, EngineUnavailable)):
            await running
        await until_slots(parts, 0)
        with pytest.raises(EngineClosed):
            await collect(engine, Sampling(max_tokens=2))


@pytest.fixture
def process(tmp_path: Path, nobody: str) -> Iterator[subprocess.Popen[bytes]]:
    """`cogcore serve` at the address of nobody."""
    settings = {"PORT": nobody.rpartition(":")[2], "DATA_DIR": str(tmp_path), "SAMPLE": "false", "THREADS": "1"}
    names = {f"COGCORE_{name}": value for name, value in {**settings, "READER": "none"}.items()}
    with subprocess.Popen([sys.executable, "-m", "app", "serve"], env={**os.environ, **names}) as started:
        try:
            end = time.monotonic() + 240
            while started.poll() is None and time.monotonic() < end:
                try:
                    httpx.get(f"{nobody}/readyz", trust_env=False).raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield started
        finally:
            started.kill()


async def test_a_server_that_is_killed_midway(
    process: subprocess.Popen[bytes], nobody: str, server: str, parts: Parts
) -> None:
    async with remote(nobody, server) as engine:
        with pytest.raises(EngineUnavailable, match=f"{nobody} cannot be reached or broke off"):
            async with aclosing(engine.generate(PROMPT, endless(parts))) as stream:
                await anext(stream)
                os.kill(process.pid, signal.SIGKILL)
                async for _ in stream:
                    pass
        assert len(await collect(engine, replace(endless(parts), max_tokens=20))) == 20
