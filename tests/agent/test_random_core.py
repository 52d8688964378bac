"""The loop on the real engine, with a core that has learned nothing: whatever it prefers, it keeps its protocol."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from app.agent.events import Calculated, Cited, Decided, Done, Searched
from app.agent.expression import numbers
from app.agent.loop import answer
from app.agent.turn import Policy, Turn, TurnRefused
from app.cores.load import Core, load_core
from app.engine.types import Sampling
from index.memory import Memory
from tests.agent.conftest import play

IDLE = "I do not know: nothing in the memory answers this."


async def test_only_the_protocol_comes_out(core: Core, memory: Memory) -> None:
    question = "How much oil does the pump hold, and who built it?"
    policy = Policy(choice="required", abstain_below=0.0)
    turns = [
        Turn(
            [{"role": "user", "content": question}],
            stores=["default"],
            policy=policy,
            sampling=Sampling(temperature=1.0, seed=seed, max_tokens=900),
        )
        for seed in range(6)
    ]
    finished = 0
    for text, events in await asyncio.gather(*(play(turn, core, memory) for turn in turns)):
        (searched,) = [e for e in events if isinstance(e, Searched)]
        assert searched.query in question
        (done,) = [e for e in events if isinstance(e, Done)]
        if done.finish_reason == "length":
            continue
        finished += 1
        first, *others = [e for e in events if isinstance(e, Cited)]
        assert done.answer is not None
        assert text.startswith(f"The answer is {done.answer} [")
        for cited in (first, *others):
            assert memory.text(cited.hit.chunk.file_id)[cited.start : cited.end] == cited.quote
        calculated = [e for e in events if isinstance(e, Calculated)]
        if calculated:
            assert not others and done.answer == calculated[0].result
            assert numbers(first.quote) & numbers(calculated[0].expression) - numbers(question)
        else:
            assert len(others) == text.count(", but another passage says ")
            assert done.answer in " ".join(first.quote.split())
    assert finished


async def test_its_doubt_is_believed(core: Core, memory: Memory) -> None:
    turn = Turn([{"role": "user", "content": "Who built it?"}], stores=["default"], policy=Policy(choice="required"))
    text, events = await play(turn, core, memory)
    (done,) = [e for e in events if isinstance(e, Done)]
    assert text == IDLE
    assert done.abstained
    assert done.confidence < 0.5


async def test_the_second_round_reads_only_what_is_new(core: Core, memory: Memory) -> None:
    turn = Turn([{"role": "user", "content": "Who built it?"}], stores=["default"], policy=Policy(choice="required"))
    _, events = await play(turn, core, memory)
    (done,) = [e for e in events if isinstance(e, Done)]
    first, second = done.rounds[0], done.rounds[-1]
    assert first.cached >= first.prompt - 80  # the need was read on this prompt, the opening is new
    assert second.cached >= first.prompt + first.generated


async def test_talk_is_free_and_ends(core: Core, memory: Memory) -> None:
    turn = Turn(
        [{"role": "user", "content": "Hi"}], policy=Policy(need_threshold=1.0), sampling=Sampling(max_tokens=80)
    )
    _, events = await play(turn, core, memory)
    assert [e.searches for e in events if isinstance(e, Decided)] == [False]
    assert isinstance(events[-1], Done)


async def test_closing_leaves_no_request_behind(core: Core, memory: Memory) -> None:
    turn = Turn([{"role": "user", "content": "Hi"}], policy=Policy(need_threshold=1.0))
    events = answer(replace(turn, sampling=Sampling(max_tokens=500)), core, memory)
    for _ in range(3):
        await anext(events)
    await events.aclose()
    for _ in range(100):
        usage = core.engine.usage()  # type: ignore[attr-defined]
        if usage.running == usage.waiting == 0:
            return
        await asyncio.sleep(0.01)
    pytest.fail("a request still runs")


@pytest.mark.parametrize("seed", range(4))
async def test_a_reply_that_must_follow_a_schema_does(folder: Path, memory: Memory, seed: int) -> None:
    core = load_core(str(folder), profile="hermes", max_sequences=2)
    fields = {"sure": {"type": "boolean"}, "litres": {"type": "integer", "minimum": 0, "maximum": 99}}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    turn = Turn(
        [{"role": "user", "content": "How much oil does the pump hold?"}],
        policy=Policy(choice="none"),  # the query of a core that has learned nothing never ends
        sampling=Sampling(temperature=1.0, seed=seed, max_tokens=100),
        reply_schema=schema,
    )
    try:
        text, events = await play(turn, core, memory)
    finally:
        await core.engine.close()
    (done,) = [e for e in events if isinstance(e, Done)]
    reply = json.loads(text)
    assert done.finish_reason == "stop" and list(reply) == ["sure", "litres"]
    assert isinstance(reply["sure"], bool) and 0 <= reply["litres"] <= 99


async def test_a_schema_that_cannot_be_kept_is_refused(folder: Path, core: Core, memory: Memory) -> None:
    turn = Turn([{"role": "user", "content": "Hello"}], reply_schema={"not": {"type": "string"}})
    with pytest.raises(TurnRefused, match="writes no JSON") as refused:
        await play(turn, core, memory)
    assert refused.value.field == "response_format"
    other = load_core(str(folder), profile="hermes", max_sequences=2)
    try:
        with pytest.raises(TurnRefused, match="not") as refused:
            await play(turn, other, memory)
    finally:
        await other.engine.close()
    assert refused.value.field == "response_format"
