"""What the tests of both kinds of turn say: a turn that is asked, and what came of it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from app.agent.events import Done, Event, Text
from app.agent.turn import Policy, Turn

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
