"""What the engine counts: plain numbers since its start, read as one Usage. Knows no metrics format.

A request ends in one of finished, failed and cancelled; one that was refused never began. So at any time their sum and
what runs and waits is all that was accepted.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.engine.request import Outcome, Request
from app.engine.types import EngineError, Scored

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0)
"""Seconds: from a token of a small core to a long answer in a long queue."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` observations were above `bounds[i - 1]` and at most `bounds[i]`; the last count is of those above all
    bounds. `sum` is of all observed values."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the engine is doing, and what it has done since its start.

    Now: `running` and `waiting` requests; of `slots` those `free`, `kept` of these for conversations between rounds.
    Tokens: a prompt's are in `prompt_tokens` when it is admitted, in `cached_tokens` where KV was reused, and in
    `prefilled_tokens` as they are run; a token that follows is in `generated_tokens` when it is told, a mask's too.
    `drafted_tokens` were run unasked, and what `accepted_tokens` of them left in the cache was of use.
    Requests: `finished` by reason ("stop", "length", "scored"), `failed` in the engine or by its end, `cancelled` by
    their clients, `refused` because the queue was full. `split_steps` counts steps that raised and were run in halves.
    Seconds, as histograms: `queue_seconds` from submission to admission, `first_token_seconds` from submission to the
    first token, `token_seconds` from each token to the next (next to none where one step tells several),
    `request_seconds` from submission to the end of those that finished.
    """

    running: int
    waiting: int
    slots: int
    free_slots: int
    kept_slots: int
    prompt_tokens: int
    cached_tokens: int
    prefilled_tokens: int
    generated_tokens: int
    drafted_tokens: int
    accepted_tokens: int
    finished: Mapping[str, int]
    failed: int
    cancelled: int
    refused: int
    split_steps: int
    queue_seconds: Histogram
    first_token_seconds: Histogram
    token_seconds: Histogram
    request_seconds: Histogram


class Meter:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = Counter[str]()
        self._finished = Counter[str]()
        self._queue, self._first, self._token, self._request = (_Buckets() for _ in range(4))

    def refused(self) -> None:
        self._add(refused=1)

    def cancelled(self) -> None:
        self._add(cancelled=1)

    def split(self) -> None:
        self._add(split_steps=1)

    def prefilled(self, tokens: int) -> None:
        self._add(prefilled_tokens=tokens)

    def drafted(self, tokens: int, accepted: int) -> None:
        self._add(drafted_tokens=tokens, accepted_tokens=accepted)

    def admitted(self, request: Request) -> None:
        with self._lock:
            self._counts.update(prompt_tokens=request.prompt, cached_tokens=request.cached)
            self._queue.observe(request.admitted - request.submitted)

    def told(self, request: Request, now: float) -> None:
        """The request's client is told of one more token."""
        with self._lock:
            self._counts["generated_tokens"] += 1
            if request.heard is None:
                self._first.observe(now - request.submitted)
            else:
                self._token.observe(now - request.heard)
        request.heard = now

    def ended(self, request: Request, outcome: Outcome, now: float) -> None:
        with self._lock:
            if isinstance(outcome, EngineError):
                self._counts["failed"] += 1
                return
            self._finished["scored" if isinstance(outcome, Scored) else str(outcome.finish)] += 1
            self._request.observe(now - request.submitted)

    def usage(self, *, running: int, waiting: int, slots: int, free_slots: int, kept_slots: int) -> Usage:
        with self._lock:
            return Usage(
                running=running,
                waiting=waiting,
                slots=slots,
                free_slots=free_slots,
                kept_slots=kept_slots,
                prompt_tokens=self._counts["prompt_tokens"],
                cached_tokens=self._counts["cached_tokens"],
                prefilled_tokens=self._counts["prefilled_tokens"],
                generated_tokens=self._counts["generated_tokens"],
                drafted_tokens=self._counts["drafted_tokens"],
                accepted_tokens=self._counts["accepted_tokens"],
                finished={reason: self._finished[reason] for reason in ("stop", "length", "scored")},
                failed=self._counts["failed"],
                cancelled=self._counts["cancelled"],
                refused=self._counts["refused"],
                split_steps=self._counts["split_steps"],
                queue_seconds=self._queue.read(),
                first_token_seconds=self._first.read(),
                token_seconds=self._token.read(),
                request_seconds=self._request.read(),
            )

    def _add(self, **counts: int) -> None:
        with self._lock:
            self._counts.update(counts)


class _Buckets:
    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(BOUNDS, value)] += 1
        self._sum += value

    def read(self) -> Histogram:
        return Histogram(BOUNDS, tuple(self._counts), self._sum)
