"""What the tests of both kinds of turn say: a turn that is asked, and what came of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from app.agent.events import Done, Event, Text
from app.agent.turn import Policy, Turn
from app.engine.types import Sampling
from tests.agent.conftest import Stage
from tests.fakes import ScriptedEngine

E = TypeVar("E", bound=Event)
SURE, UNSURE = math.log(0.9), math.log(0.1)


def asked(text: str, **policy: object) -> Turn:
    return Turn([{"role": "user", "content": text}], stores=["default"], policy=replace(Policy(), **policy))  # type: ignore[arg-type]


def only(events: Sequence[Event], kind: type[E]) -> list[E]:
    return [event for event in events if isinstance(event, kind)]


def reply(events: Sequence[Event]) -> str:
    return "".join(event.text for event in only(events, Text))


def done(events: Sequence[Event]) -> Done:
    (end,) = only(events, Done)
    assert events[-1] == end
    return end


async def ends_at_any_limit(stage: Stage, turn: Turn, engine: Callable[[], ScriptedEngine], total: int) -> None:
    """A turn of `total` tokens, cut short everywhere."""
    for limit in range(1, total, 3):
        end = done(await stage.play(replace(turn, sampling=Sampling(max_tokens=limit)), engine()))
        assert end.finish_reason == "length"
        assert sum(r.generated for r in end.rounds) == limit


async def frees_the_engine_at_every_event(stage: Stage, turn: Turn, engine: Callable[[], ScriptedEngine]) -> None:
    """A turn that is closed after each of its events."""
    for stop_after in range(1, len(await stage.play(turn, engine()))):
        running = engine()
        events = stage.open(turn, running)
        for _ in range(stop_after):
            await anext(events)
        await events.aclose()
        assert running.running == 0
