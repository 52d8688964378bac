"""Which answers go out marked for a human, and the record of those that do.

An answer that searched or calculated is marked when its confidence is below 1 - autonomy: at 1 none is, at 0 all are,
and less autonomy never marks fewer. Small talk and abstentions claim nothing, so there is no verdict to give on them,
and an abstention is told by a status of its own: neither is marked, and the list of reviews holds only claims that
somebody has to check. A call of a client's function is the client's to approve.
"""

import asyncio
import logging
from dataclasses import dataclass

from app.agent.turn import Turn
from app.api.caller import Caller
from app.api.chat_request import Extension
from app.api.encode import unmarked
from app.api.ledger import Ledger, Wire, hit_wire
from app.api.parts import Parts
from app.reviews import Place, Review, Reviews

log = logging.getLogger("cogcore.http")


@dataclass(frozen=True, slots=True)
class Autonomy:
    """How far the answer to one question may go unseen."""

    level: float
    question: str
    reviews: Reviews
    owner: str  # whose the answer is

    async def mark(self, ledger: Ledger) -> Wire:
        """`status`, and the id of the review that was written down. The answer goes out even where that failed."""
        if not (ledger.claims and self.must_be_seen(ledger.end.confidence)):
            return await unmarked(ledger)
        review = self._review(ledger)
        try:
            await asyncio.to_thread(self.reviews.add, review)
        except Exception:
            log.exception("reply %s needs review and could not be listed", ledger.head.id)
            return {"status": "needs_review", "review": None}
        return {"status": "needs_review", "review": review.id}

    def must_be_seen(self, confidence: float) -> bool:
        return self.level == 0 or confidence < 1 - self.level

    def _review(self, ledger: Ledger) -> Review:
        hits = [hit_wire(hit) for search in ledger.searches for hit in search.hits]
        return Review(
            model=ledger.head.model,
            question=self.question,
            reply="".join(ledger.text),
            answer=ledger.end.answer,
            confidence=ledger.end.confidence,
            owner=self.owner,
            citations=[
                Place(cited.hit.chunk.file_id, cited.hit.chunk.id, cited.hit.chunk.page, cited.start, cited.end)
                for cited in ledger.cited
            ],
            hits=[
                Place(hit["file_id"], hit["chunk_id"], hit["page"], hit["start"], hit["end"], hit["score"])
                for hit in hits
            ],
        )


def autonomy_of(turn: Turn, given: Extension | None, parts: Parts, caller: Caller) -> Autonomy:
    """The request's, else the server's."""
    asked = given.autonomy if given else None
    question = next(str(m["content"]) for m in reversed(turn.messages) if m["role"] == "user")
    return Autonomy(parts.settings.autonomy if asked is None else asked, question, parts.reviews, caller.organisation)
