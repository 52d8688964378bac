"""How sure a turn may be of its answer: from the core's own probabilities, in [0, 1].

Plain products; a calibrated version takes their place here and nowhere else.
"""

import math
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from app.cores import grammar
from index.types import Hit

UNSUPPORTED = 0.1
"""The most that a reply may claim which looked things up and leans on nothing it found."""


def absent_opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of "no passage answers" up to the first that tells it from an answer."""
    absent, found = (
        list(tokenizer.encode(text, add_special_tokens=False)) for text in (grammar.ABSENT, grammar.FOUND.format(1))
    )
    same = next(n for n, (a, b) in enumerate(zip(absent, found, strict=False)) if a != b)
    return absent[: same + 1]


def probability(logprobs: Sequence[float]) -> float:
    """Of the whole sequence."""
    return min(math.exp(sum(logprobs)), 1.0)


def found(absent: float, passage: float, hit: Hit) -> float:
    """That an answer taken from a passage is one: the core's word for it (some passage answers, and it is this one).

    Where the memory's reader has read the passage, the geometric mean of the core's word and the hit's score.
    """
    core = (1 - absent) * passage
    return core if hit.mark is None else math.sqrt(core * hit.score)


def worded(logprobs: Sequence[float]) -> float:
    """Of a text in the core's own words: the geometric mean of its tokens' probabilities."""
    return min(math.exp(sum(logprobs) / len(logprobs)), 1.0) if logprobs else 0.0


def unsupported(confidence: float) -> float:
    """Of a reply that searched and cites nothing that verifies."""
    return min(confidence, UNSUPPORTED)
