"""Measures of answers, rankings and confidence: pure functions over plain values.

`normalise`, `exact` and `f1` are SQuAD's (Rajpurkar et al. 2016, its official evaluation script). A measure over
nothing is None, never a number.
"""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
# Between the cells of a row a parser may write borders, or each column's name.
CELL_GAP = r".{1,40}?"


def normalise(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact(answer: str, accepted: Iterable[str]) -> bool:
    """Whether the answer is one of the accepted ones, after `normalise`."""
    return normalise(answer) in {normalise(a) for a in accepted}


def f1(answer: str, accepted: Iterable[str]) -> float:
    """The best overlap of words with an accepted answer, 0 to 1."""
    return max((_overlap(normalise(answer).split(), normalise(a).split()) for a in accepted), default=0.0)


def _overlap(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    same = sum((Counter(answer) & Counter(gold)).values())
    # 2PR / (P + R) with P = same / len(answer) and R = same / len(gold).
    return 2 * same / (len(answer) + len(gold))


def contains(text: str, accepted: Iterable[str]) -> bool:
    """Whether an accepted answer stands in the text as whole words, after `normalise`."""
    padded = f" {normalise(text)} "
    return any(f" {normalise(a)} " in padded for a in accepted if normalise(a))


def same_number(answer: str, accepted: Iterable[str]) -> bool:
    """Whether the answer is the same number as an accepted one; "1,865" and "1865.0" are."""
    value = _number(answer)
    return value is not None and any(value == _number(a) for a in accepted)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "").strip())
    except ValueError:
        return None


def quotes(passage: str, evidence: str) -> bool:
    """Whether the evidence stands in the passage, however its lines are broken.

    " | " in the evidence parts the cells of a table's row: they must follow each other closely, in any rendering.
    """
    cells = [re.escape(" ".join(cell.split())) for cell in evidence.split(" | ")]
    return re.search(rf"(?<!\w){CELL_GAP.join(cells)}(?!\w)", " ".join(passage.split())) is not None


def mean(values: Iterable[float]) -> float | None:
    held = list(values)
    return sum(held) / len(held) if held else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-round(share * len(ordered), 9) // 1)
    return ordered[max(int(rank), 1) - 1]


def auroc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The probability that a true item scores above a false one, ties counted half."""
    true, false = sum(labels), len(labels) - sum(labels)
    if not true or not false:
        return None
    order = sorted(range(len(scores)), key=lambda n: scores[n])
    ranks = 0.0
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        # The tied items at ranks start+1 … end share their mean rank.
        ranks += sum(labels[n] for n in order[start:end]) * (start + 1 + end) / 2
        start = end
    return (ranks - true * (true + 1) / 2) / (true * false)


def coverage(scores: Sequence[float], labels: Sequence[bool], risk: float) -> float | None:
    """The largest share that can be answered, most confident first, with at most this share of it wrong.

    Items of equal score are answered together.
    """
    if not scores:
        return None
    order = sorted(range(len(scores)), key=lambda n: -scores[n])
    best = wrong = 0
    for place, n in enumerate(order, 1):
        wrong += not labels[n]
        last = place == len(order) or scores[order[place]] != scores[n]
        if last and wrong <= risk * place:
            best = place
    return best / len(order)


def risk(scores: Sequence[float], labels: Sequence[bool], share: float) -> float | None:
    """How much is wrong of this share of all, the most confident first.

    Where the share ends among items of equal score, as much of them is wrong as of all of these.
    """
    room = left = share * len(scores)
    if not room:
        return None
    wrong = 0.0
    ranked = sorted(zip(scores, labels, strict=True), key=itemgetter(0), reverse=True)
    for _, tied in groupby(ranked, key=itemgetter(0)):
        right = [label for _, label in tied]
        taken = min(left, len(right))
        wrong += taken * right.count(False) / len(right)
        left -= taken
    return wrong / room


def brier(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """The mean squared distance of a probability from what was so (Brier 1950)."""
    return mean((score - label) ** 2 for score, label in zip(scores, labels, strict=True))


def calibration_error(scores: Sequence[float], labels: Sequence[bool], bins: int = 10) -> float | None:
    """How far probabilities are from how often they were right, on average: over bins of equal width (ECE)."""
    if not scores:
        return None
    binned = sorted(
        (min(int(score * bins), bins - 1), score - label) for score, label in zip(scores, labels, strict=True)
    )
    gaps = [abs(sum(gap for _, gap in inside)) for _, inside in groupby(binned, key=itemgetter(0))]
    return sum(gaps) / len(scores)


def threshold(scores: Sequence[float], share: float) -> float | None:
    """The highest one that at most this share of the scores is below."""
    return sorted(scores)[min(int(share * len(scores) + 1e-9), len(scores) - 1)] if scores else None


def precision_recall(said: Sequence[bool], truth: Sequence[bool]) -> tuple[float | None, float | None]:
    """How many that were said are true, and how many that are true were said."""
    both = sum(s and t for s, t in zip(said, truth, strict=True))
    return (both / sum(said) if any(said) else None), (both / sum(truth) if any(truth) else None)
