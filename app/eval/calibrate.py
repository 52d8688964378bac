"""How true the confidence is in answers from one store, and the logistic that makes it truer.

Each question goes through a real turn (search, reader, core) that must search and must not abstain, twice: over the
store as it is, and without the document that answers, where every answer is wrong. So half of what the calibration
knows is unanswerable: where fewer questions are, its confidence is too careful, and too bold where more are.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from random import Random

import numpy as np

from app.agent.events import Cited, Done
from app.agent.loop import answer
from app.agent.turn import Policy, Turn
from app.calibration import Calibration, logit
from app.cores.load import Core
from app.engine.types import Sampling
from app.eval import cloze, metrics
from app.eval.ask import Reply
from app.eval.judge import judge
from app.eval.questions import EvalError, Question
from index.filters import FILENAME
from index.memory import Memory

FOLDS = 5
LEAST = 10  # right answers, and wrong ones, without which nothing is fitted
PRIOR = 1.0  # how strongly slope and intercept are drawn to 1 and 0, where nothing changes
THRESHOLDS = tuple(n / 10 for n in range(10))


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer's confidence before any calibration, and whether it was right; `question` numbers what was asked."""

    question: int
    confidence: float
    right: bool


@dataclass(frozen=True, slots=True)
class Measures:
    """Of a confidence against what was right."""

    calibration_error: float
    brier: float
    auroc: float
    half: float  # wrong among the more confident half

    @classmethod
    def of(cls, scores: Sequence[float], labels: Sequence[bool]) -> "Measures":
        """Both kinds of label are there."""
        found = (
            metrics.calibration_error(scores, labels),
            metrics.brier(scores, labels),
            metrics.auroc(scores, labels),
            metrics.risk(scores, labels, 0.5),
        )
        return cls(*(value for value in found if value is not None))


@dataclass(frozen=True, slots=True)
class Point:
    """A threshold of the calibrated confidence: the share that is answered, and what of it is wrong (None: nothing)."""

    threshold: float
    answered: float
    wrong: float | None


@dataclass(frozen=True, slots=True)
class Refit:
    """`after` and `points` are cross-validated: each confidence comes from a fit that did not see its question.

    Where the fit makes nothing truer (by the Brier score) it is given up: slope 1, intercept 0, `after` as `before`.
    """

    slope: float
    intercept: float
    right: int
    wrong: int
    before: Measures
    after: Measures
    points: Sequence[Point]

    def recommended(self, wrong: float) -> float | None:
        """The lowest threshold at which at most this share of what is answered is wrong."""
        return next((p.threshold for p in self.points if p.wrong is not None and p.wrong <= wrong), None)


def made(memory: Memory, store: str, count: int, seed: int) -> list[Question]:
    """Questions from the store's own documents."""
    found = list(islice(cloze.questions(memory, store, Random(f"calibrate {seed}")), count))
    if not found:
        raise EvalError(
            f"--store: no question can be made from {store}: its documents hold no sentences with values that its "
            "other words lead to. Ingest some, or bring your own questions with --from."
        )
    return found


def usable(asked: Sequence[Question], memory: Memory, store: str) -> list[Question]:
    """Of somebody's own questions those that must be looked up in this store: all of them are, in the whole of it."""
    info = memory.store(store)
    names = {document.filename for document in cloze.documents(memory, info.id)}
    here = (None, info.id, info.name, *info.aliases)
    kept = [q for q in asked if (q.documented or q.kind == "unanswerable") and q.store in here]
    if not kept:
        raise EvalError(
            f"--from: none of the questions asks {store} for a fact, a table's or one that it does not hold."
        )
    for question in kept:
        if question.file is not None and question.file not in names:
            raise EvalError(f"--from: question {question.id} is answered by {question.file}, which {store} lacks.")
    return kept


async def outcomes(
    asked: Sequence[Question], core: Core, memory: Memory, store: str, searches: int
) -> AsyncIterator[list[Outcome]]:
    """For each question in order what came of its turns. Where nothing is found nothing is answered, nor counted."""
    for number, question in enumerate(asked):
        reply = await _ask(question, core, memory, store, searches, absent=False)
        found = [] if reply.abstained else [Outcome(number, reply.confidence, judge(question, reply).right)]
        if question.documented:
            reply = await _ask(question, core, memory, store, searches, absent=True)
            # The right value from another document: whether that is an answer, nobody has said.
            if not (reply.abstained or metrics.contains(reply.answer or reply.text, question.answers)):
                found.append(Outcome(number, reply.confidence, right=False))
        yield found


