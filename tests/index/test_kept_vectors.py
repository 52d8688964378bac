"""The memory with its files of vectors: what is lost is made again, what is removed leaves the disk."""

import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from index.blocks import HEADER, Block
from index.catalog import Catalog, documents, stores
from index.catalog.documents import Place
from index.dense import Tiers
from index.loading import Loader
from index.memory import Memory
from index.shelf import Shelf
from index.store import Store
from index.types import Attachment, Chunking, Vectors
from index.vectors import VectorFiles
from tests.fakes import HashedWords
from tests.index.conftest import Open, put

ROOT = Path(__file__).parents[2]
RIVER, DUCK, POND = "the long river floods", "a loud duck quacks", "the quiet pond sleeps"


def stored(vector: Vectors) -> bytes:
    """As it lies in its file."""
    return vector.astype("<f2").tobytes()


def scores(memory: Memory) -> dict[str, float]:
    return {hit.chunk.text: hit.score for hit in memory.search("default", "river duck pond", 50)}


def vector_file(data: Path) -> Path:
    (path,) = (data / "catalog.vectors").iterdir()
    return path


def alive(data: Path) -> list[Block]:
    """The blocks that the catalog names, in the one store there is."""
    catalog = Catalog(data / "catalog.sqlite")
    with catalog.read() as tx:
        found = [block for _, block in documents.blocks(tx).get(1, [])]
    catalog.close()
    return found


def mark(text: str) -> bytes:
    return HashedWords().encode([text]).astype("<f2").tobytes()


class Counted(HashedWords):
    """Counts the passages, not the questions."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    def encode(self, texts: list[str]) -> Vectors:  # type: ignore[override]
        self.texts += len(texts)
        return super().encode(texts)

    def encode_queries(self, texts: list[str]) -> Vectors:  # type: ignore[override]
        return super().encode(texts)


def flip_in_a_block(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[HEADER + 100] ^= 16
    path.write_bytes(data)


def flip_in_the_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 16
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "embedded"), [(flip_in_a_block, 1), (flip_in_the_header, 0), (empty, 3), (Path.unlink, 3)]
)
def test_lost_vectors_are_made_again_from_the_texts(
    open_memory: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], embedded: int
) -> None:
    memory = open_memory()
    for n, text in enumerate((RIVER, DUCK, POND)):
        put(memory, f"{n}.md", text)
    before, data = scores(memory), tmp_path / "data"
    memory.close()
    damage(vector_file(data))
    embedder = Counted()
    with caplog.at_level(logging.WARNING):
        memory = open_memory(embedder=embedder)
    assert embedder.texts == embedded and ("damaged" in caplog.text)
    assert scores(memory) == pytest.approx(before)
    memory.close()
    again = Counted()
    assert scores(open_memory(embedder=again)) == pytest.approx(before) and again.texts == 0


def test_a_file_that_goes_while_the_memory_is_open_is_made_again(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    ids = [put(memory, f"{n}.md", text) for n, text in enumerate((RIVER, DUCK, POND))]
    before = scores(memory)
    vector_file(tmp_path / "data").unlink()
    memory._shelf.close(1)
    assert scores(memory) == pytest.approx(before)
    memory.delete_file(ids[0])
    after = scores(memory)
    memory.close()
    embedder = Counted()
    assert scores(open_memory(embedder=embedder)) == pytest.approx(after) and embedder.texts == 0


def test_a_damaged_twin_is_not_copied(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    put(memory, "a.md", RIVER)
    flip_in_a_block(vector_file(tmp_path / "data"))
    before = scores(memory)
    other = memory.create_store("other")
    file = memory.add_file("a.md", RIVER.encode())
    memory.attach(other.id, file.id)
    assert memory.wait(other.id, file.id, 30).status == "completed"
    assert [hit.score for hit in memory.search(other.id, "river duck pond")] == pytest.approx(list(before.values()))


def test_removal_erases_vectors_from_the_disk(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    river, duck = put(memory, "a.md", RIVER), put(memory, "a.md", DUCK)
    put(memory, "a.md", POND)
    path = vector_file(tmp_path / "data")
    kept, gone = [mark(f"a\n{text}") for text in (POND,)], [mark(f"a\n{text}") for text in (RIVER, DUCK)]
    assert all(vector in path.read_bytes() for vector in kept + gone)
    memory.delete_file(river)
    memory.detach("default", duck)
    assert all(vector in path.read_bytes() for vector in kept)
    assert not any(vector in path.read_bytes() for vector in gone)
    assert list(scores(memory)) == [POND]
    other = memory.create_store("other")
    memory.attach(other.id, duck)
    memory.wait(other.id, duck, 30)
    assert len(list(path.parent.iterdir())) == 2
    memory.delete_store(other.id)
    assert list(path.parent.iterdir()) == [path]


def test_removed_room_is_given_back(open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.removal.LEAST_ROOM", 100)
    memory, data = open_memory(), tmp_path / "data"
    ids = [put(memory, f"{n}.md", text) for n, text in enumerate((RIVER, DUCK, POND, RIVER))]
    memory.tidy()
    before = vector_file(data)
    for file_id in ids[:3]:
        memory.delete_file(file_id)
    found = scores(memory)
    memory.tidy()
    assert vector_file(data) != before
    assert vector_file(data).stat().st_size == HEADER + sum(block.length for block in alive(data))
    put(memory, "new.md", DUCK)
    found = scores(memory)
    memory.close()
    embedder = Counted()
    assert scores(open_memory(embedder=embedder)) == pytest.approx(found) and embedder.texts == 0


KILLED = """
import os, signal, sys
from pathlib import Path
import index.removal
from index.catalog import documents, stores
from index.memory import Memory
from index.vectors import VectorFiles
from tests.fakes import HashedWords

