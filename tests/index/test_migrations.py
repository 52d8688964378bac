"""A catalog of any age opens with all it holds, whoever else opens it and whatever dies meanwhile."""

import logging
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, event

from index.catalog import Catalog, documents, migrations, stores
from index.catalog.schema import schema
from index.catalog.sqlite import open_catalog
from index.errors import FolderFault
from index.originals import Originals
from index.types import Alias
from index.vectors import VectorFiles
from tests.fakes import HashedWords
from tests.index.conftest import Open

OLD = Path(__file__).with_name("catalog_v1.sql").read_text("utf-8")
ROOT = Path(__file__).parents[2]
WAITING = b"The queue survives."  # the original of the document that is still to be read


def old(path: Path) -> Path:
    """A catalog as programs made it before there were revisions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(OLD)
        database.execute("PRAGMA journal_mode=WAL")
    return path


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def layout(path: Path) -> list[tuple[object, ...]]:
    """Every table and index, as the database wrote them down."""
    found = rows(path, "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
    return [(kind, name, re.sub(r"\s+", " ", str(sql))) for kind, name, sql in found]


@contextmanager
def opened(path: Path) -> Iterator[Engine]:
    engine = open_catalog(path)
    try:
        yield engine
    finally:
        engine.dispose()


def test_an_old_catalog_opens_with_all_its_documents(open_memory: Open, tmp_path: Path) -> None:
    old(tmp_path / "data" / "catalog.sqlite")
    Originals(tmp_path / "data" / "originals").put(WAITING)
    memory = open_memory(embedder=HashedWords(32))
    guides = memory.store("guides")
    assert (guides.metadata, guides.description, guides.expires_after_days) == (
        {"team": "a"},
        "how things are done",
        30,
    )
    assert guides.counts == {"completed": 3, "failed": 1, "in_progress": 0, "cancelled": 0}
    assert memory.note("guides", "calibration") == "kept"
    assert memory.aliases.all() == [Alias("default", "vs_7a0326fedd17ee5d698239c4", 1795297480)]
    assert memory.store("default").name == "documents"
    (batch,) = memory.store_files("guides", batch_id="vsfb_e0aa869bd60dbc2b7e36adf8").data
    assert (batch.filename, batch.attributes) == ("batch.md", {"n": 1})
    # The queue goes on where it was.
    waiting = next(document for document in memory.store_files("default").data if document.filename == "waiting.md")
    assert memory.wait("default", waiting.id, 60).status == "completed"
    assert {hit.chunk.filename for hit in memory.search("default", "survives holiday")} == {"handbook.md", "waiting.md"}
    (hit,) = memory.search("default", "holiday", filters={"type": "eq", "key": "year", "value": 2024})
    assert memory.chunk("chunk_1") == hit.chunk  # as citations and reviews from before name it
    assert "thirty days" in hit.chunk.text
    assert memory.text(hit.chunk.file_id)[hit.chunk.start : hit.chunk.end] == hit.chunk.text


def test_a_catalog_from_before_there_were_notes_opens_too(tmp_path: Path) -> None:
    first, later = old(tmp_path / "first" / "catalog.sqlite"), old(tmp_path / "later" / "catalog.sqlite")
    with closing(sqlite3.connect(first)) as database:
        database.execute("DROP TABLE notes")
    for path in (first, later):
        Catalog(path).close()
    assert layout(first) == layout(later)


def test_old_and_new_catalogs_have_one_schema_and_it_is_the_declared_one(tmp_path: Path) -> None:
    for path in (tmp_path / "new.sqlite", old(tmp_path / "old.sqlite")):
        with opened(path) as engine, engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), schema) == []
    assert layout(tmp_path / "new.sqlite") == layout(tmp_path / "old.sqlite")
    assert rows(path, "PRAGMA foreign_key_check") == []


def test_the_first_revision_is_what_old_programs_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what later revisions do to the one they do to the other."""
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: upgrade(config, "1"))
    with opened(tmp_path / "new.sqlite"):
        made = [row for row in layout(tmp_path / "new.sqlite") if row[1] != "alembic_version"]
    assert made == layout(old(tmp_path / "old.sqlite"))


