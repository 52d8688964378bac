"""What judging comes to, read off what a core that learned the loop writes about passages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations

from app.agent import confidence
from app.agent.expression import numbers
from app.agent.mask import WORD, Path
from app.agent.prompt import Excerpt
from app.cores import grammar
from index.types import Hit

ANSWERS = 0.5  # the least score of a passage that is told beside the one that answers

Place = tuple[Excerpt, int, int]
"""Words of an excerpt: characters from the first number to the second."""


@dataclass(slots=True)
class Verdict:
    """What judging came to. `answer` is None when the core abstained or was cut.

    `other` is what another passage says instead, `expression` what the answer's number is for. `via` are the places
    that led from search to search, `led` the probability that they do, and `query` what is to be searched for next.
    """

    confidence: float = 0.0
    abstained: bool = False
    answer: Place | None = None
    other: Place | None = None
    expression: str = ""
    query: str = ""
    via: list[Place] = field(default_factory=list)
    led: float = 1.0

    @property
    def places(self) -> list[Place]:
        """All that it leans on, in the order in which it is cited."""
        return [*self.via, *filter(None, (self.answer, self.other))]


class PassageChosen:
    """Reads off the tokens of a verdict which passage it takes, and with what probability."""

    def __init__(self, verdict: str) -> None:
        self._before = len(verdict.partition("{0}")[0].encode())
        self._written = b""
        self._tokens: list[tuple[int, int, float]] = []
        self.probability: float | None = None
        self.number = 0

    def feed(self, token: bytes, logprob: float) -> float | None:
        """The probability of the passage's number, once it is written in full."""
        if self.probability is None:
            at = len(self._written)
            self._written += token
            self._tokens.append((at, len(self._written), logprob))
            end = self._written.find(b"]", self._before)
            if end >= 0:
                number = [p for start, stop, p in self._tokens if start < end and stop > self._before]
                self.probability = confidence.probability(number)
                self.number = int(self._written[self._before : end])
        return self.probability


class SumWritten(PassageChosen):
    """Reads off a verdict that calculates which passage it takes, and with what probability this and the expression."""

    def __init__(self) -> None:
        super().__init__(grammar.RECKONS)
        self._after = b""
        self._logprobs: list[float] = []

    def feed(self, token: bytes, logprob: float) -> float | None:
        """The probability of both, once the call is written in full."""
        chosen = super().feed(token, logprob)
        if chosen is None:
            return None
        self._after += token
        self._logprobs.append(logprob)
        return chosen * confidence.probability(self._logprobs) if grammar.CALL_END.encode() in self._after else None


def nearest(paths: Sequence[Path], excerpts: Sequence[Excerpt], differ: Sequence[tuple[int, int]] = ()) -> list[Place]:
    """Where an answer stands, and what differs from it. Of the same words those nearest to the reader's mark are meant.

    Nothing where no answer was written in full.
    """
    taken = grammar.answering(len(excerpts), differ)
    readings = (zip(taken[path.alternative], path.spans, strict=True) for path in paths)
    places = [[(excerpts[n], span.start, span.end) for n, span in reading] for reading in readings]
    return min(places, key=lambda several: sum(map(_distance, several)), default=[])


def differing(excerpts: Sequence[Excerpt]) -> list[tuple[int, int]]:
    """The pairs, counted from 0, that may say different things: the reader finds an answer in the second too, and marks
    other words there ("26" is nothing else than "26 days").
    """
    answering = {n for n, excerpt in enumerate(excerpts) if excerpt.hit.score >= ANSWERS}
    pairs = permutations(range(len(excerpts)), 2)
    return [(n, m) for n, m in pairs if m in answering and not _alike(excerpts[n].hit, excerpts[m].hit)]


def rival(hits: Sequence[Hit], chosen: int) -> float:
    """How probable the reader holds other words in another passage than the chosen one, at most."""
    others = (hit for n, hit in enumerate(hits) if n != chosen and not _alike(hit, hits[chosen]))
    return max((hit.mark.probability for hit in others if hit.mark), default=0.0)


def _alike(one: Hit, other: Hit) -> bool:
    """Whether the reader marks the words of the one in the other too, or the other way round."""
    a, b = _marked(one), _marked(other)
    return bool(a and b and (a <= b or b <= a))


def _marked(hit: Hit) -> frozenset[str]:
    text, mark = hit.chunk.text, hit.mark
    return frozenset(WORD.findall(text[mark.start : mark.end].lower())) if mark else frozenset()


def given_by(excerpt: Excerpt, expression: str, user: str) -> Place | None:
    """Where the excerpt gives a number of the expression that the user's message does not; None if it gives none."""
    for number in sorted(numbers(expression) - numbers(user), key=len, reverse=True):
        found = re.search(rf"(?<![\d.,]){re.escape(number)}(?!\d|[.,]\d)", excerpt.text)
        if found:
            return excerpt, *found.span()
    return None


def said_by(excerpt: Excerpt, words: str) -> Place | None:
    """Where the excerpt says these words, but for case, quotation marks around them and a full stop at their end.

    Of several places the one nearest to the reader's mark. A part of a word or number is none.
    """
    words = " ".join(words.split()).strip(' ."“”')
    if not words:
        return None
    before = r"(?<!\w)(?<!\d[.,])" if words[0].isalnum() else ""
    after = r"(?!\w|[.,]\d)" if words[-1].isalnum() else ""
    found = re.finditer(before + re.escape(words) + after, excerpt.text, re.IGNORECASE)
    return min(((excerpt, *match.span()) for match in found), key=_distance, default=None)


def _distance(place: Place) -> int:
    """From the reader's mark, in characters; 0 where it has set none."""
    excerpt, start, _ = place
    mark = excerpt.hit.mark
    return abs(excerpt.starts[start] - mark.start) if mark else 0


def led_by(path: Path, excerpt: Excerpt) -> Place:
    """The words of the excerpt in a further query, where its text stands escaped."""
    text, span = grammar.escaped(excerpt.text), path.spans[1]
    start = len(grammar.unescaped(text[: span.start]))
    return excerpt, start, start + len(grammar.unescaped(text[span.start : span.end]))
