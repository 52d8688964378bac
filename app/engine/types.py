"""The engine's contract: token ids in, token ids out. Knows no text, no tools, no HTTP."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Mask = Callable[[Sequence[int]], Sequence[int] | npt.NDArray[np.int64] | None]
"""Given the ids generated so far, the ids allowed next; None allows all. Called on the engine's thread.

Where it allows one id the engine takes it unseen and asks for the next, so it may be ahead of what is streamed.
Thousands of ids are quicker as an array, ascending.
"""


Finish = Literal["stop", "length"]


class EngineError(Exception):
    """The root of what an engine refuses or fails at."""


class PromptTooLong(EngineError):
    """The prompt leaves no room for one token in the context, or it and the continuation to score do not fit."""

    def __init__(self, tokens: int, context: int) -> None:
        # In OpenAI's words: some clients tell it by them, and turn to a model that reads more.
        super().__init__(
            f"this model's maximum context length is {context} tokens, and the prompt has {tokens}: shorten it"
        )


class InvalidPrompt(EngineError):
    """No ids, or ids outside the vocabulary."""


class InvalidSampling(EngineError):
    """A sampling value out of its range; the message names the field."""


class UnsupportedModel(EngineError):
    """A checkpoint that this engine cannot run as its authors meant it; the message names what and the remedy."""


class RequestFailed(EngineError):
    """This request alone failed inside the engine: its mask, or logits that are no numbers. The others go on."""


class EngineBusy(EngineError):
    """The waiting queue is full; try again after `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class EngineClosed(EngineError):
    """The engine is shutting down or its thread has died."""


class EngineUnavailable(EngineError):
    """A server that this engine needs cannot be reached, or broke off; the message names it."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose a request is. Only equal `key`s share KV; `client`s take turns.

    `begun`: of what it belongs to an earlier request was taken, so it is not refused because others wait.
    """

    key: str = ""
    client: str = ""
    begun: bool = False


ANYBODY = Whose()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one request is sampled. temperature 0 is greedy; top_k 0 and top_p 1 are off.

    `keep` changes no token: for that many seconds after the end its KV is given away last, for a round that follows.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop_ids: frozenset[int] = frozenset()
    logit_bias: tuple[tuple[int, float], ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    top_logprobs: int = 0
    keep: float = 0.0
    mask: Mask | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token. `logprob` is under the model's own distribution, before sampling changes and masks.

    `top` holds the `top_logprobs` most probable (id, logprob). `finish` is set on the last token only:
    "stop" when it is one of `stop_ids` (it is still yielded), "length" at `max_tokens` or a full context.
    `cached` counts the prompt tokens whose KV was reused, the same on every token of a request.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    finish: Finish | None = None
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probability of each continuation id, and of each id that was asked for in place of the last one.

    `cached` counts the ids whose KV was reused.
    """

    logprobs: tuple[float, ...]
    cached: int = 0
    instead: tuple[float, ...] = ()


class Engine(Protocol):
    """What the turn asks of an engine."""

    vocab_size: int
    context_length: int
    masks: bool
    """Whether it keeps to a request's mask."""

    def generate(self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY) -> AsyncGenerator[Token]:
        """Stream tokens; closing the generator cancels."""
        ...

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        """Log-probability of each continuation id given all before it, and of each of `instead` where the last stands.

        Leaves the prompt's KV ready for reuse.
        """
        ...

    def forget(self, key: str | None = None) -> None:
        """Reuse no KV of what came before under the keys that begin with `key`, or under any; where it is ours, erase
        it. Blocks for a step."""
        ...

    async def close(self) -> None:
        """Finish or fail what runs, then stop the thread. Idempotent."""
        ...
