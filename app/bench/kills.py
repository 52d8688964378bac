"""A memory killed again and again at random moments: nothing acknowledged is lost, nothing is half there, it heals.

    cogcore bench kills [--kills 300] [--seconds 2]

A process adds, updates and deletes documents, trains the dense index, writes snapshots, or changes the embedder, and
keeps a journal of what it began and what was acknowledged. It gets SIGKILL at a moment drawn between 0 and so many
seconds after its beginning, or after its first document. Another process opens what is left and compares it with the
journal: documents that were acknowledged are found by their own word, deleted ones are not, and nothing of them stands
in any file, right after the start and again at the end; what was in doubt is there as a whole or not at all; both
indexes and the catalog agree; no file is left over. If not, the exit status is 1, and the folder is kept as it was
after the kill and after the look.
"""

import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from app.bench import campaign
from app.bench.hashed import Hashed
from index import keeper
from index.blocks import DTYPE
from index.catalog import documents, glimpse, remains, renewal
from index.codes import NUMBERS
from index.dense import Tiers
from index.lexical import Lexical
from index.memory import DEFAULT_STORE, Memory
from index.reembed import reembed
from index.snapshot import ASIDE
from index.store import indexed_text
from index.types import Chunking

TIERS = Tiers("IVF2,RaBitQfs", 80)  # so that few documents are a large store
PASSAGES, MOST = 12, 30  # in a document; documents that are kept
REEMBEDS, OPENINGS = 0.2, 0.3  # of all lives: that begin so, that are timed from their beginning
PATIENCE = 120.0  # seconds for one document, and for one look
EMBEDDERS = "first", "second"
PAGE = 4096  # of SQLite
ROW = 16  # bytes of a vector that tell it
FILES = re.compile(
    r"lock|reembed\.lock|catalog\.sqlite(-wal|-shm)?|catalog\.vectors/\d+-(\d+|next)|originals/../[0-9a-f]{64}"
    r"|catalog\.words/\d+(\.codes)?/.+"
)


@dataclass(slots=True)
class Journal:
    """What became of each document, by the word that only it has: begun, there, going, gone."""

    path: Path
    state: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def read(self) -> None:
        self.state.clear()
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                word, state, file_id = json.loads(line)
                self.state[word], self.ids[word] = state, file_id

    def write(self, word: str, state: str, file_id: str = "") -> None:
        self.state[word], self.ids[word] = state, file_id
        with self.path.open("a") as file:
            file.write(json.dumps([word, state, file_id]) + "\n")


def text(word: str) -> str:
    dice = random.Random(word)
    plain = [f"word{dice.randrange(300)}" for _ in range(20 * PASSAGES)]
    return "\n\n".join(f"{word} {' '.join(plain[at : at + 20])}." for at in range(0, len(plain), 20))


def live(folder: Path, journal: Journal, seed: int) -> None:
    """Does what users do, for ever."""
    dice = random.Random(seed)
    journal.read()
    name = _embedder(folder)
    if name and dice.random() < REEMBEDS:
        reembed(folder, Hashed(next(one for one in EMBEDDERS if one != name)))
    memory = Memory(folder, Hashed(_embedder(folder) or "first"), tiers=TIERS)
    for n in range(1_000_000):
        there = [word for word, state in journal.state.items() if state == "there"]
        kind = dice.random()
        if kind < 0.15:
            memory._keeper.keep()
        elif (kind < 0.5 and there) or len(there) > MOST:
            old = dice.choice(there)
            journal.write(old, "going", journal.ids[old])
            if kind < 0.3:
                _add(memory, journal, f"quux{seed}x{n}", replaces=[journal.ids[old]])
            memory.delete_file(journal.ids[old])
            journal.write(old, "gone")
        else:
            _add(memory, journal, f"quux{seed}x{n}")


def _add(memory: Memory, journal: Journal, word: str, replaces: Sequence[str] = ()) -> None:
    journal.write(word, "begun")
    file = memory.add_file(f"{word}.md", text(word).encode())
    memory.attach(DEFAULT_STORE, file.id, {"word": word}, Chunking(32), replaces)
    journal.write(word, "queued", file.id)
    if memory.wait(DEFAULT_STORE, file.id, PATIENCE).status != "completed":
        raise RuntimeError(f"{word} was not completed")
    journal.write(word, "there", file.id)


