import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from index.errors import (
    AmbiguousName,
    ChunkNotFound,
    EmbedderMismatch,
    FileNotFound,
    FolderFault,
    InvalidRequest,
    MemoryFault,
    StoreNotFound,
)
from index.reader import load_reader
from index.types import Attachment, Chunking, Embedder, Mark, Scalar
from tests.fakes import HashedWords
from tests.index.conftest import Open, holding, put

HANDBOOK = """# Staff handbook

## Leave

Everyone has thirty days of holiday a year. Days that are left expire at the end of March.

## Expenses

Travel is paid back within ten working days. A receipt is needed above fifteen euros.

## Notice

The notice period is six weeks in the first year and three months after it.
"""
RIVERS = """# Rivers

The Nile flows north for 6,650 kilometres. The Amazon carries more water than the next seven rivers together.
"""


def test_a_question_finds_its_passage_and_its_place(open_memory: Open, embedder: Embedder) -> None:
    memory = open_memory(embedder=embedder)
    handbook = put(memory, "handbook.md", HANDBOOK)
    put(memory, "rivers.md", RIVERS)
    best, *others = memory.search("default", "how long before I can quit?", k=3)
    assert "six weeks" in best.chunk.text and best.chunk.file_id == handbook and best.chunk.filename == "handbook.md"
    assert best.chunk.headings == ("Staff handbook", "Notice")
    assert memory.text(handbook)[best.chunk.start : best.chunk.end] == best.chunk.text
    assert [best.score, *(hit.score for hit in others)] == sorted((h.score for h in (best, *others)), reverse=True)
    assert all(0 <= hit.score <= 1 and hit.mark is None for hit in (best, *others))
    assert memory.chunk(best.chunk.id) == best.chunk
    assert "Nile" in memory.search("default", "length of the longest African river")[0].chunk.text


def test_the_reader_marks_the_answer(open_memory: Open, embedder: Embedder) -> None:
    memory = open_memory(embedder=embedder, reader=load_reader())
    put(memory, "handbook.md", HANDBOOK)
    put(memory, "rivers.md", RIVERS)
    best = memory.search("default", "How many days of holiday are there?")[0]
    assert best.mark is not None and "thirty" in best.chunk.text[best.mark.start : best.mark.end]
    elsewhere = memory.search("default", "Who painted the ceiling of the chapel?")
    assert all(hit.mark is not None and hit.mark.probability < best.mark.probability for hit in elsewhere)
    assert all(hit.mark is None for hit in memory.search("default", "holiday", rerank=False))


class Backwards:
    """Finds that the passage of most numbers answers, whatever the question."""

    def __init__(self) -> None:
        self.read_at_once: list[int] = []

    def read(self, question: str, passages: Sequence[str], headings: Sequence[Sequence[str]]) -> list[Mark]:
        self.read_at_once.append(len(passages))
        return [Mark(0, 1, 0.99 if any(c.isdigit() for c in text) else 0.01) for text in passages]


def test_the_reader_sees_ten_and_the_rest_follow_them(open_memory: Open) -> None:
    reader = Backwards()
    memory = open_memory(reader=reader)
    put(memory, "a.md", "\n\n".join(f"# {'abc'[n % 3]} {n}\n\nducks {n % 4} " + "pond " * (n + 30) for n in range(30)))
    hits = memory.search("default", "ducks", k=20, only_distinct=False)
    assert reader.read_at_once == [10]
    assert [hit.mark is not None for hit in hits] == [True] * 10 + [False] * 10
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    memory.search("default", ["ducks", "pond"], k=3, only_distinct=False)
    assert reader.read_at_once == [10, 10, 10]


def test_several_questions_share_one_answer(open_memory: Open) -> None:
    memory = open_memory()
    river, duck = put(memory, "a.md", "the long river"), put(memory, "b.md", "a loud duck")
    put(memory, "c.md", "nothing of interest")
    hits = memory.search("default", ["river", "duck"])
    assert {hit.chunk.file_id for hit in hits[:2]} == {river, duck}
    assert len({hit.chunk.id for hit in hits}) == len(hits) == 3
    assert memory.search("default", ["river", "duck"], threshold=0.9) == hits[:2]


