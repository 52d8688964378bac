"""Question sets: one JSON object a line.

`{id, question, kind, answers, search, file, evidence}`: `search` is whether the question must be looked up, `file` the
document that answers it, `evidence` the words of that document that do (null: any passage of the file does); the cells
of a table's row stand in it between " | ". Where they are needed, `former`: what the answers were before the documents
were changed; `also`: what another document says instead, so that the reply must tell both; `tool_choice`: the
request's; `store`: the one to ask; `given`: whether only `file` is searched; `past`: what was said before, by the user
and the assistant in turn.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from itertools import cycle
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["fact", "table", "reckoning", "arithmetic", "talk", "unanswerable"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ToolChoice = Literal["auto", "none", "required"]
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
    former: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    tool_choice: ToolChoice | None = None
    store: str | None = None
    given: bool = False
    past: tuple[str, ...] = ()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation, as a chat request has it."""
        said = zip(cycle(("user", "assistant")), (*self.past, self.question), strict=False)
        return [{"role": role, "content": text} for role, text in said]

    @property
    def documented(self) -> bool:
        """Whether a document answers it."""
        return self.kind in ("fact", "table", "reckoning")

    @property
    def reckoned(self) -> bool:
        """Whether the answer is a number that stands nowhere."""
        return self.kind in ("reckoning", "arithmetic")


NEEDED = {field.name for field in fields(Question) if field.default is MISSING}
ALL = {field.name for field in fields(Question)}


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
    """Fields that say nothing are left out where they may be."""
    rows = [{name: value for name, value in asdict(q).items() if name in NEEDED or value} for q in asked]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


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
    if not isinstance(row, dict) or not NEEDED <= set(row) <= ALL:
        optional = ", ".join(sorted(ALL - NEEDED))
        raise EvalError(f"{where} must have the fields {', '.join(sorted(NEEDED))}, and may have {optional}.")
    texts = {field: row.get(field, []) for field in ("answers", "former", "also", "past")}
    if row["kind"] not in KINDS:
        raise EvalError(f"{where}: 'kind' must be one of {', '.join(KINDS)}.")
    for field, given in texts.items():
        if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
            raise EvalError(f"{where}: '{field}' must be a list of texts.")
    for field in ("search", "given"):
        if not isinstance(row.get(field, False), bool):
            raise EvalError(f"{where}: '{field}' must be true or false.")
    for field in ("id", "question"):
        if not isinstance(row[field], str) or not row[field].strip():
            raise EvalError(f"{where}: '{field}' must be a text.")
    for field in ("file", "evidence", "store"):
        if not isinstance(row.get(field), str | None):
            raise EvalError(f"{where}: '{field}' must be a text or null.")
    if row.get("tool_choice") not in (None, *get_args(ToolChoice)):
        raise EvalError(f"{where}: 'tool_choice' must be one of {', '.join(get_args(ToolChoice))}, or null.")
    if row["kind"] in ("fact", "table") and not (texts["answers"] and row["file"]):
        raise EvalError(f"{where}: a {row['kind']} question needs its 'answers' and its 'file'.")
    return Question(**{**row, **{field: tuple(given) for field, given in texts.items()}})
