"""What searches find, for training rows: as traces recorded it, or with marks such as the reader might make."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from app.eval.cloze import VALUE
from index.types import Chunk, Hit, Mark

FEW = 0.3  # of the searches find three passages at most
# Log-odds that the reader gives, on average, to what answers, to what leads on, and to what gives a number.
ANSWERING, LEADING, GIVING = 1.2, -4.0, 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and where in which of its hits the words stand that matter, if in any."""

    hits: Sequence[Hit]
    gold: Hit | None
    span: tuple[int, int]


def marked(
    rng: Random,
    others: Sequence[str],
    text: str | None,
    span: tuple[int, int],
    sure: float = ANSWERING,
    like: str = "",
) -> Found:
    """Passages with simulated marks, ranked about as these say; `text` is the one that matters.

    `like` are words of the kind that is asked for; not needed where there is such a text.
    """
    like = text[slice(*span)] if text else like
    if rng.random() < FEW:
        others = others[: rng.randint(1 if text is None else 0, 2)]
    hits = [hit_of(other, mark_of(rng, other, None, like=like)) for other in others]
    gold = None if text is None else hit_of(text, mark_of(rng, text, span, sure))
    hits += [gold] if gold else []
    return Found(ranked(rng, hits), gold, span)


def ranked(rng: Random, hits: Sequence[Hit]) -> list[Hit]:
    """About as their marks say."""
    return sorted(hits, key=lambda h: -(h.mark.probability if h.mark else 0) + rng.gauss(0, 0.15))


def traced(rng: Random, row: Mapping[str, Any], gold: int | None, span: tuple[int, int]) -> Found:
    """The search of a trace, and what matters in it; sometimes as a small store or a narrow filter would have it."""
    hits = searched(row)
    right = None if gold is None else hits[gold]
    if rng.random() < FEW:
        others = [hit for hit in hits if hit is not right]
        kept = rng.sample(others, min(rng.randint(0 if right else 1, 2), len(others)))
        hits = [hit for hit in hits if hit is right or any(hit is other for other in kept)]
    if rng.random() < 0.1:
        rng.shuffle(hits)  # else the first would always do
    return Found(hits, right, span)


def searched(row: Mapping[str, Any]) -> list[Hit]:
    """The hits of a trace."""
    return [hit_of(hit["text"], Mark(*hit["mark"]), hit["score"]) for hit in row["hits"]]


def hit_of(text: str, mark: Mark, score: float | None = None) -> Hit:
    """As a search would return it."""
    chunk = Chunk("", "", "", text, 0, len(text), None, ())
    return Hit(chunk, mark.probability if score is None else score, mark)


def mark_of(rng: Random, text: str, gold: tuple[int, int] | None, sure: float = ANSWERING, like: str = "") -> Mark:
    """A mark such as the reader might make: mostly right on the answering passage, mostly unsure elsewhere.

    A wrong one lies on a value of the kind of what answers, or of the words that it is `like`, if the passage has one.
    """
    if gold and rng.random() < 0.8:
        return Mark(*gold, probability=_sigmoid(rng.gauss(sure, 1.5)))
    probability = _sigmoid(rng.gauss(-0.5 if gold else -3.0, 1.8))
    kind = _kind(text[slice(*gold)] if gold else like)
    values = [value for value in VALUE.finditer(text) if kind in ("", _kind(value[0]))]
    places = [value.span() for value in values if not gold or value.end() <= gold[0] or gold[1] <= value.start()]
    return Mark(*(rng.choice(places) if places else _words(rng, text)), probability=probability)


def _kind(words: str) -> str:
    """Of a value: with a number in it, a name, or neither; "" of no words."""
    if any(char.isdigit() for char in words):
        return "number"
    return words and ("name" if words[0].isupper() else "phrase")


def _words(rng: Random, text: str) -> tuple[int, int]:
    """Anything that begins and ends with words."""
    starts = [n for n, (a, b) in enumerate(zip(" " + text, text, strict=False)) if a == " " and b.isalnum()]
    start = rng.choice(starts or [0])
    end = min(start + rng.randint(3, 30), len(text))
    while end < len(text) and text[end].isalnum():
        end += 1
    return start, end


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
