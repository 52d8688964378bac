"""Fictional worlds: documents of organisations, products and records, with names and values drawn fresh each time.

What such documents state, how they phrase it and how people ask is in schemas/*.toml; no fact ever repeats. A domain
there has `titles` (headings), `subjects` (patterns with {n}, a made-up name, or any kind of app/train/values.py; or
plain things, which only their meaning tells apart; none where the page speaks of the whole organisation), `fillers`
(sentences that state none of its facts) and attributes, each with a table `column`, a kind of `value` or a list of
`values`, `statements` with {v} for the value and {s} for the subject, `questions`, and `evasions`, which speak of the
same thing and do not give it. Another file there is another domain to train for.
"""

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from app.train.conditions import Condition, conditions, statement
from app.train.values import KINDS, name, variant

Headings = tuple[str, ...]

CONDITIONAL = 0.25  # of the pages

ARTICLE = re.compile(r"^(?:the|an?) ", re.IGNORECASE)
GUIDES = ["handbook", "manual", "guide", "policy", "overview", "notes", "FAQ"]
ROWS = [("Item", "Value"), ("Topic", "Rule"), ("What", "How much"), ("Entry", "Details")]


# Before a question and after it: what is asked stays one sentence, to be copied without these.
OPENINGS = [
    "Hi, ", "Hello! ", "Please tell me: ", "Could you help me? ", "Quick question: ", "Hey there. ", "Good morning! ",
    "Good evening, ", "Hello there, ", "Hi again. ", "Morning! ", "Hey, ", "hey ", "Howdy, ", "Hi Cogcore, ", "Sorry, ",
    "Excuse me, ", "Excuse me. ", "Thanks! ", "Thank you. ", "Great, thanks. ", "OK, ", "ok ", "Okay. ", "Right, ",
    "Hmm, ", "Well, ", "So, ", "And ", "One more: ", "Another question. ", "Sorry to bother you again. ",
    "Sorry, I meant: ", "I am new here. ", "I have a question. ", "Just wondering, ", "I am in a hurry. ",
    "My boss wants to know: ", "No, I meant something else. ", "Not sure you know this, but ",
    "I hope you are well. ", "Nice to see you. ", "Can you look this up for me? ",
]  # fmt: skip
CLOSINGS = [
    " Thanks!", " Thank you.", " Please be brief.", " I need it today.", " thanks", " Thank you very much!", " thx",
    " please", " Please.", " pls", " Cheers!", " Many thanks.", " Thanks in advance.", " Thank you so much.",
    " Have a nice day!", " Have a good weekend.", " Sorry for asking again.", " Sorry if this is a silly question.",
    " I forgot.", " I cannot remember.", " I can't find it.", " I looked everywhere.", " It is urgent.",
    " My colleague asked me.", " Just curious.", " No rush.", " Take your time.", " Quickly please.", " Any idea?",
    " Do you know?", " Can you check?", " Could you look it up?", " Please look it up.", " I was wondering.",
    " I am not sure.", " Help!", " Appreciate it.", " Bye!", " ??", " I am a bit lost.", " Show me where it says so.",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that documents state about their subject. `value` is a kind of value, else one of `values` is drawn."""

    column: str
    statements: Sequence[str]
    questions: Sequence[str]
    evasions: Sequence[str]
    value: str = ""
    values: Sequence[str] = ()

    def draw(self, rng: Random) -> str:
        return rng.choice(self.values) if self.values else KINDS[self.value](rng)


@dataclass(frozen=True, slots=True)
class Domain:
    """What a page may be about. Without `subjects` it speaks of the organisation as a whole."""

    name: str
    titles: Sequence[str]
    subjects: Sequence[str]
    fillers: Sequence[str]
    attributes: Sequence[Attribute]

    def subjects_like(self, rng: Random, count: int) -> list[str]:
        """Different ones, those with names fresh and some like the first's; "" where the domain has none."""
        if not self.subjects:
            return [""] * count
        if "{" not in self.subjects[0]:
            return rng.sample(list(self.subjects), count)
        first = name(rng)
        names = [first] + [variant(rng, first) if rng.random() < 0.4 else name(rng) for _ in range(count - 1)]
        pattern = rng.choice(self.subjects)
        return [pattern.format(n=n, **{kind: draw(rng) for kind, draw in KINDS.items()}) for n in names]


@dataclass(frozen=True, slots=True)
class Passage:
    """A text and the headings that it stands under."""

    headings: Headings
    text: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A question, the passage that answers it and where, and passages that look alike but do not answer."""

    question: str
    passage: Passage
    start: int
    end: int
    others: tuple[Passage, ...]


@cache
def domains() -> tuple[Domain, ...]:
    """All that schemas/*.toml describe."""
    found = []
    for file in sorted((files("app.train") / "schemas").iterdir(), key=lambda file: file.name):
        for entry in tomllib.loads(file.read_text("utf-8"))["domain"]:
            found.append(_domain(entry))
    return tuple(found)


def _domain(entry: dict[str, Any]) -> Domain:
    attributes = tuple(Attribute(**attribute) for attribute in entry.pop("attribute"))
    return Domain(**entry, attributes=attributes)


def fact(rng: Random) -> Fact:
    """One fact among its like."""
    page = Page(rng)
    asked = page.take()
    passage, start, end = page.stating(asked)
    others = tuple(page.beside(asked) for _ in range(5))
    return Fact(page.question(asked), passage, start, end, others)


class Page:
    """A page of one domain about one subject, and a rival of the same kind. Draws what stands on it.

    On some pages what is asked holds under a condition, and something else under others.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.domain = rng.choice(domains())
        self.subject, self.rival = self.domain.subjects_like(rng, 2)
        self.left = rng.sample(list(self.domain.attributes), len(self.domain.attributes))
        drawn = conditions(rng, 3) if rng.random() < CONDITIONAL else []
        self.condition, self.conditions = (drawn[0] if drawn else None), drawn[1:]

    def take(self) -> Attribute:
        """An attribute that nothing on the page has stated yet."""
        return self.left.pop()

    def question(self, asked: Attribute) -> str:
        question = self.rng.choice(asked.questions).format(s=self.subject)
        return self.condition.asked(self.rng, question) if self.condition else question

    def stating(self, asked: Attribute) -> tuple[Passage, int, int]:
        """A passage that states it, and where its value stands."""
        told = self.conditions if self.rng.random() < 0.5 else ()
        passage = self._form((0.6, 0.28, 0.12))(self.subject, asked, self.condition, told)
        value = asked.draw(self.rng)
        start = passage.text.index("\0")
        if start == 0 or passage.text[:start].endswith((". ", "? ", "! ")):
            value = value[0].upper() + value[1:]
        return _filled(passage, value), start, start + len(value)

    def beside(self, asked: Attribute) -> Passage:
        """A passage that does not state it: of the subject, of its rival, or of something else."""
        forms = [self._evading, self._evading, self._other_row, self._elsewhere]
        if self.rival:
            forms += [self._of_rival, self._of_rival, self._of_rival]
        if self.condition:
            forms += [self._otherwise] * 4
        return self.rng.choice(forms)(asked)

    def _evading(self, asked: Attribute) -> Passage:
        told = [self.rng.choice(asked.evasions).format(s=self.subject)] if self.rng.random() < 0.6 else []
        return self._sentences(self.subject, told)

    def _other_row(self, asked: Attribute) -> Passage:
        other = self.rng.choice([a for a in self.left if a is not asked])
        passage = self._form((0.0, 0.7, 0.3))(self.subject, other)
        return _filled(passage, other.draw(self.rng))

    def _elsewhere(self, asked: Attribute) -> Passage:
        page = Page(self.rng)
        while page.domain is self.domain:
            page = Page(self.rng)
        return page.stating(page.take())[0]

    def _of_rival(self, asked: Attribute) -> Passage:
        passage = self._form((0.5, 0.25, 0.25))(self.rival, asked, self.condition)
        return _filled(passage, asked.draw(self.rng))

    def _otherwise(self, asked: Attribute) -> Passage:
        """It is stated for others than those that were asked about."""
        told, *more = self.conditions
        passage = self._form((0.6, 0.25, 0.15))(self.subject, asked, told, more if self.rng.random() < 0.3 else ())
        return _filled(passage, asked.draw(self.rng))

    def _form(self, weights: Sequence[float]) -> "Form":
        return self.rng.choices((self._prose, self._row, self._line), weights)[0]

    # The forms. "\0" stands for the value; `others` are conditions under which another value holds.

    def _prose(
        self, about: str, stated: Attribute, under: Condition | None = None, others: Sequence[Condition] = ()
    ) -> Passage:
        return self._sentences(
            about, [self._statement(stated, about, value, c) for value, c in self._told(stated, under, others)]
        )

    def _sentences(self, about: str, key: Sequence[str]) -> Passage:
        """Those of `key` in their order among others, under headings that name what they leave unnamed."""
        sentences = [self._statement(a, about, a.draw(self.rng)) for a in self._some(self.rng.randint(0, 3))]
        sentences += self.rng.sample(list(self.domain.fillers), self.rng.randint(0, 2))
        self.rng.shuffle(sentences)
        at = self.rng.randint(0, len(sentences))
        sentences[at:at] = key
        text = " ".join(s[0].upper() + s[1:] for s in sentences or [self.rng.choice(self.domain.fillers)])
        named = not about or about.lower() in " ".join(key or [text]).lower()
        return Passage(self._headings(about, must=not named), text)

    def _told(
        self, stated: Attribute, under: Condition | None, others: Sequence[Condition]
    ) -> list[tuple[str, Condition | None]]:
        """The value as "\0" with its condition, among fresh values with the others."""
        told = [("\0", under), *((stated.draw(self.rng), other) for other in others)]
        return self.rng.sample(told, len(told))

    def _statement(self, attribute: Attribute, about: str, value: str, under: Condition | None = None) -> str:
        return statement(self.rng, self.rng.choice(attribute.statements), about, value, under)

    def _row(
        self, about: str, stated: Attribute, under: Condition | None = None, others: Sequence[Condition] = ()
    ) -> Passage:
        """A row of a table, as the parser writes it."""
        told = [(_column(stated, c), value) for value, c in self._told(stated, under, others)]
        if not about:
            first, second = self.rng.choice(ROWS)
            rows = [f"{first}: {column}; {second}: {value}." for column, value in told]
            return Passage(self._headings(about), "\n".join(rows))
        cells = [(a.column, a.draw(self.rng)) for a in self._some(self.rng.randint(0, 4), stated)]
        at = self.rng.randint(0, len(cells))
        cells[at:at] = told
        key = self.rng.choice(("Name", "Item", "Model", "Type", self.domain.name.capitalize()))
        row = "; ".join(f"{column}: {cell}" for column, cell in ((key, bare(about)), *cells))
        return Passage(self._headings(""), row + ".")

    def _line(
        self, about: str, stated: Attribute, under: Condition | None = None, others: Sequence[Condition] = ()
    ) -> Passage:
        """Lines of a list under the subject's heading."""
        lines = [(a.column, a.draw(self.rng)) for a in self._some(self.rng.randint(0, 3), stated)]
        at = self.rng.randint(0, len(lines))
        lines[at:at] = [(_column(stated, c), value) for value, c in self._told(stated, under, others)]
        bullet = self.rng.choice(("", "- "))
        return Passage(
            self._headings(about, must=True), "\n".join(f"{bullet}{column}: {value}" for column, value in lines)
        )

    def _some(self, count: int, but: Attribute | None = None) -> list[Attribute]:
        """Attributes that no question asks for."""
        free = [a for a in self.left if a is not but]
        return self.rng.sample(free, min(count, len(free)))

    def _headings(self, about: str, must: bool = False) -> Headings:
        """None, the page's title, or the subject; `must` name the subject."""
        title = self.rng.choice(self.domain.titles)
        named = about[:1].upper() + about[1:]
        if must and about:
            return (named,) if self.rng.random() < 0.6 else (title, named)
        choices: list[Headings] = [(), (title,), (f"{name(self.rng)} {self.rng.choice(GUIDES)}", title)]
        return self.rng.choice(choices)


Form = Callable[..., Passage]


def bare(subject: str) -> str:
    """As a table names it, without its article."""
    return ARTICLE.sub("", subject)


def _column(attribute: Attribute, under: Condition | None) -> str:
    return f"{attribute.column} {under.text}" if under else attribute.column


def _filled(passage: Passage, value: str) -> Passage:
    text = passage.text.replace("\0", value)
    return Passage(passage.headings, text[:-1] if text.endswith("..") else text)


def polite(rng: Random, question: str) -> str:
    """The question as people type it: greeted, thanked, or in small letters."""
    roll = rng.random()
    if roll < 0.12:
        return rng.choice(OPENINGS) + question
    if roll < 0.2:
        return question + rng.choice(CLOSINGS)
    return question
