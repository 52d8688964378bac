"""What the reader is trained on: a question beside a passage, and the span that answers or nothing.

Right passages alone teach a reader to find something everywhere. So as many show the right topic without the answer:
what a search finds in place of the paragraph, the paragraph without its answering sentence, a question about another
name, number or thing, a neighbouring attribute, a table's other rows. Readings drawn together stand beside each other
in the loss: the one that answers must lead the others, as in a search (shared normalisation, Clark & Gardner 2018).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from app.train.alterations import Alterations
from app.train.sources import Question, Sources
from app.train.values import word
from app.train.worlds import fact
from index.lexical import Lexical

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
NAMED = re.compile(r"(?<!^)(?<![.?!] )\b(?:[A-Z][\w'-]+(?: [A-Z][\w'-]+)*|\d[\d,.]*\d)\b")
FOUND, NEAR, FAR = 100, 7, 3  # results of a search, and of these the first in the same article and in others
BESIDE = 3  # wrong passages beside the right one
RENEWED = 0.15  # of the right passages: an answer that no reader has met


@dataclass(frozen=True, slots=True)
class Reading:
    """`span` is the answer's place in the passage, in characters; None where the passage does not answer."""

    question: str
    headings: tuple[str, ...]
    passage: str
    span: tuple[int, int] | None


