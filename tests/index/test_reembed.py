"""Another embedder: searched with the old vectors until all new ones are there, and never with some of each."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from index.catalog import renewal
from index.errors import EmbedderMismatch, FolderFault
from index.folderlock import FolderLock
from index.memory import Memory
from index.reembed import reembed
from index.types import Vectors
from tests.fakes import HashedWords
from tests.index.conftest import Open, holding, put
from tests.index.test_kept_vectors import scores, stored

NEW = HashedWords(64, "newer")


class Stops(HashedWords):
    """Dies after so many calls."""

    def __init__(self, calls: int, name: str = "newer") -> None:
        super().__init__(64, name)
        self.left, self.texts = calls, list[str]()

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.texts += texts
        return super().encode(texts)


@pytest.fixture(autouse=True)
def _in_small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.reembed.GROUP", 2)


def filled(memory: Memory, first: int = 0, count: int = 6) -> list[str]:
    return [put(memory, f"{n}.md", f"river pond number{n} duck") for n in range(first, first + count)]


def files(data: Path) -> set[str]:
    return {path.name for path in (data / "catalog.vectors").iterdir()}


def test_a_closed_memory_gets_its_new_vectors_and_loses_the_old(open_memory: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    filled(memory)
    other, oak = memory.create_store("other").id, put(memory, "oak.md", "an oak tree")
    memory.attach(other, oak)
    memory.wait(other, oak)
    version = memory.store("default").version
    old = HashedWords().encode(["0\nriver pond number0 duck"])[0]
    memory.close()
    assert holding(data, stored(old)) == ["1-1"]
    with pytest.raises(EmbedderMismatch, match="cogcore reembed"):
        open_memory(embedder=NEW)
    told = list[tuple[int, int]]()
    assert reembed(data, NEW, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 8) and told[-1] == (8, 8) and told == sorted(told)
    assert files(data) == {"1-2", "2-2"} and holding(data, stored(old)) == []
    with pytest.raises(EmbedderMismatch):
        open_memory()
    memory = open_memory(embedder=NEW)
    assert memory.store("default").version == version + 1
    fresh = open_memory("fresh", embedder=NEW)
    filled(fresh)
    put(fresh, "oak.md", "an oak tree")
    assert scores(memory) == pytest.approx(scores(fresh))
    assert memory.search(other, "oak")[0].chunk.filename == "oak.md"
    memory.close()
    assert reembed(data, NEW) and files(data) == {"1-2", "2-2"}


def test_who_is_killed_goes_on_where_he_was(open_memory: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    filled(memory, 0, 8)
    memory.close()
    first = Stops(2)
    with pytest.raises(KeyboardInterrupt):
        reembed(data, first)
    cut = data / "catalog.vectors" / "1-next"
    os.truncate(cut, cut.stat().st_size - 10)  # and amid a write
    memory = open_memory()  # the old embedder is still the one
    assert len(scores(memory)) == 8
    memory.close()
    assert cut.exists()
    second = Stops(10)
    assert reembed(data, second)
    assert len(first.texts) == 4 and len(second.texts) == 8 - 3  # the last block was cut
    assert len(scores(open_memory(embedder=NEW))) == 8


def test_a_server_goes_on_and_swaps_when_it_is_started_anew(open_memory: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    ids = filled(memory)
    before = scores(memory)
    assert not reembed(data, NEW)
    assert scores(memory) == before and files(data) == {"1-1", "1-next"}
    gone = NEW.encode(["3\nriver pond number3 duck"])[0]
    assert holding(data, stored(gone)) == ["1-next"]
    memory.delete_file(ids[3])
    assert holding(data, stored(gone)) == []
    later = put(memory, "later.md", "a later heron")
    memory.close()
    memory = open_memory(embedder=NEW)
    assert files(data) == {"1-2"} and memory.search("default", "heron", 1)[0].chunk.file_id == later
    assert memory.stats().chunks == len(memory._shelf.get(1)) == 6


def test_what_a_crash_between_a_removal_and_the_disk_left_is_erased(open_memory: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    ids = filled(memory)
    assert not reembed(data, NEW)
    kept = (data / "catalog.vectors" / "1-next").read_bytes()
    memory.delete_file(ids[3])
    memory.close()
    gone = NEW.encode(["3\nriver pond number3 duck"])[0]
    (data / "catalog.vectors" / "1-next").write_bytes(kept)
    assert holding(data, stored(gone)) == ["1-next"]
    open_memory().close()
    assert holding(data, stored(gone)) == [] and (data / "catalog.vectors" / "1-next").exists()
    memory = open_memory(embedder=NEW)
    assert len(memory._shelf.get(1)) == 5


@pytest.mark.parametrize("where", [5, 4900, -3])
def test_damaged_new_vectors_are_made_again(open_memory: Open, tmp_path: Path, where: int) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    filled(memory)
    assert not reembed(data, NEW)
    memory.close()
    path = data / "catalog.vectors" / "1-next"
    content = bytearray(path.read_bytes())
    content[where] ^= 64
    path.write_bytes(content)
    memory = open_memory(embedder=NEW)
    memory.close()
    fresh = open_memory("fresh", embedder=NEW)
    filled(fresh)
    assert scores(open_memory(embedder=NEW)) == pytest.approx(scores(fresh))


@pytest.mark.parametrize("step", ["promote", "sweep"])
def test_a_kill_around_the_commit_leaves_all_as_before_or_all_new(
    open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    filled(memory)
    memory.close()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"index.vectors.VectorFiles.{step}", die)
        with pytest.raises(KeyboardInterrupt):
            reembed(data, NEW)
    if step == "promote":
        before = open_memory()
        assert len(scores(before)) == 6 and files(data) == {"1-1", "1-next"}
        before.close()
    memory = open_memory(embedder=NEW)
    assert len(scores(memory)) == 6 and files(data) == {"1-2"}


def test_a_third_embedder_takes_the_place_of_the_second(open_memory: Open, tmp_path: Path) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    filled(memory)
    third = HashedWords(64, "newest")
    assert not reembed(data, NEW)
    with pytest.raises(KeyboardInterrupt):
        reembed(data, Stops(1, "newest"))
    memory.close()
    with pytest.raises(EmbedderMismatch):
        open_memory(embedder=NEW)  # begun with the third, its vectors are there no more
    memory = open_memory()
    assert not reembed(data, third)
    memory.close()
    with pytest.raises(EmbedderMismatch):
        open_memory(embedder=NEW)
    assert len(scores(open_memory(embedder=third))) == 6


def test_refusals(open_memory: Open, tmp_path: Path) -> None:
    with pytest.raises(FolderFault, match="there is no memory"):
        reembed(tmp_path / "nowhere", NEW)
    memory = open_memory()
    lock = FolderLock(tmp_path / "data" / "reembed.lock")
    with pytest.raises(FolderFault, match="another `cogcore reembed`"):
        reembed(tmp_path / "data", NEW)
    lock.release()
    with memory._catalog.read() as tx:
        assert renewal.embedder(tx) == HashedWords().fingerprint
    assert reembed(tmp_path / "data", HashedWords()) and np.isfinite(list(scores(memory).values())).all()


@pytest.mark.parametrize("restarted", [False, True])
def test_half_a_block_of_a_killed_reembed_goes_with_its_document(
    open_memory: Open, tmp_path: Path, restarted: bool
) -> None:
    data = tmp_path / "data"
    memory = open_memory()
    ids = filled(memory)
    assert not reembed(data, NEW)
    path = data / "catalog.vectors" / "1-next"
    cut = path.read_bytes()[:-8]  # of the last document
    last = NEW.encode(["5\nriver pond number5 duck"])[0][:50].astype("<f2").tobytes()
    path.write_bytes(cut)
    memory.delete_file(ids[0])
    assert last in path.read_bytes()
    memory.delete_file(ids[5])
    if restarted:
        memory.close()
        path.write_bytes(cut)  # killed before it came to the disk
        memory = open_memory()
    assert last not in path.read_bytes()
    assert reembed(data, NEW) is False
    memory.close()
    memory = open_memory(embedder=NEW)
    assert len(memory._shelf.get(1)) == 4 and holding(data, stored(NEW.encode(["5\nriver pond number5 duck"])[0])) == []
