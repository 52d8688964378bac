"""Snapshots: a start with one answers as a start without; what is damaged, stale or removed is never served or kept."""

import logging
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tantivy

from index.catalog.chunks import Passages
from index.dense import Tiers
from index.keeper import Keeper
from index.lexical import KIND
from index.loading import Loader
from index.memory import Memory
from index.snapshot import Snapshots
from index.tiers import Trainer
from index.types import Extent
from tests.index.conftest import Open, holding, put
from tests.index.test_kept_vectors import scores

SECRET = "the quuxzanzibar treaty"


@pytest.fixture(autouse=True)
def _of_small_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.keeper.LEAST", 1)


def filled(memory: Memory, first: int = 0, count: int = 12) -> list[str]:
    birds = ("duck", "swan", "heron")
    return [put(memory, f"{n}.md", f"river pond number{n} {birds[n % 3]}") for n in range(first, first + count)]


def snapshot(data: Path) -> Path:
    return data / "catalog.words" / "1"


def on_disk(memory: Memory) -> bool:
    return memory._shelf.get(1).folder is not None


def terms(data: Path) -> set[str]:
    """The secret words in any dictionary of tantivy's on the disk, which are no plain text there."""
    found = set()
    for folder in (data / "catalog.words").iterdir():
        shutil.copytree(folder, data.parent / "looked into", dirs_exist_ok=True)
        searcher = tantivy.Index.open(str(data.parent / "looked into")).searcher()
        found |= {term for term, _ in searcher.terms_with_prefix("text", "quuxzanzibar")}
        shutil.rmtree(data.parent / "looked into")
    return found


def consistent(memory: Memory) -> bool:
    store = memory._shelf.get(1)
    return len(store) == len(store._lexical) == memory.stats().chunks


def test_a_start_with_a_snapshot_answers_as_one_without(open_memory: Open, tmp_path: Path) -> None:
    memory, data = open_memory(), tmp_path / "data"
    filled(memory)
    assert not snapshot(data).exists()
    memory._keeper.keep()
    before = scores(memory)
    memory.close()
    shutil.copytree(data, tmp_path / "without")
    shutil.rmtree(snapshot(tmp_path / "without"))
    memory, without = open_memory(), open_memory("without")
    assert on_disk(memory) and not on_disk(without)
    assert scores(memory) == scores(without) == pytest.approx(before)
    memory._keeper.keep()
    assert not on_disk(memory) and scores(memory) == scores(without) and consistent(memory)
    assert [path.name for path in (data / "catalog.words").iterdir()] == ["1"]


def test_what_is_newer_is_read_from_the_texts(open_memory: Open, tmp_path: Path) -> None:
    memory, data = open_memory(), tmp_path / "data"
    filled(memory)
    memory._keeper.keep()
    filled(memory, 12, 5)
    shutil.copytree(data, tmp_path / "killed")  # as a process leaves it that is killed here
    found, covered = scores(memory), memory._shelf.snapshots.covers(1)
    memory.close()
    closed, killed = open_memory(), open_memory("killed")
    assert covered == Extent(12, 12) and closed._shelf.snapshots.covers(1) == Extent(17, 17)
    for memory in (closed, killed):
        assert on_disk(memory) and consistent(memory) and scores(memory) == pytest.approx(found)


def test_a_tenth_more_is_worth_another(open_memory: Open) -> None:
    memory = open_memory()
    filled(memory, 0, 20)
    for more, covered in ((0, 20), (1, 20), (2, 23)):
        filled(memory, 20 + more * 10, more)
        memory._keeper.keep()
        covers = memory._shelf.snapshots.covers(1)
        assert covers is not None and covers.count == covered


