import random
import threading
import time

import numpy as np
import pytest

from index.catalog.chunks import Entry, Indexed
from index.embed import Embedder
from index.filters import compile_filter
from index.store import Gate, Store, indexed_text
from tests.fakes import HashedWords

EMBEDDER = HashedWords(64)


def a_document(n: int, texts: list[str], **attributes: str) -> Indexed:
    entries = [Entry(n * 100 + i, (), text) for i, text in enumerate(texts)]
    return Indexed(n, f"{n}.md", attributes, entries, EMBEDDER.encode(texts))


@pytest.fixture
def store() -> Store:
    made = Store(64)
    made.add(
        [
            a_document(1, ["the river floods in spring", "boats need a licence"], lang="en"),
            a_document(2, ["der fluss steigt im april"], lang="de"),
        ]
    )
    return made


def find(store: Store, question: str, **only: str) -> list[int]:
    parts = [{"type": "eq", "key": key, "value": value} for key, value in only.items()]
    accepts = compile_filter({"type": "and", "filters": parts}) if parts else None
    return list(store.search(question, EMBEDDER.encode([question])[0], accepts))


def test_the_passage_with_the_words_is_first(store: Store) -> None:
    assert find(store, "when does the river flood")[0] == 100
    assert find(store, "licence for boats")[0] == 101


def test_a_filter_holds_in_both_indexes(store: Store) -> None:
    assert find(store, "river", lang="de") == [200]
    assert set(find(store, "river", lang="en")) == {100, 101}
    assert find(store, "river", lang="fr") == []


def test_a_file_can_be_filtered_by_its_name_unless_an_attribute_is_called_so(store: Store) -> None:
    assert set(find(store, "river", filename="1.md")) == {100, 101}
    assert find(store, "river", filename="1.md", lang="de") == []
    store.retag(2, {"filename": "other.md"})
    assert find(store, "river", filename="other.md") == [200]
    assert find(store, "river", filename="2.md") == []


def test_new_attributes_count_at_once(store: Store) -> None:
    store.retag(1, {"lang": "fr"})
    assert set(find(store, "river", lang="fr")) == {100, 101}
    assert find(store, "river", lang="en") == []


def test_removal_forgets_and_can_be_said_twice(store: Store) -> None:
    store.remove(1)
    store.remove(1)
    assert len(store) == 1 and find(store, "river flood boats licence") == [200]


def test_a_document_may_come_in_parts(store: Store) -> None:
    store.add([a_document(3, ["first part about ducks"])])
    store.add([Indexed(3, "3.md", {}, [Entry(399, (), "swans")], EMBEDDER.encode(["swans"]))])
    assert {300, 399} <= set(find(store, "ducks swans"))
    store.remove(3)
    assert not {300, 399} & set(find(store, "ducks swans"))


def test_an_empty_store_finds_nothing() -> None:
    assert Store(64).search("river", EMBEDDER.encode(["river"])[0]) == {}


def test_title_and_headings_go_before_the_text() -> None:
    assert indexed_text("price_list-2024.pdf", ("Plans", "Pro"), "49 EUR") == "price list 2024 > Plans > Pro\n49 EUR"


@pytest.mark.parametrize("letter", ["a", "Ж", "日", "각", "!"])
def test_headings_never_leave_the_text_without_room(embedder: Embedder, letter: str) -> None:
    path, text = indexed_text("a.md", (letter * 200,) * 6 + ("Notice",), "Six weeks.").split("\n")
    assert path.endswith(f"{letter} > Notice") and text == "Six weeks."
    assert embedder.count_tokens(path) < embedder.window - 100


def test_the_gate_never_lets_a_writer_in_with_anyone_else() -> None:
    gate, inside, faults = Gate(), {"readers": 0, "writers": 0}, []
    count = threading.Lock()

    def pass_through(kind: str, seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(150):
            with gate.read() if kind == "readers" else gate.write():
                with count:
                    inside[kind] += 1
                    if inside["writers"] > 1 or (inside["writers"] and inside["readers"]):
                        faults.append(dict(inside))
                time.sleep(dice.random() / 5000)
                with count:
                    inside[kind] -= 1

    kinds = ["readers"] * 5 + ["writers"] * 3
    threads = [threading.Thread(target=pass_through, args=(kind, seed)) for seed, kind in enumerate(kinds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults and inside == {"readers": 0, "writers": 0}


def test_readers_pass_the_gate_side_by_side() -> None:
    gate, together = Gate(), threading.Barrier(3, timeout=10)

    def read() -> None:
        with gate.read():
            together.wait()  # breaks unless all three are inside at once

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together.broken


def test_a_waiting_writer_goes_before_later_readers() -> None:
    gate, order = Gate(), []

    def write() -> None:
        with gate.write():
            order.append("writer")

    def read() -> None:
        with gate.read():
            order.append("reader")

    with gate.read():
        writer = threading.Thread(target=write)
        writer.start()
        while not gate._waiting:
            time.sleep(0.001)
        reader = threading.Thread(target=read)
        reader.start()
        time.sleep(0.02)
        assert order == []
    writer.join()
    reader.join()
    assert order == ["writer", "reader"]


def test_vectors_and_words_agree_on_what_is_there(store: Store) -> None:
    dice = np.random.default_rng(3)
    there = {1, 2}
    for n in range(3, 40):
        store.add([a_document(n, [f"passage number{n} river"])])
        there.add(n)
        if dice.random() < 0.5:
            gone = int(dice.choice(sorted(there)))
            store.remove(gone)
            there.discard(gone)
    assert {chunk // 100 for chunk in find(store, "river fluss")} == there