class Readings:
    """Draws readings by kind. SQuAD's first `held` articles are left out: the core's traces are made from them."""

    def __init__(self, sources: Sources, held: int) -> None:
        self.sources = sources
        self.held = [q for q in sources.squad() if sources.articles[q.paragraph] < held]
        self.questions = [q for q in sources.squad() if sources.articles[q.paragraph] >= held]
        self.by_article: dict[int, list[Question]] = {}
        for question in self.questions:
            self.by_article.setdefault(sources.articles[question.paragraph], []).append(question)
        self.kinds: Mapping[str, Callable[[Random], Reading]] = {
            "right": self.right,
            "found": self.found,
            "cut": self.cut,
            "renamed": self.renamed,
            "altered": self.altered,
            "stated": self.stated,
            "unstated": self.unstated,
        }
        self.searches: Mapping[str, Callable[[Random], list[Reading]]] = {"among": self.among, "alike": self.alike}

    def draw(self, rng: Random, count: int, shares: Mapping[str, float]) -> list[list[Reading]]:
        """At least `count` readings: those of one search together, others alone. The shares are of draws."""
        drawn: list[list[Reading]] = []
        while sum(map(len, drawn)) < count:
            name = rng.choices(list(shares), weights=list(shares.values()))[0]
            drawn.append(self.searches[name](rng) if name in self.searches else [self.kinds[name](rng)])
        return drawn

    def among(self, rng: Random) -> list[Reading]:
        """A question, its paragraph, and what else a search ranks high."""
        item = rng.choice(self.questions)
        wrong = self._wrong(item)
        others = rng.sample(wrong, min(BESIDE, len(wrong)))
        beside = [Reading(item.question, self._headings(rng, item), other, None) for other in others]
        return [self._right(rng, item), *beside]

    def alike(self, rng: Random) -> list[Reading]:
        """An invented fact, the passage that states it, and passages like it."""
        made = fact(rng)
        right = Reading(made.question, made.passage.headings, made.passage.text, (made.start, made.end))
        others = rng.sample(made.others, min(BESIDE, len(made.others)))
        return [right, *(Reading(made.question, other.headings, other.text, None) for other in others)]

    def right(self, rng: Random) -> Reading:
        """A question and its paragraph, or the sentences around its answer."""
        return self._right(rng, rng.choice(self.questions))

    def _right(self, rng: Random, item: Question) -> Reading:
        text, span = self.sources.paragraphs[item.paragraph], (item.start, item.end)
        if rng.random() < RENEWED:
            text, span = renewed(rng, text, span)
        if rng.random() < 0.6:
            return Reading(item.question, self._headings(rng, item), text, span)
        bounds = [0, *(m.end() for m in SENTENCE.finditer(text)), len(text)]
        first = max(n for n, at in enumerate(bounds) if at <= span[0])
        last = min(n for n, at in enumerate(bounds) if at >= span[1])
        first, last = max(0, first - rng.randint(0, 2)), min(len(bounds) - 1, last + rng.randint(0, 2))
        start, end = bounds[first], bounds[last]
        return Reading(
            item.question, self._headings(rng, item), text[start:end].strip(), (span[0] - start, span[1] - start)
        )

    def found(self, rng: Random) -> Reading:
        """A paragraph that a search ranks high, and that does not hold the answer's words."""
        item = rng.choice(self.questions)
        wrong = self._wrong(item)
        return Reading(item.question, self._headings(rng, item), rng.choice(wrong), None) if wrong else self.cut(rng)

    def _wrong(self, item: Question) -> list[str]:
        """What a search ranks high and that does not hold the answer's words, most of it from the same article."""
        paragraphs, articles = self.sources.paragraphs, self.sources.articles
        answer = paragraphs[item.paragraph][item.start : item.end].lower()
        found = [p for p in self._lexical.search(item.question, FOUND) if answer not in paragraphs[p].lower()]
        near, far = ([p for p in found if (articles[p] == articles[item.paragraph]) is own] for own in (True, False))
        return [paragraphs[p] for p in near[:NEAR] + far[:FAR]]

    def cut(self, rng: Random) -> Reading:
        """The right paragraph without the sentence that answers."""
        while True:
            item = rng.choice(self.questions)
            text = self.sources.paragraphs[item.paragraph]
            answer = text[item.start : item.end]
            left = " ".join(sentence for sentence in SENTENCE.split(text) if answer not in sentence)
            if left and answer.lower() not in left.lower():
                return Reading(item.question, self._headings(rng, item), left, None)

    def renamed(self, rng: Random) -> Reading:
        """A question about another name or number of the same article, beside the passage that answered it before."""
        while True:
            item = rng.choice(self.questions)
            text = self.sources.paragraphs[item.paragraph]
            other = rng.choice(self.by_article[self.sources.articles[item.paragraph]])
            old = [m.group() for m in NAMED.finditer(item.question) if m.group() in text]
            new = [m.group() for m in NAMED.finditer(other.question) if m.group() not in text]
            if not old or not new:
                continue
            name = rng.choice(old)
            alike = [n for n in new if n[0].isdigit() == name[0].isdigit() and n not in item.question]
            if alike:
                question = item.question.replace(name, rng.choice(alike))
                return Reading(question, self._headings(rng, item), text, None)

    def altered(self, rng: Random) -> Reading:
        """A question for another kind of thing, or about another thing, beside the passage that answered it before."""
        while True:
            item = rng.choice(self.questions)
            question = self._alterations.draw(rng, item)
            if question:
                return Reading(question, self._headings(rng, item), self.sources.paragraphs[item.paragraph], None)

    def stated(self, rng: Random) -> Reading:
        """An invented fact and the passage that states it."""
        made = fact(rng)
        return Reading(made.question, made.passage.headings, made.passage.text, (made.start, made.end))

    def unstated(self, rng: Random) -> Reading:
        """An invented fact and a passage like the one that would state it."""
        made = fact(rng)
        other = rng.choice(made.others)
        return Reading(made.question, other.headings, other.text, None)

    def _headings(self, rng: Random, item: Question) -> tuple[str, ...]:
        return (self.sources.titles[self.sources.articles[item.paragraph]],) if rng.random() < 0.4 else ()

    @cached_property
    def _alterations(self) -> Alterations:
        return Alterations(self.sources, self.questions)

    @cached_property
    def _lexical(self) -> Lexical:
        lexical = Lexical()
        kept: Sequence[int] = sorted({q.paragraph for q in self.questions})
        lexical.add((p, p, self.sources.paragraphs[p]) for p in kept)
        return lexical


def renewed(rng: Random, text: str, span: tuple[int, int]) -> tuple[str, tuple[int, int]]:
    """The text with the names and digits of its answer drawn anew, wherever the answer stands in it."""
    answer = text[span[0] : span[1]]
    other = re.sub(r"[1-9]", lambda _: rng.choice("123456789"), answer)
    other = re.sub(r"\b[A-Z]\w*", lambda _: word(rng).capitalize(), other)
    before = text[: span[0]].replace(answer, other)
    return before + other + text[span[1] :].replace(answer, other), (len(before), len(before) + len(other))
