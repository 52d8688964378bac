"""The engine's face to asyncio: checks up front, a stream that cancels when it is closed.

Limits: a prompt must leave room for at least one token in `context_length`; generation then ends with "length" at
`max_tokens` or when the context is full, whichever comes first.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from app.engine.meter import Usage
from app.engine.prompt import known_ids, prompt_ids
from app.engine.request import Request
from app.engine.sampler import Sampler, check
from app.engine.scheduler import Scheduler
from app.engine.types import ANYBODY, EngineError, PromptTooLong, Sampling, Scored, Token, Whose

GRACE = 30.0  # seconds that `close` gives what was accepted
SCORED = 5.0  # seconds that a scored prompt is kept for the request that goes on from it


class LocalEngine:
    """An Engine on this machine. Safe to use from several event loops; made by load_engine."""

    masks = True

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.vocab_size = scheduler.decoder.config.vocab_size
        self.context_length = scheduler.context

    def generate(self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY) -> AsyncGenerator[Token]:
        """Raises InvalidPrompt, PromptTooLong and InvalidSampling at the call, all else from the stream."""
        ids = prompt_ids(prompt, self.vocab_size, self.context_length)
        check(sampling, self.vocab_size)
        return self._stream(ids, sampling, whose)

    async def _stream(self, ids: list[int], sampling: Sampling, whose: Whose) -> AsyncGenerator[Token]:
        room = self.context_length - len(ids)
        sampler = Sampler(replace(sampling, max_tokens=min(sampling.max_tokens, room)), self.vocab_size)
        request = Request(ids, len(ids), whose, sampler, asyncio.get_running_loop(), sampling.keep)
        self._scheduler.submit(request)
        try:
            while True:
                match await request.inbox.get():
                    case Token() as token:
                        yield token
                        if token.finish:
                            return
                    case EngineError() as error:
                        raise error
        finally:
            self._scheduler.cancel(request)

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        """Log-probabilities of a continuation, and of others of its last id; the prompt's KV stays for what follows."""
        ids = known_ids("prompt", prompt, self.vocab_size) + known_ids("continuation", continuation, self.vocab_size)
        if len(ids) > self.context_length:
            raise PromptTooLong(len(ids), self.context_length)
        request = Request(ids, len(prompt), whose, None, asyncio.get_running_loop(), SCORED)
        request.instead = known_ids("ids instead", instead, self.vocab_size) if instead else []
        self._scheduler.submit(request)
        try:
            outcome = await request.inbox.get()
        finally:
            self._scheduler.cancel(request)
        if isinstance(outcome, EngineError):
            raise outcome
        if isinstance(outcome, Token):
            raise TypeError("the scheduler sent a token to a request for scores")
        return outcome

    def forget(self, key: str | None = None) -> None:
        """Erase all KV under the keys that begin with `key`, or under any, also of what waits and runs, as it ends.

        Blocks for a step at most.
        A conversation that goes on afterwards is prefilled anew, and so brings back what its prompt holds.
        """
        self._scheduler.forget(key)

    def usage(self) -> Usage:
        return self._scheduler.usage()

    async def close(self, grace: float = GRACE) -> None:
        """Refuse new requests, finish the accepted ones within `grace` seconds, fail the rest. Idempotent."""
        await asyncio.to_thread(self._scheduler.close, grace)
