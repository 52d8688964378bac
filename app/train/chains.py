"""Invented worlds in which one thing leads to another: a pump to the workshop that maintains it, and that to its head.

chains.toml holds the `kind`s at the far end, laid out as the domains in schemas/ are, and the `relation`s that lead
there: what stands at the near end (`subjects`), `statements` that name the far one, the ways in which it is `described`
by the near one, `questions` for it, and `evasions`. A question about what is described is one about the far end with
the description in the place of its name: "Who heads the workshop that maintains the Kelvo pump?"
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from app.train.values import KINDS, name
from app.train.worlds import GUIDES, Attribute, Domain

NEAR, FAR = 5, 4  # things at either end of a relation
RELATIONS = 6  # in one world
LINKED, STATED = 0.8, 0.65  # of the links, and of what may be said of a far end
AT_ONCE = 0.06  # of what may be said of a far end: told beside a link to it, and only there


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence, and where in it the name or the value stands that it gives."""

    sentence: str
    start: int
    end: int

    @property
    def value(self) -> str:
        return self.sentence[self.start : self.end]

    def place(self, text: str) -> tuple[int, int]:
        """Where the value stands in a text that holds the sentence."""
        at = text.index(self.sentence)
        return at + self.start, at + self.end


Facts = dict[tuple[str, str], Told]
"""What is told about the far ends, by the name and what it is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. `fact` answers it; None where that is told nowhere.

    One that describes what it asks about has words `around` the description, and needs the `link` that names it.
    """

    question: str
    fact: Told | None
    around: tuple[str, str] | None = None
    link: Told | None = None

    def answered_by(self, text: str) -> bool:
        """Whether this passage is enough."""
        needed = [self.fact] if self.around is None else [self.fact, self.link]
        return all(told is not None and told.sentence in text for told in needed)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text under it."""

    heading: str
    text: str


@dataclass(frozen=True, slots=True)
class Strand:
    """Things of one sort and those they lead to, each in a section of its own, and what can be asked."""

    near: list[Section]
    far: list[Section]
    asked: list[Asked]

    @property
    def texts(self) -> list[str]:
        return [section.text for section in (*self.near, *self.far)]


@dataclass(frozen=True, slots=True)
class Relation:
    """What leads from `near` to `far`: the link is something stated of the near end whose value is the far one."""

    near: Domain
    far: Domain
    link: Attribute
    described: Sequence[str]


@dataclass(frozen=True, slots=True)
class World:
    """Markdown documents by name, and what can be asked."""

    documents: dict[str, str]
    asked: list[Asked]


@cache
def relations() -> tuple[Relation, ...]:
    """All that chains.toml describes."""
    told = tomllib.loads((files("app.train") / "chains.toml").read_text("utf-8"))
    kinds = {entry["name"]: _kind(entry) for entry in told["kind"]}
    return tuple(_relation(entry, kinds, told["notes"]) for entry in told["relation"])


def _kind(entry: dict[str, Any]) -> Domain:
    attributes = tuple(Attribute(**attribute) for attribute in entry.pop("attribute"))
    return Domain(**entry, attributes=attributes)


def _relation(entry: dict[str, Any], kinds: dict[str, Domain], notes: Sequence[str]) -> Relation:
    link = Attribute(entry["kind"], entry["statements"], entry["questions"], entry["evasions"])
    near = Domain("", (), entry["subjects"], notes, (link,))
    return Relation(near, kinds[entry["kind"]], link, entry["described"])


def world(rng: Random) -> World:
    """A fresh one. What leads on and what it leads to stand in different documents."""
    documents: dict[str, str] = {}
    asked: list[Asked] = []
    for relation in rng.sample(relations(), RELATIONS):
        made = strand(rng, relation)
        asked += made.asked
        for sections, title in ((made.near, rng.choice(GUIDES)), (made.far, rng.choice(relation.far.titles))):
            title = f"{name(rng)}: {title}"
            text = "\n\n".join([f"# {title}", *(f"## {s.heading}\n\n{s.text}" for s in sections)])
            documents[f"{title.lower().replace(': ', '-').replace(' ', '-')}.md"] = text + "\n"
    return World(documents, asked)


def strand(rng: Random, relation: Relation) -> Strand:
    """Fresh things of one relation. Some links are told nowhere, and some of what is asked about the far ends."""
    near, far = _names(rng, relation.near, NEAR), _names(rng, relation.far, FAR)
    leads = {a: rng.choice(far) for a in near}
    links = {a: _told(rng, relation.link, a, leads[a]) for a in near if rng.random() < LINKED}
    facts: Facts = {}
    beside: dict[str, list[str]] = {a: [] for a in near}
    pages: dict[str, list[str]] = {b: [] for b in far}
    for b in far:
        for attribute in relation.far.attributes:
            told = facts[b, attribute.column] = _told(rng, attribute, b, attribute.draw(rng))
            linked = [a for a in links if leads[a] == b and rng.random() < AT_ONCE]
            if linked:
                beside[linked[0]].append(told.sentence)
            elif rng.random() < STATED:
                pages[b].append(told.sentence)
            else:
                del facts[b, attribute.column]
                pages[b] += [rng.choice(attribute.evasions).format(s=b)] if rng.random() < 0.4 else []
    asked = [_described(rng, relation, a, leads[a], links.get(a), facts) for a in near for _ in range(3)]
    asked += [Asked(rng.choice(relation.link.questions).format(s=a), links.get(a)) for a in rng.sample(near, 2)]
    for b in rng.sample(far, 2):
        attribute = rng.choice(relation.far.attributes)
        asked.append(Asked(rng.choice(attribute.questions).format(s=b), facts.get((b, attribute.column))))
    return Strand(
        [_section(rng, relation.near, a, [_linking(rng, relation, a, links), *beside[a]]) for a in near],
        [_section(rng, relation.far, b, rng.sample(pages[b], len(pages[b]))) for b in far],
        asked,
    )


def _names(rng: Random, domain: Domain, count: int) -> list[str]:
    return list(dict.fromkeys(domain.subjects_like(rng, count)))


def _told(rng: Random, attribute: Attribute, subject: str, value: str) -> Told:
    """A statement with its value, which is written large where it begins the sentence."""
    text = rng.choice(attribute.statements).format(s=subject, v="\0")
    start = text.index("\0")
    text = text.replace("\0", value)
    text = text[:-1] if text.endswith("..") else text
    return Told(_large(text), start, min(start + len(value), len(text)))


def _linking(rng: Random, relation: Relation, a: str, links: Mapping[str, Told]) -> str:
    return links[a].sentence if a in links else _large(rng.choice(relation.link.evasions).format(s=a))


def _described(rng: Random, relation: Relation, a: str, b: str, link: Told | None, facts: Facts) -> Asked:
    """A question about `b` that calls it what it is to `a`."""
    attribute = rng.choice(relation.far.attributes)
    question, described = rng.choice(attribute.questions), rng.choice(relation.described).format(s=a)
    before, _, after = question.partition("{s}")
    around = before.strip(), after.strip(" ?")
    return Asked(question.format(s=described), facts.get((b, attribute.column)), around, link)


def _section(rng: Random, domain: Domain, subject: str, key: Sequence[str]) -> Section:
    """Sentences that belong together, among others."""
    sentences = [_filled(rng, text) for text in rng.sample(list(domain.fillers), rng.randint(1, 3))]
    at = rng.randint(0, len(sentences))
    sentences[at:at] = map(_large, key)
    return Section(_large(subject), " ".join(sentences))


def _filled(rng: Random, text: str) -> str:
    return text.format(**{kind: draw(rng) for kind, draw in KINDS.items()})


def _large(text: str) -> str:
    return text[0].upper() + text[1:]
