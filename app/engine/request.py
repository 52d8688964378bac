"""One request on its way through the scheduler, and what it can come to."""

import asyncio
from dataclasses import dataclass, field

from app.engine.cache import Slot
from app.engine.draft import Drafter
from app.engine.sampler import Sampler
from app.engine.types import EngineError, Scored, Token, Whose

Outcome = Token | Scored | EngineError


@dataclass(eq=False, slots=True)
class Request:
    """`sampler` None asks for scores of ids[prompt:] and of the ids `instead` of the last; else `ids` grows by what is
    drawn and what a mask forces.

    The first `told` ids are the prompt and what the client has been told of; the others wait to be run. Its KV is kept
    `keep` seconds after its end where there is a choice, and not at all when it is `doomed`.
    """

    ids: list[int]
    prompt: int
    whose: Whose
    sampler: Sampler | None
    loop: asyncio.AbstractEventLoop
    keep: float = 0.0
    instead: list[int] = field(default_factory=list)
    inbox: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue)
    slot: Slot | None = None
    drafter: Drafter = field(default_factory=Drafter)
    cached: int = 0
    told: int = 0
    scores: list[float] = field(default_factory=list)
    skipped: int = 0  # steps in a row that had no room for its prompt
    cancelled: bool = False
    doomed: bool = False
    done: bool = False
    submitted: float = 0.0
    admitted: float = 0.0
    heard: float | None = None  # when its client was last told a token

    @property
    def end(self) -> int:
        """How many of `ids` are to be run: not the last one when nothing follows it."""
        return len(self.ids) - (self.sampler is None or self.sampler.finish is not None)
