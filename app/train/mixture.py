"""What the embedded core is trained on: kinds of rows, drawn fresh for every step.

Each draw depends on the seed and the step alone, so a run that resumes sees what it would have seen.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from app.agent.expression import UNSAID, numbers
from app.agent.prompt import Message, excerpt
from app.agent.tools import CalculationError, calculate
from app.cores import grammar
from app.train.followups import follow_up
from app.train.rows import Answer, Row, Turns
from app.train.smalltalk import reply, small_talk, typed
from app.train.sources import Question, Sources
from app.train.sums import not_a_sum, worded_sum
from app.train.values import word
from app.train.worlds import Fact, fact, polite
from index.types import Chunk, Hit, Mark

SHORT = {"repeat", "ask", "sum", "talk"}


class Mixture:
    """Draws rows by kind. `traces` is a file of searches with the real reader's marks, made by app.train.traces."""

    def __init__(self, turns: Turns, sources: Sources, traces: Path | None = None) -> None:
        self.turns = turns
        self.sources = sources
        self.questions = sources.squad()
        self.asked = [q.question for q in self.questions] + sources.trivia()
        self.problems = solvable(sources.problems())
        self.requests = [text for text, _, domain in sources.requests() if domain not in ("small_talk", "meta")]
        self.talk = small_talk(sources.requests())
        self.words = sorted({w for text in sources.prose(60) for w in text.split() if w.isalnum()})
        self.traces = traces.read_text("utf-8").splitlines() if traces else []
        self.kinds: Mapping[str, Callable[[Random], Row]] = {
            "repeat": self.repeat,
            "point": self.point,
            "squad": self.squad,
            "trace": self.trace,
            "follow": self.follow,
            "world": self.world,
            "ask": self.ask,
            "sum": self.sum,
            "talk": self.small_talk,
        }

    def draw(self, seed: int, step: int, count: int, shares: Mapping[str, float]) -> list[Row]:
        """The rows of one step: `count` that read passages, or twice as many short ones: padding stays small."""
        rng = Random(f"{seed}/{step}")
        first = rng.choices(list(shares), weights=list(shares.values()))[0]
        alike = {name: share for name, share in shares.items() if (name in SHORT) == (first in SHORT)}
        names = rng.choices(list(alike), weights=list(alike.values()), k=2 * count if first in SHORT else count)
        return [self.kinds[name](rng) for name in names]

    # Drills: random words, so that nothing but copying helps.

    def repeat(self, rng: Random) -> Row:
        """A message of random words, searched for word by word."""
        text = " ".join(self._nonsense(rng) for _ in range(rng.randint(3, 14)))
        return self.turns.search((), text, text)[0]

    def point(self, rng: Random) -> Row:
        """Passages of random words: say the marked words of the one with the highest digit, or none if all are low."""
        texts = [[self._nonsense(rng) for _ in range(rng.randint(4, 12))] for _ in range(rng.randint(1, 4))]
        best = rng.randrange(len(texts)) if rng.random() < 0.6 else -1
        hits, span = [], ""
        for n, words in enumerate(texts):
            at = rng.randrange(len(words))
            length = rng.randint(1, min(4, len(words) - at))
            start = sum(len(w) + 1 for w in words[:at])
            marked = " ".join(words[at : at + length])
            probability = rng.uniform(0.6, 1.0) if n == best else rng.uniform(0.0, 0.4)
            hits.append(hit_of(" ".join(words), Mark(start, start + len(marked), probability)))
            span = marked if n == best else span
        question = " ".join(self._nonsense(rng) for _ in range(rng.randint(2, 6)))
        return self.turns.read((), question, question, hits, (best + 1, span) if span else None)

    # Lookups.

    def squad(self, rng: Random) -> Row:
        """A real question over its paragraph and neighbours, with simulated marks; a third of them without it."""
        item = rng.choice(self.questions)
        article = self.sources.by_article[self.sources.articles[item.paragraph]]
        near = [p for p in article if p != item.paragraph]
        others = rng.sample(near, min(3, len(near)))
        answer = self.sources.paragraphs[item.paragraph][item.start : item.end]
        texts = [self.sources.paragraphs[p] for p in others if answer not in self.sources.paragraphs[p]]
        hits = [hit_of(text, _simulated(rng, text, None)) for text in texts]
        gold = None
        if rng.random() < 0.67:
            paragraph = self.sources.paragraphs[item.paragraph]
            gold = hit_of(paragraph, _simulated(rng, paragraph, (item.start, item.end)))
        return self._read(rng, item.question, *self._ranked(rng, hits, gold, (item.start, item.end)))

    def world(self, rng: Random) -> Row:
        """An invented fact among its like, with simulated marks."""
        made = fact(rng)
        return self._read(rng, made.question, *self._among_its_like(rng, made))

    def follow(self, rng: Random) -> Row:
        """A question that leans on the one before, about such a fact."""
        asked = follow_up(rng)
        past = [{"role": "user", "content": asked.before}, {"role": "assistant", "content": asked.answer}]
        found = self._among_its_like(rng, asked.fact)
        return self.turns.read(past, asked.fact.question, asked.query, *found)

    def trace(self, rng: Random) -> Row:
        """A search as the server made it: real retrieval, real marks, natural misses."""
        row = json.loads(rng.choice(self.traces))
        hits = searched(row)
        right = None if row["gold"] is None else hits[row["gold"]]
        if rng.random() < 0.1:
            rng.shuffle(hits)  # else the first would always do
        answer = self._answer(hits, hits.index(right), (row["span"][0], row["span"][1])) if right else None
        return self._read(rng, row["question"], hits, answer)

    def ask(self, rng: Random) -> Row:
        """The first round alone, over many more questions and requests."""
        roll = rng.random()
        if roll < 0.48:
            query = rng.choice(self.asked)
        elif roll < 0.64:
            query = rng.choice(self.requests)
        elif roll < 0.8:
            query = fact(rng).question
        else:
            query = not_a_sum(rng)
        return self.turns.search(self._past(rng), polite(rng, query), query)[0]

    # No lookup.

    def sum(self, rng: Random) -> Row:
        """A sum in words, or a small problem, through the calculator."""
        question, expression = rng.choice(self.problems) if rng.random() < 0.3 else worded_sum(rng, spoken=0.35)
        return self.turns.calculate(self._past(rng), question, expression, calculate(expression))

    def small_talk(self, rng: Random) -> Row:
        """Greetings, thanks, and questions about the machine itself."""
        text, intent = rng.choice(self.talk)
        return self.turns.talk(self._past(rng), typed(rng, text), reply(rng, intent))

    def _nonsense(self, rng: Random) -> str:
        roll = rng.random()
        if roll < 0.7:
            return rng.choice(self.words)
        return str(rng.randint(0, 9999)) if roll < 0.8 else word(rng).capitalize()

    def _among_its_like(self, rng: Random, made: Fact) -> tuple[list[Hit], Answer | None]:
        texts = [other.text for other in rng.sample(made.others, 3)]
        hits = [hit_of(text, _simulated(rng, text, None)) for text in texts]
        gold, span = None, (made.start, made.end)
        if rng.random() < 0.67:
            gold = hit_of(made.passage.text, _simulated(rng, made.passage.text, span))
        return self._ranked(rng, hits, gold, span)

    def _ranked(
        self, rng: Random, others: Sequence[Hit], gold: Hit | None, span: tuple[int, int]
    ) -> tuple[list[Hit], Answer | None]:
        """All of them, mostly in the order of their marks, and the answer in `gold`."""
        hits = [*others, gold] if gold else list(others)
        hits.sort(key=lambda h: -(h.mark.probability if h.mark else 0) + rng.gauss(0, 0.15))
        return hits, self._answer(hits, hits.index(gold), span) if gold else None

    def _read(self, rng: Random, question: str, hits: Sequence[Hit], answer: Answer | None) -> Row:
        return self.turns.read(self._past(rng), polite(rng, question), question, hits, answer)

    def _answer(self, hits: Sequence[Hit], at: int, span: tuple[int, int]) -> Answer | None:
        """The span's words as the excerpt shows them; None when the excerpt leaves them out."""
        shown = excerpt(at + 1, hits[at], self.turns.renderer.profile.excerpt_words)
        inside = [n for n, place in enumerate(shown.starts) if span[0] <= place < span[1]]
        if not inside or shown.starts[inside[0]] != span[0] or shown.starts[inside[-1]] != span[1] - 1:
            return None
        return at + 1, shown.text[inside[0] : inside[-1] + 1]

    def _past(self, rng: Random) -> list[Message]:
        """Mostly nothing; else an earlier exchange."""
        if rng.random() > 0.15:
            return []
        roll = rng.random()
        if roll < 0.4:
            text, intent = rng.choice(self.talk)
            said = reply(rng, intent)
        elif roll < 0.8:
            item: Question = rng.choice(self.questions)
            text = item.question
            answer = self.sources.paragraphs[item.paragraph][item.start : item.end]
            said = f"The answer is {answer} [{rng.randint(1, 4)}]."
        else:
            text, said = rng.choice(self.asked), grammar.ABSENT.split("\n\n")[1]
        return [{"role": "user", "content": text}, {"role": "assistant", "content": said}]


