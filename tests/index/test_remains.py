"""Nothing of what was deleted stays on the disk: not what SQLite leaves of rows that it moved, nor after a kill."""

import os
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from index.catalog import Catalog, documents, remains, sqlite
from index.dense import Tiers
from index.originals import Originals
from index.reembed import reembed
from index.snapshot import Snapshots
from index.vectors import VectorFiles
from tests.fakes import HashedWords
from tests.index.conftest import Open, put

SECRET = b"the word of a deleted document"
SIZE = 4096
EMBEDDERS = HashedWords(), HashedWords(64, "newer")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A catalog with rows enough for some pages."""
    made = tmp_path / "catalog.sqlite"
    catalog = Catalog(made)
    with catalog.write() as tx:
        for n in range(100):
            tx.execute(text("INSERT INTO facts VALUES (:key, :value)"), {"key": f"key{n}", "value": "v" * 80})
    catalog.close()
    return made


def plant(path: Path) -> int:
    """Leave text where SQLite may leave it: between the places of the cells and the cells of a page of `facts`."""
    data = bytearray(path.read_bytes())
    for at in range(SIZE, len(data), SIZE):
        page = data[at : at + SIZE]
        top, cells = int.from_bytes(page[5:7]), int.from_bytes(page[3:5])
        if page[0] == remains.LEAF and b"key7\x00" not in page and b"v" * 80 in page and top > 8 + 2 * cells + 60:
            data[at + top - 40 : at + top - 40 + len(SECRET)] = SECRET
            path.write_bytes(data)
            return at // SIZE + 1
    raise AssertionError("no page has room")


def touch(path: Path, catalog: Catalog) -> None:
    """Write every page of `facts` again."""
    with catalog.write() as tx:
        tx.execute(text("UPDATE facts SET value = :value WHERE key LIKE 'key%'"), {"value": "w" * 80})


def stands(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if SECRET in one.read_bytes())


def values(path: Path) -> set[tuple[int, str]]:
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = connection.execute("SELECT count(*), value FROM facts WHERE key LIKE 'key%' GROUP BY value")
        return set(found.fetchall())


def test_what_a_commit_leaves_in_a_page_goes_with_it(path: Path) -> None:
    plant(path)
    catalog = Catalog(path)
    touch(path, catalog)
    assert stands(path) == ["catalog.sqlite-wal"]  # until whatever empties it
    catalog.forget()
    assert stands(path) == []
    catalog.close()
    assert values(path) == {(100, "w" * 80)}


def test_who_was_killed_before_he_erased_it_does_it_when_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(path)
    catalog = Catalog(path)
    with monkeypatch.context() as patched:
        patched.setattr(sqlite.SQLite, "_look", lambda self: None)
        touch(path, catalog)
    killed = path.parent / "killed"
    killed.mkdir()
    for name in ("catalog.sqlite", "catalog.sqlite-wal"):
        shutil.copy(path.with_name(name), killed)
    catalog.close()
    again = Catalog(killed / "catalog.sqlite")
    again.forget()
    assert stands(killed / "catalog.sqlite") == []
    again.close()


def test_a_catalog_of_before_is_looked_through_once(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 0")
    connection.close()
    number = plant(path)
    file = os.open(path, os.O_RDONLY)
    assert remains.in_file(file) == {number}
    os.close(file)
    Catalog(path).close()
    assert stands(path) == []
    plant(path)
    Catalog(path).close()  # nobody leaves anything any more: it is not read again
    assert stands(path) == ["catalog.sqlite"]


def test_while_somebody_reads_it_waits_for_the_next_change(path: Path) -> None:
    plant(path)
    catalog = Catalog(path)
    with catalog.read() as reader:
        reader.execute(text("SELECT count(*) FROM facts")).scalar_one()
        touch(path, catalog)
        touch(path, catalog)
        assert "catalog.sqlite-wal" in stands(path)
    with catalog.write() as tx:
        tx.execute(text("UPDATE facts SET value = 'x' WHERE key = 'key1'"))
    catalog.forget()
    assert stands(path) == []
    catalog.close()


def test_a_disk_that_refuses_fails_no_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(path)
    catalog = Catalog(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", refused)
        touch(path, catalog)
        catalog.forget()
    assert (catalog.owes, stands(path)) == (True, ["catalog.sqlite"])
    catalog.forget()
    assert (catalog.owes, stands(path)) == (False, [])
    catalog.close()
    assert values(path) == {(100, "w" * 80)}


def refused(*_: object) -> None:
    raise OSError("no room")


def test_only_what_pages_do_not_use_is_erased(tmp_path: Path) -> None:
    """Rows of all lengths come and go; each page is looked at as if it held remains."""
    path, dice = tmp_path / "some.sqlite", random.Random(3)
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "PRAGMA secure_delete=ON",
        "CREATE TABLE t (n INTEGER PRIMARY KEY, a TEXT)",
        "CREATE INDEX i ON t (a)",
    ):
        connection.execute(statement)
    connection.execute("BEGIN")
    for n in range(2000):
        connection.execute("INSERT INTO t (a) VALUES (?)", (f"{n} " * dice.choice([1, 20, 200, 3000]),))
        if dice.random() < 0.6:
            connection.execute("DELETE FROM t WHERE n = (SELECT n FROM t ORDER BY random() LIMIT 1)")
    connection.execute("COMMIT")
    before = connection.execute("SELECT n, a FROM t").fetchall()
    connection.close()
    file, pages = os.open(path, os.O_RDWR), path.stat().st_size // SIZE
    for number in remains.in_file(file):
        assert remains.unused(os.pread(file, SIZE, (number - 1) * SIZE), number, pages)
    remains.erase(file, range(1, pages + 3))
    assert remains.in_file(file) == set()
    os.close(file)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT n, a FROM t").fetchall() == before
    connection.close()


def test_what_is_no_log_says_nothing(tmp_path: Path) -> None:
    log = remains.Log(tmp_path / "none")
    assert log.news() == set()
    for content in (b"", b"short", bytes(100), b"\xff" * 10_000):
        (tmp_path / "none-wal").write_bytes(content)
        assert log.news() == set()


MOMENTS = {
    "vectors": (VectorFiles, "erase"),
    "next vectors": (VectorFiles, "erase_next"),
    "snapshots": (Snapshots, "drop"),
    "originals": (Originals, "drop"),
    "log": (Catalog, "forget"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_deletion_that_was_killed_after_its_commit_is_ended_by_the_next_start(
    open_memory: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr("index.keeper.LEAST", 1)
    memory = open_memory(tiers=Tiers("IVF2,RaBitQfs", 2))
    ids = [put(memory, f"{n}.md", f"quuxword{n} river pond duck") for n in range(6)]
    assert not reembed(tmp_path / "data", HashedWords(64, "newer"))
    memory._keeper.keep()
    with monkeypatch.context() as patched:
        patched.setattr(*MOMENTS[moment], killed)
        with pytest.raises(KeyboardInterrupt):
            memory.delete_file(ids[2])
    folder = tmp_path / "killed"
    shutil.copytree(tmp_path / "data", folder, ignore=shutil.ignore_patterns("lock"))
    words = folder / "catalog.words" / "1"
    assert words.exists() == (moment in ("vectors", "next vectors", "snapshots"))
    again = open_memory("killed")
    with again._catalog.read() as tx:
        assert 3 not in documents.completed(tx, 1)
    gone = [embedder.encode(["2\nquuxword2 river pond duck"])[0].astype("<f2").tobytes() for embedder in EMBEDDERS]
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"quuxword2" not in path.read_bytes(), path
            assert not any(vector in path.read_bytes() for vector in gone), path
    assert not words.exists() and not words.with_suffix(".codes").exists()


def killed(*_: object) -> None:
    raise KeyboardInterrupt
