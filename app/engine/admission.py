"""Who waits, and who is next: clients in turn, and first those whose prompt's KV is mostly there.

A client is a `key`. A request that has m of its client's before it, among k clients, is next after at most
(m + 1) · k · (AHEAD + 1) others, whatever comes in meanwhile. Not thread-safe: the scheduler's lock guards it.
"""

from collections import deque
from collections.abc import Callable, Iterator

from app.engine.request import Request

AHEAD = 3  # how many continuing turns in a row may pass the request whose turn it is


class Waiting:
    def __init__(self) -> None:
        self._lanes: dict[str, deque[Request]] = {}  # none is empty; the first one's turn is next
        self._passed = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __iter__(self) -> Iterator[Request]:
        for lane in self._lanes.values():
            yield from lane

    def add(self, request: Request) -> None:
        self._lanes.setdefault(request.key, deque()).append(request)

    def remove(self, request: Request) -> bool:
        """Whether it was waiting."""
        lane = self._lanes.get(request.key, deque())
        if request not in lane:
            return False
        lane.remove(request)
        if not lane:
            del self._lanes[request.key]
        return True

    def pop(self, continues: Callable[[Request], bool]) -> Request:
        """The next one. `continues` says of a request whether most of its prompt is known by now."""
        chosen = due = next(iter(self))
        if self._passed < AHEAD:
            chosen = next(filter(continues, self), due)
        self._passed = self._passed + 1 if chosen is not due else 0
        lane = self._lanes.pop(chosen.key)
        lane.remove(chosen)
        if lane:
            self._lanes[chosen.key] = lane  # behind the others
        return chosen