def solvable(problems: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those whose expression the core may write and the calculator can read, with the problem's own numbers."""
    kept = []
    for question, expression in problems:
        with suppress(CalculationError, LookupError):
            written = _as_written(question, expression)
            calculate(written)
            kept.append((question, written))
    return kept


def _as_written(question: str, expression: str) -> str:
    """LookupError where a number is neither in the problem nor one that people leave unsaid."""
    known = {Decimal(n.replace(",", "")): n for n in sorted(UNSAID | numbers(question), key=len, reverse=True)}

    def put(number: re.Match[str]) -> str:
        value = Decimal(number[0])
        if value not in known and expression[: number.start()].endswith("* "):
            return f"{known[value * 100]} / 100"
        return known[value]

    return re.sub(r"\d*\.?\d+", put, expression)


def searched(row: Mapping[str, Any]) -> list[Hit]:
    """The hits of a trace."""
    return [hit_of(hit["text"], Mark(*hit["mark"]), hit["score"]) for hit in row["hits"]]


def hit_of(text: str, mark: Mark, score: float | None = None) -> Hit:
    """As a search would return it."""
    chunk = Chunk("", "", "", text, 0, len(text), None, ())
    return Hit(chunk, mark.probability if score is None else score, mark)


def _simulated(rng: Random, text: str, gold: tuple[int, int] | None) -> Mark:
    """A mark such as the reader might make: mostly right on the answering passage, mostly unsure elsewhere."""
    if gold and rng.random() < 0.8:
        return Mark(*gold, probability=_sigmoid(rng.gauss(1.2, 1.5)))
    starts = [n for n, (a, b) in enumerate(zip(" " + text, text, strict=False)) if a == " " and b.isalnum()]
    start = rng.choice(starts or [0])
    end = min(start + rng.randint(3, 30), len(text))
    while end < len(text) and text[end].isalnum():
        end += 1
    return Mark(start, end, _sigmoid(rng.gauss(-0.5 if gold else -3.0, 1.8)))


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
