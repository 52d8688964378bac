"""Invented organisations: documents in Markdown, and questions that they answer or leave open."""

from dataclasses import dataclass
from random import Random

from app.train.conditions import Condition, conditions, statement
from app.train.values import name
from app.train.worlds import CONDITIONAL, GUIDES, Attribute, Domain, bare, domains

PAGES = 18  # of one organisation, over DOCUMENTS documents
DOCUMENTS = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """A question. The passage that answers it holds all of `evidence`; the last piece of it holds `value`.

    No evidence: no document answers it.
    """

    question: str
    evidence: tuple[str, ...] = ()
    value: str = ""


@dataclass(frozen=True, slots=True)
class Organisation:
    """Markdown documents by name, and what can be asked."""

    documents: dict[str, str]
    asked: list[Asked]


def organisation(rng: Random) -> Organisation:
    """A fresh one. A topic stands on one page alone, so that no document contradicts another."""
    drawn = rng.sample(domains(), min(PAGES, len(domains())))
    documents: dict[str, str] = {}
    asked: list[Asked] = []
    for n in range(DOCUMENTS):
        title = f"{name(rng)} {rng.choice(GUIDES)}"
        parts = [f"# {title}"]
        for domain in drawn[n::DOCUMENTS]:
            text, questions = _page(rng, domain)
            parts.append(text)
            asked += questions
        documents[f"{title.lower().replace(' ', '-')}.md"] = "\n\n".join(parts) + "\n"
    return Organisation(documents, asked)


def _page(rng: Random, domain: Domain) -> tuple[str, list[Asked]]:
    """Prose about one subject, often a table of its rivals, and questions about both and about what was left out."""
    subject, *rivals = domain.subjects_like(rng, rng.randint(3, 6))
    attributes = rng.sample(list(domain.attributes), len(domain.attributes))
    stated, columns = attributes[: rng.randint(3, 5)], attributes[2 : 2 + rng.randint(2, 5)]
    asked: list[Asked] = []
    paragraphs = [f"## {rng.choice(domain.titles)}"]
    sentences = rng.sample(list(domain.fillers), 3)
    for attribute in stated:
        drawn = conditions(rng, 3) if rng.random() < CONDITIONAL else []
        under = drawn[0] if drawn else None
        question = _question(rng, attribute, subject)
        sentence, written = _stated(rng, attribute, subject, under)
        sentences.append(sentence)
        asked.append(Asked(under.asked(rng, question) if under else question, (sentence,), written))
        if drawn:
            sentences.append(_stated(rng, attribute, subject, drawn[1])[0])
            asked.append(Asked(drawn[2].asked(rng, _question(rng, attribute, subject))))
    left = [a for a in attributes if a not in stated]
    for attribute in left:
        if rng.random() < 0.3:
            sentences.append(rng.choice(attribute.evasions).format(s=subject))
        asked.append(Asked(_question(rng, attribute, subject)))
    rng.shuffle(sentences)
    cuts = sorted(rng.sample(range(1, len(sentences)), 2))
    for first, last in zip([0, *cuts], [*cuts, len(sentences)], strict=True):
        paragraphs.append(" ".join(s[0].upper() + s[1:] for s in sentences[first:last]))
    if subject and rng.random() < 0.7:
        table, questions = _table(rng, domain, [r for r in dict.fromkeys(rivals) if r != subject], columns)
        paragraphs.insert(rng.randint(1, len(paragraphs)), table)
        asked += questions
        missing = [a for a in attributes if a not in columns]
        asked += [Asked(_question(rng, a, rng.choice(rivals))) for a in rng.sample(missing, 2)]
    return "\n\n".join(paragraphs), asked


def _table(rng: Random, domain: Domain, rows: list[str], columns: list[Attribute]) -> tuple[str, list[Asked]]:
    key = rng.choice(("Name", "Item", "Model", domain.name.capitalize()))
    lines = [[key, *(c.column for c in columns)], ["---"] * (len(columns) + 1)]
    asked = []
    for row in rows:
        values = [c.draw(rng) for c in columns]
        lines.append([bare(row), *values])
        for column, value in zip(columns, values, strict=True):
            evidence = (f"{key}: {bare(row)}", f"{column.column}: {value}")
            asked.append(Asked(_question(rng, column, row), evidence, value))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines), asked


def _stated(rng: Random, attribute: Attribute, subject: str, under: Condition | None) -> tuple[str, str]:
    """A statement that names its subject, as the sentences of a page are shuffled, and the value as it stands there."""
    naming = [s for s in attribute.statements if not subject or "{s}" in s]
    value = attribute.draw(rng)
    sentence = statement(rng, rng.choice(naming or list(attribute.statements)), subject, value, under)
    sentence = sentence[0].upper() + sentence[1:]
    return sentence, value if value in sentence else value[0].upper() + value[1:]


def _question(rng: Random, attribute: Attribute, subject: str) -> str:
    return rng.choice(attribute.questions).format(s=subject)