index.removal.LEAST_ROOM = 1
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

memory = Memory(Path(sys.argv[1]), HashedWords())
match sys.argv[2]:
    case "append":
        documents.keep_block = die
        file = memory.add_file("new.md", b"a new pond")
        memory.attach("default", file.id)
        memory.wait("default", file.id)
    case "erase":
        VectorFiles.erase = die
        memory.delete_file(next(file.id for file in memory.files().data if file.filename == "0.md"))
    case moment:
        for file in memory.files().data:
            if file.filename != "2.md":
                memory.delete_file(file.id)
        if moment == "compact":
            documents.keep_block = die
        else:
            VectorFiles.drop = lambda self, name: die() if name == "1-1" else None
        memory.tidy()
"""


@pytest.mark.parametrize("moment", ["append", "erase", "compact", "drop"])
def test_killed_between_the_file_and_the_catalog_nothing_is_lost_or_left(
    open_memory: Open, tmp_path: Path, moment: str
) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    for n, text in enumerate((RIVER, DUCK, POND)):
        put(memory, f"{n}.md", text)
    memory.close()
    command = [sys.executable, "-c", KILLED, str(data), moment]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=60).returncode == -signal.SIGKILL
    embedder = Counted()
    memory = open_memory(embedder=embedder)
    for file in memory.store_files("default").data:
        assert memory.wait("default", file.id, 30).status == "completed"
    there = {"append": {RIVER, DUCK, POND, "a new pond"}, "erase": {DUCK, POND}}.get(moment, {POND})
    assert scores(memory).keys() == there and embedder.texts == (moment == "append")
    path, blocks = vector_file(data), alive(data)
    content = path.read_bytes()
    for block in blocks:
        content = content[: block.at] + bytes(block.length) + content[block.end :]
    assert len(blocks) == len(there) and not any(content[HEADER:])
    assert len(content) == max(block.end for block in blocks)


class Paused(Loader):
    """Waits when it has read a store."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.read, self.go = threading.Event(), threading.Event()

    def load(self, store: int) -> Store:
        fresh = super().load(store)
        self.read.set()
        assert self.go.wait(30)
        return fresh


