"""Passages that state the same thing differently: one is out of date, or nothing tells which of them holds."""

from dataclasses import dataclass
from random import Random

from app.train.values import MONTHS
from app.train.worlds import Page, Passage

DATED = ["Version of {}. ", "As of {}: ", "Updated in {}. ", "Edition {}. ", "Status: {}. ", "({}) ", "Valid from {}. ",
         "Printed in {}. ", "Last changed in {}. ", "Since {}: "]  # fmt: skip
ENDED = ["No longer valid: ", "Until {}: ", "Old rule: ", "Withdrawn in {}. ", "Archived. ", "Outdated: ", "Formerly: ",
         "Replaced in {}. ", "This no longer applies. ", "Superseded. ", "Before {}: "]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Version:
    """A passage, where its value stands, and the words before it that tell when it holds; "" if none do."""

    passage: Passage
    start: int
    end: int
    when: str

    @property
    def value(self) -> str:
        return self.passage.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A question, two passages that state the answer differently, and others.

    The `first` of the versions holds if `settled`, as what stands before them says; else either may.
    """

    question: str
    versions: tuple[Version, Version]
    settled: bool
    others: tuple[Passage, ...]


def conflict(rng: Random) -> Conflict:
    """A fresh one."""
    page = Page(rng)
    asked = page.take()
    told = page.stating(asked), page.stating(asked)
    first, second, settled = _when(rng)
    versions = _version(*told[0], first), _version(*told[1], second)
    return Conflict(page.question(asked), versions, settled, tuple(page.beside(asked) for _ in range(2)))


def _when(rng: Random) -> tuple[str, str, bool]:
    """What stands before each version, and whether that settles it."""
    early, late = sorted(rng.sample(range(2005, 2027), 2))
    roll = rng.random()
    if roll < 0.4:
        return "", "", False
    if roll < 0.7:
        shape = rng.choice(DATED)
        months = rng.random() < 0.3
        return shape.format(_date(rng, late, months)), shape.format(_date(rng, early, months)), True
    ended = rng.choice(ENDED).format(early)
    return (rng.choice(DATED).format(late) if rng.random() < 0.3 else ""), ended, True


def _date(rng: Random, year: int, month: bool) -> str:
    return f"{rng.choice(MONTHS)} {year}" if month else str(year)


def _version(passage: Passage, start: int, end: int, when: str) -> Version:
    dated = Passage(passage.headings, when + passage.text)
    return Version(dated, len(when) + start, len(when) + end, when.strip())
