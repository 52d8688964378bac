"""Long lists of work, piece by piece: no request holds the event loop, and none holds the others up."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

T = TypeVar("T")
R = TypeVar("R")


async def in_pieces(
    work: Callable[[Sequence[T]], Iterable[R]], items: Sequence[T], size: int, limiter: CapacityLimiter
) -> list[R]:
    """The results of `work`, in order. Each piece runs in a thread, as many at once as the limiter allows.

    Before each piece a request queues anew, so a short one waits for a piece of a long one, never for all of it. One
    that is cancelled ends after the piece that runs.
    """

    def run(piece: Sequence[T]) -> list[R]:
        return list(work(piece))

    pieces = (items[start : start + size] for start in range(0, len(items), size))
    return list(chain.from_iterable([await to_thread.run_sync(run, piece, limiter=limiter) for piece in pieces]))
