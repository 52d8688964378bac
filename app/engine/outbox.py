"""What a step has to tell its requests' clients, each on its own event loop."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from app.engine.request import Outcome, Request

Post = tuple[Request, Outcome]


class Outbox:
    """Filled and emptied by the engine's thread."""

    def __init__(self) -> None:
        self._posts: list[Post] = []

    def add(self, request: Request, outcome: Outcome) -> None:
        self._posts.append((request, outcome))

    def deliver(self) -> None:
        """Hand everything over, one wake-up per event loop."""
        loops: defaultdict[asyncio.AbstractEventLoop, list[Post]] = defaultdict(list)
        posted, self._posts = self._posts, []
        for request, outcome in posted:
            loops[request.loop].append((request, outcome))
        for loop, posts in loops.items():
            post(loop, posts)


def post(loop: asyncio.AbstractEventLoop, posts: Sequence[Post]) -> None:
    """From any thread to clients on that loop."""
    try:
        loop.call_soon_threadsafe(hand_over, posts)
    except RuntimeError:  # that loop is closed: nobody reads any more
        for request, _ in posts:
            request.cancelled = True


def hand_over(posts: Sequence[Post]) -> None:
    for request, outcome in posts:
        request.inbox.put_nowait(outcome)
