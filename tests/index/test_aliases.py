"""Names that point to stores: where they point, where they pointed before, and nobody noticing that they move."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from index.catalog import aliases as record
from index.errors import AliasNotFound, InvalidRequest, StoreNotFound
from index.types import Attachment, Chunking, Hits
from tests.index.conftest import Open, put


def test_an_alias_moves_rolls_back_and_outlives_a_start(open_memory: Open) -> None:
    memory = open_memory()
    one, two, three = (memory.create_store(name).id for name in ("one", "two", "three"))
    made = memory.aliases.set("live", "one")
    assert (made.name, made.store_id, made.before) == ("live", one, ())
    assert memory.store("live").id == one and memory.store("one").aliases == ("live",)
    memory.aliases.set("live", two)
    assert memory.aliases.set("live", two).before == (one,), "nothing moved"
    memory.aliases.set("copy", "live")
    memory.aliases.set("live", "three")
    memory.close()

    memory = open_memory()
    assert [(a.name, a.store_id) for a in memory.aliases.all() if a.name != "default"] == [
        ("copy", two),
        ("live", three),
    ]
    assert memory.aliases.get("live").before == (two, one)
    assert memory.aliases.roll_back("live").store_id == two
    rolled = memory.aliases.roll_back("live")
    assert (rolled.store_id, rolled.before) == (one, ())
    with pytest.raises(InvalidRequest, match="pointed to no other store before"):
        memory.aliases.roll_back("live")
    memory.aliases.remove("live")
    with pytest.raises(StoreNotFound):
        memory.store("live")
    assert memory.store("one").id == one


def test_what_is_no_alias_is_refused(open_memory: Open) -> None:
    memory = open_memory()
    store = memory.create_store("manuals")
    memory.aliases.set("live", store.id)
    for name in ("", "a/b", "-a", "a b", "ä", "x" * 65):
        with pytest.raises(InvalidRequest, match="1 to 64 letters"):
            memory.aliases.set(name, store.id)
    clashes: list[Callable[[], object]] = [
        lambda: memory.aliases.set("manuals", "default"),
        lambda: memory.aliases.set(store.id, "default"),
        lambda: memory.create_store("live"),
        lambda: memory.update_store(store.id, name="live"),
        lambda: memory.aliases.remove("default"),
    ]
    for clash in clashes:
        with pytest.raises(InvalidRequest, match=r"rename it|another name|another alias|always there"):
            clash()
    for unknown in (memory.aliases.get, memory.aliases.remove, memory.aliases.roll_back):
        with pytest.raises(AliasNotFound, match="list the aliases"):
            unknown("nothing")
    with pytest.raises(StoreNotFound):
        memory.aliases.set("new", "nothing")
    assert [alias.name for alias in memory.aliases.all()] == ["default", "live"]


def test_a_store_can_be_deleted_once_nothing_points_to_it(open_memory: Open) -> None:
    memory = open_memory()
    one, two, three = (memory.create_store(name).id for name in ("one", "two", "three"))
    for store in (one, two, one, three):
        memory.aliases.set("live", store)
    with pytest.raises(InvalidRequest, match=r"'live' does; point it to another"):
        memory.delete_store("live")
    memory.delete_store(two)
    assert memory.aliases.get("live").before == (one,)
    assert memory.aliases.roll_back("live").store_id == one
    with pytest.raises(InvalidRequest, match="no other store before"):
        memory.aliases.roll_back("live")
    memory.delete_store(three)


def test_the_default_store_can_be_another(open_memory: Open) -> None:
    memory = open_memory()
    new = memory.create_store("handbook")
    first = memory.store("default").id
    memory.aliases.set("default", "handbook")
    put(memory, "a.md", "a quiet duck")
    assert memory.store("handbook").counts["completed"] == 1
    memory.delete_store(first)
    memory.close()
    assert open_memory().store("default").id == new.id


def test_as_many_earlier_targets_as_are_kept(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "KEPT", 3)
    memory = open_memory()
    stores = [memory.create_store().id for _ in range(6)]
    for store in stores:
        memory.aliases.set("other", store)
        memory.aliases.set("live", store)
    assert memory.aliases.get("live").before == memory.aliases.get("other").before == tuple(stores[4:1:-1])


def test_an_expired_store_is_no_target(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    short = memory.create_store("short", expires_after_days=1)
    memory.aliases.set("live", "short")
    memory.aliases.set("live", "documents")
    later = short.last_active_at + 2 * 86_400
    monkeypatch.setattr("index.aliases.time.time", lambda: float(later))
    with pytest.raises(InvalidRequest, match="expired after 1 days"):
        memory.aliases.set("live", "short")
    with pytest.raises(InvalidRequest, match="expired after 1 days"):
        memory.aliases.roll_back("live")
    assert memory.aliases.get("live").before == (short.id,)


def test_a_version_counts_what_can_be_found(open_memory: Open) -> None:
    memory = open_memory()
    store = memory.create_store("one").id
    other = memory.create_store("two").id
    seen = [1]

    def rises(by: int) -> None:
        """Catalog and open store agree."""
        seen.append(memory.store(store).version)
        assert seen[-1] - seen[-2] == by
        assert memory.search(store, "duck").version == seen[-1]

    rises(0)
    first = put(memory, "a.md", "a quiet duck", store)
    rises(1)
    memory.update_attributes(store, first, {"n": 1})
    rises(1)
    memory.attach(store, first, {"n": 2})
    rises(1)
    memory.attach(store, first, None, Chunking(64))  # takes it out, and queues it
    memory.wait(store, first, 60)
    rises(2)
    failed = memory.add_file("b.pdf", b"%PDF-1.4 broken")
    memory.attach_batch(store, [Attachment(failed.id)])
    memory.wait(store, failed.id, 60)
    memory.update_attributes(store, failed.id, {"n": 1})
    memory.detach(store, failed.id)
    rises(0)
    memory.attach(other, first)
    memory.wait(other, first, 60)
    before = memory.store(other).version
    memory.delete_file(first)
    rises(1)
    assert memory.store(other).version == memory.search(other, "duck").version == before + 1
    memory.update_store(store, name="renamed")
    rises(0)
    memory.close()
    assert open_memory().search("renamed", "duck").version == seen[-1]


def test_swaps_under_load_fail_nobody_and_mix_nothing(open_memory: Open) -> None:
    memory = open_memory()
    held: dict[str, set[str]] = {}
    for name in ("winter", "summer"):
        store = memory.create_store(name).id
        held[store] = {put(memory, f"{name}-{n}.md", f"ducks in {name}, part number{n}", store) for n in range(4)}
    versions = {store: memory.store(store).version for store in held}
    one, two = held
    memory.aliases.set("live", one)
    stop, faults, answers = threading.Event(), list[BaseException](), list[Hits]()

    def ask() -> None:
        try:
            while not stop.is_set():
                answers.append(memory.search("live", ["ducks", "winter summer"], 8))
                time.sleep(0.05)  # lets the one that moves have its turn
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    moves = [memory.aliases.set("live", (two, one)[n % 2]).store_id for n in range(200)]
    stop.set()
    for thread in threads:
        thread.join(60)
    assert faults == [] and len(moves) == 200 and all(a != b for a, b in pairwise(moves))
    assert {answer.store for answer in answers} == {one, two}
    for answer in answers:
        assert {hit.chunk.file_id for hit in answer} == held[answer.store]
        assert answer.version == versions[answer.store]


def test_ids_of_chunks_tell_nothing(open_memory: Open) -> None:
    memory = open_memory()
    for n in range(2):
        put(memory, "same.md", "the same words")  # the second is copied from the first
        put(memory, f"{n}.md", "the same words")
    ids = [hit.chunk.id for hit in memory.search("default", "words", only_distinct=False)]
    assert len(set(ids)) == 4 and all(len(one) == len("chunk_") + 24 + 8 for one in ids)
    assert [memory.chunk(one).id for one in ids] == ids
