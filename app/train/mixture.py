"""What the embedded core is trained on: kinds of rows, drawn fresh for every step.

Each draw depends on the seed and the step alone, so a run that resumes sees what it would have seen.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from app.agent.expression import UNSAID, numbers
from app.agent.prompt import Message, excerpt
from app.agent.tools import CalculationError, calculate
from app.cores import grammar
from app.train.chains import Told, relations, strand
from app.train.followups import follow_up
from app.train.rows import Answer, Hop, Row, Turns
from app.train.smalltalk import reply, small_talk, typed
from app.train.sources import Question, Sources
from app.train.sums import not_a_sum, worded_sum
from app.train.values import word
from app.train.worlds import Fact, fact, polite
from index.types import Chunk, Hit, Mark

SHORT = {"repeat", "ask", "sum", "talk"}
FEW = 0.3  # of the searches find three passages at most
ANSWERING, LEADING = 1.2, -4.0  # log-odds that the reader gives, on average, to what answers and to what leads on


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, and where in which of its hits the words stand that matter, if in any."""

    hits: Sequence[Hit]
    gold: Hit | None
    span: tuple[int, int]


class Mixture:
    """Draws rows by kind. `traces` and `chains` are files of searches that app.train.traces made."""

    def __init__(self, turns: Turns, sources: Sources, traces: Path | None = None, chains: Path | None = None) -> None:
        self.turns = turns
        self.sources = sources
        self.questions = sources.squad()
        self.asked = [q.question for q in self.questions] + sources.trivia()
        self.problems = solvable(sources.problems())
        self.requests = [text for text, _, domain in sources.requests() if domain not in ("small_talk", "meta")]
        self.talk = small_talk(sources.requests())
        self.words = sorted({w for text in sources.prose(60) for w in text.split() if w.isalnum()})
        self.traces, self.chains = _lines(traces), _lines(chains)
        self.kinds: Mapping[str, Callable[[Random], Row]] = {
            "repeat": self.repeat,
            "point": self.point,
            "squad": self.squad,
            "trace": self.trace,
            "follow": self.follow,
            "world": self.world,
            "chain": self.chain,
            **({"chain_trace": self.chain_trace} if self.chains else {}),
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
        gold = self.sources.paragraphs[item.paragraph] if rng.random() < 0.67 else None
        return self._lookup(rng, item.question, _found(rng, texts, gold, (item.start, item.end)))

    def world(self, rng: Random) -> Row:
        """An invented fact among its like, with simulated marks."""
        made = fact(rng)
        return self._lookup(rng, made.question, _among_its_like(rng, made))

    def follow(self, rng: Random) -> Row:
        """A question that leans on the one before, about such a fact."""
        asked = follow_up(rng)
        past = [{"role": "user", "content": asked.before}, {"role": "assistant", "content": asked.answer}]
        found = _among_its_like(rng, asked.fact)
        return self.turns.read(past, asked.fact.question, asked.query, found.hits, self._answer(found, first=1))

    def trace(self, rng: Random) -> Row:
        """A search as the server made it: real retrieval, real marks, natural misses."""
        row = json.loads(rng.choice(self.traces))
        return self._lookup(rng, row["question"], _traced(rng, row, row["gold"], row["span"]))

    def chain(self, rng: Random) -> Row:
        """A question that describes what it asks about, in an invented world, with simulated marks."""
        made = strand(rng, rng.choice(relations()))
        asked = rng.choice(made.asked)
        answering = [text for text in made.texts if asked.answered_by(text)]
        if answering or asked.around is None:
            return self._lookup(rng, asked.question, self._drawn(rng, made.texts, asked.fact, answering))
        linking = [text for text in made.texts if asked.link and asked.link.sentence in text]
        first = self._drawn(rng, made.texts, asked.link, linking, sure=LEADING)
        stating = [text for text in made.texts if asked.fact and asked.fact.sentence in text]
        return self._chained(
            rng, asked.question, first, asked.around, self._drawn(rng, made.texts, asked.fact, stating)
        )

    def chain_trace(self, rng: Random) -> Row:
        """The same, as the server searched for it."""
        row = json.loads(rng.choice(self.chains))
        if "hop" not in row:
            return self._lookup(rng, row["question"], _traced(rng, row, row["gold"], row["span"]))
        hop = row["hop"]
        first = _traced(rng, row, hop["lead"], hop["name"])
        return self._chained(rng, row["question"], first, hop["around"], _traced(rng, hop, hop["gold"], hop["span"]))

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

    def _drawn(
        self, rng: Random, texts: Sequence[str], told: Told | None, telling: Sequence[str], sure: float = ANSWERING
    ) -> Found:
        """Some of a world's passages, mostly with one that tells it."""
        gold = rng.choice(telling) if telling and rng.random() < 0.85 else None
        others = [text for text in texts if text not in telling]
        count = self.turns.renderer.profile.passages - rng.choice((1, 1, 1, 2))
        span = told.place(gold) if told and gold else (0, 0)
        return _found(rng, rng.sample(others, min(count, len(others))), gold, span, sure)

    def _lookup(self, rng: Random, question: str, found: Found) -> Row:
        return self.turns.read(
            self._past(rng), polite(rng, question), question, found.hits, self._answer(found, first=1)
        )

    def _chained(self, rng: Random, question: str, found: Found, around: tuple[str, str], then: Found) -> Row:
        """Two searches, if the first shows what leads on."""
        lead = self._answer(found, first=1)
        if lead is None:
            return self._lookup(rng, question, found)
        hop, answer = Hop(lead, around, then.hits), self._answer(then, first=len(found.hits) + 1)
        return self.turns.read(self._past(rng), polite(rng, question), question, found.hits, answer, hop)

    def _answer(self, found: Found, first: int) -> Answer | None:
        """The words that matter, as their excerpt shows them; None when it leaves them out."""
        if found.gold is None:
            return None
        number = first + found.hits.index(found.gold)
        shown = excerpt(number, found.gold, self.turns.renderer.profile.excerpt_words)
        inside = [n for n, place in enumerate(shown.starts) if found.span[0] <= place < found.span[1]]
        if not inside or shown.starts[inside[0]] != found.span[0] or shown.starts[inside[-1]] != found.span[1] - 1:
            return None
        return number, shown.text[inside[0] : inside[-1] + 1]

    def _past(self, rng: Random) -> list[Message]:
        """Mostly nothing; else an earlier exchange."""
        if rng.random() > 0.15:
            return []
        roll = rng.random()
        if roll < 0.3:
            text, intent = rng.choice(self.talk)
            said = reply(rng, intent)
        elif roll < 0.6:
            item: Question = rng.choice(self.questions)
            text = item.question
            answer = self.sources.paragraphs[item.paragraph][item.start : item.end]
            said = f"The answer is {answer} [{rng.randint(1, 4)}]."
        elif roll < 0.8:
            text, expression = worded_sum(rng)
            said = f"The answer is {calculate(expression)}."
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


def _lines(file: Path | None) -> list[str]:
    return file.read_text("utf-8").splitlines() if file else []


def _found(
    rng: Random, others: Sequence[str], text: str | None, span: tuple[int, int], sure: float = ANSWERING
) -> Found:
    """Passages with simulated marks, ranked about as these say; `text` is the one that matters."""
    if rng.random() < FEW:
        others = others[: rng.randint(1 if text is None else 0, 2)]
    hits = [hit_of(other, _simulated(rng, other, None)) for other in others]
    gold = None if text is None else hit_of(text, _simulated(rng, text, span, sure))
    hits += [gold] if gold else []
    hits.sort(key=lambda h: -(h.mark.probability if h.mark else 0) + rng.gauss(0, 0.15))
    return Found(hits, gold, span)


def _among_its_like(rng: Random, made: Fact) -> Found:
    texts = [other.text for other in rng.sample(made.others, 3)]
    gold = made.passage.text if rng.random() < 0.67 else None
    return _found(rng, texts, gold, (made.start, made.end))


def _traced(rng: Random, row: Mapping[str, Any], gold: int | None, span: tuple[int, int]) -> Found:
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


def _simulated(rng: Random, text: str, gold: tuple[int, int] | None, sure: float = ANSWERING) -> Mark:
    """A mark such as the reader might make: mostly right on the answering passage, mostly unsure elsewhere."""
    if gold and rng.random() < 0.8:
        return Mark(*gold, probability=_sigmoid(rng.gauss(sure, 1.5)))
    starts = [n for n, (a, b) in enumerate(zip(" " + text, text, strict=False)) if a == " " and b.isalnum()]
    start = rng.choice(starts or [0])
    end = min(start + rng.randint(3, 30), len(text))
    while end < len(text) and text[end].isalnum():
        end += 1
    return Mark(start, end, _sigmoid(rng.gauss(-0.5 if gold else -3.0, 1.8)))


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))
