import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from index.catalog import Catalog, files, sqlite
from index.catalog.paging import Cut
from index.errors import FileNotFound, FolderFault, InvalidRequest
from index.types import File
from tests.index.conftest import Open, OpenCatalog


def a_file(n: int, purpose: str = "assistants") -> File:
    return File(f"file-{n}", f"{n}.md", 10, 1_700_000_000, purpose, "ab" * 32)


def test_a_newer_catalog_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Catalog(path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = '999'")
    database.close()
    before = path.read_bytes()
    with pytest.raises(FolderFault, match=r"schema version 999.*upgrade"):
        Catalog(path)
    assert path.read_bytes() == before


def test_a_damaged_catalog_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"this is no database, " * 500)
    with pytest.raises(FolderFault, match="restore it from a backup"):
        Catalog(path)


@pytest.mark.parametrize("moment", [sqlite.MOMENT, 0], ids=["at once", "soon"])
def test_tables_and_indexes_that_disagree_are_refused(
    tmp_path: Path, moment: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(Catalog(path)) as catalog, catalog.write() as tx:
        files.add(tx, a_file(1))
    monkeypatch.setattr(sqlite, "MOMENT", moment)
    at = path.read_bytes().rindex(b"file-1")  # in the index: its page comes after the table's
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"pile-1")

    def served() -> None:
        with closing(Catalog(path)) as catalog:
            for thread in threading.enumerate():
                if thread.name.startswith("look at"):
                    thread.join()
            with catalog.read() as tx:
                files.get(tx, "file-1")

    for _ in range(2):
        with pytest.raises(FolderFault, match=r"damaged \(row 1 missing from index.*\); restore it from a backup"):
            served()


def test_what_sqlite_says_later_has_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(Catalog(path)) as catalog:
        with pytest.raises(FolderFault, match=r"catalog\.sqlite cannot be used .*restore it"), catalog.read() as tx:
            tx.exec_driver_sql("SELECT lost FROM files")
        with pytest.raises(FolderFault, match="make room on its disk"), catalog.write() as tx:
            tx.exec_driver_sql("PRAGMA max_page_count = 1")
            tx.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(1000000)")
        with catalog.write() as tx:
            files.add(tx, a_file(1))
        with pytest.raises(IntegrityError), catalog.write() as tx:  # a mistake of ours is no fault of the file
            files.add(tx, a_file(1))


def test_a_write_that_fails_leaves_nothing(open_catalog: OpenCatalog) -> None:
    catalog = open_catalog()
    with pytest.raises(RuntimeError), catalog.write() as tx:
        files.add(tx, a_file(1))
        raise RuntimeError
    with catalog.read() as tx, pytest.raises(FileNotFound):
        files.get(tx, "file-1")


def test_a_reader_sees_one_moment(open_catalog: OpenCatalog) -> None:
    catalog = open_catalog()
    with catalog.read() as reading:
        assert files.hashes(reading) == set()
        with catalog.write() as tx:
            files.add(tx, a_file(1))
        assert files.hashes(reading) == set()
    with catalog.read() as reading:
        assert files.hashes(reading) == {"ab" * 32}


def test_the_first_fact_stays(open_catalog: OpenCatalog) -> None:
    catalog = open_catalog()
    assert catalog.fact("embedder", "a") == "a"
    assert catalog.fact("embedder", "b") == "a"


def test_every_commit_reaches_the_disk_and_every_delete_overwrites(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    with catalog.read() as tx:
        found = {name: tx.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")}
        assert found == {"journal_mode": "wal", "synchronous": 2}
        assert tx.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
        assert tx.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    catalog.close()


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    catalog = Catalog(tmp_path_factory.mktemp("listed") / "catalog.sqlite")
    with catalog.write() as tx:
        for n in range(23):
            files.add(tx, a_file(n, "assistants" if n % 3 else "user_data"))
    return catalog


@settings(deadline=None, max_examples=40)
@given(limit=st.integers(1, 30), ascending=st.booleans(), purpose=st.sampled_from([None, "assistants", "user_data"]))
def test_pages_make_up_the_whole_list_forwards_and_backwards(
    listed: Catalog, limit: int, ascending: bool, purpose: str | None
) -> None:
    wanted = [f"file-{n}" for n in range(23) if purpose is None or (purpose == "assistants") == bool(n % 3)]
    if not ascending:
        wanted.reverse()
    order: Literal["asc", "desc"] = "asc" if ascending else "desc"
    forwards: list[str] = []
    backwards: list[str] = []
    with listed.read() as tx:
        page = files.page(tx, Cut(limit, order=order), purpose)
        forwards += [file.id for file in page.data]
        while page.has_more:
            page = files.page(tx, Cut(limit, after=forwards[-1], order=order), purpose)
            forwards += [file.id for file in page.data]
        page = files.page(tx, Cut(limit, before=wanted[-1], order=order), purpose)
        backwards = [file.id for file in page.data]
        while page.has_more:
            page = files.page(tx, Cut(limit, before=backwards[0], order=order), purpose)
            backwards[:0] = [file.id for file in page.data]
    assert forwards == wanted
    assert backwards == wanted[:-1]


def test_bad_cuts_are_refused_by_name(listed: Catalog) -> None:
    cases: list[tuple[dict[str, Any], str]] = [({"limit": 0}, "limit"), ({"order": "up"}, "order")]
    for given_cut, field in cases:
        with pytest.raises(InvalidRequest) as refusal:
            Cut(**given_cut)
        assert refusal.value.field == field
    with listed.read() as tx, pytest.raises(InvalidRequest, match="after names nothing"):
        files.page(tx, Cut(after="file-none"), None)


def test_a_damaged_passage_is_mended_or_refused_never_shown(open_memory: Open, tmp_path: Path) -> None:
    memory = open_memory()
    file = memory.add_file("a.md", b"# Rivers\n\nThe heron lives at river number 47.")
    memory.attach("default", file.id)
    memory.wait("default", file.id)
    (before,) = memory.search("default", "heron")

    def damage(statement: str) -> None:
        memory.close()
        with sqlite3.connect(tmp_path / "data" / "catalog.sqlite") as database:
            database.execute(statement)
        database.close()

    for damaged in ("replace(text, '47', '57')", "CAST(replace(text, '4', x'c3') AS TEXT)", "CAST(text AS BLOB)"):
        damage(f"UPDATE chunks SET text = {damaged}")
        memory = open_memory()
        assert memory.search("default", "heron")[0].chunk == before.chunk == memory.chunk(before.chunk.id)
    damage("UPDATE texts SET text = replace(text, '47', '57')")
    memory = open_memory()
    with pytest.raises(FolderFault, match=r"'a\.md'.*upload it again"):
        memory.search("default", "heron")
    memory.delete_file(file.id)
    again = memory.add_file("a.md", b"# Rivers\n\nThe heron lives at river number 47.")
    memory.attach("default", again.id)
    memory.wait("default", again.id)
    assert memory.search("default", "heron")[0].chunk.text == before.chunk.text
    damage("UPDATE chunks SET id = 'chunk_' || n")  # as older programs named them: without a checksum
    assert open_memory().search("default", "heron")[0].chunk.id == "chunk_2"
