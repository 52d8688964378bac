"""Moving aliases and killing servers: on servers that are as they should be, and on answers and books that are not."""

import sys
from pathlib import Path
from typing import Any

import pytest

from app.api import Parts
from app.bench import crashes
from app.bench.__main__ import main
from app.bench.swaps import Known, Seen, _agreed, _found, breaches
from app.bench.visits import Fault, client
from app.cores.load import load_core
from app.settings import read
from index.memory import Memory
from index.reader import Reader
from index.types import Embedder
from tests.api.live import live, scripted
from tests.fakes import ScriptedEngine

OURS, THEIRS = (
    Known(f"vs_{n}", 2, frozenset({f"file-{n}"}), frozenset({number})) for n, number in enumerate(("312", "315"))
)
STORES = {store.id: store for store in (OURS, THEIRS)}


def beside(**changed: Any) -> dict[str, Any]:
    hit = {"file_id": "file-0"}
    search = {"store": "vs_0", "version": 2, "hits": [hit]}
    whole = {"stores": [{"id": "vs_0", "version": 2}], "searches": [search], "citations": [hit], "answer": "312"}
    return {**whole, **changed}


def test_an_answer_of_one_store_passes() -> None:
    assert _agreed("It is 312 kilometres long.", beside(), STORES) == "vs_0"
    page = {"vector_store_id": "vs_1", "version": 2, "data": [{"file_id": "file-1", "content": [{"text": "315"}]}]}
    assert _found(page, STORES) == "vs_1"
    with pytest.raises(Fault, match="files of another store"):
        _found({**page, "vector_store_id": "vs_0"}, STORES)
    with pytest.raises(Fault, match="version 1"):
        _found({**page, "version": 1}, STORES)


@pytest.mark.parametrize(
    ("text", "changed", "said"),
    [
        ("It is 315 kilometres long.", {}, "numbers of another store"),
        ("", {"answer": "315"}, "numbers of another store"),
        ("", {"citations": [{"file_id": "file-1"}]}, "files of another store"),
        ("", {"stores": [{"id": "vs_0", "version": 2}, {"id": "vs_1", "version": 2}]}, "names the stores"),
        ("", {"stores": [{"id": "vs_1", "version": 2}]}, "searched"),
        ("", {"stores": [{"id": "vs_0", "version": 3}]}, "is at version 2"),
        ("", {"searches": []}, "searched"),
        ("", {"searches": [{"store": "vs_0", "version": 2, "hits": [{"file_id": "file-1"}]}]}, "files of another"),
    ],
)
def test_an_answer_of_two_is_found_out(text: str, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Fault, match=said):
        _agreed(text, beside(**changed), STORES)


def test_what_did_not_happen_is_a_breach() -> None:
    found = list(breaches(Seen(moves=2, faults=["ReadError: gone"]), 3))
    assert [breach.split()[0] for breach in found] == ["1", "1", "no"]


def test_chats_notice_no_move(
    tmp_path: Path, embedder: Embedder, reader: Reader, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = Parts(load_core(device=device, threads=1), Memory(tmp_path, embedder, reader), read(data_dir=tmp_path))
    with live(parts) as url:
        main(["swaps", "--swaps", "6", "--clients", "3", "--stores", "2", "--url", url])
    assert capsys.readouterr().out.endswith("no breach\n")


def test_a_killed_server_keeps_its_word() -> None:
    books = crashes.crashes(1, 0.8, [sys.executable, "-m", "tests.small_server"], show=False)
    assert next(crashes.report(books)).startswith("1 kills, between ") and not books.breaches, books.breaches


async def test_books_that_say_more_than_the_server_are_a_breach(tmp_path: Path) -> None:
    books = crashes.Books()
    with scripted(ScriptedEngine(), tmp_path / "data") as url:
        await crashes.prepare(url, books)
        async with client(url) as server:
            for _ in range(2):
                await crashes.attach(server, books)
            await crashes.export(server, books)
            await crashes.bring(server, books)
        await crashes.verify(url, tmp_path, books)
        assert not books.breaches and not books.imports
        books.files["file-none"] = crashes.document(99)[1]
        kept = min(books.attached)
        books.gone[kept] = books.files[kept]
        books.imports["import-none"] = frozenset()
        books.targets = {"vs_none"}
        books.attached.add("file-none")
        (tmp_path / "data" / "originals" / "new-1").touch()
        with pytest.raises(Fault):  # in the end it tidies up, and what it believes in is not there
            await crashes.verify(url, tmp_path, books)
    said = "; ".join(books.breaches)
    for breach in (
        "imports are lost",
        "files are lost",
        "files are back",
        "documents are lost",
        "alias",
        "1 originals",
    ):
        assert breach in said
