"""Paragraphs of SQuAD dev in which the answers were exchanged for others of their kind, and the questions as they were.

An answer that follows the passage gives the new value; one from a core's own knowledge, or from nowhere, does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from app.eval.metrics import contains
from app.eval.questions import Question, save
from app.eval.sets.built import QUESTIONS, Built, fresh
from app.eval.sets.squad import question, read
from app.eval.sets.swaps import SHAPES, Swap, drawn, kind_of, related, swapped

COUNT = 200
SEED = "counterfactual"


@dataclass(slots=True)
class Article:
    """The paragraphs of one article by file name, as far as they are exchanged, and what is asked of them."""

    texts: dict[str, str]
    asked: list[Question] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def exchange(self, asked: Question, kind: str, rng: Random) -> Question | None:
        """The question with its new answers, once every old one in the article is replaced; None if that cannot be."""
        swap = drawn(rng, kind, max(asked.answers, key=len))
        texts = {file: swapped(text, swap) for file, text in self.texts.items()}
        if not self._clean(asked, swap, texts):
            return None
        answers = tuple(swap[answer] for answer in asked.answers)
        made = replace(asked, id=f"{asked.id}-{kind}", answers=answers, former=asked.answers)
        self.texts = texts
        self.asked.append(made)
        self.gone += swap
        return made

    def _clean(self, asked: Question, swap: Swap, texts: Mapping[str, str]) -> bool:
        """Whether the old is gone, the new is new, and no question speaks of what was exchanged."""
        before, after = "\n".join(self.texts.values()), "\n".join(texts.values())
        questions = [asked.question, *(other.question for other in self.asked)]
        stands = all(contains(self.texts[asked.file or ""], [answer]) for answer in asked.answers)
        told = (
            contains(after, swap)
            or related(after, swap)
            or any(contains(q, swap) or related(q, swap) for q in questions)
        )
        again = contains(before, swap.values()) or contains(asked.question, self.gone)
        return stands and not told and not again


def counterfactual(data: Path | None, out: Path) -> Built:
    """All 2,067 paragraphs, and 200 questions drawn with a fixed seed: of each kind as many, while there are any."""
    rows, rng = read(data), Random(SEED)
    articles: dict[str, Article] = {}
    for name, row in rows.items():
        articles.setdefault(row["title"], Article({})).texts[name] = row["context"]
    asked = _exchanged(rows, articles, rng)
    folder = fresh(out)
    for article in articles.values():
        for name, text in article.texts.items():
            (folder / name).write_text(text + "\n", "utf-8")
    save(asked, out / QUESTIONS)
    return Built(folder, len(rows), out / QUESTIONS)


def _exchanged(rows: Mapping[str, dict[str, Any]], articles: Mapping[str, Article], rng: Random) -> list[Question]:
    """The kinds in turn, until there are enough or none is left."""
    waiting: dict[str, list[tuple[Article, Question]]] = {kind: [] for kind in SHAPES}
    for name, row in rows.items():
        for qa in row["qas"]:
            one = question(qa, name)
            if kind := kind_of(one.question, one.answers):
                waiting[kind].append((articles[row["title"]], one))
    for candidates in waiting.values():
        rng.shuffle(candidates)
    asked: list[Question] = []
    while len(asked) < COUNT and any(waiting.values()):
        for kind, candidates in waiting.items():
            made = None
            while candidates and made is None and len(asked) < COUNT:
                article, one = candidates.pop()
                made = article.exchange(one, kind, rng)
            asked += [made] if made else []
    return asked
