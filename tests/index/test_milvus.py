"""Memories and stores whose indexes are in Milvus: the contract of those in RAM, and what only they can do wrong.

Milvus Lite stands in for Milvus: the same protocol, in this process, on the loopback.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("milvus_lite", reason="Milvus Lite is not installed")

from milvus_lite.adapter.grpc.server import start_server_in_thread

from index.blocks import rounded
from index.dense import Dense, Exact
from index.errors import MilvusAway
from index.lexical import Lexical, Words
from index.memory import Memory
from index.milvus import Milvus, RemoteVectors, RemoteWords
from index.store import Store
from tests.fakes import HashedWords
from tests.index.conftest import Open, put
from tests.index.test_aliases import (  # noqa: F401
    test_an_alias_moves_rolls_back_and_outlives_a_start,
)
from tests.index.test_memory import (  # noqa: F401
    test_a_second_start_answers_the_same,
    test_deleting_forgets_everywhere,
    test_detaching_and_deleting_a_store_forget_the_passages_and_keep_the_file,
    test_filters_are_exact_and_follow_changed_attributes,
    test_several_questions_share_one_answer,
    test_what_has_expired_is_forgotten,
)
from tests.index.test_store import (  # noqa: F401
    a_document,
    find,
    test_a_file_can_be_filtered_by_its_name_unless_an_attribute_is_called_so,
    test_a_filter_holds_in_both_indexes,
    test_the_passage_with_the_words_is_first,
    test_vectors_and_words_agree_on_what_is_there,
)


class Lite:
    """A Milvus that can be stopped and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server, self._db, self._port = start_server_in_thread(str(self._folder), "127.0.0.1", self._port)

    def close(self) -> None:
        self._server.stop(grace=0).wait()
        self._db.close()


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lite]:
    with closing(Lite(tmp_path_factory.mktemp("milvus"))) as running:
        yield running


@pytest.fixture
def milvus(lite: Lite) -> Iterator[Milvus]:
    with closing(Milvus(lite.url)) as client:
        yield client


@pytest.fixture
def store(milvus: Milvus, request: pytest.FixtureRequest) -> Store:
    """That of test_store.py, its indexes in Milvus."""
    name = f"t{abs(hash(request.node.name))}"
    made = Store(64)
    made.swap_vectors(RemoteVectors(milvus, f"{name}_v", 64))
    made.swap_words(RemoteWords(milvus, f"{name}_w"))
    made.add(
        [
            a_document(1, ["the river floods in spring", "boats need a licence"], lang="en"),
            a_document(2, ["der fluss steigt im april"], lang="de"),
        ]
    )
    return made


@pytest.fixture
def open_memory(tmp_path: Path, lite: Lite) -> Iterator[Open]:
    yield from opener(tmp_path, lite)


def opener(tmp_path: Path, lite: Lite) -> Iterator[Callable[..., Memory]]:
    with ExitStack() as stack:

        def open_one(folder: str = "data", **given: Any) -> Memory:
            embedder = given.pop("embedder", None) or HashedWords()
            return stack.enter_context(closing(Memory(tmp_path / folder, embedder, milvus=Milvus(lite.url), **given)))

        yield open_one


def patiently(open_memory: Open) -> Memory:
    """Until gRPC has seen that the port answers again."""
    end = time.monotonic() + 60
    while True:
        try:
            return open_memory()
        except MilvusAway:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def texts(memory: Memory, question: str) -> set[str]:
    return {hit.chunk.text for hit in memory.search("default", question)}


def collections(memory: Memory, milvus: Milvus) -> list[str]:
    """Those of this memory: first each store's vectors, then its words."""
    folder = memory._catalog.fact("folder", "")
    with milvus.asked() as client:
        return sorted(name for name in client.list_collections() if folder in name)


def test_what_milvus_lacks_or_has_too_much_is_mended_at_the_opening(open_memory: Open, milvus: Milvus) -> None:
    memory = open_memory()
    put(memory, "a.md", "a quiet duck")
    put(memory, "b.md", "a loud duck")
    put(memory, "c.md", "a wet duck")
    vectors, words = collections(memory, milvus)
    memory.close()
    (chunks,) = milvus.listed(vectors, "chunk")
    first, second, third = chunks.tolist()
    wrong = HashedWords().encode(["who is this"])[0]
    milvus.delete(vectors, [first])  # as when the process was killed between the catalog's commit and Milvus
    milvus.delete(words, [second])
    milvus.put(vectors, [{"chunk": third, "crc": 1, "vector": wrong}, {"chunk": 900, "crc": 2, "vector": wrong}])
    milvus.put(words, [{"chunk": 900, "document": 90, "text": "duck"}])
    again = open_memory()
    assert texts(again, "duck") == {"a quiet duck", "a loud duck", "a wet duck"}
    assert again.search("default", "quiet")[0].chunk.text == "a quiet duck"
    for name in (vectors, words):
        assert milvus.listed(name, "chunk")[0].tolist() == [first, second, third]
    assert 1 not in milvus.listed(vectors, "crc")[0]


