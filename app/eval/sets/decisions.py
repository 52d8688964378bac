"""What needs no document: CLINC150 val's small talk, and sums with fresh numbers in the wordings of app/train.

Of the small talk, what training says too is left out: "hi" is "hi" everywhere.
"""

import json
import lzma
import random
import re
from pathlib import Path

from app.agent.tools import calculate
from app.eval.questions import Kind, Question, save
from app.eval.sets.built import QUESTIONS, Built, existing
from app.train.smalltalk import BANK
from app.train.sums import worded_sum

SUMS = 200


def decisions(data: Path | None, out: Path) -> Built:
    """All of the small talk, and 200 sums."""
    trained = {_words(text) for text in (*_talk(data, "train"), *(t for group in BANK.values() for t in group["said"]))}
    rows = [text for text in _talk(data, "val") if _words(text) not in trained]
    asked = [_undocumented(f"talk-{n}", text, "talk") for n, text in enumerate(rows)]
    rng = random.Random("decisions")
    for n in range(SUMS):
        question, expression = worded_sum(rng)
        asked.append(_undocumented(f"sum-{n}", question, "arithmetic", calculate(expression)))
    out.mkdir(parents=True, exist_ok=True)
    save(asked, out / QUESTIONS)
    return Built(None, 0, out / QUESTIONS)


def _talk(data: Path | None, part: str) -> list[str]:
    with lzma.open(existing(data, f"clinc150/{part}.jsonl.xz"), "rt", encoding="utf-8") as lines:
        return [row["text"] for row in map(json.loads, lines) if row["domain"] == "small_talk"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.lower().replace("'", "")))


def _undocumented(identifier: str, question: str, kind: Kind, *answers: str) -> Question:
    return Question(identifier, question, kind, answers, search=False, file=None, evidence=None)
