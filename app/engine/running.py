"""The requests that run: how they are admitted to a slot, what a step comes to for each, and how they end.

A step that raises is run again in halves, so that only the culprits fail. The engine's thread alone is in here.
"""

import logging
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor

from app.engine.attention import Segment
from app.engine.cache import Slots
from app.engine.meter import Meter
from app.engine.model import Decoder
from app.engine.outbox import Outbox
from app.engine.plan import Part, Planner
from app.engine.request import Outcome, Request
from app.engine.sampler import Sampler
from app.engine.types import EngineError, RequestFailed, Scored, Token

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


class Running:
    """`outbox` holds what the last steps have to tell. `seconds` is how long a request runs, a moving average."""

    def __init__(
        self, decoder: Decoder, slots: Slots, planner: Planner, meter: Meter, clock: Callable[[], float]
    ) -> None:
        self._decoder, self._slots, self._planner = decoder, slots, planner
        self._meter, self._clock = meter, clock
        self._requests: list[Request] = []
        self.seconds = 1.0
        self.outbox = Outbox()

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def add(self, request: Request) -> None:
        """One that is to be admitted next."""
        self._requests.append(request)

    def admit(self, request: Request) -> None:
        # The last prompt token is always run again: its logits are what the first new token is drawn from.
        slot = self._slots.take(request.ids, request.whose.key, request.prompt - 1)
        slot.doomed = request.doomed
        request.slot, request.cached, request.told = slot, len(slot.ids), request.prompt
        request.admitted = self._clock()
        self._meter.admitted(request)
        if request.sampler:
            request.ids += request.sampler.forced()

    def advance(self, parts: Sequence[Part]) -> None:
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
                        self.fail(batch[0].request, exc, poisoned=True)
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
        logits = self._decoder.forward(ids, segments, self._slots.cache, wanted)
        if not self._decoder.on_cpu:
            self.outbox.deliver()  # what the step before has told, while the GPU is busy with this one
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
                self.fail(request, exc, poisoned=isinstance(exc, FloatingPointError))
        return again

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
                others = (step.logits[row, request.instead] - total).tolist() if request.instead else ()
                self.finish(request, Scored(tuple(request.scores), request.cached, tuple(others)))
            return
        self._meter.told(request, self._clock())
        top: tuple[tuple[int, float], ...] = ()
        if count := request.sampler.sampling.top_logprobs:
            scores, ids = step.logits[row].topk(count)
            top = tuple(zip(ids.tolist(), (scores - total).tolist(), strict=True))
        finish = request.sampler.finish if last else None
        item = Token(token, score - total, top, finish, request.cached)
        if finish:
            self.finish(request, item)
        else:
            self.outbox.add(request, item)

    def _learn(self, part: Part, kept: int) -> None:
        part.request.drafter.learn(len(part.draft), kept)
        self._meter.drafted(len(part.draft), kept)

    def _wipe(self, part: Part, kept: int) -> None:
        """Erase the KV of its draft but for the first `kept`."""
        self._slots.cache.wipe(part.slot.index, part.start + part.count + kept, part.end)

    def fail(self, request: Request, cause: Exception, *, poisoned: bool = False) -> None:
        logger.warning("a request failed: %r", cause, exc_info=cause)
        error = (
            cause if isinstance(cause, EngineError) else RequestFailed(f"the request failed in the engine: {cause!r}")
        )
        if error is not cause:
            error.__cause__ = cause
        self.finish(request, error, poisoned=poisoned)

    def finish(self, request: Request, outcome: Outcome, *, poisoned: bool = False) -> None:
        """The request's end. One that has had its end keeps that one."""
        if request.done:
            return
        request.done = True
        self._meter.ended(request, outcome, self._clock())
        self.release(request, poisoned=poisoned)
        self.outbox.add(request, outcome)

    def release(self, request: Request, *, poisoned: bool = False) -> None:
        if request.slot is not None:
            self._slots.give_back(request.slot, keep=request.keep, poisoned=poisoned)
            request.slot = None
            self.seconds += 0.1 * (self._clock() - request.admitted - self.seconds)
        if request in self._requests:
            self._requests.remove(request)
