"""How sure a turn may be of its answer: from the core's own probabilities, in [0, 1]."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from app.cores import grammar
from app.cores.profile import Sureness
from index.types import Hit

UNSUPPORTED = 0.1
"""The most that a reply may claim which looked things up and leans on nothing it found."""
TINY = 1e-9
BOUND = 0.01  # nearer to 0 and 1 than this the log-odds say nothing more
FINITE = 700.0  # the exponential of more is not


def opening(tokenizer: PreTrainedTokenizerBase, verdict: str) -> list[int]:
    """The ids of a verdict on passages, up to the first that tells it from the other verdicts."""
    verdicts = (grammar.FOUND, grammar.LEADS, grammar.AGAIN, grammar.RECKONS, grammar.ABSENT)
    written = (tokenizer.encode(text, add_special_tokens=False) for text in verdicts)
    fork = next(n for n, ids in enumerate(zip(*written, strict=False)) if len(set(ids)) > 1)
    return list(tokenizer.encode(verdict, add_special_tokens=False))[: fork + 1]


def probability(logprobs: Sequence[float]) -> float:
    """Of the whole sequence."""
    return min(math.exp(sum(logprobs)), 1.0)


def led(before: float, leads: float, passage: float) -> float:
    """That a passage leads on to the answer, and those `before` it to this one: the core's word for it."""
    return before * leads * passage


@dataclass(frozen=True, slots=True)
class Found:
    """What tells that an answer taken from a passage is one.

    `core` is the core's word that this `hit` answers, `rival` the reader's probability of other words in another
    passage.
    """

    core: float
    hit: Hit
    rival: float = 0.0

    @property
    def odds(self) -> tuple[float, float, float]:
        """The logs of the odds of the three, as `Sureness` weighs them."""
        return _log_odds(self.core, BOUND), _log_odds(self.hit.score, BOUND), _log_odds(self.rival, BOUND)

    def confidence(self, sureness: Sureness | None = None) -> float:
        """The core's word alone where no reader has read the passage; beside it the hit's score, and what weighs."""
        if self.hit.mark is None:
            return self.core
        if sureness is None:
            return math.sqrt(self.core * self.hit.score)
        core, score, rival = self.odds
        odds = sureness.core * core + sureness.score * score + sureness.rival * rival + sureness.bias
        return 1 / (1 + math.exp(-odds))


def _log_odds(probability: float, bound: float) -> float:
    bounded = min(max(probability, bound), 1 - bound)
    return math.log(bounded / (1 - bounded))


def likelier(core: float, mark: float) -> bool:
    """Whether the words that the reader marked are the answer rather than what the core wrote, by the product of odds.

    `core` is the log of the core's odds of the one against the other, `mark` the reader's probability of its words.
    """
    return _log_odds(mark, TINY) + core > 0


def answerable(yes: Sequence[float], no: Sequence[float]) -> float:
    """That sources answer: of the two things a reader may say of them, the share of the one. Logs of both are given.

    Whatever else it might have said does not count: it is not asked for more than the choice.
    """
    return 1 / (1 + math.exp(min(sum(no) - sum(yes), FINITE)))


def worded(logprobs: Sequence[float]) -> float:
    """Of a text in the core's own words: the geometric mean of its tokens' probabilities."""
    return min(math.exp(sum(logprobs) / len(logprobs)), 1.0) if logprobs else 0.0


def unsupported(confidence: float) -> float:
    """Of a reply that searched and cites nothing that verifies."""
    return min(confidence, UNSUPPORTED)
