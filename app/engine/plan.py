"""What the next step runs: every answer by its next token, then as much of the prompts as a step has time for.

A prompt is cut every QUANTUM tokens, counted from where its reading began, whoever else is there and however slow the
machine: the cuts decide the last bits of a sequence's numbers, so time may only decide how many pieces a step takes.
Answers draft what may come next where rows are cheap: beside few others, and beside no prompt, which takes the time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from app.engine.attention import Segment
from app.engine.cache import Slot
from app.engine.draft import Speculation
from app.engine.request import Request

PATIENCE = 4  # steps without room, after more than which a prompt goes before shorter ones
WEIGHT = 0.2  # of the newest step in the moving averages


@dataclass(frozen=True, slots=True)
class Part:
    """One request's share of a step: ids[start : start + count] and a draft; logits for the last `wanted` of these."""

    request: Request
    slot: Slot
    start: int
    count: int
    wanted: int
    reads: bool
    """Whether it reads a prompt: it then waits for room."""
    draft: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        return self.start + self.count + len(self.draft)

    @property
    def prompt(self) -> int:
        """How many of its tokens are the prompt's."""
        return max(0, min(self.count, self.request.prompt - self.start))

    def undrafted(self) -> "Part":
        return replace(self, draft=(), wanted=self.wanted - len(self.draft))


class Pace:
    """How many prompt tokens fit beside the answers into a step of `step` seconds, by what the last steps took."""

    def __init__(self, step: float, quantum: int, most: int) -> None:
        self._step, self._quantum, self._most = step, quantum, most
        self._answers: float | None = None  # seconds of a step that reads no prompt
        self._token: float | None = None  # seconds that one prompt token adds to a step

    def took(self, seconds: float, parts: Sequence[Part]) -> None:
        if any(part.draft for part in parts):
            return  # its length says what drafts cost, and beside a prompt there are none
        tokens = sum(part.count for part in parts if part.reads)
        if not tokens:
            self._answers = _moved(self._answers, seconds)
            return
        beside = not all(part.reads for part in parts)
        added = max(0.0, seconds - (self._answers or 0.0) * beside)
        self._token = _moved(self._token, added / tokens)

    def room(self) -> int:
        """In whole quanta, at least one: prompts get on however slow the machine."""
        if self._token is None:
            return self._quantum
        left = max(0.0, self._step - (self._answers or 0.0))
        tokens = min(self._most, left / self._token) if self._token else self._most
        return max(1, int(tokens / self._quantum)) * self._quantum


class Planner:
    """`chunk` is the most prompt tokens in one step; `quantum` divides a prompt, and is at most `chunk`."""

    def __init__(self, chunk: int, quantum: int, step: float, speculation: Speculation | None = None) -> None:
        self.quantum = min(quantum, chunk)
        self.speculation = speculation or Speculation(0)
        self.pace = Pace(step, self.quantum, chunk)
        self._chunk = chunk

    def plan(self, running: Iterable[Request]) -> list[Part]:
        parts, reading = list[Part](), list[Part]()
        for request in running:
            if request.slot is None:
                continue
            part = _part(request, request.slot, self._chunk)
            # What is forced in the middle of an answer is short, and does not wait for others' prompts.
            (reading if part.reads else parts).append(part)
        parts.sort(key=lambda part: part.slot.index)  # neighbours may share a kernel
        # Nobody waits for a next token: no reason to be quick, and large steps are cheaper.
        room = self.pace.room() if parts else self._chunk
        # The one that is soonest done goes first, as a continuing turn is; but nobody is passed for ever.
        for whole in sorted(reading, key=lambda part: (min(0, PATIENCE - part.request.skipped), _left(part))):
            request, left = whole.request, _left(whole)
            count = left if left <= room else room // self.quantum * self.quantum
            request.skipped = 0 if count else request.skipped + 1
            if count:
                parts.append(_part(request, whole.slot, count))
                room -= count
        return parts if reading else self._drafted(parts)

    def segments(self, part: Part) -> list[Segment]:
        """The pieces that it is run in."""
        known = part.start + part.count
        apart = known if self.speculation.apart else part.end
        cuts = [*range(part.start, apart, self.quantum), *range(apart, part.end), part.end]
        return [Segment(part.slot.index, cut, after - cut) for cut, after in pairwise(cuts)]

    def _drafted(self, parts: list[Part]) -> list[Part]:
        rows = sum(part.count for part in parts)
        if not parts or not (share := self.speculation.share(rows, len(parts))):
            return parts
        needed = self.speculation.needed(rows)
        return [_drafted(part, share, needed) for part in parts]


def _left(part: Part) -> int:
    return part.request.end - part.start


def _part(request: Request, slot: Slot, most: int) -> Part:
    start = len(slot.ids)
    count = min(request.end - start, most)
    wanted = min(count, max(0, start + count + 1 - request.told))
    return Part(request, slot, start, count, wanted, request.sampler is None or start + 1 < request.prompt)


def _drafted(part: Part, most: int, needed: float) -> Part:
    request = part.request
    if request.sampler is None or part.start + part.count < len(request.ids):
        return part  # nothing is drawn after it
    # The last token is never drafted: what comes after it would be asked for in vain.
    draft = request.drafter.propose(request.ids, min(most, request.sampler.left - 1), needed)
    return replace(part, draft=draft, wanted=part.wanted + len(draft))


def _moved(average: float | None, value: float) -> float:
    return value if average is None else average + WEIGHT * (value - average)
