"""The training parts of the public data sets, read from a folder laid out as its MANIFEST.md says.

Evaluation parts are not reachable from here.
"""

import json
import lzma
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

STEP = re.compile(r"<<([^=<>]+)=([^<>]+)>>")
LONGEST_PROBLEM = 40  # words
HELD = range(60, 70)
"""SQuAD articles that no core is trained on: `cogcore train judge` asks about them. No reader either (reader.toml)."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its paragraph, and the answer's place in it."""

    question: str
    paragraph: int
    start: int
    end: int


class Sources:
    """Readers for one data folder. `held` are the articles that a core must not be shown."""

    def __init__(self, folder: Path, held: Sequence[int] = HELD) -> None:
        self.folder = folder
        self.held = held
        self.paragraphs: list[str] = []
        self.articles: list[int] = []
        self.by_article: list[list[int]] = []
        self.titles: list[str] = []
        self._questions: list[Question] = []

    def squad(self) -> list[Question]:
        """SQuAD 1.1 train; fills `paragraphs`, the article of each, each article's paragraphs and title."""
        if self._questions:
            return self._questions
        titles: dict[str, int] = {}
        for row in _rows(self.folder / "squad/train.jsonl.xz"):
            article = titles.setdefault(row["title"], len(titles))
            if article == len(self.by_article):
                self.by_article.append([])
                self.titles.append(row["title"].replace("_", " "))
            self.by_article[article].append(len(self.paragraphs))
            for qa in row["qas"]:
                answer = qa["answers"][0]
                start = answer["answer_start"]
                self._questions.append(
                    Question(qa["question"].strip(), len(self.paragraphs), start, start + len(answer["text"]))
                )
            self.paragraphs.append(row["context"])
            self.articles.append(article)
        return self._questions

    def shown(self) -> list[Question]:
        """Those of `squad` that a core may be trained on."""
        return [q for q in self.squad() if self.articles[q.paragraph] not in self.held]

    def among(self, first: int) -> list[int]:
        """Of the first articles those that a core may be trained on."""
        return [article for article in range(first) if article not in self.held]

    def about(self, articles: Container[int]) -> list[Question]:
        """The questions of these articles, in an order drawn with seed 0."""
        asked = [q for q in self.squad() if self.articles[q.paragraph] in articles]
        Random(0).shuffle(asked)
        return asked

    def prose(self, articles: int) -> Iterator[str]:
        """Wikipedia articles."""
        for row in islice(_rows(self.folder / "wiki/wiki-00.jsonl.xz"), articles):
            yield row["text"]

    def requests(self) -> list[tuple[str, str, str]]:
        """CLINC150 train: (text, intent, domain)."""
        return [(r["text"], r["intent"], r["domain"]) for r in _rows(self.folder / "clinc150/train.jsonl.xz")]

    def problems(self) -> list[tuple[str, str]]:
        """GSM8K train: (problem, expression), where one or two nested calculations solve it."""
        rows = ((row["question"], STEP.findall(row["answer"])) for row in _rows(self.folder / "gsm8k/train.jsonl.xz"))
        found = ((question, _nested(steps)) for question, steps in rows if len(question.split()) <= LONGEST_PROBLEM)
        return [(question, expression) for question, expression in found if expression]

    def trivia(self) -> list[str]:
        """TREC factoid questions."""
        lines = (self.folder / "trec_factoid/large2470-train.tsv").read_text("utf-8").splitlines()
        return [line.split("\t")[2] for line in lines]


def _nested(steps: Sequence[tuple[str, str]]) -> str:
    """One expression of one step, or of two where the second uses the first's result once; else nothing."""
    expression = steps[0][0] if len(steps) == 1 else ""
    if len(steps) == 2:
        (first, result), (second, _) = steps
        parts = re.split(rf"(?<![\d.]){re.escape(result)}(?![\d.])", second)
        expression = f"({first})".join(parts) if len(parts) == 2 else ""
    if not re.fullmatch(r"[\d+\-*/(). ]+", expression):
        return ""
    return re.sub(r" *([+\-*/]) *", r" \1 ", expression).strip()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