def test_the_old_default_store_takes_no_name_that_is_taken(tmp_path: Path) -> None:
    path = old(tmp_path / "catalog.sqlite")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE stores SET name = 'documents' WHERE name = 'guides'")
    Catalog(path).close()
    assert rows(path, "SELECT name FROM stores ORDER BY n") == [("documents 2",), ("documents",)]


def test_old_programs_refuse_the_catalog_by_the_fact_that_they_look_at(tmp_path: Path) -> None:
    for path in (tmp_path / "new.sqlite", old(tmp_path / "old.sqlite")):
        Catalog(path).close()
        assert rows(path, "SELECT value FROM facts WHERE key = 'version'") == [("2",)]


def test_with_nothing_to_do_nothing_is_written_or_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = old(tmp_path / "catalog.sqlite")
    with caplog.at_level(logging.INFO):
        Catalog(path).close()
    assert "schema version 1" in caplog.text
    caplog.clear()
    before = path.read_bytes()
    with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.INFO):
        other.execute("BEGIN IMMEDIATE")  # holds the write lock all the while
        with opened(path):
            pass
        other.execute("ROLLBACK")
    assert path.read_bytes() == before and caplog.text == ""


def test_logging_stays_as_it_was(tmp_path: Path) -> None:
    def state() -> list[object]:
        root = logging.getLogger()
        return [root.level, list(root.handlers), *((name, log.disabled) for name, log in loggers.items())]

    loggers = {name: logging.getLogger(name) for name in ("cogcore.http", "index.ingest", "uvicorn")}
    before = state()
    Catalog(old(tmp_path / "catalog.sqlite")).close()
    assert state() == before


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    Catalog(old(tmp_path / "50 % of %(it)s" / "catalog.sqlite")).close()


def test_an_old_catalog_of_an_unknown_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = old(tmp_path / "catalog.sqlite")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE facts SET value = '7' WHERE key = 'version'")
    before = path.read_bytes()
    with pytest.raises(FolderFault, match=r"schema version 7.*upgrade"):
        Catalog(path)
    assert path.read_bytes() == before


def test_a_table_that_is_rebuilt_loses_no_rows_that_refer_to_it(tmp_path: Path) -> None:
    path = old(tmp_path / "catalog.sqlite")
    with opened(path) as engine:
        with migrations.changing(engine) as connection:
            operations = Operations(MigrationContext.configure(connection))
            with operations.batch_alter_table("files", recreate="always"):
                pass
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("SELECT count(*) FROM documents").scalar() == 6
        with pytest.raises(FolderFault, match="do not fit together"), migrations.changing(engine) as connection:
            connection.exec_driver_sql("DELETE FROM files")
        assert rows(path, "SELECT count(*) FROM files") == [(5,)]


def test_threads_open_folders_at_once(tmp_path: Path) -> None:
    paths = [old(tmp_path / "same.sqlite")] * 3 + [old(tmp_path / f"{n}.sqlite") for n in range(3)]
    faults: list[BaseException] = []

    def open_one(path: Path) -> None:
        try:
            Catalog(path).close()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=open_one, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []


AT_ONCE = """
import sys
from pathlib import Path
from index.catalog import Catalog

print("ready", flush=True)
sys.stdin.readline()
Catalog(Path(sys.argv[1])).close()
"""


