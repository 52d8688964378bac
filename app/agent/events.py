"""What happens in a turn, as plain values. Streamed and whole answers, the page, the CLI and tests fold these."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.engine.types import Token
from index.types import Hit

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Thinking:
    """A piece of the core's thought."""

    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the visible reply, and the tokens that the core wrote for it: none where the server says it."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Decided:
    """The first decision point: the probability that the turn must look something up, and what was done."""

    need: float
    searches: bool


@dataclass(frozen=True, slots=True)
class Searching:
    """A search of these stores begins; one Searched for each follows."""

    query: str
    stores: Sequence[str]


@dataclass(frozen=True, slots=True)
class Searched:
    """A search of the memory and what came back, best first, from this version of the store."""

    query: str
    store: str
    hits: Sequence[Hit]
    version: int


@dataclass(frozen=True, slots=True)
class Calculated:
    """A calculation; `result` is the text the core is shown, `ok` false when it is an error message."""

    expression: str
    result: str
    ok: bool = True


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a client's function: the turn ends here and the client answers with a tool message."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A verified quote: `quote` equals the document's parsed text[start:end], inside the hit's chunk.

    `reply_start` and `reply_end` are where the reply's text leans on it.
    """

    hit: Hit
    quote: str
    start: int
    end: int
    reply_start: int
    reply_end: int

    @property
    def place(self) -> tuple[str, int, int]:
        """File and offsets: quotes of one place are the same."""
        return self.hit.chunk.file_id, self.start, self.end


@dataclass(frozen=True, slots=True)
class Round:
    """Tokens of one pass: `prompt` in all, `cached` of them reused, `generated` new."""

    prompt: int
    cached: int
    generated: int


@dataclass(frozen=True, slots=True)
class Done:
    """The end of a turn. `answer` is the bare short answer (a span, the calculator's result, or None)."""

    finish_reason: FinishReason
    answer: str | None
    confidence: float
    abstained: bool
    reasoning_tokens: int
    rounds: Sequence[Round]


Event = Thinking | Text | Decided | Searching | Searched | Calculated | ToolCall | Cited | Done
