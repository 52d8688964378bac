"""Question sets and document folders from development data: SQuAD 1.1 dev, CLINC150 val, the docs of eleven projects.

None is part of the package: `--data` names the folder that holds them.
"""

import json
import lzma
import random
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.agent.tools import calculate
from app.eval.questions import EvalError, Kind, Question, save
from app.train.sums import worded_sum

QUESTIONS = 500
SUMS = 200
SEED = 0


@dataclass(frozen=True, slots=True)
class Built:
    """What was written: a folder to ingest and, where there is one, a set of questions about it."""

    documents: Path | None
    count: int
    questions: Path | None


def squad(data: Path, out: Path, *, absent: bool = False) -> Built:
    """Each of the 2,067 paragraphs of SQuAD dev as a document, and 500 of its questions, drawn with a fixed seed.

    `absent` leaves the paragraphs out that these questions are about: then nothing answers them.
    """
    folder = _folder(out)
    paragraphs = dict(_paragraphs(_existing(data / "squad" / "dev.jsonl.xz")))
    asked = [
        _question(qa, None if absent else name, f"{qa['id']}{'-absent' if absent else ''}")
        for name, paragraph in paragraphs.items()
        for qa in paragraph["qas"]
    ]
    homes = [name for name, paragraph in paragraphs.items() for _ in paragraph["qas"]]
    chosen = random.Random(SEED).sample(range(len(asked)), QUESTIONS)
    gone = {homes[n] for n in chosen} if absent else set()
    for name, paragraph in paragraphs.items():
        if name not in gone:
            (folder / name).write_text(paragraph["context"] + "\n", "utf-8")
    save([asked[n] for n in chosen], out / "questions.jsonl")
    return Built(folder, len(paragraphs) - len(gone), out / "questions.jsonl")


def squad_absent(data: Path, out: Path) -> Built:
    return squad(data, out, absent=True)


def _paragraphs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and row: the article's title as a slug, and the paragraph's number in it."""
    numbers: dict[str, int] = {}
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            slug = re.sub(r"[^a-z0-9]+", "-", row["title"].lower()).strip("-")
            numbers[slug] = numbers.get(slug, 0) + 1
            yield f"{slug}-{numbers[slug]:03}.txt", row


def _question(qa: dict[str, Any], file: str | None, identifier: str) -> Question:
    # The text of a set: one answer is often given by several readers.
    answers = tuple(dict.fromkeys(answer["text"] for answer in qa["answers"])) if file else ()
    kind: Kind = "fact" if file else "unanswerable"
    return Question(identifier, qa["question"].strip(), kind, answers, search=True, file=file, evidence=None)


def docs_kb(data: Path, out: Path) -> Built:
    """The documentation of eleven projects, in folders by project."""
    folder, count = _folder(out), 0
    with tarfile.open(_existing(data / "docs_kb" / "docs_kb.tar.xz"), "r:xz") as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name not in ("LICENSE", "LICENSE.md"):
                archive.extract(member, folder, filter="data")
                count += 1
    return Built(folder, count, None)


def decisions(data: Path, out: Path) -> Built:
    """What needs no document: CLINC150 val's small talk, and sums with fresh numbers in the wordings of app/train."""
    out.mkdir(parents=True, exist_ok=True)
    with lzma.open(_existing(data / "clinc150" / "val.jsonl.xz"), "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["domain"] == "small_talk"]
    asked = [_undocumented(f"talk-{n}", row["text"], "talk") for n, row in enumerate(rows)]
    rng = random.Random("decisions")
    for n in range(SUMS):
        question, expression = worded_sum(rng)
        asked.append(_undocumented(f"sum-{n}", question, "arithmetic", calculate(expression)))
    save(asked, out / "questions.jsonl")
    return Built(None, 0, out / "questions.jsonl")


def _undocumented(identifier: str, question: str, kind: Kind, *answers: str) -> Question:
    return Question(identifier, question, kind, answers, search=False, file=None, evidence=None)


SETS: dict[str, Callable[[Path, Path], Built]] = {
    "squad": squad,
    "squad-absent": squad_absent,
    "docs_kb": docs_kb,
    "decisions": decisions,
}


def _folder(out: Path) -> Path:
    folder = out / "documents"
    if folder.exists() and any(folder.iterdir()):
        raise EvalError(f"--out: {folder} is not empty. Name another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise EvalError(f"--data: {path} is missing. Name the folder of the development data.")
    return path
