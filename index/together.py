"""Calls that meet are run as one: whoever runs next takes along those that have queued meanwhile.

There is no timer: a lone call runs at once, in its caller's thread, and nobody waits for others to come.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Call(Generic[Asked, Answer]):
    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.told = threading.Event()  # answered, or its turn to run
        self.answers: list[Answer] = []  # one, once it is there
        self.error: BaseException | None = None


class Together(Generic[Asked, Answer]):
    """`run` answers many at once, in their order. Any number of threads may call.

    At most `lanes` runs go on side by side, and those that wait are shared out among them; a run answers at most
    `most`. Where a run of several fails each of them is run alone, so none fails for another.
    """

    def __init__(self, run: Callable[[Sequence[Asked]], Sequence[Answer]], most: int, lanes: int = 1) -> None:
        self._run, self._most, self._lanes = run, most, lanes
        self._lock = threading.Lock()
        self._free = lanes
        self._waiting = deque[_Call[Asked, Answer]]()

    def __call__(self, asked: Asked) -> Answer:
        call = _Call[Asked, Answer](asked)
        with self._lock:
            waits = not self._free
            if waits:
                self._waiting.append(call)
            else:
                self._free -= 1
        if waits:
            call.told.wait()
        if not call.answers and call.error is None:
            self._lead(call)
        if call.error is not None:
            raise call.error
        return call.answers[0]

    def _lead(self, call: _Call[Asked, Answer]) -> None:
        """Run this call and its share of those that wait, then pass the lane on."""
        with self._lock:
            share = min(self._most, -(-(len(self._waiting) + 1) // self._lanes))
            calls = [call, *(self._waiting.popleft() for _ in range(share - 1))]
        self._answer(calls)
        with self._lock:
            following = self._waiting.popleft() if self._waiting else None
            self._free += following is None
        if following is not None:
            following.told.set()
        for answered in calls:
            answered.told.set()

    def _answer(self, calls: Sequence[_Call[Asked, Answer]]) -> None:
        try:
            answers = self._run([call.asked for call in calls])
            for call, answer in zip(calls, answers, strict=True):
                call.answers.append(answer)
        except BaseException as error:
            alone = len(calls) > 1 and isinstance(error, Exception)
            for call in calls:
                call.answers.clear()
                if alone:
                    self._answer([call])
                else:
                    call.error = error
