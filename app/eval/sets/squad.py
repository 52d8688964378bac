"""SQuAD 1.1 dev: 500 of its questions over all its paragraphs, their own alone or all but theirs, and no memory."""

import json
import lzma
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.eval.questions import Question, save
from app.eval.sets.built import QUESTIONS, Built, existing, fresh

COUNT = 500
SEED = 0
ABSENT = "-absent"


def squad(data: Path | None, out: Path) -> Built:
    """Each of the 2,067 paragraphs as a document, and 500 of the questions, drawn with a fixed seed."""
    paragraphs = read(data)
    return _built(out, {name: row["context"] for name, row in paragraphs.items()}, drawn(paragraphs))


def squad_absent(data: Path | None, out: Path) -> Built:
    """The same questions over the paragraphs that none of them is about.

    That another paragraph of the article answers one of them is not ruled out, so that 100 % cannot be expected.
    """
    paragraphs = read(data)
    asked = drawn(paragraphs)
    gone = {question.file for question in asked}
    left = {name: row["context"] for name, row in paragraphs.items() if name not in gone}
    return _built(
        out,
        left,
        [replace(q, id=q.id + ABSENT, kind="unanswerable", answers=(), file=None) for q in asked],
    )


def squad_given(data: Path | None, out: Path) -> Built:
    """The same questions, each over the paragraph that answers it and nothing else."""
    paragraphs = read(data)
    asked = drawn(paragraphs)
    needed = {q.file: paragraphs[q.file]["context"] for q in asked if q.file}
    return _built(out, needed, [replace(q, id=f"{q.id}-given", given=True) for q in asked])


def leak(data: Path | None, out: Path) -> Built:
    """The same questions with the search forbidden: what is right then comes from the core's weights."""
    asked = [replace(q, id=f"{q.id}-leak", search=False, tool_choice="none") for q in drawn(read(data))]
    out.mkdir(parents=True, exist_ok=True)
    save(asked, out / QUESTIONS)
    return Built(None, 0, out / QUESTIONS)


def read(data: Path | None) -> dict[str, dict[str, Any]]:
    """The rows of the set by file name: the article's title as a slug, and the paragraph's number in it."""
    return dict(_numbered(existing(data, "squad/dev.jsonl.xz")))


def _numbered(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    numbers: dict[str, int] = {}
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            slug = re.sub(r"[^a-z0-9]+", "-", row["title"].lower()).strip("-")
            numbers[slug] = numbers.get(slug, 0) + 1
            yield f"{slug}-{numbers[slug]:03}.txt", row


def drawn(paragraphs: dict[str, dict[str, Any]]) -> list[Question]:
    """The 500 questions, always the same ones."""
    asked = [question(qa, name) for name, row in paragraphs.items() for qa in row["qas"]]
    return random.Random(SEED).sample(asked, COUNT)


def question(qa: dict[str, Any], file: str) -> Question:
    # The text of a set: one answer is often given by several readers.
    answers = tuple(dict.fromkeys(answer["text"] for answer in qa["answers"]))
    return Question(qa["id"], qa["question"].strip(), "fact", answers, search=True, file=file, evidence=None)


def _built(out: Path, documents: dict[str, str], asked: list[Question]) -> Built:
    folder = fresh(out)
    for name, text in documents.items():
        (folder / name).write_text(text + "\n", "utf-8")
    save(asked, out / QUESTIONS)
    return Built(folder, len(documents), out / QUESTIONS)
