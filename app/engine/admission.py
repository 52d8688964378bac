"""Who waits, and who is next: clients in turn, and first those whose prompt's KV is mostly there.

Among k clients, a request that has m of its own client's before it is among the next (m + 1) · k · (AHEAD + 1),
whatever comes in meanwhile. When too many wait, the last of the client with the most goes. Not thread-safe: who uses it
has a lock, or one event loop.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from app.engine.types import Whose

AHEAD = 3  # how many continuing turns in a row may pass the request whose turn it is


class Waiter(Protocol):
    """Waiters are told apart by identity."""

    whose: Whose


W = TypeVar("W", bound=Waiter)


class Waiting(Generic[W]):
    """`most` may wait, beside those that go on with what was begun."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lanes: dict[str, deque[W]] = {}  # of each client; none is empty; the first one's turn is next
        self._passed = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __iter__(self) -> Iterator[W]:
        for lane in self._lanes.values():
            yield from lane

    def add(self, one: W) -> W | None:
        """Whom there is no room for, if so: this one, or the last of a client that has more waiting."""
        lane = self._lanes.setdefault(one.whose.client, deque())
        lane.append(one)
        if one.whose.begun or len(self) <= self._most:
            return None
        longest = max([lane, *self._lanes.values()], key=len)
        out = next((last for last in reversed(longest) if not last.whose.begun), one)
        self.remove(out)
        return out

    def remove(self, one: W) -> bool:
        """Whether it was waiting."""
        lane = self._lanes.get(one.whose.client, deque())
        if one not in lane:
            return False
        lane.remove(one)
        if not lane:
            del self._lanes[one.whose.client]
        return True

    def pop(self, continues: Callable[[W], bool]) -> W:
        """The next one. `continues` says of each whether it may pass, as one does whose prompt is mostly known."""
        due = next(iter(self))
        if self._passed < AHEAD and (ahead := next(filter(continues, self), due)) is not due:
            self._passed += 1
            self.remove(ahead)  # its client's turn is still to come
            return ahead
        self._passed = 0
        lane = self._lanes.pop(due.whose.client)
        lane.popleft()
        if lane:
            self._lanes[due.whose.client] = lane  # behind the others
        return due
