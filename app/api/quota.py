"""How much a key may ask in a minute: requests, and tokens that the core, the embedder and the reader read or write.

What is left flows back evenly. A request's tokens are taken while they are made, so the last request may take more than
is left, and the next one waits for that too. Counted in this process, and anew after a start.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from app.cores.load import Core
from app.engine.types import ANYBODY, Engine, Sampling, Scored, Token, Whose
from app.keys import Key
from app.settings import Settings


class OverLimit(Exception):
    """The key has to wait for this many seconds."""

    def __init__(self, limit: int, what: str, retry_after: float) -> None:
        super().__init__(
            f"this API key's {limit} {what} a minute are used up; try again in {retry_after:.1f} s, or ask "
            "whoever made the key for more"
        )
        self.retry_after = retry_after


class Bucket:
    """A minute's worth of something."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit, self.what = limit, what
        self._level, self._at = float(limit), time.monotonic()

    def take(self, amount: int) -> None:
        self._level = self.left() - amount

    def left(self) -> float:
        now = time.monotonic()
        self._level = min(self.limit, self._level + (now - self._at) * self.limit / 60)
        self._at = now
        return self._level

    def check(self) -> None:
        """Raises OverLimit until one is left."""
        missing = 1 - self.left()
        if missing > 0:
            raise OverLimit(self.limit, self.what, missing * 60 / self.limit)

    def headers(self) -> dict[str, str]:
        left = self.left()
        return {
            f"x-ratelimit-limit-{self.what}": str(self.limit),
            f"x-ratelimit-remaining-{self.what}": str(max(0, int(left))),
            f"x-ratelimit-reset-{self.what}": f"{(self.limit - left) * 60 / self.limit:.3f}s",
        }


@dataclass(frozen=True, slots=True)
class Quota:
    """What one key may still ask. None: any number."""

    requests: Bucket | None = None
    tokens: Bucket | None = None

    def admit(self) -> None:
        """Count a request. Raises OverLimit."""
        for bucket in filter(None, (self.requests, self.tokens)):
            bucket.check()
        if self.requests:
            self.requests.take(1)

    def spend(self, tokens: int) -> None:
        if self.tokens:
            self.tokens.take(tokens)

    def headers(self) -> dict[str, str]:
        both = [bucket.headers() for bucket in (self.requests, self.tokens) if bucket]
        return {name: value for headers in both for name, value in headers.items()}

    def metered(self, core: Core) -> Core:
        """The core, with all that it reads and writes taken from this quota."""
        return replace(core, engine=Metered(core.engine, self)) if self.tokens else core


class Quotas:
    """Those of all keys. Where a key says nothing of its own, the settings do."""

    def __init__(self, settings: Settings) -> None:
        self._usual = settings.requests_per_minute, settings.tokens_per_minute
        self._kept: dict[str, tuple[tuple[int, int], Quota]] = {}

    def of(self, key: Key) -> Quota:
        own = key.requests_per_minute, key.tokens_per_minute
        requests, tokens = (usual if given is None else given for given, usual in zip(own, self._usual, strict=True))
        if not (requests or tokens):
            return Quota()
        limits, quota = self._kept.get(key.id, ((0, 0), Quota()))
        if limits != (requests, tokens):
            quota = Quota(
                Bucket(requests, "requests") if requests else None, Bucket(tokens, "tokens") if tokens else None
            )
            self._kept[key.id] = (requests, tokens), quota
        return quota


class Metered:
    """An engine that counts as it goes: a client that hangs up has used what was made until then."""

    def __init__(self, engine: Engine, quota: Quota) -> None:
        self._engine, self._quota = engine, quota
        self.vocab_size, self.context_length, self.masks = engine.vocab_size, engine.context_length, engine.masks

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY
    ) -> AsyncGenerator[Token]:
        self._quota.spend(len(prompt))
        async with aclosing(self._engine.generate(prompt, sampling, whose=whose)) as tokens:
            async for token in tokens:
                self._quota.spend(1)
                yield token

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        self._quota.spend(len(continuation))
        return await self._engine.score(prompt, continuation, instead=instead, whose=whose)

    def forget(self, key: str | None = None) -> None:
        self._engine.forget(key)

    async def close(self) -> None:
        await self._engine.close()