def faults(folder: Path, journal: Journal) -> Iterator[str]:
    """What of the folder, opened anew, is not as the journal says; what was in doubt is settled in the journal.

    What a start does not clean by itself is a fault, so nothing is deleted here before it was looked at.
    """
    journal.read()
    with closing(Memory(folder, Hashed(_embedder(folder) or "first"), tiers=TIERS)) as memory:
        held = {file.filename.removesuffix(".md") for file in memory.files(10_000).data}
        yield from standing(folder, journal.state.keys() - held, "after the start")
        yield from _coded(folder, memory)
        yield from _settled(memory, journal)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    yield from (f"{name} is left over" for name in names if not FILES.fullmatch(name))
    gone = {word for word, state in journal.state.items() if state == "gone"}
    yield from standing(folder, gone, "after the end")


def _settled(memory: Memory, journal: Journal) -> Iterator[str]:
    for document in memory.store_files(DEFAULT_STORE, 1000, status="in_progress").data:
        ended = memory.wait(DEFAULT_STORE, document.id, PATIENCE)
        if ended.status != "completed":
            yield f"{document.filename} ended as {ended.status}: {ended.last_error}"
    # Only now: what was in progress may have taken the place of others.
    listed = memory.store_files(DEFAULT_STORE, 1000).data
    found = {document.filename.removesuffix(".md"): document.id for document in listed}
    for word, state in list(journal.state.items()):
        hits = memory.search(DEFAULT_STORE, word, 50, {"type": "eq", "key": "word", "value": word})
        if word in found and (len(hits) != PASSAGES or not all(word in hit.chunk.text for hit in hits)):
            yield f"{word} ({state}) is half there: {len(hits)} passages of {PASSAGES}"
        if word not in found and hits:
            yield f"{word} ({state}) is found though it is gone"
        if state in ("queued", "there") and word not in found:
            yield f"{word} ({state}) is lost"
        if state == "gone" and word in found:
            yield f"{word} was deleted and is there"
        settled = "there" if word in found else "gone"
        if settled != state:
            journal.write(word, settled, found.get(word, ""))
    opened = memory._shelf.get(1)
    sizes = (len(opened), len(opened._lexical), memory.stats().chunks, PASSAGES * len(found))
    if len(set(sizes)) != 1:
        yield f"vectors, words and passages do not agree: {sizes}"
    for file in memory.files(10_000).data:
        if file.id not in found.values():  # replaced or not yet attached when it was killed: its user deletes it again
            memory.delete_file(file.id)


def standing(folder: Path, gone: Collection[str], when: str) -> Iterator[str]:
    """Where the data folder still has something of these words: text, vectors, codes, entries of the lexical index."""
    vectors = {row: word for word in gone for name in EMBEDDERS for row in _rows(word, name)}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or ASIDE in path.relative_to(folder).as_posix():  # links to what is looked at
            continue
        data, name = path.read_bytes(), path.relative_to(folder).as_posix()
        for match in re.finditer(rb"quux\d+x\d+", data):
            if (word := match[0].decode()) in gone:
                near = data[max(0, match.start() - 24) : match.end() + 24]
                yield f"{word} was deleted and stands {when} in {_place(name, data, match.start())}: {near!r}"
        if path.parent.name == "catalog.vectors":
            for at in range(0, len(data), 8):
                if (whose := vectors.get(data[at : at + ROW])) is not None:
                    yield f"a vector of {whose}, which was deleted, stands {when} in {name} at {at}"
    for seal in sorted(folder.glob("catalog.words/*/seal")):
        if seal.parent.suffix:
            continue
        # A thread of tantivy's may still lock what it reads.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as copied:
            shutil.copytree(seal.parent, copied, dirs_exist_ok=True)
            terms = Lexical(Path(copied))._index.searcher().terms_with_prefix("text", "quux")
        yield from (f"{term} was deleted and is {when} a word in {seal.parent}" for term, _ in terms if term in gone)


