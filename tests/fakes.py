"""Stand-ins that do the real thing in a smaller way. They answer from their input, never from the test's wishes."""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import takewhile
from typing import Literal

import numpy as np

from app.engine.types import ANYBODY, PromptTooLong, Sampling, Scored, Token, Whose
from index.types import Vectors

Finish = Literal["stop", "length"] | None


class HashedWords:
    """An embedder without a model: each word has a direction of its own, a text is the sum of its words.

    Its words have no numbers, so all token ids are another's.
    """

    window = 8192

    def __init__(self, dimension: int = 128, name: str = "hashed-words") -> None:
        self.dimension = dimension
        self.name = name
        self.fingerprint = f"{name}/{dimension}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._one(text) for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self.encode(texts)

    def count_tokens(self, text: str) -> int:
        return len(_words(text))

    def decode(self, ids: Sequence[int]) -> str | None:
        return None

    def _one(self, text: str) -> Vectors:
        total = np.full(self.dimension, 1e-6)
        for word in _words(text):
            seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            total += np.random.default_rng(seed).standard_normal(self.dimension)
        return np.asarray(total / np.linalg.norm(total), np.float32)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


class ScriptedEngine:
    """An engine that writes given ids, one script for each pass, and obeys masks, bans, limits and stops as a real one.

    Where a mask forbids the scripted id it takes the lowest allowed one. `scores` are the total log-probabilities that
    `score` returns, in order. `logprob` is that of every token, or a function of (ids before it, id).
    """

    masks = True

    def __init__(
        self,
        scripts: Sequence[Sequence[int]] = (),
        scores: Sequence[float] = (),
        logprob: float | Callable[[Sequence[int], int], float] = -0.1,
        vocab_size: int = 8192,
        context_length: int = 2048,
    ) -> None:
        self.vocab_size, self.context_length = vocab_size, context_length
        self.scripts, self.scores = list(scripts), list(scores)
        self.prompts: list[list[int]] = []
        self.samplings: list[Sampling] = []
        self.scored: list[tuple[list[int], list[int]]] = []
        self.begun: list[bool] = []
        self.running = 0
        self._logprob = logprob
        self._seen: dict[str, list[list[int]]] = {}

    async def generate(
        self, prompt: Sequence[int], sampling: Sampling, *, whose: Whose = ANYBODY
    ) -> AsyncGenerator[Token]:
        if len(prompt) >= self.context_length:
            raise PromptTooLong(len(prompt), self.context_length)
        self.prompts.append(list(prompt))
        self.samplings.append(sampling)
        self.begun.append(whose.begun)
        script, written = iter(self.scripts.pop(0)), list[int]()
        banned = {number for number, bias in sampling.logit_bias if bias <= -100}
        cached = self._reused(prompt, whose.key)
        self.running += 1
        try:
            for count in range(1, min(sampling.max_tokens, self.context_length - len(prompt)) + 1):
                allowed = sampling.mask(written) if sampling.mask else None
                chosen = next(script, 0)
                if chosen in banned or (allowed is not None and chosen not in allowed):
                    chosen = min(set(range(self.vocab_size) if allowed is None else allowed) - banned)
                before = [*prompt, *written]
                logprob = self._logprob(before, chosen) if callable(self._logprob) else self._logprob
                written.append(chosen)
                full = count == sampling.max_tokens or len(prompt) + count == self.context_length
                finish: Finish = "stop" if chosen in sampling.stop_ids else "length" if full else None
                await asyncio.sleep(0)
                yield Token(chosen, logprob, finish=finish, cached=cached)
                if finish:
                    return
        finally:
            self.running -= 1
            self._seen.setdefault(whose.key, []).append([*prompt, *written])

    async def score(
        self, prompt: Sequence[int], continuation: Sequence[int], *, instead: Sequence[int] = (), whose: Whose = ANYBODY
    ) -> Scored:
        self.scored.append((list(prompt), list(continuation)))
        self.begun.append(whose.begun)
        cached = self._reused(prompt, whose.key)
        self._seen.setdefault(whose.key, []).append(list(prompt))
        if not instead:
            return Scored((self.scores.pop(0) / len(continuation),) * len(continuation), cached)
        last = tuple(self.scores.pop(0) for _ in instead)  # all that comes before is certain
        return Scored((0.0,) * (len(continuation) - 1) + last[:1], cached, last)

    def forget(self, key: str | None = None) -> None:
        for known in [known for known in self._seen if known.startswith(key or "")]:
            self._seen[known].clear()

    async def close(self) -> None:
        self.scripts.clear()

    @property
    def keys(self) -> set[str]:
        """All keys that were given."""
        return set(self._seen)

    def _reused(self, prompt: Sequence[int], key: str) -> int:
        """The longest beginning of the prompt that was seen before under this key; the last id is always new."""
        pairs = (zip(old, prompt[:-1], strict=False) for old in self._seen.get(key, []))
        return max((sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both)) for both in pairs), default=0)
