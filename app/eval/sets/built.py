"""What a set comes to, and the folders it is made from and written to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.eval.questions import EvalError, Question, save
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


@dataclass(frozen=True, slots=True)
class Part:
    """Documents of one store, by their names, and the questions about them."""

    store: str
    documents: Mapping[str, str]
    questions: Sequence[Question]


def in_stores(out: Path, parts: Iterable[Part]) -> Built:
    """A set of several stores, each of one part or more."""
    folder, asked, count, stores = fresh(out), list[Question](), 0, dict[str, None]()
    for part in parts:
        stores[part.store] = None
        (folder / part.store).mkdir(exist_ok=True)
        for name, text in part.documents.items():
            (folder / part.store / name).write_text(text, "utf-8")
        count += len(part.documents)
        asked += part.questions
    save(asked, out / QUESTIONS)
    return Built(folder, count, out / QUESTIONS, tuple(stores))


def fresh(out: Path) -> Path:
    """The folder for the documents, which must be empty."""
    folder = out / "documents"
    if folder.exists() and any(folder.iterdir()):
        raise EvalError(f"--out: {folder} is not empty. Name another folder, or remove it.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _page(passage: Passage) -> str:
    """A passage as a Markdown document."""
    headings = [f"{'#' * level} {heading}" for level, heading in enumerate(passage.headings, 1)]
    return "\n\n".join([*headings, passage.text]) + "\n"


def pages(number: int, passages: Iterable[Passage]) -> dict[str, str]:
    """The passages of one question, by their files' names, which begin with its number."""
    return {f"{number:03}-{k}.md": _page(passage) for k, passage in enumerate(passages)}


def existing(data: Path | None, name: str) -> Path:
    """That file of the development data."""
    if data is None:
        raise EvalError(f"--data: name the folder of the development data, which holds {name}.")
    if not (data / name).is_file():
        raise EvalError(f"--data: {data / name} is missing. Name the folder of the development data.")
    return data / name
