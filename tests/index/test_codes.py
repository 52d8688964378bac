"""A large store opened from its trained index on the disk answers as before; what is stale or damaged is made again."""

import gc
import logging
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from index.dense import Approximate, Tiers
from index.types import Vectors
from tests.fakes import HashedWords
from tests.index.conftest import Open, holding
from tests.index.test_kept_vectors import alive, stored, vector_file
from tests.index.test_tiers import TIERS, finds, opened, passage, put

SEEN = "come from a snapshot"


@pytest.fixture(autouse=True)
def _of_small_stores(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("index.keeper.LEAST", 1)
    caplog.set_level(logging.INFO, "index")


@pytest.fixture
def data(open_memory: Open, tmp_path: Path) -> Path:
    """A closed memory of three documents, each of 60 passages."""
    memory = open_memory(tiers=TIERS)
    for seed in range(3):
        put(memory, seed)
    memory._keeper.keep()
    assert isinstance(opened(memory).dense, Approximate)
    memory.close()
    assert folder(tmp_path / "data").exists()
    return tmp_path / "data"


def folder(data: Path) -> Path:
    return data / "catalog.words" / "1.codes"


def test_a_start_reads_no_vectors(open_memory: Open, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.keeper.Keeper._check", lambda *_: None)
    monkeypatch.setattr("index.vectors.VectorFiles._read", lambda *_: pytest.fail("a block was read"))
    memory = open_memory(tiers=TIERS)
    store = opened(memory)
    assert isinstance(store.dense, Approximate) and len(store) == 180 and not store.checked
    assert all(finds(memory, seed, n) for seed in range(3) for n in (0, 30, 59))


def test_what_came_and_went_since_is_made_good(
    open_memory: Open, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = open_memory(tiers=TIERS)
    shutil.copytree(folder(data), tmp_path / "kept")
    put(memory, 3)
    shutil.copytree(data, tmp_path / "killed")  # as a kill leaves it
    memory.close()
    caplog.clear()
    killed = open_memory("killed", tiers=TIERS)
    assert SEEN in caplog.text and len(opened(killed)) == 240 and finds(killed, 3, 7) and finds(killed, 0, 7)
    memory = open_memory(tiers=TIERS)
    gone = memory.store_files("default").data[-1].id
    memory.delete_file(gone)
    assert not folder(data).exists()
    memory._keeper.keep()
    assert folder(data).exists() and len(opened(memory)) == 180
    memory.close()
    shutil.rmtree(folder(data))
    shutil.copytree(tmp_path / "kept", folder(data))  # as if the removal had been cut short
    caplog.clear()
    memory = open_memory(tiers=TIERS)
    assert SEEN not in caplog.text and len(opened(memory)) == 180 and not finds(memory, 0, 7) and finds(memory, 3, 7)


def test_it_is_written_again_when_a_tenth_is_new_or_the_index_is_another(open_memory: Open, data: Path) -> None:
    memory = open_memory(tiers=TIERS)
    seal = folder(data) / "seal"

    def kept_again() -> bool:
        before = seal.stat().st_ino
        memory._keeper.keep()
        return seal.stat().st_ino != before

    file = memory.store_files("default").data[0].id
    assert not kept_again()
    memory.update_attributes("default", file, {"a": 1})
    put(memory, 8, 9)
    assert not kept_again()
    put(memory, 9, 10)
    assert kept_again() and not kept_again()
    built = memory._keeper._loader.dense(1, opened(memory))
    assert built is not None and memory._shelf.swap_vectors(1, opened(memory), *built)
    assert kept_again() and not kept_again()


def test_a_store_that_is_closed_leaves_no_index_in_ram(open_memory: Open, data: Path) -> None:
    memory = open_memory(tiers=TIERS)
    memory._keeper.keep()
    dense = weakref.ref(opened(memory).dense)
    memory._shelf.close(1)
    gc.collect()
    assert dense() is None


@pytest.mark.parametrize("name", ["index.faiss", "numbers.npz", "seal"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_noticed(
    open_memory: Open, data: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder(data) / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        content[len(content) // 2] ^= 2
    if damage != "gone":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else content)
    caplog.clear()
    memory = open_memory(tiers=TIERS)
    assert SEEN not in caplog.text and len(opened(memory)) == 180
    assert finds(memory, 0, 5) and finds(memory, 2, 5)


@pytest.mark.parametrize(
    "tiers", [Tiers("IVF4,RaBitQfs", 1000), Tiers("IVF2,Flat", 100)], ids=["too small", "another string"]
)
def test_one_that_does_not_suit_is_left(
    open_memory: Open, data: Path, tiers: Tiers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    memory = open_memory(tiers=tiers)
    assert SEEN not in caplog.text and len(opened(memory)) == 180 and finds(memory, 1, 5)


def test_damaged_vectors_are_found_though_none_was_read(
    open_memory: Open, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = alive(data)[1]
    path = vector_file(data)
    content = bytearray(path.read_bytes())
    content[block.at + 1000] ^= 1
    path.write_bytes(content)
    with monkeypatch.context() as patch:
        patch.setattr("index.keeper.Keeper._check", lambda *_: None)
        memory = open_memory(tiers=TIERS)
    memory._keeper.keep()
    store = opened(memory)
    assert store.checked and alive(data)[-1].at > block.at
    vectors, whole = store.rows.read(np.array(sorted(store.rows.chunks)))
    assert whole.all() and np.allclose(vectors[60], expected([1], [0])[0], atol=1e-3)


def expected(seeds: Sequence[int], numbers: Sequence[int]) -> Vectors:
    return HashedWords().encode([f"{seed}\n{passage(seed, n)}" for seed in seeds for n in numbers])


def test_purged_words_and_vectors_are_nowhere(open_memory: Open, data: Path) -> None:
    """Neither in the catalog, nor its log, nor the vectors, nor the codes, nor the originals."""
    memory = open_memory(tiers=TIERS)
    secret = memory.add_file("secret.txt", b"the quuxzanzibar treaty of Vlissingen")
    memory.attach("default", secret.id)
    assert memory.wait("default", secret.id, 60).status == "completed"
    (vector,) = HashedWords().encode(["secret\nthe quuxzanzibar treaty of Vlissingen"])
    memory._keeper.keep()
    memory.close()
    memory = open_memory(tiers=TIERS)
    assert holding(data, stored(vector)) == [vector_file(data).name]
    assert {b"quuxzanzibar" in path.read_bytes() for path in data.rglob("*") if path.is_file()} == {True, False}
    numbers = folder(data) / "numbers.npz"
    before = numbers.read_bytes()
    memory.delete_file(secret.id)
    assert holding(data, stored(vector)) == [] and not numbers.exists()
    for word in (b"quuxzanzibar", b"Vlissingen"):
        assert [path for path in data.rglob("*") if path.is_file() and word in path.read_bytes()] == []
    memory._keeper.keep()
    assert numbers.read_bytes() != before and len(opened(memory)) == 180
