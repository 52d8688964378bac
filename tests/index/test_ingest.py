"""The queue: what is acknowledged becomes searchable or fails with a reason, whatever happens in between."""

import logging
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from index import ingest
from index.errors import FileNotFound, InvalidRequest
from index.memory import Memory
from index.types import Attachment, Chunking, Progress, Vectors
from tests.fakes import HashedWords
from tests.index.conftest import CatalogUrl, Open


class Held(HashedWords):
    """Embeds when allowed to, and counts the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.reached = threading.Event()
        self.texts = 0

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.reached.set()
        assert self.free.wait(30)
        self.texts += len(texts)
        return super().encode(texts)


class Broken(HashedWords):
    def encode(self, texts: Sequence[str]) -> Vectors:
        raise ZeroDivisionError("secret detail")


def put(memory: Memory, name: str, text: str, store: str = "default") -> str:
    file = memory.add_file(name, text.encode())
    memory.attach(store, file.id)
    return file.id


def test_each_document_tells_how_far_it_is(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.ingest.GROUP", 2)
    held = Held()
    memory = open_memory(embedder=held, workers=1)
    file = memory.add_file("a.md", b"\n\n".join(b"river number%d. " % n * 20 for n in range(3)))
    memory.attach("default", file.id, chunking=Chunking(64))
    later = put(memory, "b.md", "heron")
    assert held.reached.wait(30)
    assert memory.store_file("default", file.id).progress == Progress("embedding", 0, 3)
    assert memory.store_file("default", later).progress == Progress("waiting")
    held.reached.clear()
    held.free.set()
    for file_id in (file.id, later):
        ended = memory.wait("default", file_id, 30)
        assert ended.status == "completed" and ended.progress is None
    assert [one.progress for one in memory.store_files("default").data] == [None, None]
    assert memory._ingest._progress == {}


class Slow(Held):
    """Is free but for texts of version two."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        return super().encode(texts) if any("two" in text for text in texts) else HashedWords.encode(self, texts)


@pytest.mark.parametrize("known", [False, True])
def test_a_new_version_takes_the_place_of_the_old_at_once(open_memory: Open, tmp_path: Path, known: bool) -> None:
    slow = Slow()
    memory = open_memory(embedder=slow)
    old = put(memory, "a.md", "heron version one")
    assert memory.wait("default", old, 30).status == "completed"
    if known:  # somewhere else, so that it need not be read
        slow.free.set()
        other = memory.create_store("other").id
        assert memory.wait(other, put(memory, "a.md", "heron version two", other), 30).status == "completed"
    new = memory.add_file("a.md", b"heron version two").id
    seen = set[tuple[str, ...]]()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.add(tuple(hit.chunk.text for hit in memory.search("default", "heron")))

    looking = threading.Thread(target=look)
    looking.start()
    with pytest.raises(FileNotFound, match="file-none"):
        memory.attach("default", new, replaces=[old, "file-none"])
    memory.attach("default", new, replaces=[old])
    if not known:
        assert slow.reached.wait(30) and memory.search("default", "heron")[0].chunk.file_id == old
    slow.free.set()
    assert memory.wait("default", new, 30).status == "completed"
    ended.set()
    looking.join()
    assert [hit.chunk.file_id for hit in memory.search("default", "heron")] == [new]
    assert seen <= {("heron version one",), ("heron version two",)}
    assert [one.id for one in memory.store_files("default").data] == [new]
    with pytest.raises(InvalidRequest, match="searchable already"):
        memory.attach("default", new, replaces=[new])
    memory.delete_file(old)
    words = b"heron version one"
    assert [path for path in tmp_path.rglob("*") if path.is_file() and words in path.read_bytes()] == []
    assert memory.note("default", f"replaces/{new}") is None


def test_a_new_version_that_fails_replaces_nothing(open_memory: Open) -> None:
    memory = open_memory()
    old = put(memory, "a.md", "heron version one")
    memory.wait("default", old, 30)
    new = memory.add_file("a.pdf", b"no pdf").id
    memory.attach("default", new, replaces=[old])
    assert memory.wait("default", new, 30).status == "failed"
    assert [hit.chunk.file_id for hit in memory.search("default", "heron")] == [old]


def test_an_unreadable_document_fails_with_its_code_and_words(open_memory: Open) -> None:
    memory = open_memory()
    for name, data, code in (("a.xyz", b"data", "unsupported_file"), ("a.pdf", b"no pdf", "invalid_file")):
        file = memory.add_file(name, data)
        memory.attach("default", file.id)
        document = memory.wait("default", file.id, 30)
        assert document.status == "failed" and document.last_error is not None
        assert document.last_error.code == code and len(document.last_error.message) > 20
    assert memory.search("default", "data pdf") == []
    assert memory.store("default").counts["failed"] == 2


def test_our_own_fault_is_told_without_detail_and_logged_with_it(
    open_memory: Open, caplog: pytest.LogCaptureFixture
) -> None:
    memory = open_memory(embedder=Broken())
    with caplog.at_level(logging.ERROR):
        document = memory.wait("default", put(memory, "a.md", "words"), 30)
    assert document.last_error is not None and document.last_error.code == "server_error"
    assert "secret detail" not in document.last_error.message and "secret detail" in caplog.text