async def _ask(question: Question, core: Core, memory: Memory, store: str, searches: int, *, absent: bool) -> Reply:
    without = {"type": "ne", "key": FILENAME, "value": question.file} if absent else None
    policy = Policy(choice="required", max_searches=searches, abstain_below=0.0, filters=without)
    sampling = Sampling(max_tokens=core.profile.max_tokens)
    turn = Turn(question.messages, stores=[store], policy=policy, sampling=sampling)
    quotes: list[str] = []
    async with aclosing(answer(turn, core, memory)) as events:
        async for event in events:
            match event:
                case Cited():
                    quotes.append(event.quote)
                case Done():
                    done = event
    return Reply(
        answer=done.answer, confidence=done.confidence, abstained=done.abstained, quotes=tuple(quotes), searches=1
    )


def refit(found: Sequence[Outcome]) -> Refit:
    """Raises EvalError where too little was learned."""
    scores, labels = [o.confidence for o in found], [o.right for o in found]
    right, wrong = sum(labels), len(labels) - sum(labels)
    if min(right, wrong) < LEAST:
        raise EvalError(
            f"{right} answers were right and {wrong} wrong; at least {LEAST} of each are needed. "
            "Ask more with --questions, bring your own with --from, or ingest more documents."
        )
    fitted = platt(scores, labels)
    if fitted[0] <= 0:
        raise EvalError("Right answers are no more confident than wrong ones here, so no threshold parts them.")
    held = np.array([o.question % FOLDS for o in found])
    after = np.empty(len(found))
    for fold in range(FOLDS):
        inside, outside = np.flatnonzero(held == fold), np.flatnonzero(held != fold)
        fold_fit = Calibration(*platt([scores[n] for n in outside], [labels[n] for n in outside]), judges="")
        after[inside] = [fold_fit(scores[n]) for n in inside]
    told: list[float] = after.tolist()
    before, better = Measures.of(scores, labels), Measures.of(told, labels)
    if better.brier >= before.brier:
        fitted, told, better = (1.0, 0.0), scores, before
    points = [_point(told, labels, threshold) for threshold in THRESHOLDS]
    return Refit(*fitted, right, wrong, before, better, points)


def platt(scores: Sequence[float], labels: Sequence[bool], steps: int = 1000) -> tuple[float, float]:
    """Slope and intercept of the likeliest logistic on the logits.

    The prior is (1, 0), which changes nothing: few or one-sided outcomes cannot claim too much.
    """
    slope, intercept = logistic([[logit(score)] for score in scores], labels, (1.0, 0.0), steps=steps)
    return slope, intercept


def logistic(
    inputs: Sequence[Sequence[float]],
    labels: Sequence[bool],
    prior: Sequence[float],
    weights: Sequence[float] | None = None,
    steps: int = 1000,
) -> list[float]:
    """The likeliest coefficients of the columns and, last, the intercept, under a normal prior around these.

    Climbs under the bound on the curvature of Böhning and Lindsay (1988): unlike Newton's, no step can lead too far.
    """
    columns = np.column_stack([np.array(inputs, dtype=np.float64), np.ones(len(inputs))])
    counts = np.ones(len(inputs)) if weights is None else np.array(weights)
    truth, centre = np.array(labels, dtype=np.float64), np.array(prior)
    stride = np.linalg.inv((columns.T * counts) @ columns / 4 + PRIOR * np.eye(len(centre)))
    fitted = centre.copy()
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(columns @ fitted, -500, 500)))
        fitted += stride @ (columns.T @ (counts * (truth - chance)) - PRIOR * (fitted - centre))
    found: list[float] = fitted.tolist()
    return found


def _point(scores: Sequence[float], labels: Sequence[bool], threshold: float) -> Point:
    given = [label for score, label in zip(scores, labels, strict=True) if score >= threshold]
    return Point(threshold, len(given) / len(labels), metrics.mean(float(not label) for label in given))
