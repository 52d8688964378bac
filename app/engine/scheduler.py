"""One thread owns the model. Each step runs every decoding sequence by one token and some prompts by one chunk.

A request's way: submit (any thread) → waiting, bounded → admitted to a slot that knows the longest beginning of its
prompt → prefilled in chunks → one token a step, with those that its mask then forces → finished, its slot kept as
cache. Whatever happens, each request gets one terminal outcome: a Token with `finish`, its scores, or an EngineError.
"""

import asyncio
import logging
import math
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from app.engine.attention import Segment
from app.engine.cache import Slot, Slots
from app.engine.model import Decoder
from app.engine.sampler import Sampler
from app.engine.types import EngineBusy, EngineClosed, EngineError, RequestFailed, Scored, Token

logger = logging.getLogger(__name__)

Outcome = Token | Scored | EngineError


@dataclass(eq=False, slots=True)
class Request:
    """`sampler` None asks for scores of ids[prompt:]; otherwise `ids` grows by what is drawn and what a mask forces.

    The first `told` ids are the prompt and what the client has been told of; the others wait to be run.
    """

    ids: list[int]
    prompt: int
    key: str
    sampler: Sampler | None
    loop: asyncio.AbstractEventLoop
    inbox: asyncio.Queue[Outcome] = field(default_factory=asyncio.Queue)
    slot: Slot | None = None
    cached: int = 0
    told: int = 0
    scores: list[float] = field(default_factory=list)
    cancelled: bool = False
    admitted: float = 0.0

    @property
    def end(self) -> int:
        """How many of `ids` are to be run: not the last one when nothing follows it."""
        return len(self.ids) - (self.sampler is None or self.sampler.finish is not None)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the engine is doing and has done, for metrics. Token counts are totals since the start."""

    running: int
    waiting: int
    free_slots: int
    slots: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One request's share of a step: ids[start : start + count], logits for the last `wanted` of them."""

    request: Request
    slot: Slot
    start: int
    count: int
    wanted: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """The logits that a step's parts want, one row after the other, and of each row the log of its sum of exponentials
    and its best id and logit."""

    logits: Tensor
    totals: list[float]
    bests: list[tuple[int, float]]


