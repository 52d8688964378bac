"""Two rankings into one, and a reader's second look. Pure functions: scores in, scores out, all in [0, 1]."""

import math
from collections.abc import Mapping, Sequence

from index.types import Chunk, Mark, PassageReader

DEPTH = 100  # candidates taken from each index
DENSE_WEIGHT = 0.5
READ = 10  # passages that the reader sees
FUSED_WEIGHT = 4.0  # what a full fused score is worth, in the reader's log odds
# A search that wants only its best hits reads so many; the others while none is sure, and which of them are worth it.
FEW, SURE, WORTH = 4, 0.8, 0.3


def fuse(dense: Mapping[int, float], lexical: Mapping[int, float], weight: float = DENSE_WEIGHT) -> dict[int, float]:
    """A convex combination of both scores, each stretched to [0, 1] over the union (Bruch et al., 2210.11934).

    What one index did not return counts as its worst. A fused score ranks; it does not say how good the best is.
    """
    if not lexical or not dense:
        weight = 1.0 if dense else 0.0
    scores = {n: weight * score for n, score in _stretch(dense).items()}
    for n, score in _stretch(lexical).items():
        scores[n] = min(1.0, scores.get(n, 0.0) + (1.0 - weight) * score)
    return dict(sorted(scores.items(), key=lambda item: (-item[1], item[0])))


def reread(
    reader: PassageReader, question: str, passages: Sequence[Chunk], fused: Sequence[float]
) -> list[tuple[float, Mark]]:
    """A score and a mark for each passage, in the order given.

    The score is the probability that the passage answers, discounted in log odds by how far its fused score lies
    below the best possible: a probable answer far down the ranking is more often a coincidence.
    """
    marks = reader.read(question, [p.text for p in passages], [p.headings for p in passages])
    return [
        (_sigmoid(_logit(mark.probability) - FUSED_WEIGHT * (1.0 - score)), mark)
        for mark, score in zip(marks, fused, strict=True)
    ]


def _stretch(scores: Mapping[int, float]) -> dict[int, float]:
    low, high = min(scores.values(), default=0.0), max(scores.values(), default=0.0)
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {n: (score - low) / (high - low) for n, score in scores.items()}


def _logit(probability: float) -> float:
    kept = min(max(probability, 1e-6), 1.0 - 1e-6)
    return math.log(kept / (1.0 - kept))


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
