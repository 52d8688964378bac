"""What the next step runs: every answer by its next token, then as much of the prompts as a step has time for.

A prompt is cut every QUANTUM tokens, counted from where its reading began, whoever else is there and however slow the
machine: the cuts decide the last bits of a sequence's numbers, so time may only decide how many pieces a step takes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.engine.attention import Segment
from app.engine.cache import Slot
from app.engine.request import Request

PATIENCE = 4  # steps without room, after more than which a prompt goes before shorter ones
WEIGHT = 0.2  # of the newest step in the moving averages


@dataclass(frozen=True, slots=True)
class Part:
    """One request's share of a step: ids[start : start + count], logits for the last `wanted` of them."""

    request: Request
    slot: Slot
    start: int
    count: int
    wanted: int
    reads: bool
    """Whether it reads a prompt: it then waits for room."""

    @property
    def prompt(self) -> int:
        """How many of its tokens are the prompt's."""
        return max(0, min(self.count, self.request.prompt - self.start))

    def segments(self, quantum: int) -> list[Segment]:
        cuts = range(self.start, self.start + self.count, quantum)
        return [Segment(self.slot.index, cut, min(quantum, self.start + self.count - cut)) for cut in cuts]


class Pace:
    """How many prompt tokens fit beside the answers into a step of `step` seconds, by what the last steps took."""

    def __init__(self, step: float, quantum: int, most: int) -> None:
        self._step, self._quantum, self._most = step, quantum, most
        self._answers: float | None = None  # seconds of a step that reads no prompt
        self._token: float | None = None  # seconds that one prompt token adds to a step

    def took(self, seconds: float, parts: Sequence[Part]) -> None:
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

    def __init__(self, chunk: int, quantum: int, step: float) -> None:
        self.quantum = min(quantum, chunk)
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
        return parts


def _left(part: Part) -> int:
    return part.request.end - part.start


def _part(request: Request, slot: Slot, most: int) -> Part:
    start = len(slot.ids)
    count = min(request.end - start, most)
    wanted = min(count, max(0, start + count + 1 - request.told))
    return Part(request, slot, start, count, wanted, request.sampler is None or start + 1 < request.prompt)


def _moved(average: float | None, value: float) -> float:
    return value if average is None else average + WEIGHT * (value - average)
