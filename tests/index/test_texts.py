"""A file that is read otherwise the next time: each document keeps the text that it was cut from."""

import io

import pytest
from sqlalchemy import update

from index import ingest
from index.catalog.schema import chunks
from index.memory import Memory
from index.parse import Limits, Parsed, parse
from index.types import Chunk, Chunking
from tests.index.conftest import Open, put

OLD = "The notice period is six weeks."
NEW = f"Read by OCR now.\n\n{OLD}"
SMALLER = Chunking(100, 0)


@pytest.fixture
def file_id(open_memory: Open, monkeypatch: pytest.MonkeyPatch) -> str:
    """In the default store as the old parser read it, in `other` as the new one does."""
    memory = open_memory()
    made = put(memory, "a.md", OLD)
    memory.create_store("other")
    again(memory, "other", made, monkeypatch)
    memory.close()
    return made


def again(memory: Memory, store: str, file_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def newer(name: str, _: bytes, limits: Limits) -> Parsed:
        return parse(name, NEW.encode(), limits)

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "parse", newer)
        memory.attach(store, file_id, chunking=SMALLER)
        assert memory.wait(store, file_id, 60).status == "completed"


def found(memory: Memory, store: str) -> Chunk:
    (hit,) = memory.search(store, "notice")
    return hit.chunk


def test_offsets_count_in_the_text_that_each_document_was_cut_from(open_memory: Open, file_id: str) -> None:
    memory = open_memory()
    for store, text in (("default", OLD), ("other", NEW)):
        chunk = found(memory, store)
        assert memory.store_text(store, file_id) == memory.text_around(chunk) == text
        assert text[chunk.start : chunk.end] == chunk.text
    assert memory.text(file_id) == NEW
    memory.detach("default", file_id)
    assert memory.text(file_id) == memory.store_text("other", file_id) == NEW


def test_cut_anew_a_document_has_the_new_text(open_memory: Open, file_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = open_memory()
    again(memory, "default", file_id, monkeypatch)
    chunk = found(memory, "default")
    assert NEW[chunk.start : chunk.end] == chunk.text and memory.text_around(chunk) == NEW


def test_a_copy_has_the_text_of_its_twin(open_memory: Open, file_id: str) -> None:
    memory = open_memory()
    third = memory.create_store("third").id
    memory.attach(third, file_id)
    assert memory.wait(third, file_id, 60).status == "completed"
    for store, text in (("default", OLD), ("other", NEW), (third, OLD)):
        assert memory.text_around(found(memory, store)) == memory.store_text(store, file_id) == text


@pytest.mark.parametrize(("store", "text"), [("default", OLD), ("other", NEW)])
def test_a_damaged_passage_and_a_bundle_have_it_too(open_memory: Open, file_id: str, store: str, text: str) -> None:
    memory = open_memory()
    before = found(memory, store)
    with memory._catalog.write() as tx:
        tx.execute(update(chunks).values(text="damaged"))
    assert memory.chunk(before.id) == before
    with memory.spool() as spool:
        memory.exporter.export(store, spool)
        spool.seek(0)
        imported = memory.importer.import_(io.BytesIO(spool.read())).store.id
    assert memory.text_around(found(memory, imported)) == text