class Scheduler:
    """`chunk` is the most prompt tokens in one step; a request's chunks are the same whoever else is there."""

    def __init__(
        self, decoder: Decoder, slots: Slots, max_sequences: int, queue: int, chunk: int, threads: int | None
    ) -> None:
        self.decoder = decoder
        self.slots = slots
        self.context = slots.cache.context
        self._max_sequences, self._queue, self._chunk, self._threads = max_sequences, queue, chunk, threads
        self._waiting: deque[Request] = deque()
        self._running: list[Request] = []
        self._posts: list[tuple[Request, Outcome]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._aborting = False
        self._why_closed = "the engine is shutting down"
        self._seconds = 1.0  # how long a request runs, a moving average
        self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # Any thread

    def submit(self, request: Request) -> None:
        """Raises EngineBusy or EngineClosed."""
        with self._changed:
            if self._closing:
                raise EngineClosed(self._why_closed)
            if len(self._waiting) >= self._queue:
                wait = max(0.5, self._seconds * len(self._waiting) / self._max_sequences)
                raise EngineBusy(f"{len(self._waiting)} requests are waiting already; try again later", wait)
            self._waiting.append(request)
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """The request's slot is free within one step. Nothing happens to one that is done."""
        with self._changed:
            request.cancelled = True
            if request in self._waiting:
                self._waiting.remove(request)

    def close(self, grace: float) -> None:
        """Refuse new requests, give those accepted `grace` seconds, fail the rest, and wait for the thread's end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(grace)
        with self._changed:
            self._aborting = True
            self._changed.notify()
        self._thread.join()

    def usage(self) -> Usage:
        return Usage(
            running=len(self._running),
            waiting=len(self._waiting),
            free_slots=self.slots.free,
            slots=len(self.slots.slots),
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
        )

    # The engine's thread

    def _run(self) -> None:
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            with torch.inference_mode():
                while self._ready():
                    self._advance(self._plan())
                    self._deliver()
        except BaseException as exc:
            # Not for a request's faults, they are caught below: this is our own bug, or the end of memory.
            logger.exception("the engine's thread has died")
            self._why_closed = f"the engine's thread has died: {exc!r}"
        finally:
            with self._changed:
                self._closing = True
                left = [*self._running, *self._waiting]
                self._waiting.clear()
            for request in left:
                self._finish(request, EngineClosed(self._why_closed))
            self._deliver()

    def _ready(self) -> bool:
        """Wait for work and admit what fits. False when there is none and none will come."""
        for request in [request for request in self._running if request.cancelled]:
            self._release(request)
        with self._changed:
            while not (self._running or self._waiting or self._closing):
                self._changed.wait()
            if self._aborting or not (self._running or self._waiting):
                return False
            room = self._max_sequences - len(self._running)
            admitted = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
            self._running += admitted  # inside the lock: a request is always waiting, running or done
        for request in admitted:
            try:
                self._admit(request)
            except Exception as exc:
                self._fail(request, exc)
        return True

    def _admit(self, request: Request) -> None:
        request.admitted = time.monotonic()
        # The last prompt token is always run again: its logits are what the first new token is drawn from.
        slot = self.slots.take(request.ids, request.key, request.prompt - 1)
        request.slot, request.cached, request.told = slot, len(slot.ids), request.prompt
        self._prompt_tokens += request.prompt
        self._cached_tokens += request.cached
        if request.sampler:
            request.ids += request.sampler.forced()

    def _plan(self) -> list[_Part]:
        parts = []
        budget = self._chunk
        for request in self._running:
            slot = request.slot
            if slot is None:
                continue
            start = len(slot.ids)
            count = min(request.end - start, self._chunk)
            # What is forced in the middle of an answer is short, and does not wait for others' prompts.
            if request.sampler is None or start + 1 < request.prompt:
                if count > budget:
                    continue
                budget -= count
            wanted = min(count, max(0, start + count + 1 - request.told))
            parts.append(_Part(request, slot, start, count, wanted))
        return parts

    def _advance(self, parts: Sequence[_Part]) -> None:
        """Run the parts as one batch; when that raises, one by one, so that only the culprit fails."""
        if not parts:
            return
        try:
            rows = self._forward(parts)
        except Exception as exc:
            # Its frames hold the failed step's tensors, and memory may be what was missing.
            traceback.clear_frames(exc.__traceback__)
            if len(parts) == 1:
                self._fail(parts[0].request, exc, poisoned=True)
                return
            logger.warning("a step of %d sequences failed (%r); running them alone", len(parts), exc)
            for part in parts:
                self._advance([part])
            return
        for part in parts:
            part.slot.ids += part.request.ids[part.start : part.start + part.count]
        self._read(parts, rows)

    def _forward(self, parts: Sequence[_Part]) -> _Rows:
        ids: list[int] = []
        segments: list[Segment] = []
        wanted: list[int] = []
        for part in parts:
            ids += part.request.ids[part.start : part.start + part.count]
            segments.append(Segment(part.slot.index, part.start, part.count))
            wanted += range(len(ids) - part.wanted, len(ids))
        logits = self.decoder.forward(ids, segments, self.slots.cache, wanted)
        best_scores, best_ids = logits.max(-1)
        bests = list(zip(best_ids.tolist(), best_scores.tolist(), strict=True))
        return _Rows(logits, logits.logsumexp(-1).tolist(), bests)

    def _read(self, parts: Sequence[_Part], step: _Rows) -> None:
        logits, totals, bests = step.logits, step.totals, step.bests
        row = 0
        for part in parts:
            rows = slice(row, row + part.wanted)
            row += part.wanted
            if not part.wanted:
                continue
            request, last = part.request, rows.stop - 1
            try:
                if not all(map(math.isfinite, totals[rows])):
                    raise FloatingPointError("the model's logits are not finite")
                self._score(request, logits[rows], totals[rows])
                if request.sampler and part.start + part.count == len(request.ids):
                    self._sample(request, request.sampler, logits[last], totals[last], *bests[last])
            except Exception as exc:
                self._fail(request, exc, poisoned=isinstance(exc, FloatingPointError))

    def _score(self, request: Request, logits: Tensor, totals: Sequence[float]) -> None:
        """Tell of the ids that were known before this step: a continuation to score, or what a mask has forced."""
        known = request.ids[request.told : request.told + len(logits)]
        if not known:
            return
        targets = torch.tensor(known, device=logits.device)
        chosen = logits[: len(known)].gather(1, targets[:, None])[:, 0].tolist()
        for row, (token, score) in enumerate(zip(known, chosen, strict=True)):
            self._tell(request, token, score, logits[row], totals[row])

    def _sample(
        self, request: Request, sampler: Sampler, logits: Tensor, total: float, best: int, best_score: float
    ) -> None:
        token = best if sampler.plain else sampler.pick(logits)
        sampler.took(token)
        request.ids.append(token)
        self._tell(request, token, best_score if token == best else float(logits[token]), logits, total)
        request.ids += sampler.forced()

    def _tell(self, request: Request, token: int, score: float, logits: Tensor, total: float) -> None:
        request.told += 1
        last = request.told == len(request.ids)
        if request.sampler is None:
            request.scores.append(score - total)
            if last:
                self._finish(request, Scored(tuple(request.scores), request.cached))
            return
        self._generated_tokens += 1
        top: tuple[tuple[int, float], ...] = ()
        if count := request.sampler.sampling.top_logprobs:
            scores, ids = logits.topk(count)
            top = tuple(zip(ids.tolist(), (scores - total).tolist(), strict=True))
        finish = request.sampler.finish if last else None
        item = Token(token, score - total, top, finish, request.cached)
        if finish:
            self._finish(request, item)
        else:
            self._posts.append((request, item))

    def _fail(self, request: Request, cause: Exception, *, poisoned: bool = False) -> None:
        logger.warning("a request failed: %r", cause, exc_info=cause)
        error = (
            cause if isinstance(cause, EngineError) else RequestFailed(f"the request failed in the engine: {cause!r}")
        )
        if error is not cause:
            error.__cause__ = cause
        self._finish(request, error, poisoned=poisoned)

    def _finish(self, request: Request, outcome: Outcome, *, poisoned: bool = False) -> None:
        self._release(request, poisoned=poisoned)
        self._posts.append((request, outcome))

    def _release(self, request: Request, *, poisoned: bool = False) -> None:
        if request.slot is not None:
            self.slots.give_back(request.slot, poisoned=poisoned)
            request.slot = None
            self._seconds += 0.1 * (time.monotonic() - request.admitted - self._seconds)
        if request in self._running:
            self._running.remove(request)

    def _deliver(self) -> None:
        """Hand the step's outcomes over, one wake-up per event loop."""
        loops: defaultdict[asyncio.AbstractEventLoop, list[tuple[Request, Outcome]]] = defaultdict(list)
        for request, outcome in self._posts:
            loops[request.loop].append((request, outcome))
        self._posts = []
        for loop, posts in loops.items():
            try:
                loop.call_soon_threadsafe(_hand_over, posts)
            except RuntimeError:  # that loop is closed: nobody reads any more
                for request, _ in posts:
                    request.cancelled = True


def _hand_over(posts: Sequence[tuple[Request, Outcome]]) -> None:
    for request, outcome in posts:
        request.inbox.put_nowait(outcome)