def _coded(folder: Path, memory: Memory) -> Iterator[str]:
    with memory._catalog.writing:  # what is completed just now may take another's place, whose codes then go with it
        for numbers in folder.glob(f"catalog.words/*.codes/{NUMBERS}"):
            with np.load(numbers) as kept, memory._catalog.read() as tx:
                gone = set(kept["documents"].tolist()) - documents.completed(tx, int(numbers.parent.stem))
            if gone:
                yield f"codes of the documents {sorted(gone)}, which were deleted, stand in {numbers.parent}"


def _place(name: str, data: bytes, at: int) -> str:
    """For people who are to find out how it came there."""
    if name != "catalog.sqlite":
        return f"{name} at {at}"
    number, within = at // PAGE + 1, at % PAGE
    page = data[at - within : at - within + PAGE]
    unused = remains.unused(page, number, len(data) // PAGE)
    use = "what the page does not use" if unused and unused[0] <= within < unused[1] else "a cell, or a free block"
    return f"{name}, page {number} (kind {page[0]}) at {within}, in {use}"


def _rows(word: str, embedder: str) -> list[bytes]:
    """The first bytes of its first and last vector, as they lie in a file."""
    first, *_, last = text(word).split("\n\n")
    passages = [indexed_text(f"{word}.md", (), passage) for passage in (first, last)]
    return [row.tobytes()[:ROW] for row in Hashed(embedder).encode(passages).astype(DTYPE)]


def _embedder(folder: Path) -> str:
    """The name of the one that made the vectors; none where there is no memory yet."""
    path = folder / "catalog.sqlite"
    if not path.exists():
        return ""
    try:
        with glimpse(path) as tx:
            return (renewal.embedder(tx) or "").partition("/")[0]
    except Exception:  # killed before the tables were made
        return ""


def forked(task: Callable[[], object]) -> int:
    """The pid of a process that does this, made of one that has no threads yet."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        task()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def run(folder: Path, journal: Path, kills: int, seconds: float, seed: int) -> tuple[Counter[str], list[str]]:
    """What the memory was at when it was killed, and the faults. Folders with some are kept beside the journal."""
    dice, seen, wrong = random.Random(seed), Counter[str](), list[str]()
    report = journal.with_suffix(".faults")
    for n in tqdm(range(kills), "kills", mininterval=5):
        pid = forked(lambda n=n: live(folder, Journal(journal), seed * 100_000 + n))  # type: ignore[misc]
        if dice.random() > OPENINGS:
            _await_work(journal, pid)
        time.sleep(dice.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            wrong.append(f"life {n} ended by itself, with status {os.waitstatus_to_exitcode(status)}")
        lines = journal.read_text().splitlines() if journal.exists() else []
        seen[json.loads(lines[-1])[1] if lines else "opening"] += 1
        report.write_text("the look did not end")
        kept = journal.with_name(f"kill-{n}")
        shutil.copytree(folder, kept / "killed")
        shutil.copy(journal, kept)

        def look() -> None:
            report.write_text("\n".join(faults(folder, Journal(journal))))

        os.waitpid(forked(look), 0)
        found = [f"seed {seed}, kill {n}: {line}" for line in report.read_text().splitlines()]
        if found:
            shutil.copytree(folder, kept / "looked at")
        else:
            shutil.rmtree(kept)
        wrong += found
    return seen, wrong


def _await_work(journal: Path, pid: int) -> None:
    """Until it has made its first document searchable, or has ended."""
    size, end = journal.stat().st_size if journal.exists() else 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if journal.exists() and b'"there"' in journal.read_bytes()[size:]:
            return
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.01)


def main(arguments: Sequence[str]) -> None:
    parser = campaign.parser("kills", __doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=2.0, help="as above (2)")
    given = parser.parse_args(arguments)
    keeper.LEAST = 1  # so that small stores have snapshots
    made = Path(tempfile.mkdtemp(prefix="kills-"))
    journal = Journal(made / "journal")
    seen, wrong = run(made / "data", journal.path, given.kills, given.seconds, given.seed)
    journal.read()
    states = Counter(journal.state.values())
    if wrong:
        print(f"the folders are kept in {made}")
    else:
        shutil.rmtree(made)
    print(f"{given.kills} kills; the last in the journal when it was killed: {dict(seen)}; documents: {dict(states)}")
    campaign.end(wrong)
