"""One thread owns the model. A step runs every answer by a token or more, and prompts by as much as there is time for.

A request's way: submit (any thread) → waiting, bounded → admitted to a slot that knows the longest beginning of its
prompt → prefilled in pieces → one token a step, with those that its mask then forces and those that were drafted right
→ finished, its slot kept as cache. Whatever happens, each request gets one terminal outcome: a Token with `finish`, its
scores, or an EngineError.
Who is admitted next is decided in admission.py, what a step runs in plan.py, what is remembered in cache.py.
"""

import logging
import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from app.engine.admission import Waiting
from app.engine.attention import Segment
from app.engine.cache import Slots
from app.engine.meter import Meter, Usage
from app.engine.model import Decoder
from app.engine.outbox import Outbox
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

    def finite(self, first: int, end: int) -> bool:
        return all(map(math.isfinite, self.totals[first:end]))

    def check(self, first: int, end: int) -> None:
        if not self.finite(first, end):
            raise FloatingPointError("the model's logits are not finite")


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
        self._outbox = Outbox()
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
        """Erase what is cached under the keys that begin with `key`, or under any. Blocks for one step at most."""
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
                    if self.decoder.on_cpu or not self._running:
                        self._outbox.deliver()
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
            self._outbox.deliver()

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
                request.doomed |= request.key.startswith(key or "")
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
                    if batch[0].draft:  # it may have been what was too much
                        left.append([batch[0].undrafted()])
                    else:
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
            if again := self._read(batch, rows):
                left.append(again)

    def _forward(self, parts: Sequence[Part]) -> _Rows:
        ids: list[int] = []
        segments: list[Segment] = []
        wanted: list[int] = []
        for part in parts:
            ids += part.request.ids[part.start : part.start + part.count]
            ids += part.draft
            segments += self._planner.segments(part)
            part.slot.written = max(part.slot.written, part.end)
            wanted += range(len(ids) - part.wanted, len(ids))
        logits = self.decoder.forward(ids, segments, self.slots.cache, wanted)
        if not self.decoder.on_cpu:
            self._outbox.deliver()  # what the step before has told, while the GPU is busy with this one
        best_scores, best_ids = logits.max(-1)
        # In one transfer: each is waited for. Ids are exact in float32 up to 16 million.
        totals, scores, ids_of_best = torch.stack([logits.logsumexp(-1), best_scores, best_ids.float()]).tolist()
        return _Rows(logits, totals, list(zip(map(int, ids_of_best), scores, strict=True)))

    def _read(self, parts: Sequence[Part], step: _Rows) -> list[Part]:
        """Tell of what the step has come to. Returns what must be run again: hidden keys that are not numbers poison
        what is drawn, so where rows before a draft are poisoned it may have been the draft's."""
        again: list[Part] = []
        row = 0
        for part in parts:
            first, row = row, row + part.wanted
            drawn = row - len(part.draft)  # the rows before this one are real, those after it if their draft is right
            if first == row:
                continue
            request = part.request
            if part.draft and not step.finite(first, drawn):
                self._wipe(part, 0)
                del part.slot.ids[part.start :]
                self._learn(part, 0)
                again.append(part.undrafted())
                continue
            try:
                step.check(first, drawn)
                self._score(request, step, first, drawn)
                if request.sampler and part.start + part.count == len(request.ids):
                    self._sample(part, request.sampler, step, range(drawn - 1, row))
            except Exception as exc:
                self._fail(request, exc, poisoned=isinstance(exc, FloatingPointError))
        return again

    def _learn(self, part: Part, kept: int) -> None:
        part.request.drafter.learn(len(part.draft), kept)
        self._meter.drafted(len(part.draft), kept)

    def _wipe(self, part: Part, kept: int) -> None:
        """Erase the KV of its draft but for the first `kept`."""
        self.slots.cache.wipe(part.slot.index, part.start + part.count + kept, part.end)

    def _score(self, request: Request, step: _Rows, first: int, end: int) -> None:
        """Tell of the ids that were known before this step: a continuation to score, or what a mask has forced."""
        known = request.ids[request.told : request.told + end - first]
        if not known:
            return
        targets = torch.tensor(known, device=step.logits.device)
        chosen = step.logits[first : first + len(known)].gather(1, targets[:, None])[:, 0].tolist()
        for row, (token, score) in enumerate(zip(known, chosen, strict=True), first):
            self._tell(request, token, score, step, row)

    def _sample(self, part: Part, sampler: Sampler, step: _Rows, rows: range) -> None:
        """Draw a token from each row, as long as it is the one that was drafted: what was run after it is then real.

        So the draws, and all that the request's mask and generator see, are those of one token a step.
        """
        request, kept = part.request, 0
        for row, drafted in zip_longest(rows, part.draft):
            step.check(row, row + 1)
            best, score = step.bests[row]
            token = best if sampler.plain else sampler.pick(step.logits[row])
            sampler.took(token)
            request.ids.append(token)
            self._tell(request, token, score if token == best else float(step.logits[row, token]), step, row)
            forced = sampler.forced()
            request.ids += forced
            # What a mask forces is run in one piece with the token before it, drafted or not: the bits stay the same.
            if token != drafted or forced or request.done:
                break
            part.slot.ids.append(token)
            kept += 1
        if part.draft:
            self._learn(part, kept)
            # What is not a number would poison even rows that a mask hides.
            if not step.finite(rows[kept] + 1, rows.stop):
                self._wipe(part, kept)

    def _tell(self, request: Request, token: int, score: float, step: _Rows, row: int) -> None:
        total = step.totals[row]
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
            scores, ids = step.logits[row].topk(count)
            top = tuple(zip(ids.tolist(), (scores - total).tolist(), strict=True))
        finish = request.sampler.finish if last else None
        item = Token(token, score - total, top, finish, request.cached)
        if finish:
            self._finish(request, item)
        else:
            self._outbox.add(request, item)

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
        self._outbox.add(request, outcome)

    def _release(self, request: Request, *, poisoned: bool = False) -> None:
        if request.slot is not None:
            self.slots.give_back(request.slot, keep=request.keep, poisoned=poisoned)
            request.slot = None
            self._seconds += 0.1 * (self._clock() - request.admitted - self._seconds)
        if request in self._running:
            self._running.remove(request)
