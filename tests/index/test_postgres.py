"""The catalog in a real PostgreSQL server, beyond what holds in every database: its owner, its folder, its outages."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, text

from app.cli.reembed import reembed
from app.settings import SettingsError, read
from index.catalog import Catalog, chunks, documents, files, glimpse, jobs, postgres, stores, texts
from index.catalog.chunks import Draft
from index.catalog.schema import schema
from index.errors import CatalogAway, FileNotFound, FolderFault, StoreNotFound
from index.memory import Memory
from index.types import Attachment, File, StoreInfo, Vectors
from tests.fakes import HashedWords
from tests.index.conftest import put
from tests.postgres import Server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def url(server: Server) -> str:
    return server.fresh("data")


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "PATIENCE", 0.3)
    monkeypatch.setattr("index.ingest.RETRY", 0.1)


def a_file(n: int, size: int = 10) -> File:
    return File(f"file-{n}", f"{n}.md", size, 1_700_000_000, "assistants", "ab" * 32)


def test_its_tables_are_the_declared_ones(tmp_path: Path, url: str) -> None:
    with closing(Catalog(tmp_path / "catalog.sqlite", url)) as catalog, catalog.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), schema) == []


def test_an_old_catalog_comes_to_the_newest_schema_with_its_rows(
    tmp_path: Path, url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade, path = command.upgrade, tmp_path / "catalog.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "2"))
        Catalog(path, url).close()
    server.sql("INSERT INTO cogcore.facts VALUES ('embedder', 'hashed-words/128')", "data")
    values = "'vs_1', 'old', '', '{}', 1, 1"
    server.sql(
        f"INSERT INTO cogcore.stores (id, name, description, metadata, created_at, last_active_at) VALUES ({values})",
        "data",
    )
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), url], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert server.sql("SELECT version_num FROM cogcore.alembic_version", "data") == [("2",)]
    with closing(Catalog(path, url)) as catalog, catalog.read() as tx:
        assert stores.get(tx, "old").id == "vs_1" and stores.vector_files(tx) == {1: "1-1"}
        assert compare_metadata(MigrationContext.configure(tx), schema) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from index.catalog import Catalog

def die(connection, cursor, statement, *_):
    if statement.startswith("ALTER TABLE chunks DROP"):
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "after_cursor_execute", die)
Catalog(Path(sys.argv[1]), sys.argv[2])
"""


def test_a_newer_catalog_is_refused_and_left_as_it_is(tmp_path: Path, url: str, server: Server) -> None:
    Catalog(tmp_path / "catalog.sqlite", url).close()
    server.sql("UPDATE cogcore.alembic_version SET version_num = '999'", "data")
    with pytest.raises(FolderFault, match=r"schema version 999.*upgrade"):
        Catalog(tmp_path / "catalog.sqlite", url)
    assert server.sql("SELECT version_num FROM cogcore.alembic_version", "data") == [("999",)]


def test_numbers_and_texts_of_any_size_and_kind(tmp_path: Path, url: str) -> None:
    with closing(Catalog(tmp_path / "catalog.sqlite", url)) as catalog:
        with catalog.write() as tx:
            for n in range(3):
                files.add(tx, a_file(n, 3 << 30))
            stores.add(tx, StoreInfo("vs_1", "s", 1, 1, {"a": "\0"}, {}, 0))
            documents.attach(tx, 1, Attachment("file-1"), None, 1)
            jobs.complete(tx, 1, 5 << 30, None)
            texts.publish(tx, 1, 2, "a\0b 😀")
            texts.publish(tx, 9, 2, "a\0b 😀")
            texts.keep(tx, 2, "not this")
            chunks.add(tx, 1, [Draft("a\0b", 0, 3, None, ("x\0",))])
        with catalog.read() as tx:
            size = documents.count(tx).bytes
            assert size == 9 << 30 and type(size) is int
            assert stores.get(tx, "s").usage_bytes == 5 << 30 and stores.get(tx, "s").metadata == {"a": "\0"}
            assert texts.of_file(tx, 2) == texts.of_document(tx, 1) == "a\ufffdb 😀"
            found = chunks.of_document(tx, 1)
            assert found is not None and found.entries[0].text == "a\ufffdb"
            with pytest.raises(FileNotFound):
                files.get(tx, "\0")


def test_what_others_may_glimpse(tmp_path: Path, url: str) -> None:
    path = tmp_path / "catalog.sqlite"
    with closing(Catalog(path, url)) as catalog, glimpse(path, url) as tx:
        with pytest.raises(StoreNotFound):
            stores.get(tx, "s")
        assert tx.execute(text("SHOW transaction_read_only")).scalar() == "on"
        assert catalog.fact("a", "b") == "b"