def test_filters_are_exact_and_follow_changed_attributes(open_memory: Open) -> None:
    memory = open_memory()
    ids = {n: memory.add_file(f"{n}.md", f"ducks number{n}".encode()).id for n in range(12)}
    memory.attach_batch(
        "default", [Attachment(file_id, {"year": 2000 + n, "even": n % 2 == 0}) for n, file_id in ids.items()]
    )
    for file_id in ids.values():
        memory.wait("default", file_id, 60)
    wanted = {"type": "and", "filters": [
        {"type": "eq", "key": "even", "value": True}, {"type": "gte", "key": "year", "value": 2006}]}  # fmt: skip
    assert {hit.chunk.file_id for hit in memory.search("default", "ducks", 50, wanted)} == {ids[6], ids[8], ids[10]}
    document = memory.update_attributes("default", ids[8], {"year": 1990})
    assert document.attributes == {"year": 1990}
    hits = memory.search("default", "ducks", 50, wanted)
    assert {hit.chunk.file_id for hit in hits} == {ids[6], ids[10]}
    assert {hit.chunk.attributes["year"] for hit in hits} == {2006, 2010}


def test_a_second_start_answers_the_same(open_memory: Open, embedder: Embedder) -> None:
    first = open_memory(embedder=embedder)
    put(first, "handbook.md", HANDBOOK, kind="rules")
    put(first, "rivers.md", RIVERS)
    store = first.create_store("other", {"team": "a"}, "of others", 30)
    gone = put(first, "gone.md", "Holidays are never granted.")
    first.delete_file(gone)
    before = first.search("default", "holiday", filters={"type": "ne", "key": "kind", "value": "x"})
    first.close()
    second = open_memory(embedder=embedder)
    after = second.search("default", "holiday", filters={"type": "ne", "key": "kind", "value": "x"})
    assert [hit.chunk for hit in after] == [hit.chunk for hit in before]
    assert [hit.score for hit in after] == pytest.approx([hit.score for hit in before], abs=0.02)
    assert second.store("other") == store


