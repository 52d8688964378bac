"""A server that stops: what runs is finished, and nothing new is begun."""

from collections.abc import Iterator
from contextlib import contextmanager

RETRY_SECONDS = 5.0


class Stopping(Exception):
    """Nothing new is begun. Another server, or this one when it is back, can be asked soon."""

    retry_after = RETRY_SECONDS

    def __init__(self) -> None:
        super().__init__("this server is stopping; ask again in a few seconds")


class Drain:
    """What runs, and whether more may begin. Lives on the event loop."""

    def __init__(self) -> None:
        self.begun = False
        self._running = 0

    def begin(self) -> None:
        """From now on nothing new begins."""
        self.begun = True

    @property
    def idle(self) -> bool:
        return not self._running

    def check(self) -> None:
        """Raises Stopping."""
        if self.begun:
            raise Stopping

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Around what must be finished."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