OWNER = """
import sys, time
from pathlib import Path
from index.catalog import Catalog
Catalog(Path(sys.argv[1]), sys.argv[2])
print("open", flush=True)
time.sleep(60)
"""


def test_a_catalog_has_one_owner_until_it_dies(tmp_path: Path, url: str) -> None:
    path, other = tmp_path / "catalog.sqlite", tmp_path / "other" / "catalog.sqlite"
    other.parent.mkdir()
    program = [sys.executable, "-c", OWNER, str(path), url]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "open\n"
        for place in (path, other):
            with pytest.raises(FolderFault, match=rf"in use by cogcore on .*process {owner.pid}; stop it"):
                Catalog(place, url)
        owner.send_signal(signal.SIGKILL)
    Catalog(path, url).close()


def test_a_stopped_server_gets_another_embedder(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newer, data = HashedWords(64, "newer"), tmp_path / "data"
    monkeypatch.setattr("app.cli.reembed.load_embedder", lambda *_: newer)

    def reembeds(**more: str) -> int:
        return reembed(read(data_dir=data, device="cpu", **more), "newer")

    assert reembeds(catalog_url=url) == 1 and "there is no memory" in capsys.readouterr().err
    memory = Memory(data, HashedWords(), catalog_url=url)
    put(memory, "river.md", "river pond duck")
    assert reembeds(catalog_url=url) == 1 and "stop the server" in capsys.readouterr().err
    assert len(memory.search("default", "pond")) == 1
    memory.close()
    assert reembeds() == 1 and "COGCORE_CATALOG_URL" in capsys.readouterr().err
    assert reembeds(catalog_url=url) == 0 and "has the vectors" in capsys.readouterr().out
    with closing(Memory(data, newer, catalog_url=url)) as memory:
        assert len(memory.search("default", "pond")) == 1
    assert [path.name for path in (data / "catalog.vectors").iterdir()] == ["1-2"]


def test_whoever_was_cut_off_and_replaced_writes_no_more(tmp_path: Path, url: str, server: Server) -> None:
    with closing(Catalog(tmp_path / "catalog.sqlite", url)) as first:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        with closing(Catalog(tmp_path / "catalog.sqlite", url)), pytest.raises(FolderFault, match=r"in use|took over"):
            first.fact("a", "b")
        with pytest.raises(FolderFault, match="took over"):
            first.fact("a", "b")


def test_the_database_and_the_folder_know_each_other(tmp_path: Path, url: str, server: Server) -> None:
    def opened(name: str, address: str) -> None:
        Memory(tmp_path / name, HashedWords(), workers=0, catalog_url=address).close()

    with closing(Memory(tmp_path / "mine", HashedWords(), workers=0, catalog_url=url)) as memory:
        memory.add_file("a.md", b"words")
    opened("mine", url)
    opened("plain", "")
    refused: list[tuple[str, Callable[[], str], str]] = [
        ("other", lambda: url, "belongs to another data folder"),
        ("plain", lambda: server.fresh("other"), "has its catalog in catalog.sqlite"),
        ("mine", lambda: "", "has its catalog in PostgreSQL"),
        ("mine", lambda: server.fresh("data"), "restore the database from a backup"),
    ]
    for name, address, why in refused:
        with pytest.raises(FolderFault, match=why):
            opened(name, address())
    originals = [path for path in (tmp_path / "mine" / "originals").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in originals] == [b"words"]


def test_deleted_rows_go_for_good_once_nobody_can_see_them(tmp_path: Path, url: str, server: Server) -> None:
    def dead() -> list[tuple[object, ...]]:
        return server.sql("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'files'", "data")

    with closing(Catalog(tmp_path / "catalog.sqlite", url)) as catalog:
        with catalog.write() as tx:
            files.add(tx, a_file(1))
        with catalog.read() as reading:
            assert files.hashes(reading)
            with catalog.write() as tx:
                files.remove(tx, "file-1")
            catalog.forget()
            told = [(catalog.owes, dead())]
        catalog.forget()
        told.append((catalog.owes, dead()))
    assert told == [(True, [(1,)]), (False, [(0,)])]


def eventually(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


class Held(HashedWords):
    """Embeds when allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.reached = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.reached.set()
        assert self.free.wait(60)
        return super().encode(texts)


def test_an_outage_is_told_and_loses_nothing(
    tmp_path: Path, url: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    held = Held()
    with closing(Memory(tmp_path / "data", held, workers=1, catalog_url=url)) as memory:
        first = memory.add_file("a.md", b"the quick fox").id
        memory.attach("default", first)
        assert held.reached.wait(60)
        server.stop("immediate")
        try:
            held.free.set()  # it comes to be published while the database is away
            attempts: list[Callable[[], object]] = [
                lambda: memory.search("default", "fox"),
                lambda: memory.add_file("b.md", b"lost words"),
                lambda: memory.delete_file(first),
                memory.stats,
            ]
            for ask in attempts:
                with pytest.raises(CatalogAway, match="ask again") as away:
                    ask()
            assert caplog.text.count("does not answer") == 1
            time.sleep(0.3)
        finally:
            server.start()
        assert str(server.folder) not in str(away.value)
        assert memory.wait("default", first, 60).status == "completed"
        assert [hit.chunk.text for hit in memory.search("default", "fox")] == ["the quick fox"]
        assert [file.id for file in memory.files().data] == [first]
        # It owns the catalog again, and nobody else may.
        with pytest.raises(FolderFault, match="in use by"):
            Catalog(tmp_path / "elsewhere.sqlite", url)
        memory.delete_file(first)
        assert memory.search("default", "fox") == []
        server.stop()
    server.start()  # closing went without it


def test_a_crash_of_the_server_takes_nothing_that_was_acknowledged(tmp_path: Path, url: str, server: Server) -> None:
    with closing(Memory(tmp_path / "data", HashedWords(), workers=0, catalog_url=url)) as memory:
        kept: list[str] = []
        stop = threading.Event()

        def upload() -> None:
            while not stop.is_set():
                try:
                    kept.append(memory.add_file(f"{len(kept)}.md", b"words").id)
                except CatalogAway:
                    time.sleep(0.02)

        threads = [threading.Thread(target=upload) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            before = len(kept)
            eventually(lambda before=before: len(kept) > before + 10)  # type: ignore[misc]
            server.stop("immediate")
            server.start()
        stop.set()
        for thread in threads:
            thread.join(60)
        there = {file.id for file in memory.files(limit=10_000).data}
    assert len(kept) > 20 and set(kept) <= there


def test_an_end_that_nobody_heard_of_is_looked_up(tmp_path: Path, url: str, server: Server) -> None:
    """The connection breaks at the commit: it may or may not have been made."""
    with closing(Memory(tmp_path / "data", HashedWords(), workers=1, catalog_url=url)) as memory:
        ids = [memory.add_file(f"{word}.md", f"a {word} duck".encode()).id for word in ("loud", "quiet")]
        for file_id in ids:
            memory.attach("default", file_id)
            assert memory.wait("default", file_id, 60).status == "completed"
        assert len(memory.search("default", "duck")) == 2

        def cut(connection: Connection) -> None:
            if connection.engine.url.database == "data":
                connection.exec_driver_sql("COMMIT")
                server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'data'")
                connection.exec_driver_sql("SELECT 1")

        event.listen(Engine, "commit", cut)
        try:
            with pytest.raises(CatalogAway):
                memory.delete_file(ids[0])
        finally:
            event.remove(Engine, "commit", cut)
        assert [hit.chunk.text for hit in memory.search("default", "duck")] == ["a quiet duck"]
        memory.tidy()
        originals = [path for path in (tmp_path / "data" / "originals").rglob("*") if path.is_file()]
        assert [path.read_bytes() for path in originals] == [b"a quiet duck"]


def test_no_password_is_ever_told(tmp_path: Path, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.sql("DROP ROLE IF EXISTS locked")
    server.sql("CREATE ROLE locked LOGIN PASSWORD 'right-word'")
    good = server.url("postgres").replace("tests@", "locked:s3cret-word@")
    addresses = [
        good,
        good.replace("/postgres?", "/nothing?"),
        good + "&port=1",
        good + "&nonsense=1",
        "mysql://me:s3cret-word@localhost/db",
        "postgresql://me:s3cret-word@localhost:port/db",
        "postgresql://me:s3cret-word@localhost",
        "s3cret-word",
    ]
    with caplog.at_level(logging.DEBUG):
        for address in addresses:
            with pytest.raises(FolderFault) as refused:
                Catalog(tmp_path / "catalog.sqlite", address)
            chain: BaseException | None = refused.value
            while chain is not None:
                assert "s3cret-word" not in f"{chain} {chain!r}"
                chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    assert "s3cret-word" not in caplog.text
    with pytest.raises(SettingsError, match="COGCORE_CATALOG_URL: must be like") as unsaid:
        read(catalog_url="mysql://me:s3cret-word@localhost/db")
    assert "s3cret-word" not in str(unsaid.value)
    assert "s3cret-word" not in repr(read(catalog_url=good))


def test_a_database_that_keeps_no_unicode_is_refused(tmp_path: Path, server: Server) -> None:
    server.sql("DROP DATABASE IF EXISTS latin")
    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(FolderFault, match="ENCODING 'UTF8'"):
        Catalog(tmp_path / "catalog.sqlite", server.url("latin"))
