"""Who waits, and who is next: clients in turn, and first those whose prompt's KV is mostly there.

A client is a `key`. Among k clients, a request that has m of its own client's before it is among the next
(m + 1) · k · (AHEAD + 1), whatever comes in meanwhile. Not thread-safe: the scheduler's lock guards it.
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
        due = next(iter(self))
        if self._passed < AHEAD and (ahead := next(filter(continues, self), due)) is not due:
            self._passed += 1
            self.remove(ahead)  # its client's turn is still to come
            return ahead
        self._passed = 0
        lane = self._lanes.pop(due.key)
        lane.popleft()
        if lane:
            self._lanes[due.key] = lane  # behind the others
        return due