def damaged(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        content[len(content) // 2] ^= 2
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[:-1])


def test_every_damaged_file_is_noticed(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    filled(memory)
    memory._keeper.keep()
    memory.close()
    words = tmp_path / "data" / "catalog.words"
    files = [path.name for path in (words / "1").iterdir() if path.stat().st_size]
    assert {"seal", "meta.json"} < set(files) and len(files) > 5
    for name in files:
        for damage in ("flipped", "cut", "gone"):
            folder = tmp_path / f"{name} {damage}"
            shutil.copytree(words, folder)
            assert Snapshots(folder, KIND).open(1) is not None
            damaged(folder / "1" / name, damage)
            assert Snapshots(folder, KIND).open(1) is None, folder


@pytest.mark.parametrize(("name", "damage"), [("meta.json", "flipped"), ("seal", "cut")])
def test_a_store_with_a_damaged_snapshot_is_read_from_the_texts(
    open_memory: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    memory = open_memory()
    filled(memory)
    memory._keeper.keep()
    before = scores(memory)
    memory.close()
    damaged(snapshot(tmp_path / "data") / name, damage)
    with caplog.at_level(logging.WARNING):
        memory = open_memory()
    assert "of no use" in caplog.text
    assert not on_disk(memory) and consistent(memory) and scores(memory) == pytest.approx(before)
    memory._keeper.keep()
    assert snapshot(tmp_path / "data").exists()


def test_one_of_another_kind_is_dropped(open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    filled(memory)
    memory._keeper.keep()
    memory.close()
    monkeypatch.setattr("index.memory.KIND", "other words")
    memory = open_memory()
    assert not on_disk(memory) and not snapshot(tmp_path / "data").exists() and consistent(memory)


def test_the_snapshot_does_not_change_with_the_store_that_came_from_it(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    ids = filled(memory)
    memory._keeper.keep()
    memory.close()
    before = {path.name: path.read_bytes() for path in snapshot(tmp_path / "data").iterdir()}
    memory = open_memory()
    filled(memory, 12, 30)
    assert on_disk(memory) and consistent(memory)
    assert before == {path.name: path.read_bytes() for path in snapshot(tmp_path / "data").iterdir()}
    memory.delete_file(ids[3])
    assert consistent(memory) and not snapshot(tmp_path / "data").exists()


def test_removal_takes_the_words_from_the_disk(open_memory: Open, tmp_path: Path) -> None:
    memory, data = open_memory(), tmp_path / "data"
    filled(memory)
    secret, other = put(memory, "secret.md", SECRET), put(memory, "other.md", SECRET + " again")
    memory._keeper.keep()
    assert terms(data) == {"quuxzanzibar"}
    memory.delete_file(secret)
    assert not snapshot(data).exists()
    memory.delete_file(other)
    assert holding(data, b"quuxzanzibar") == [] and terms(data) == set()
    memory._keeper.keep()
    assert snapshot(data).exists() and terms(data) == set()
    # And where the words are on the disk, since the store came from a snapshot: with the keeper's next look.
    last = put(memory, "last.md", SECRET)
    memory.close()
    memory = open_memory()
    assert on_disk(memory) and terms(data) == {"quuxzanzibar"}
    memory.delete_file(last)
    memory._keeper.keep()
    assert (
        holding(data, b"quuxzanzibar") == []
        and terms(data) == set()
        and consistent(memory)
        and len(memory.store_files("default").data) == 12
    )


def test_a_kill_between_the_removal_and_the_snapshot_is_made_good(open_memory: Open, tmp_path: Path) -> None:
    memory, data = open_memory(), tmp_path / "data"
    filled(memory)
    other = memory.create_store("other")
    secret = put(memory, "secret.md", SECRET)
    memory._keeper.keep()
    shutil.copytree(data / "catalog.words", tmp_path / "words")
    shutil.copytree(tmp_path / "words" / "1", tmp_path / "words" / "2")
    (tmp_path / "words" / "aside-left").mkdir()
    memory.delete_file(secret)
    memory.delete_store(other.id)
    memory.close()
    shutil.rmtree(data / "catalog.words")
    shutil.copytree(tmp_path / "words", data / "catalog.words")
    memory = open_memory()
    assert list((data / "catalog.words").iterdir()) == [] and holding(data, b"quuxzanzibar") == []
    assert not on_disk(memory) and consistent(memory)


class Meddled(Loader):
    """While it reads the texts, somebody adds a document and removes one."""

    memory: Memory
    gone: str

    def texts(self, *given: object) -> Iterator[Passages]:
        yield from super().texts(*given)  # type: ignore[arg-type]
        filled(self.memory, 50, 1)
        self.memory.delete_file(self.gone)


@pytest.mark.parametrize("disk", [True, False])
def test_changes_while_the_keeper_works_are_not_lost(open_memory: Open, tmp_path: Path, disk: bool) -> None:
    memory = open_memory()
    ids = filled(memory)
    if disk:
        memory._keeper.keep()
        memory.close()
        memory = open_memory()
    shelf = memory._shelf
    loader = Meddled(memory._catalog, shelf.files, shelf.snapshots, memory.embedder, Tiers())
    loader.memory, loader.gone = memory, ids[4]
    keeper = Keeper(memory._catalog, shelf, loader, shelf.snapshots, Trainer(shelf, loader, Tiers()))
    if disk:
        keeper._read_words(1, shelf.get(1), None)
        assert not on_disk(memory)
    else:
        keeper._save(1)
        assert not snapshot(tmp_path / "data").exists()  # it had the words of what was removed
    keeper._closing.set()
    assert consistent(memory) and len(scores(memory)) == 12
    assert {path.name for path in (tmp_path / "data" / "catalog.words").iterdir()} == set()


def test_an_opening_that_fails_leaves_no_words_on_the_disk(
    open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = open_memory()
    filled(memory)
    memory._keeper.keep()
    memory._shelf.close(1)

    def fail(*_: object) -> None:
        raise OSError("no memory")

    for step in ("index.loading.Loader.catch_up", "index.store.Store.index"):
        with monkeypatch.context() as patch:
            patch.setattr(step, fail)
            with pytest.raises(OSError, match="no memory"):
                memory._shelf.get(1)
        assert [path.name for path in (tmp_path / "data" / "catalog.words").iterdir()] == ["1"]
    assert on_disk(memory) and consistent(memory)


def test_small_stores_need_none(open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.keeper.LEAST", 13)
    memory = open_memory()
    filled(memory)
    memory._keeper.keep()
    memory.close()
    assert list((tmp_path / "data" / "catalog.words").iterdir()) == []


def test_publishing_replaces_and_dropping_can_be_said_twice(tmp_path: Path) -> None:
    snapshots = Snapshots(tmp_path, "kind")
    for n in (1, 2):
        aside = snapshots.aside()
        (aside / "words").write_text(str(n))
        snapshots.seal(aside, Extent(n, n))
        snapshots.publish(7, aside)
    assert snapshots.covers(7) == Extent(2, 2) and snapshots.stores() == [7]
    found = snapshots.open(7)
    assert found is not None and (found[0] / "words").read_text() == "2"
    snapshots.drop(7)
    snapshots.drop(7)
    assert snapshots.covers(7) is None and snapshots.open(7) is None
    assert (found[0] / "words").read_text() == "2"


def test_adding_removing_keeping_and_restarting_agree_with_a_plain_list(open_memory: Open, tmp_path: Path) -> None:
    dice, memory, there, lives = random.Random(17), open_memory("0"), dict[str, str](), 0
    seen = set()
    for step in range(70):
        kind = dice.random()
        if kind < 0.45 or not there:
            text = f"river number{step} " + " ".join(dice.choices(["duck", "pond", "reed"], k=5))
            there[put(memory, f"{step}.md", text)] = text
        elif kind < 0.6:
            gone = dice.choice(sorted(there))
            memory.delete_file(gone)
            del there[gone]
        elif kind < 0.8:
            memory._keeper.keep()
        else:
            before, lives = scores(memory), lives + 1
            if kind < 0.9:
                memory.close()
            shutil.copytree(tmp_path / str(lives - 1), tmp_path / str(lives))  # while open, it is what a kill leaves
            memory = open_memory(str(lives))
            seen.add(on_disk(memory))
            assert scores(memory).keys() == before.keys()
        assert {hit.chunk.text for hit in memory.search("default", "river", 50)} == set(there.values())
        assert consistent(memory)
    assert seen == {True, False}
