"""What a request may go on with: what followed its last ids where they stood before (prompt lookup; Saxena, 2023).

A draft is a guess that is run in one pass with the request's next token and kept as far as the request would have drawn
it anyway, so a wrong one costs time and nothing else. Who is often wrong drafts no more for a while.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHORTEST, LONGEST = 2, 16  # how many last ids must agree with an earlier place, and how many are compared
WEIGHT = 0.5  # of the newest draft in the moving share of ids that were right
PAUSE, MOST_PAUSE = 16, 256  # tokens to be written before somebody who was often wrong tries again


@dataclass(frozen=True, slots=True)
class Speculation:
    """How much a step drafts on a device: `most` ids for a request (0: none), and up to `width` rows in all.

    `fixed` rows take as long as what a step costs whatever it runs. With `apart` each drafted id is a piece of its own,
    as a token is that is run alone: its numbers are then the same to the last bit.
    """

    most: int
    width: int = 0
    fixed: int = 1
    apart: bool = True

    def share(self, rows: int, answers: int) -> int:
        """How many ids each of `answers` may draft beside their `rows`."""
        return min(self.most, max(0, self.width - rows) // answers)

    def needed(self, rows: int) -> float:
        """The share of drafted ids that must be right: with more, a step tells more tokens for the time it takes."""
        return rows / (rows + self.fixed)


class Drafter:
    """One request's drafts, and how good they have been."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._right = 1.0
        self._pause = PAUSE
        self._until = 0  # how many ids there must be to try again; 0 while it does not rest

    def propose(self, ids: Sequence[int], most: int, needed: float) -> tuple[int, ...]:
        """At most `most` ids that may follow `ids`, and no more than agreed before. `ids` only ever grow."""
        if most < 1 or self._rests(len(ids), needed):
            return ()
        self._ids.extend(ids[len(self._ids) :])
        known = np.frombuffer(self._ids, np.int64)
        places, agreed = np.flatnonzero(known[:-1] == known[-1]), 1
        while len(places) and agreed < LONGEST:
            longer = places[places >= agreed]
            longer = longer[known[longer - agreed] == known[-1 - agreed]]
            if not len(longer):
                break
            places, agreed = longer, agreed + 1
        if not len(places) or agreed < SHORTEST:
            return ()
        # The latest place; near the end it goes on with itself, as what repeats does.
        return tuple(np.resize(known[int(places[-1]) + 1 :], min(most, agreed)).tolist())

    def learn(self, drafted: int, kept: int) -> None:
        self._right += WEIGHT * (kept / drafted - self._right)
        if kept == drafted:
            self._pause = PAUSE

    def _rests(self, known: int, needed: float) -> bool:
        if self._right >= needed:
            self._until = 0
            return False
        self._until = self._until or known + self._pause
        if known < self._until:
            return True
        # One more try, and a longer rest if it fails.
        self._right, self._until, self._pause = needed, 0, min(2 * self._pause, MOST_PAUSE)
        return False
