"""Searches of the memory within a turn: several stores as one, off the event loop, within the turn's budget."""

import re
from collections.abc import AsyncGenerator

from anyio import to_thread

from app.agent.events import Searched, Searching
from app.agent.turn import Turn
from index.memory import Memory
from index.types import Hit, Hits

_BETWEEN = re.compile(r"\W+")


class Lookups:
    """The searches of one turn. `hits` are those of the last one, best first."""

    def __init__(self, turn: Turn, memory: Memory) -> None:
        self._turn, self._memory = turn, memory
        self._asked: set[str] = set()
        self.count = 0
        self.hits: list[Hit] = []

    @property
    def left(self) -> int:
        """Searches that may still be made."""
        return max(self._turn.policy.max_searches - self.count, 0) if self._turn.stores else 0

    def repeats(self, query: str) -> bool:
        """Whether the query was made in this turn, but for case and punctuation."""
        return _same(query) in self._asked

    async def search(self, query: str) -> AsyncGenerator[Searching | Searched]:
        """Search all stores of the turn: that it begins, and then one event for each."""
        self._asked.add(_same(query))
        self.count += 1
        yield Searching(query, self._turn.stores)
        policy, found = self._turn.policy, list[Hit]()
        for store in self._turn.stores:
            # A turn that is given up does not wait for its search.
            hits = await to_thread.run_sync(self._one, store, query, abandon_on_cancel=True)
            found.extend(hits)
            yield Searched(query, hits.store, hits, hits.version)
        self.hits = sorted(found, key=lambda hit: -hit.score)[: policy.hits]

    def _one(self, store: str, query: str) -> Hits:
        policy = self._turn.policy
        return self._memory.search(
            store,
            query,
            k=policy.hits,
            filters=policy.filters,
            rerank=policy.rerank,
            threshold=policy.score_threshold,
            dense_weight=policy.dense_weight,
            until_sure=True,
        )


def _same(query: str) -> str:
    return _BETWEEN.sub(" ", query.casefold()).strip()
