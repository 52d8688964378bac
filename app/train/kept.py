"""A file of rows made from questions, and beside it what was left out and why. A run that was killed goes on with both.

FILE.jsonl holds the rows, each with its `question`; FILE.rejected.jsonl lines of {question, why, kept}, the last the
number of rows that the question gave all the same.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, object]


class Kept:
    """What a run has kept so far. `known` are the questions that it need not ask again."""

    def __init__(self, out: Path) -> None:
        self.out, self.rejected = out, out.with_suffix(".rejected.jsonl")
        self.known = {row["question"] for row in _rows(out)}
        self.known |= {row["question"] for row in _rows(self.rejected) if not row["kept"]}

    def add(self, question: str, rows: Sequence[Row], why: Sequence[str] = ()) -> None:
        """Append what a question gave, and for each row that it did not give the reason."""
        # Reasons first: a question without its rows is asked again, and a reason that is told twice counts once.
        _append(self.rejected, [{"question": question, "why": reason, "kept": len(rows)} for reason in why])
        _append(self.out, rows)
        self.known |= {question, *(str(row["question"]) for row in rows)}

    def reasons(self) -> Counter[str]:
        """How often each stands in the file: also those of earlier, killed runs."""
        return Counter(why for _, why in {(row["question"], row["why"]) for row in _rows(self.rejected)})


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, file.read_text("utf-8").splitlines() if file.exists() else ())


def _append(file: Path, rows: Sequence[Row]) -> None:
    if rows:
        with file.open("a", encoding="utf-8") as lines:
            lines.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
