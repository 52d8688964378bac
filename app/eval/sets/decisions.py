"""What needs no document: CLINC150 val's small talk, and sums with fresh numbers in the wordings of app/train."""

import json
import lzma
import random
from pathlib import Path

from app.agent.tools import calculate
from app.eval.questions import Kind, Question, save
from app.eval.sets.built import QUESTIONS, Built, existing
from app.train.sums import worded_sum

SUMS = 200


def decisions(data: Path | None, out: Path) -> Built:
    """All 300 of the small talk, and 200 sums."""
    with lzma.open(existing(data, "clinc150/val.jsonl.xz"), "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if row["domain"] == "small_talk"]
    asked = [_undocumented(f"talk-{n}", row["text"], "talk") for n, row in enumerate(rows)]
    rng = random.Random("decisions")
    for n in range(SUMS):
        question, expression = worded_sum(rng)
        asked.append(_undocumented(f"sum-{n}", question, "arithmetic", calculate(expression)))
    out.mkdir(parents=True, exist_ok=True)
    save(asked, out / QUESTIONS)
    return Built(None, 0, out / QUESTIONS)


def _undocumented(identifier: str, question: str, kind: Kind, *answers: str) -> Question:
    return Question(identifier, question, kind, answers, search=False, file=None, evidence=None)