def test_a_change_that_milvus_refused_is_there_at_the_next_search(
    open_memory: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = open_memory()
    gone = put(memory, "a.md", "a quiet duck")

    def refuse(*_: object) -> None:
        raise MilvusAway("full")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteWords, "add", refuse)  # the vectors were taken
        put(memory, "b.md", "a loud duck")
    assert texts(memory, "duck") == {"a quiet duck", "a loud duck"}
    with monkeypatch.context() as patch:
        patch.setattr(RemoteVectors, "remove", refuse)
        memory.delete_file(gone)
    assert texts(memory, "duck") == {"a loud duck"}


def test_while_milvus_is_away_nothing_acknowledged_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.milvus.REST", 0.0)
    lite = Lite(tmp_path / "milvus")
    for open_memory in opener(tmp_path, lite):
        memory = open_memory()
        gone = put(memory, "a.md", "a quiet duck")
        put(memory, "b.md", "a loud duck")
        lite.close()
        with pytest.raises(MilvusAway, match="start it"):
            memory.search("default", "duck")
        put(memory, "c.md", "a wet duck")
        memory.delete_file(gone)
        store = memory.create_store("other")
        put(memory, "d.md", "a swan", store.id)
        memory.delete_store(store.id)
        memory.close()
        with pytest.raises(MilvusAway):
            open_memory()
        lite.start()
        memory = patiently(open_memory)
        assert texts(memory, "duck") == {"a loud duck", "a wet duck"}
        milvus = Milvus(lite.url)
        assert len(collections(memory, milvus)) == 2
        milvus.close()
    lite.close()


def test_a_deleted_store_leaves_milvus(open_memory: Open, milvus: Milvus) -> None:
    memory = open_memory()
    put(memory, "a.md", "a duck")
    store = memory.create_store("other")
    put(memory, "b.md", "a swan", store.id)
    memory.search(store.id, "swan")
    assert len(collections(memory, milvus)) == 4
    memory.delete_store(store.id)
    assert len(collections(memory, milvus)) == 2
    memory.close()
    with milvus.asked() as client:
        client.drop_collection(collections(memory, milvus)[0])
    assert texts(open_memory(), "duck") == {"a duck"}


def test_both_find_what_the_indexes_in_ram_find(milvus: Milvus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.milvus.NUMBERS", 7)  # a filter takes several requests
    monkeypatch.setattr("index.milvus.WIDE", 20)
    dice = random.Random(5)
    said = [" ".join(dice.choices("river flood boat spring ducks pond café licences".split(), k=12)) for _ in range(60)]
    vectors = rounded(HashedWords(32).encode(said))
    near, far = Exact(32), RemoteVectors(milvus, "both_v", 32)
    near_words, far_words = Lexical(), RemoteWords(milvus, "both_w")
    dense: list[Dense] = [near, far]
    for one in dense:
        one.add(range(60), vectors)
    lexical: list[Words] = [near_words, far_words]
    for each in lexical:
        each.add((n // 2, n, text) for n, text in enumerate(said))
    for allowed in (None, range(60), [3], [], dice.sample(range(60), 25), range(0, 60, 9)):
        asked = HashedWords(32).encode(["cafe by the river"])[0]
        expected, found = near.search(asked, 10, allowed), far.search(asked, 10, allowed)
        assert found == pytest.approx(expected, abs=1e-5)
        documents = None if allowed is None else sorted({n // 2 for n in allowed})
        worded, there = (
            near_words.search("Licence in a cafe", 200, documents),
            far_words.search("Licence in a cafe", 200, documents),
        )
        assert there.keys() == worded.keys()
        assert not there or list(there.values()) == sorted(there.values(), reverse=True)
    far.remove([0, 1])
    far_words.remove(0)
    assert len(far) == len(far_words) == 58
    assert np.array_equal(milvus.listed("both_v", "chunk")[0], np.arange(2, 60))


def test_a_text_that_is_too_long_is_found_by_its_first_words(milvus: Milvus) -> None:
    words = RemoteWords(milvus, "long")
    words.add([(1, 1, "duck " + "ö" * 50 + " x" * 65_000 + " swan"), (2, 2, "—")])
    assert words.search("duck", 5) and not words.search("swan", 5) and not words.search("!", 5)


def test_without_its_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(MilvusAway, match=r"cogcore\[milvus\]"):
        Milvus("http://127.0.0.1:1").drop("x")