def test_attaching_what_failed_again_tries_again(open_memory: Open) -> None:
    broken = open_memory("one", embedder=Broken())
    file_id = put(broken, "a.md", "words")
    assert broken.wait("default", file_id, 30).status == "failed"
    broken.close()
    mended = open_memory("one")
    assert mended.store_file("default", file_id).status == "failed"
    mended.attach("default", file_id)
    assert mended.wait("default", file_id, 30).status == "completed"
    assert len(mended.search("default", "words")) == 1


def test_nothing_is_searchable_before_it_is_completed(open_memory: Open) -> None:
    held = Held()
    memory = open_memory(embedder=held)
    file_id = put(memory, "a.md", "words " * 2000)
    assert held.reached.wait(30)
    assert memory.store_file("default", file_id).status == "in_progress"
    assert memory.wait("default", file_id, 0.05).status == "in_progress"
    assert memory.search("default", "words") == []
    held.free.set()
    assert memory.wait("default", file_id, 30).status == "completed"
    assert memory.search("default", "words")


def test_the_same_bytes_are_embedded_once(open_memory: Open) -> None:
    embedder = Held()
    embedder.free.set()
    memory = open_memory(embedder=embedder)
    other = memory.create_store("other")
    first = put(memory, "a.md", "alpha\n\nbeta")
    memory.wait("default", first, 30)
    spent = embedder.texts
    memory.attach(other.id, first)
    again = put(memory, "a.md", "alpha\n\nbeta", other.id)
    assert memory.wait(other.id, first, 30).status == memory.wait(other.id, again, 30).status == "completed"
    assert embedder.texts == spent
    hits = memory.search(other.id, "alpha", only_distinct=False)
    assert {hit.chunk.file_id for hit in hits} == {first, again}
    assert memory.text(again) == memory.text(first)
    memory.delete_file(first)
    assert {hit.chunk.file_id for hit in memory.search(other.id, "alpha")} == {again}
    assert memory.content(again) == b"alpha\n\nbeta"


def test_other_sizes_or_another_name_are_work_of_their_own(open_memory: Open) -> None:
    embedder = Held()
    embedder.free.set()
    memory = open_memory(embedder=embedder)
    text = ". ".join(f"Sentence number {n} has seven words here" for n in range(40)) + "."
    first = put(memory, "a.md", text)
    memory.wait("default", first, 30)
    spent = embedder.texts
    memory.attach("default", first, chunking=Chunking(32, 0))
    assert memory.wait("default", first, 30).chunking == Chunking(32, 0)
    assert embedder.texts > spent
    assert len(memory.search("default", "sentence", k=50)) > 5
    spent = embedder.texts
    memory.attach("default", first)  # no sizes given: those it has
    assert memory.store_file("default", first).status == "completed" and embedder.texts == spent


def test_removed_while_embedding_stays_removed(open_memory: Open) -> None:
    held = Held()
    memory = open_memory(embedder=held)
    detached, deleted = put(memory, "a.md", "words"), put(memory, "b.md", "words too")
    assert held.reached.wait(30)
    memory.detach("default", detached)
    memory.delete_file(deleted)
    held.free.set()
    last = put(memory, "c.md", "the last words")
    assert memory.wait("default", last, 30).status == "completed"
    time.sleep(0.1)
    assert {hit.chunk.file_id for hit in memory.search("default", "words")} == {last}
    assert memory.stats().chunks == 1


def test_a_cancelled_batch_keeps_what_was_done_and_does_no_more(open_memory: Open) -> None:
    held = Held()
    memory = open_memory(embedder=held, workers=1)
    done = put(memory, "done.md", "words zero")
    held.free.set()
    memory.wait("default", done, 30)
    held.free.clear()
    held.reached.clear()
    others = [memory.add_file(f"{n}.md", f"words {n}".encode()).id for n in range(5)]
    batch = memory.attach_batch("default", [Attachment(file_id, {"n": i}) for i, file_id in enumerate([done, *others])])
    assert batch.counts == {"in_progress": 5, "completed": 1, "failed": 0, "cancelled": 0}
    assert held.reached.wait(30)
    counts = memory.cancel_batch("default", batch.id).counts
    assert counts == {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 5}
    held.free.set()
    assert memory.wait("default", put(memory, "z.md", "words z"), 30).status == "completed"
    assert memory.batch("default", batch.id).counts == counts
    assert len(memory.search("default", "words", k=50)) == 2
    assert len(memory.store_files("default", batch_id=batch.id, status="cancelled").data) == 5


def test_a_batch_with_one_bad_file_attaches_nothing(open_memory: Open) -> None:
    memory = open_memory()
    good = memory.add_file("a.md", b"words").id
    with pytest.raises(Exception, match="file-none"):
        memory.attach_batch("default", [Attachment(good), Attachment("file-none")])
    assert memory.store_files("default").data == []


