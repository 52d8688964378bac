"""Question sets: one JSON object a line.

`{id, question, kind, answers, search, file, evidence}`: `search` is whether the question must be looked up, `file` the
document that answers it, `evidence` the words of that document that do (null: any passage of the file does); the cells
of a table's row stand in it between " | ".
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["fact", "table", "arithmetic", "talk", "unanswerable"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SETS = {"sample": Path(__file__).parent / "sample.jsonl"}


class EvalError(Exception):
    """The evaluation cannot run; the message says why and what would mend it."""


@dataclass(frozen=True, slots=True)
class Question:
    id: str
    question: str
    kind: Kind
    answers: tuple[str, ...]
    search: bool
    file: str | None
    evidence: str | None

    @property
    def documented(self) -> bool:
        """Whether a document answers it."""
        return self.kind in ("fact", "table")


def load(name: str) -> list[Question]:
    """The set of that name in the package, or the file at that path."""
    path = SETS.get(name, Path(name))
    if not path.is_file():
        raise EvalError(f"FILE: {name} is no file, and no set of the package ({', '.join(SETS)}). Correct the path.")
    lines = path.read_text("utf-8").splitlines()
    asked = [_question(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not asked:
        raise EvalError(f"{path} holds no questions.")
    if len({q.id for q in asked}) < len(asked):
        raise EvalError(f"{path}: two questions have the same 'id'. Make each one unique.")
    return asked


def save(asked: Sequence[Question], path: Path) -> None:
    path.write_text("".join(json.dumps(asdict(q), ensure_ascii=False) + "\n" for q in asked), "utf-8")


def draw(asked: Sequence[Question], limit: int | None) -> list[Question]:
    """At most `limit` of them, drawn with a fixed seed and in their old order: a set is often sorted by kind."""
    if limit is None or limit >= len(asked):
        return list(asked)
    return [asked[n] for n in sorted(random.Random(0).sample(range(len(asked)), limit))]


def _question(line: str, where: str) -> Question:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise EvalError(f"{where} is not JSON: {error}.") from error
    if not isinstance(row, dict) or set(row) != set(Question.__dataclass_fields__):
        raise EvalError(f"{where} must have exactly the fields {', '.join(Question.__dataclass_fields__)}.")
    answers = row["answers"]
    if row["kind"] not in KINDS:
        raise EvalError(f"{where}: 'kind' must be one of {', '.join(KINDS)}.")
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise EvalError(f"{where}: 'answers' must be a list of texts.")
    if not isinstance(row["search"], bool):
        raise EvalError(f"{where}: 'search' must be true or false.")
    for field in ("id", "question"):
        if not isinstance(row[field], str) or not row[field].strip():
            raise EvalError(f"{where}: '{field}' must be a text.")
    for field in ("file", "evidence"):
        if not isinstance(row[field], str | None):
            raise EvalError(f"{where}: '{field}' must be a text or null.")
    if row["kind"] in ("fact", "table") and not (answers and row["file"]):
        raise EvalError(f"{where}: a {row['kind']} question needs its 'answers' and its 'file'.")
    return Question(**{**row, "answers": tuple(answers)})
