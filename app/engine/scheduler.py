"""One thread owns the model. Each step runs every answer by one token, and the prompts by as much as there is time for.

A request's way: submit (any thread) → waiting, bounded → admitted to a slot that knows the longest beginning of its
prompt → prefilled in pieces → one token a step, with those that its mask then forces → finished, its slot kept as
cache. Whatever happens, each request gets one terminal outcome: a Token with `finish`, its scores, or an EngineError.
Who is admitted next is decided in admission.py, what a step runs in plan.py, what is remembered in cache.py.
"""

import asyncio
import logging
import math
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from app.engine.admission import Waiting
from app.engine.attention import Segment
from app.engine.cache import Slots
from app.engine.meter import Meter, Usage
from app.engine.model import Decoder
from app.engine.plan import Part, Planner
from app.engine.request import Outcome, Request
from app.engine.sampler import Sampler
from app.engine.types import EngineBusy, EngineClosed, EngineError, RequestFailed, Scored, Token

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The logits that a step's parts want, one row after the other, and of each row the log of its sum of exponentials
    and its best id and logit."""

    logits: Tensor
    totals: list[float]
    bests: list[tuple[int, float]]


class Scheduler:
    """At most `max_sequences` requests run and `queue` wait. `threads` sets torch's; `clock` tells seconds."""

    def __init__(
        self,
        decoder: Decoder,
        slots: Slots,
        planner: Planner,
        max_sequences: int,
        queue: int,
        threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.decoder = decoder
        self.slots = slots
        self.context = slots.cache.context
        self._planner, self._clock = planner, clock
        self._max_sequences, self._queue, self._threads = max_sequences, queue, threads
        self._meter = Meter()
        self._waiting = Waiting()
        self._running: list[Request] = []
        self._posts: list[tuple[Request, Outcome]] = []
        self._forgets: list[tuple[str | None, threading.Event]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._aborting = False
        self._stopped = False
        self._why_closed = "the engine is shutting down"
        self._seconds = 1.0  # how long a request runs, a moving average
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    # Any thread

    def submit(self, request: Request) -> None:
        """Raises EngineBusy or EngineClosed."""
        with self._changed:
            if self._closing:
                raise EngineClosed(self._why_closed)
            if (count := len(self._waiting)) >= self._queue:
                self._meter.refused()
                wait = max(0.5, self._seconds * count / self._max_sequences)
                raise EngineBusy(f"{count} requests are waiting already; try again later", wait)
            request.submitted = self._clock()
            self._waiting.add(request)
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """The request's slot is free within one step. Nothing happens to one that is done."""
        with self._changed:
            request.cancelled = True
            if self._waiting.remove(request):
                self._meter.cancelled()

    def forget(self, key: str | None) -> None:
        """Erase what is cached under `key`, or under any. Blocks for one step at most."""
        done = threading.Event()
        with self._changed:
            if self._stopped:
                return  # with the thread its cache is out of use
            self._forgets.append((key, done))
            self._changed.notify()
        done.wait()

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
        with self._changed:
            running, waiting = len(self._running), len(self._waiting)
        return self._meter.usage(
            running=running,
            waiting=waiting,
            slots=len(self.slots.slots),
            free_slots=self.slots.free,
            kept_slots=self.slots.kept,
        )

    # The engine's thread

    def _run(self) -> None:
        try:
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            with torch.inference_mode():
                while self._ready():
                    self._advance(self._planner.plan(self._running))
                    self._deliver()
        except BaseException as exc:
            # Not for a request's faults, they are caught below: this is our own bug, or the end of memory.
            logger.exception("the engine's thread has died")
            self._why_closed = f"the engine's thread has died: {exc!r}"
        finally:
            with self._changed:
                self._closing = self._stopped = True
                left = [*self._running, *self._waiting]
                self._waiting = Waiting()
                for _, done in self._forgets:
                    done.set()
            for request in left:
                request.slot = None  # its cache is out of use, and may be what has failed
                self._finish(request, EngineClosed(self._why_closed))
            self._deliver()

    def _ready(self) -> bool:
        """Wait for work and admit what fits. False when there is none and none will come."""
        for request in [request for request in self._running if request.cancelled]:
            self._meter.cancelled()
            self._release(request)
        with self._changed:
            while not (self._running or self._waiting or self._closing or self._forgets):
                self._changed.wait()
            if self._aborting or not (self._running or self._waiting or self._forgets):
                return False
            forgets, self._forgets = self._forgets, []
        for key, done in forgets:
            try:
                self._forget(key)
            finally:
                done.set()
        for _ in range(self._max_sequences - len(self._running)):
            if admitted := self._next():
                try:
                    self._admit(admitted)
                except Exception as exc:
                    self._fail(admitted, exc)
        return True

    def _forget(self, key: str | None) -> None:
        with self._changed:
            for request in self._waiting:
                request.doomed |= key in (None, request.key)
        self.slots.forget(key)

    def _next(self) -> Request | None:
        with self._changed:  # a request is always waiting, running or done
            if not self._waiting:
                return None
            request = self._waiting.pop(self._continues)
            self._running.append(request)
            return request

    def _continues(self, request: Request) -> bool:
        return self.slots.knows(request.ids, request.key, request.prompt // 2 + 1)

    def _admit(self, request: Request) -> None:
        # The last prompt token is always run again: its logits are what the first new token is drawn from.
        slot = self.slots.take(request.ids, request.key, request.prompt - 1)
        slot.doomed = request.doomed
        request.slot, request.cached, request.told = slot, len(slot.ids), request.prompt
        request.admitted = self._clock()
        self._meter.admitted(request)
        if request.sampler:
            request.ids += request.sampler.forced()

    def _advance(self, parts: Sequence[Part]) -> None:
        """Run the parts as one batch; one that raises is halved and run again, so that only the culprits fail."""
        left = [parts] if parts else []
        while left:
            batch = left.pop()
            started = self._clock()
            try:
                rows = self._forward(batch)
            except Exception as exc:
                # Its frames hold the failed step's tensors, and memory may be what was missing.
                traceback.clear_frames(exc.__traceback__)
                if len(batch) == 1:
                    self._fail(batch[0].request, exc, poisoned=True)
                    continue
                logger.warning("a step of %d sequences failed (%r); running it in halves", len(batch), exc)
                self._meter.split()
                middle = len(batch) // 2
                left += [batch[middle:], batch[:middle]]
                continue
            self._planner.pace.took(self._clock() - started, batch)
            for part in batch:
                part.slot.ids += part.request.ids[part.start : part.start + part.count]
            self._meter.prefilled(sum(part.prompt for part in batch))
            self._read(batch, rows)

    def _forward(self, parts: Sequence[Part]) -> _Rows:
        ids: list[int] = []
        segments: list[Segment] = []
        wanted: list[int] = []
        for part in parts:
            ids += part.request.ids[part.start : part.start + part.count]
            segments += part.segments(self._planner.quantum)
            part.slot.written = max(part.slot.written, part.start + part.count)
            wanted += range(len(ids) - part.wanted, len(ids))
        logits = self.decoder.forward(ids, segments, self.slots.cache, wanted)
        best_scores, best_ids = logits.max(-1)
        bests = list(zip(best_ids.tolist(), best_scores.tolist(), strict=True))
        return _Rows(logits, logits.logsumexp(-1).tolist(), bests)

    def _read(self, parts: Sequence[Part], step: _Rows) -> None:
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
        self._meter.told(request, self._clock())
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
        """The request's end. One that has had its end keeps that one."""
        if request.done:
            return
        request.done = True
        self._meter.ended(request, outcome, self._clock())
        self._release(request, poisoned=poisoned)
        self._posts.append((request, outcome))

    def _release(self, request: Request, *, poisoned: bool = False) -> None:
        if request.slot is not None:
            self.slots.give_back(request.slot, keep=request.keep, poisoned=poisoned)
            request.slot = None
            self._seconds += 0.1 * (self._clock() - request.admitted - self._seconds)
        if request in self._running:
            self._running.remove(request)

    def _deliver(self) -> None:
        """Hand the step's outcomes over, one wake-up per event loop."""
        loops: defaultdict[asyncio.AbstractEventLoop, list[tuple[Request, Outcome]]] = defaultdict(list)
        posted, self._posts = self._posts, []
        for request, outcome in posted:
            loops[request.loop].append((request, outcome))
        for loop, posts in loops.items():
            try:
                loop.call_soon_threadsafe(_hand_over, posts)
            except RuntimeError:  # that loop is closed: nobody reads any more
                for request, _ in posts:
                    request.cancelled = True


def _hand_over(posts: Sequence[tuple[Request, Outcome]]) -> None:
    for request, outcome in posts:
        request.inbox.put_nowait(outcome)