@pytest.mark.parametrize("new", [True, False])
def test_processes_open_one_catalog_at_once(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "catalog.sqlite" if new else old(tmp_path / "catalog.sqlite")
    program, pipe = [sys.executable, "-c", AT_ONCE, str(path)], subprocess.PIPE
    others = [subprocess.Popen(program, cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(2)]
    for other in others:
        assert other.stdout is not None and other.stdout.readline() == "ready\n"
    for other in others:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
    for other in others:
        _, said = other.communicate(timeout=60)
        assert other.returncode == 0, said
    assert new or moved(path) == held_before(tmp_path)
    with opened(path), opened(tmp_path / "alone.sqlite"):
        assert layout(path) == layout(tmp_path / "alone.sqlite")


CONTENTS = """SELECT f.filename, d.status, c.text FROM documents d JOIN files f ON f.n = d.file
    LEFT JOIN chunks c ON c.document = d.n ORDER BY d.n, c.n"""


@pytest.mark.parametrize("new", [True, False])
def test_whoever_dies_leaves_the_old_schema_or_the_new_one(tmp_path: Path, new: bool) -> None:
    """After each statement, and just before the commit, the files are what the next process would find."""
    path = tmp_path / "catalog.sqlite" if new else old(tmp_path / "catalog.sqlite")
    before = [] if new else layout(path)
    held = [] if new else rows(path, CONTENTS)
    moments: list[Path] = []

    def leave(*_: object) -> None:
        moments.append(tmp_path / str(len(moments)))
        moments[-1].mkdir()
        for name in (path.name, f"{path.name}-wal"):
            if (tmp_path / name).exists():
                shutil.copy(tmp_path / name, moments[-1])

    for moment in ("after_cursor_execute", "commit"):
        event.listen(Engine, moment, leave)
    try:
        Catalog(path).close()
    finally:
        for moment in ("after_cursor_execute", "commit"):
            event.remove(Engine, moment, leave)
    after = layout(path)
    found = [layout(moment / path.name) for moment in moments]
    assert len(found) > 15 and all(one in (before, after) for one in found)
    assert found[0] == before != after
    for folder in (moments[len(moments) // 2], moments[-1]):
        Catalog(folder / path.name).close()
        assert layout(folder / path.name) == after
        assert new or rows(folder / path.name, CONTENTS) == held


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from index.catalog import Catalog

def die(connection, cursor, statement, *_):
    if statement.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "after_cursor_execute", die)
Catalog(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("moment", ["UPDATE chunks", "UPDATE documents", "ALTER TABLE chunks DROP"])
def test_a_killed_migration_is_begun_again(tmp_path: Path, moment: str) -> None:
    path = old(tmp_path / "catalog.sqlite")
    before, held = layout(path), rows(path, CONTENTS)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), moment], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert (layout(path), rows(path, CONTENTS)) == (before, held)
    Catalog(path).close()
    assert layout(path) != before and rows(path, CONTENTS) == held
    assert moved(path) == held_before(tmp_path)


def held_before(tmp_path: Path) -> dict[int, list[tuple[int, bytes]]]:
    """Of each document in an old catalog: its chunks with their vectors."""
    found: dict[int, list[tuple[int, bytes]]] = {}
    for document, chunk, vector in rows(old(tmp_path / "before.sqlite"), "SELECT document, n, vector FROM chunks"):
        assert isinstance(document, int) and isinstance(chunk, int) and isinstance(vector, bytes)
        found.setdefault(document, []).append((chunk, vector))
    return found


def moved(path: Path) -> dict[int, list[tuple[int, bytes]]]:
    """The same in one of today, from the vector files."""
    catalog = Catalog(path)
    files = VectorFiles(catalog.vectors, 32, "hashed-words/32")
    found = {}
    with catalog.read() as tx:
        for store, name in stores.vector_files(tx).items():
            with files.reading(name) as read:
                for one in documents.searchable(tx, store):
                    kept = read(one.document, one.block)
                    assert kept is not None
                    vectors = [vector.tobytes() for vector in kept.vectors.astype("<f2")]
                    found[one.document] = list(zip(kept.chunks.tolist(), vectors, strict=True))
    catalog.close()
    return found


def test_vectors_move_into_files_bit_by_bit(tmp_path: Path) -> None:
    path = old(tmp_path / "catalog.sqlite")
    Catalog(path).close()
    assert moved(path) == held_before(tmp_path) and len(moved(path)) == 4
    assert sorted(file.name for file in path.with_suffix(".vectors").iterdir()) == ["1-1", "2-1"]


def test_a_vector_that_was_damaged_before_it_moved_is_made_again(open_memory: Open, tmp_path: Path) -> None:
    path = old(tmp_path / "data" / "catalog.sqlite")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE chunks SET vector = x'00' WHERE n = 2")
    memory = open_memory(embedder=HashedWords(32))
    assert {hit.chunk.filename for hit in memory.search("guides", "river")} >= {"rivers.md", "handbook.md"}
    memory.close()
    assert moved(path) == held_before(tmp_path)
