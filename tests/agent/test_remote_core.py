"""A turn whose core other servers run is the turn of the same core here; and a server that is set up so."""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from app.agent.events import Decided, Done, Event, Searched, Text
from app.agent.loop import answer
from app.agent.turn import Policy, Turn
from app.api import Parts
from app.cores.load import Core, UnknownCore, load_remote_core
from app.cores.profiles import PROFILES
from app.engine.types import Sampling, UnsupportedModel
from app.main import build
from app.settings import read
from index.memory import Memory
from tests.api.live import live
from tests.engine.servers import parts_in

KEY = "sesame"
TURN = Turn(
    [{"role": "user", "content": "Who designed the bridge?"}],
    stores=["default"],
    policy=Policy(choice="required"),
    sampling=Sampling(max_tokens=60),
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return parts_in(tmp_path_factory.mktemp("there"), api_key=KEY)


@pytest.fixture(scope="module")
def server(parts: Parts) -> Iterator[str]:
    with live(parts) as url:
        yield url


async def play(core: Core, memory: Memory) -> list[Event]:
    async with aclosing(answer(TURN, core, memory)) as events:
        return [event async for event in events]


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


async def test_a_turn_is_the_same(parts: Parts, server: str, memory: Memory) -> None:
    here = replace(parts.core, profile=PROFILES["hermes"])
    there = load_remote_core("tiny", [server], profile="hermes", key=KEY)
    try:
        far, near = await play(there, memory), await play(here, memory)
    finally:
        await there.engine.close()
    assert [type(event) for event in far] == [type(event) for event in near]
    assert said(far) == said(near)
    needs = [next(e.need for e in events if isinstance(e, Decided)) for events in (far, near)]
    assert needs[0] == pytest.approx(needs[1], abs=1e-4)
    searched = [[e.query for e in events if isinstance(e, Searched)] for events in (far, near)]
    assert searched[0] == searched[1]
    assert isinstance(far[-1], Done) and isinstance(near[-1], Done)
    assert [r.generated for r in far[-1].rounds] == [r.generated for r in near[-1].rounds]


def test_what_cannot_be_served_stops_the_start(server: str) -> None:
    with pytest.raises(UnknownCore, match="set COGCORE_CORE to the model that COGCORE_CORE_URL serves"):
        load_remote_core("tiny", [server])
    with pytest.raises(UnsupportedModel, match=r"401.*COGCORE_CORE_KEY"):
        load_remote_core("tiny", [server], profile="hermes")


def test_a_server_over_a_server(server: str, tmp_path: Path) -> None:
    given = {"core_url": f"{server}/v1/", "core_key": KEY, "profile": "hermes"}
    with live(build(read(data_dir=tmp_path, sample=False, reader="none", **given))) as url:
        ask = {"model": "cogcore", "messages": TURN.messages, "tool_choice": "required", "max_tokens": 40}
        told = httpx.post(f"{url}/v1/chat/completions", json=ask, timeout=120).json()
    assert told["choices"][0]["finish_reason"] in ("stop", "length")
    assert 0 <= told["cogcore"]["need"] <= 1
    assert told["usage"]["completion_tokens"] > 0
