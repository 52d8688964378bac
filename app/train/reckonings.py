"""Questions whose answer is a sum over a number that a passage gives: "What do 12 Kelvo lamps cost?".

reckonings.toml holds the measures: what has one, how it is stated, how it is asked for as it stands, and which sums
people want of it. Names and numbers are drawn fresh.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from app.train.chains import Section
from app.train.sums import filled
from app.train.values import KINDS, name

SUBJECTS = 6  # on one page
STATED = 0.75  # of them


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that can be reckoned with. `statements` give {v}, or {v} and {w} in either order; `sums` are questions
    with their expressions."""

    titles: Sequence[str]
    subjects: Sequence[str]
    amount: Sequence[str]
    low: int
    high: int
    cents: float
    fillers: Sequence[str]
    statements: Sequence[str]
    plain: Sequence[str]
    evasions: Sequence[str]
    sums: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reckoning:
    """A question about what `sentence` states, if anything does.

    `span` are the words in it that give the number. The answer is what `expression` comes to; without one, these words.
    `section` is what is said of the subject, `evading` the same with an evasion in place of the sentence.
    """

    question: str
    sentence: str | None
    span: tuple[int, int]
    section: str
    evading: str
    expression: str = ""

    def place(self, text: str | None) -> tuple[int, int]:
        """Where a text that holds the sentence has what matters: the span."""
        if text is None or self.sentence is None:
            return 0, 0
        at = text.index(self.sentence)
        return at + self.span[0], at + self.span[1]


@dataclass(frozen=True, slots=True)
class Page:
    """A document, its sections, and what can be asked."""

    title: str
    sections: list[Section]
    asked: list[Reckoning]

    @property
    def text(self) -> str:
        return "\n\n".join([f"# {self.title}", *(f"## {s.heading}\n\n{s.text}" for s in self.sections)]) + "\n"


@cache
def measures() -> tuple[Measure, ...]:
    """All that reckonings.toml describes."""
    told = tomllib.loads((Path(__file__).parent / "reckonings.toml").read_text("utf-8"))
    return tuple(_measure(entry) for entry in told["measure"])


def _measure(entry: dict[str, Any]) -> Measure:
    lines = entry.pop("questions").strip().splitlines()
    return Measure(**entry, sums=[(question, sum_) for question, _, sum_ in (line.partition(" => ") for line in lines)])


def page(rng: Random) -> Page:
    """A fresh page of one measure, for some of whose subjects it is left open."""
    measure = rng.choice(measures())
    sections, asked = list[Section](), list[Reckoning]()
    for one, several in _subjects(rng, measure):
        unit = rng.choice(measure.amount)
        sentence, numbers, span = _stated(rng, measure, one, unit)
        known = rng.random() < STATED
        evasion = _large(rng.choice(measure.evasions).format(s=one))
        beside = [_large(_filled(rng, text)) for text in rng.sample(list(measure.fillers), rng.randint(0, 2))]
        at = rng.randint(0, len(beside))
        section, evading = (" ".join([*beside[:at], told, *beside[at:]]) for told in (sentence, evasion))
        section = section if known else evading
        sections.append(Section(_large(one), section))
        stating = sentence if known else None
        for question, expression in rng.sample(list(measure.sums), 3):
            question, expression = _asked(rng, question, expression, one, several, numbers)
            asked.append(Reckoning(question, stating, span, section, evading, expression))
        for question in rng.sample(list(measure.plain), 2):
            question = _large(question.format(s=one, u=unit.replace("{}", "").strip()))
            asked.append(Reckoning(question, stating, span, section, evading))
    return Page(f"{name(rng)}: {rng.choice(measure.titles)}", sections, asked)


def _subjects(rng: Random, measure: Measure) -> list[tuple[str, str]]:
    """Several things of a sort, each in the singular and the plural."""
    one, _, several = rng.choice(measure.subjects).partition("|")
    names = dict.fromkeys(name(rng) for _ in range(SUBJECTS))
    return [(one.format(n=n), several.format(n=n)) for n in names]


def _stated(rng: Random, measure: Measure, subject: str, unit: str) -> tuple[str, dict[str, str], tuple[int, int]]:
    """A sentence, the numbers in it, which differ, and where {v} stands with its unit."""
    numbers = {"v": _number(rng, measure), "w": _number(rng, measure)}
    while numbers["v"].replace(",", "") == numbers["w"].replace(",", ""):
        numbers["w"] = _number(rng, measure)
    v, w = (unit.format(number) for number in numbers.values())
    before, after = (part.format(s=subject, w=w) for part in rng.choice(measure.statements).split("{v}"))
    return _large(before + v + after), numbers, (len(before), len(before) + len(v))


def _asked(
    rng: Random, question: str, expression: str, one: str, several: str, numbers: dict[str, str]
) -> tuple[str, str]:
    question = question.replace("{ss}", several).replace("{s}", one)
    for letter, number in numbers.items():
        expression = expression.replace(f"{{{letter}}}", number)
    return filled(rng, _large(question), expression)


def _number(rng: Random, measure: Measure) -> str:
    high = rng.choice((measure.high, measure.high, max(measure.high // 10, 2 * measure.low)))
    whole = rng.randint(measure.low, high)
    written = f"{whole:,}" if rng.random() < 0.7 else str(whole)
    return written + (f".{rng.randint(1, 99):02}" if rng.random() < measure.cents else "")


def _filled(rng: Random, text: str) -> str:
    return text.format(**{kind: draw(rng) for kind, draw in KINDS.items()})


def _large(text: str) -> str:
    return text[0].upper() + text[1:]