def test_closing_leaves_the_rest_to_the_next_start(open_memory: Open) -> None:
    held = Held()
    memory = open_memory("one", embedder=held, workers=1)
    ids = [put(memory, f"{n}.md", f"words number{n}") for n in range(4)]
    assert held.reached.wait(30)
    threading.Timer(0.1, held.free.set).start()
    memory.close()
    again = open_memory("one")
    assert [again.wait("default", file_id, 30).status for file_id in ids] == ["completed"] * 4
    assert again.stats().chunks == 4


def test_a_document_that_takes_the_process_down_is_given_up(tmp_path: Path, catalog_url: CatalogUrl) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom index import ingest\n"
        "from index.memory import Memory\nfrom tests.fakes import HashedWords\n"
        "class Deadly(HashedWords):\n"
        "    def encode(self, texts):\n        os._exit(9)\n"
        "ingest.MOST_ATTEMPTS = 2\n"
        "memory = Memory(Path(sys.argv[1]), Deadly(), catalog_url=sys.argv[2])\n"
        "if not memory.files().data:\n    memory.attach('default', memory.add_file('a.md', b'words').id)\n"
        "print(memory.wait('default', memory.files().data[0].id, 30).last_error.message)\nmemory.close()\n"
    )
    for _ in range(4):
        command = [sys.executable, "-c", script, str(tmp_path), catalog_url("data")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            break
    assert "stopped 2 times" in done.stdout


VICTIM = """
import sys, time
from pathlib import Path
from typing import Any
from index.memory import Memory
from tests.fakes import HashedWords

class Slow(HashedWords):
    def encode(self, texts):
        time.sleep(0.004)
        return super().encode(texts)

memory = Memory(Path(sys.argv[1]), Slow(), catalog_url=sys.argv[3])
print("open", flush=True)
n = int(sys.argv[2])
while True:
    name = f"{n}.md" if n % 7 else f"{n}.xyz"
    parts = [f"# Part {i}\\n\\nmarker{n}x{i} " + "word " * 40 for i in range(6)]
    file = memory.add_file(name, "\\n\\n".join(parts).encode())
    memory.attach("default", file.id)
    print(n, file.id, flush=True)
    if n % 5 == 4:
        memory.detach("default", file.id)
        memory.delete_file(file.id)
        print("gone", n, file.id, flush=True)
    n += 1
"""


def test_killed_again_and_again_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, open_memory: Open, catalog_url: CatalogUrl
) -> None:
    dice = random.Random(5)
    there: dict[str, int] = {}
    maybe: set[str] = set()  # deletions begun, perhaps not ended
    for life in range(5):
        command = [sys.executable, "-c", VICTIM, str(tmp_path / "data"), str(life * 1000), catalog_url("data")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None and victim.stdout.readline() == "open\n"
            told = [victim.stdout.readline() for _ in range(dice.randint(0, 14))]
            time.sleep(dice.uniform(0, 0.05))
            victim.send_signal(signal.SIGKILL)
            told += victim.stdout.readlines()
        lines = [line.split() for line in told if line.endswith("\n")]
        there |= {line[1]: int(line[0]) for line in lines if len(line) == 2}
        for line in lines:
            if line[0] == "gone":
                del there[line[2]]
        maybe |= {file_id for file_id, n in there.items() if n % 5 == 4}
    memory = open_memory()
    assert len(there) > 8
    for file_id, n in there.items():
        if file_id in maybe:
            continue
        document = memory.wait("default", file_id, 60)
        assert document.status == ("completed" if n % 7 else "failed"), document
        assert (document.last_error is None) == bool(n % 7)
    while memory.stats().backlog:
        time.sleep(0.05)
    finished = memory.store_files("default", limit=10_000, status="completed").data
    assert memory.stats().chunks == 6 * len(finished)
    assert len(memory._shelf.get(1)) == 6 * len(finished)
    for document in finished[::3]:
        n = int(document.filename.removesuffix(".md"))
        found = memory.search("default", f"marker{n}x3", k=50)
        assert [hit.chunk.file_id for hit in found if f"marker{n}x3" in hit.chunk.text] == [document.id]
    kept = {path.name for path in (tmp_path / "data" / "originals").rglob("*") if path.is_file()}
    assert kept == {file.sha256 for file in memory.files(limit=10_000).data}


def test_a_search_finds_what_is_completed_also_when_it_is_the_first_document_of_an_open_store(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = open_memory()
    store = memory.create_store("valley").id
    assert not memory.search(store, "Sorne")  # open, and empty
    exchange = ingest._exchange

    def slowly(*given: Any) -> None:
        time.sleep(0.3)
        exchange(*given)

    monkeypatch.setattr(ingest, "_exchange", slowly)
    file = memory.add_file("rivers.md", b"The Sorne is 312 kilometres long.").id
    memory.attach(store, file)
    while memory.store_files(store).data[0].status != "completed":
        time.sleep(0.01)
    assert memory.search(store, "Sorne")
