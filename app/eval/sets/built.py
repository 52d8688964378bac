"""What a set comes to, and the folders it is made from and written to."""

from dataclasses import dataclass
from pathlib import Path

from app.eval.questions import EvalError
from app.train.worlds import Passage

QUESTIONS = "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Built:
    """What was written: a folder to ingest and, where there is one, a set of questions about it.

    `stores` names the folder's parts that are stores of their own; its questions name them too.
    """

    documents: Path | None
    count: int
    questions: Path | None
    stores: tuple[str, ...] = ()


def fresh(out: Path) -> Path:
    """The folder for the documents, which must be empty."""
    folder = out / "documents"
    if folder.exists() and any(folder.iterdir()):
        raise EvalError(f"--out: {folder} is not empty. Name another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def page(passage: Passage) -> str:
    """A passage as a Markdown document."""
    headings = [f"{'#' * level} {heading}" for level, heading in enumerate(passage.headings, 1)]
    return "\n\n".join([*headings, passage.text]) + "\n"


def existing(data: Path | None, name: str) -> Path:
    """That file of the development data."""
    if data is None:
        raise EvalError(f"--data: name the folder of the development data, which holds {name}.")
    if not (data / name).is_file():
        raise EvalError(f"--data: {data / name} is missing. Name the folder of the development data.")
    return data / name