def test_deleting_forgets_everywhere(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    keep = put(memory, "keep.md", "the ordinary duck")
    other = memory.create_store("other")
    secret = put(memory, "codename-quuxzanzibar.md", "# Zyxwvut\n\n" + "the quuxzanzibar treaty was signed. " * 400)
    memory.attach(other.id, secret, {"note": "quuxzanzibar"})
    memory.wait(other.id, secret, 30)
    chunk = memory.search(other.id, "quuxzanzibar")[0].chunk
    assert holding(tmp_path, b"quuxzanzibar")
    memory.delete_file(secret)
    assert holding(tmp_path, b"quuxzanzibar") == holding(tmp_path, b"Zyxwvut") == []
    for store in ("default", other.id):
        assert all("quuxzanzibar" not in hit.chunk.text for hit in memory.search(store, "quuxzanzibar treaty", 50))
    for ask in (memory.file, memory.content, memory.text, memory.delete_file):
        with pytest.raises(FileNotFound):
            ask(secret)
    with pytest.raises(ChunkNotFound):
        memory.chunk(chunk.id)
    assert memory.content(keep) == b"the ordinary duck"
    assert memory.stats().chunks == 1


def test_detaching_and_deleting_a_store_forget_the_passages_and_keep_the_file(
    open_memory: Open, tmp_path: Path
) -> None:
    memory = open_memory()
    store = memory.create_store("other")
    file_id = put(memory, "a.md", "the quuxzanzibar treaty", store.id)
    memory.detach(store.id, file_id)
    assert memory.search(store.id, "treaty") == [] and memory.stats().chunks == 0
    with pytest.raises(FileNotFound, match="attach it first"):
        memory.store_file(store.id, file_id)
    memory.attach(store.id, file_id)
    memory.wait(store.id, file_id, 30)
    assert memory.stores_of(file_id) == [store.id]
    memory.delete_store(store.id)
    with pytest.raises(StoreNotFound):
        memory.search(store.id, "treaty")
    assert memory.stats().chunks == 0 and memory.text(file_id) == "the quuxzanzibar treaty"


def test_one_original_for_equal_bytes_until_the_last_is_gone(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    one, two = memory.add_file("a.md", b"same bytes"), memory.add_file("b.md", b"same bytes")
    assert one.id != two.id and one.sha256 == two.sha256
    assert holding(tmp_path / "data" / "originals", b"same bytes") == [one.sha256]
    memory.delete_file(one.id)
    assert memory.content(two.id) == b"same bytes"
    memory.delete_file(two.id)
    assert holding(tmp_path, b"same bytes") == []


def test_a_damaged_original_is_noticed(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    file = memory.add_file("a.md", b"good bytes")
    place = tmp_path / "data" / "originals" / file.sha256[:2] / file.sha256
    place.write_bytes(b"evil bytes")
    with pytest.raises(FolderFault, match="damaged"):
        memory.content(file.id)


def test_text_of_a_file_that_is_in_no_store(open_memory: Open) -> None:
    memory = open_memory()
    file = memory.add_file("a.md", b"# Title\n\nSome *words*.")
    assert memory.text(file.id) == memory.text(file.id) == "Title\n\nSome words."


def test_stores_go_by_id_or_by_a_name_that_is_theirs_alone(open_memory: Open) -> None:
    memory = open_memory()
    one = memory.create_store("manuals")
    assert memory.store("manuals") == memory.store(one.id) == one
    two = memory.create_store("manuals")
    with pytest.raises(AmbiguousName, match="use the id"):
        memory.store("manuals")
    memory.update_store(two.id, name="guides", metadata={"a": "b"}, expires_after_days=3)
    assert memory.store("guides").metadata == {"a": "b"} and memory.store("guides").expires_after_days == 3
    assert memory.update_store(two.id, never_expires=True).expires_at is None
    with pytest.raises(StoreNotFound, match="list the stores"):
        memory.store("nothing")
    assert [info.name for info in memory.stores(order="asc").data] == ["documents", "manuals", "guides"]


def test_the_default_store_is_always_there_and_only_once(open_memory: Open) -> None:
    memory = open_memory()
    default = memory.store("default")
    attempts: list[Callable[[], object]] = [
        lambda: memory.create_store("default"),
        lambda: memory.delete_store("default"),
        lambda: memory.delete_store(default.id),
        lambda: memory.update_store(default.id, name="default"),
    ]
    for refused in attempts:
        with pytest.raises(InvalidRequest, match="alias"):
            refused()
    assert memory.update_store("default", name="mine").id == memory.store("mine").id == default.id
    memory.close()
    assert open_memory().store("default").name == "mine"


def test_arguments_out_of_range_are_refused_by_field(open_memory: Open) -> None:
    memory = open_memory()
    file_id = memory.add_file("a.md", b"words").id
    too_many: dict[str, Scalar] = {str(n): n for n in range(17)}
    cases: dict[str, Callable[[], object]] = {
        "filename": lambda: memory.add_file(" ", b"x"),
        "query": lambda: memory.search("default", "  "),
        "max_num_results": lambda: memory.search("default", "x", k=51),
        "ranking_options.score_threshold": lambda: memory.search("default", "x", threshold=1.5),
        "filters.type": lambda: memory.search("default", "x", filters={"type": "near"}),
        "attributes": lambda: memory.attach("default", file_id, too_many),
        "attributes.a": lambda: memory.attach("default", file_id, {"a": "x" * 513}),
        "attributes.n": lambda: memory.attach("default", file_id, {"n": float("nan")}),
        "metadata": lambda: memory.create_store("s", {"k" * 65: "v"}),
        "chunking_strategy.static.max_chunk_size_tokens": lambda: memory.attach("default", file_id, None, Chunking(8)),
        "chunking_strategy.static.chunk_overlap_tokens": lambda: memory.attach(
            "default", file_id, None, Chunking(100, 51)
        ),
        "expires_after.days": lambda: memory.create_store("s", expires_after_days=0),
        "file_ids": lambda: memory.attach_batch("default", []),
        "limit": lambda: memory.files(limit=0),
    }
    for field, call in cases.items():
        with pytest.raises(InvalidRequest) as refusal:
            call()
        assert refusal.value.field == field
        assert len(str(refusal.value)) > 15
    assert memory.store_files("default").data == []


def test_what_has_expired_is_forgotten(open_memory: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    memory = open_memory()
    store = memory.create_store("short", expires_after_days=1)
    put(memory, "a.md", "the quuxzanzibar treaty", store.id)
    brief = memory.add_file("b.md", b"brief words", expires_at=int(time.time()) + 3600)
    memory.tidy()
    assert memory.file(brief.id).expires_at == brief.expires_at and memory.search(store.id, "treaty")
    later = time.time() + 2 * 86_400
    monkeypatch.setattr("index.memory.time.time", lambda: later)
    with pytest.raises(InvalidRequest, match="expired after 1 days"):
        memory.search(store.id, "treaty")
    memory.tidy()
    assert memory.store(store.id).counts["completed"] == 0 and memory.stats().chunks == 0
    with pytest.raises(FileNotFound):
        memory.file(brief.id)
    assert holding(tmp_path, b"brief words") == []


def test_use_keeps_a_store_alive(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    store = memory.create_store("short", expires_after_days=1)
    put(memory, "a.md", "words", store.id)
    start = time.time()
    for half_days in range(1, 5):
        moment = start + half_days * 43_200
        monkeypatch.setattr("index.memory.time.time", partial(float, moment))
        assert memory.search(store.id, "words")
        memory.tidy()
    assert memory.store(store.id).last_active_at == int(start + 4 * 43_200)


def test_another_embedder_is_refused_and_the_folder_is_free_again(open_memory: Open) -> None:
    open_memory("one").close()
    with pytest.raises(EmbedderMismatch, match=r"hashed-words/128.*hashed-words/64"):
        open_memory("one", embedder=HashedWords(64))
    open_memory("one")


def test_a_folder_has_one_owner(open_memory: Open) -> None:
    memory = open_memory("one")
    with pytest.raises(FolderFault, match="in use by process"):
        open_memory("one")
    memory.close()
    open_memory("one")


def test_adding_deleting_and_searching_at_once(open_memory: Open) -> None:
    memory = open_memory()
    faults: list[BaseException] = []
    stop = threading.Event()
    kept: list[str] = []

    def write(seed: int) -> None:
        dice, mine = random.Random(seed), list[str]()
        for n in range(8):
            mine.append(
                put(memory, f"{seed}-{n}.md", f"# {seed}\n\nduck {seed} number{n}\n\n# More\n\n" + "pond " * 20)
            )
            if dice.random() < 0.4:
                gone = mine.pop(dice.randrange(len(mine)))
                memory.delete_file(gone)
                assert all(hit.chunk.file_id != gone for hit in memory.search("default", "duck pond", 50))
            else:
                name = f"{seed}-{n}.md"
                assert any(hit.chunk.filename == name for hit in memory.search("default", f"{seed}-{n} number{n}", 50))
        kept.extend(mine)

    def read() -> None:
        while not stop.is_set():
            for hit in memory.search("default", ["duck", "pond"], 50):
                assert hit.chunk.text
            time.sleep(0.005)

    def guarded(work: object, *args: int) -> None:
        try:
            work(*args)  # type: ignore[operator]
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=guarded, args=(write, seed)) for seed in range(3)]
    readers = [threading.Thread(target=guarded, args=(read,)) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join(120)
    stop.set()
    for thread in readers:
        thread.join(30)
    assert faults == []
    found = memory.store_files("default", limit=1000).data
    assert {document.id for document in found} == set(kept)
    store = memory._shelf.get(1)
    assert len(store) == len(store._lexical) == memory.stats().chunks


def test_a_store_whose_change_failed_is_built_again(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    put(memory, "a.md", "a quiet duck")

    def fail(*_: object) -> None:
        raise OSError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr("index.lexical.Lexical.add", fail)
        file = memory.add_file("b.md", b"a loud duck")
        memory.attach("default", file.id)
        # The catalog had it already: it is the truth, and the next search reads it from there.
        assert memory.wait("default", file.id, 30).status == "completed"
        while memory._shelf._stores:
            time.sleep(0.01)
    assert {hit.chunk.text for hit in memory.search("default", "duck")} == {"a quiet duck", "a loud duck"}


def test_every_fault_is_a_memory_fault() -> None:
    for fault in (InvalidRequest, AmbiguousName, StoreNotFound, FolderFault, EmbedderMismatch):
        assert issubclass(fault, MemoryFault)
