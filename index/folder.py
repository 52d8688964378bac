"""Folders and files of this machine into a store, and again when they have changed.

Each document remembers its absolute path in the attribute `path`. A second run ingests only what is new or different;
a changed file takes the place of its old version once it is searchable, and not before. Files that have gone from the
folder stay in the store: forgetting is asked for by name. Of a folder, what is hidden is left out and told.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from index.checks import LONGEST_VALUE, check_filename
from index.errors import InvalidRequest
from index.garbage import told
from index.memory import Memory
from index.parse import FORMATS, READABLE, suffix_of
from index.types import StoreFile

AHEAD = 64  # documents queued at once: what is copied before it is read stays bounded
PAGE = 1000

Outcome = Literal["done", "unchanged", "skipped", "failed"]
Progress = Callable[[Path, Outcome], None]


@dataclass(slots=True)
class Summary:
    """What became of each file; skipped and failed ones with the reason, and what was left out of those done."""

    done: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    skipped: dict[Path, str] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)
    left_out: dict[Path, str] = field(default_factory=dict)
    hidden: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """The files to read; what is left out because its name begins with a dot, a folder standing for all in it; and the
    folders below that could not be looked into, with the reason.
    """

    files: list[Path]
    hidden: list[Path]
    closed: dict[Path, str]


@dataclass(frozen=True, slots=True)
class Pending:
    """A queued file, and the documents of its older versions."""

    path: Path
    file_id: str
    older: Sequence[str]


def ingest_folder(
    memory: Memory, store: str, directory: Path, progress: Progress = lambda path, outcome: None
) -> Summary:
    """Every readable file below a directory, hidden ones left out."""
    found = find_files([directory])
    summary = ingest_files(memory, store, found.files, progress)
    summary.hidden = found.hidden
    summary.failed |= found.closed
    return summary


def find_files(paths: Iterable[Path]) -> Found:
    """The files named, and those below the directories named, in order. Raises FileNotFoundError."""
    found: dict[Path, None] = {}
    hidden: dict[Path, None] = {}
    closed: dict[Path, str] = {}
    named = [path.absolute() for path in paths]
    for path in named:
        if path.is_dir():
            for below, shown in _below(path, closed):
                (found if shown else hidden)[below] = None
        elif path.is_file():
            found[path] = None
        else:
            raise FileNotFoundError(f"{path} is neither a file nor a folder")
    return Found(list(found), [path for path in hidden if path not in named], closed)


def misnamed(path: Path) -> str:
    """Why a memory cannot keep a file under its name; empty when it can."""
    try:
        str(path).encode()
        check_filename(path.name)
    except UnicodeEncodeError:
        return "its name, or that of a folder above it, is not UTF-8: rename it"
    except InvalidRequest as error:
        return str(error)
    return ""


def left_out(hidden: Sequence[Path]) -> str:
    """In words for a summary: `; 1 hidden file, 2 hidden folders left out`. Empty when there are none."""
    folders = sum(path.is_dir() for path in hidden)
    counts = (("file", len(hidden) - folders), ("folder", folders))
    named = [f"{n} hidden {what}{'s' * (n > 1)}" for what, n in counts if n]
    return f"; {', '.join(named)} left out" if named else ""


def ingest_files(
    memory: Memory, store: str, paths: Sequence[Path], progress: Progress = lambda path, outcome: None
) -> Summary:
    """Returns when every file is searchable, or has a reason why not."""
    summary = Summary()
    known = _known(memory, store)
    pending: list[Pending] = []

    def settle() -> None:
        first = pending.pop(0)
        progress(first.path, _settle(memory, store, first, summary))

    for path in paths:
        reason = _unfit(path)
        data = b""
        if not reason:
            try:
                data = path.read_bytes()
            except OSError as error:
                reason = f"cannot be read: {error.strerror}"
        if reason:
            summary.skipped[path] = reason
            progress(path, "skipped")
            continue
        if reason := misnamed(path):
            summary.failed[path] = reason
            progress(path, "failed")
            continue
        before = known.get(str(path), [])
        same = _same(memory, before, data)
        if same is not None and same.status == "completed":
            summary.unchanged.append(path)
            progress(path, "unchanged")
            continue
        file_id = same.id if same else memory.add_file(path.name, data).id
        older = [old.id for old in before if old.id != file_id]
        memory.attach(store, file_id, {"path": str(path)}, replaces=older)
        pending.append(Pending(path, file_id, older))
        if len(pending) >= AHEAD:
            settle()
    while pending:
        settle()
    return summary


def _settle(memory: Memory, store: str, pending: Pending, summary: Summary) -> Outcome:
    document = memory.wait(store, pending.file_id)
    if document.status != "completed":
        error = document.last_error
        summary.failed[pending.path] = error.message if error else f"ended as {document.status}"
        return "failed"
    for old in pending.older:
        if not memory.stores_of(old):
            memory.delete_file(old)
    summary.done.append(pending.path)
    if document.left_out:
        summary.left_out[pending.path] = told(document.left_out)
    return "done"


def _known(memory: Memory, store: str) -> dict[str, list[StoreFile]]:
    """The documents of the store by the path they came from."""
    known: defaultdict[str, list[StoreFile]] = defaultdict(list)
    after = None
    while True:
        page = memory.store_files(store, PAGE, after)
        for document in page.data:
            known[str(document.attributes.get("path"))].append(document)
        if not page.has_more:
            return known
        after = page.data[-1].id


def _same(memory: Memory, before: Sequence[StoreFile], data: bytes) -> StoreFile | None:
    sha256 = hashlib.sha256(data).hexdigest()
    return next((document for document in before if memory.file(document.id).sha256 == sha256), None)


def _unfit(path: Path) -> str:
    if suffix_of(path.name) not in FORMATS:
        return f"{path.suffix or 'a file without a suffix'} is not read; readable are {READABLE}"
    if len(str(path)) > LONGEST_VALUE:
        return f"its path is longer than {LONGEST_VALUE} characters"
    return ""


def _below(directory: Path, closed: dict[Path, str]) -> Iterator[tuple[Path, bool]]:
    """Files, and whether they are to be read; hidden folders are not entered, and `closed` ones are taken down."""

    def refused(error: OSError) -> None:
        closed[Path(error.filename)] = f"cannot be read: {error.strerror}"

    for folder, subfolders, names in os.walk(directory, onerror=refused):
        yield from ((Path(folder, name), False) for name in sorted(subfolders) if name.startswith("."))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                yield path, not name.startswith(".")