def test_a_store_is_read_while_others_write_and_catches_up(open_memory: Open) -> None:
    memory = open_memory()
    river, duck = put(memory, "0.md", RIVER), put(memory, "1.md", DUCK)
    shelf = memory._shelf
    paused = shelf._loader = Paused(memory._catalog, shelf.files, shelf.snapshots, memory.embedder, Tiers())
    shelf.close(1)
    found: list[dict[str, float]] = []
    searcher = threading.Thread(target=lambda: found.append(scores(memory)))
    searcher.start()
    assert paused.read.wait(30)
    put(memory, "2.md", POND)
    memory.delete_file(river)
    memory.update_attributes("default", duck, {"kind": "bird"})
    paused.go.set()
    searcher.join(30)
    assert found[0].keys() == {DUCK, POND} and not memory._catalog.writing._is_owned()  # type: ignore[attr-defined]
    (hit,) = memory.search("default", "duck", filters={"type": "eq", "key": "kind", "value": "bird"})
    assert hit.chunk.text == DUCK
    assert shelf.get(1).version == memory.store("default").version


def test_a_store_that_goes_while_it_is_read_is_not_found(open_memory: Open) -> None:
    memory = open_memory()
    store = memory.create_store("other")
    with memory._catalog.read() as tx:
        number = stores.number(tx, store.id)
    loader = memory._shelf._loader
    fresh = loader.load(number)
    memory.delete_store(store.id)
    with pytest.raises(Exception, match="just deleted"):
        loader.catch_up(number, fresh)


def test_adding_removing_and_restarting_agree_with_a_plain_list(open_memory: Open, tmp_path: Path) -> None:
    dice, memory, there = random.Random(11), open_memory(), dict[str, str]()
    for step in range(60):
        kind = dice.random()
        if kind < 0.5 or not there:
            text = f"river number{step} " + " ".join(dice.choices(["duck", "pond", "reed"], k=5))
            there[put(memory, f"{step}.md", text)] = text
        elif kind < 0.75:
            gone = dice.choice(sorted(there))
            memory.delete_file(gone)
            del there[gone]
        else:
            before = scores(memory)
            memory.close()
            if kind > 0.9:
                path = vector_file(tmp_path / "data")
                os.truncate(path, dice.randint(0, path.stat().st_size))
            memory = open_memory()
            assert scores(memory).keys() == before.keys()
        assert {hit.chunk.text for hit in memory.search("default", "river", 50)} == set(there.values())
        assert len(memory._shelf.get(1)) == len(there)


def test_documents_that_go_together_leave_an_open_store_together(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of the store at its new version must not hold any of them."""
    memory = open_memory()
    ids = [put(memory, f"{n}.md", text) for n, text in enumerate((RIVER, DUCK, POND))]
    opened = memory._shelf.get(1)
    old, left = set(opened.documents), list[set[int]]()
    erase = VectorFiles.erase

    def seen(self: VectorFiles, name: str, block: Block) -> None:
        left.append(old & opened.documents)
        erase(self, name, block)

    monkeypatch.setattr(VectorFiles, "erase", seen)
    memory.attach_batch("default", [Attachment(file_id, chunking=Chunking(64, 0)) for file_id in ids[:2]])
    assert len(left) == 2 and [len(documents) for documents in left] == [1, 1]


def test_nothing_is_moved_while_what_was_replaced_leaves_the_disk(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.removal.LEAST_ROOM", 1)
    memory = open_memory()
    old = put(memory, "old.md", RIVER)
    gone = [put(memory, f"{n}.md", f"{RIVER} {n}") for n in range(4)]
    put(memory, "duck.md", DUCK)
    for file_id in gone:
        memory.delete_file(file_id)
    compacting = threading.Thread(target=memory._removal.compact)
    remove = Shelf.remove

    def slow(self: Shelf, places: Iterable[Place]) -> None:
        compacting.start()
        compacting.join(0.3)
        remove(self, places)

    with monkeypatch.context() as patched:
        patched.setattr(Shelf, "remove", slow)
        file = memory.add_file("new.md", b"a new river")
        memory.attach("default", file.id, replaces=[old])
        assert memory.wait("default", file.id, 30).status == "completed"
        compacting.join()
    found = scores(memory)
    memory.close()
    embedder = Counted()
    assert scores(open_memory(embedder=embedder)) == found and embedder.texts == 0
