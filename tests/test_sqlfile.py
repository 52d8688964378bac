"""Of what a file of the server's own forgets, nothing stays on the disk, whatever SQLite leaves in its pages."""

import random
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, delete, insert, select, update

from app.sqlfile import SqlFile
from index.catalog import remains, sqlite

STEPS = 80
schema = MetaData()
rows = Table("rows", schema, Column("n", Integer, primary_key=True), Column("said", Text))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sqlite, "PRAGMAS", (*sqlite.PRAGMAS, "synchronous=OFF"))  # nobody pulls the plug here
    return tmp_path / "data" / "some.sqlite"


def words(n: int, times: int = 5) -> str:
    return f"<{n}>" * times


def standing(folder: Path) -> set[int]:
    """The rows of which the folder's bytes hold anything."""
    data = b"".join(one.read_bytes() for one in folder.iterdir())
    return {int(n) for n in re.findall(rb"<(\d+)>", data)}


def churn(file: SqlFile) -> set[int]:
    """Add and delete some 6 and 6 rows a step; which of the deleted ones were still found, looking after each step."""
    dice, there, last, left = random.Random(1), list[int](), 0, set[int]()
    for _ in range(STEPS):
        with file.open() as tx:
            more = range(last + 1, last + 1 + dice.randint(1, 12))
            last = more[-1]
            tx.execute(insert(rows), [{"n": n, "said": words(n, dice.randint(5, 60))} for n in more])
        there += more
        if len(there) > 40:
            gone = [there.pop(dice.randrange(len(there))) for _ in range(dice.randint(1, 24))]
            with file.open() as tx:
                for n in gone:
                    tx.execute(delete(rows).where(rows.c.n == n))
        left |= standing(file.path.parent) - set(there)
    return left


def test_nothing_of_what_is_deleted_stays(path: Path) -> None:
    with closing(SqlFile(path, schema, "record")) as file:
        assert churn(file) == set()
    with closing(create_engine(f"sqlite:///{path}").connect()) as plain:
        assert plain.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"


def test_sqlite_alone_would_leave_some(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If not, the test above shows nothing."""
    monkeypatch.setattr(remains.Log, "news", lambda _: set())
    with closing(SqlFile(path, schema, "record")) as file:
        assert churn(file) != set()


def test_who_was_killed_before_he_erased_it_does_it_with_the_next_use(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(SqlFile(path, schema, "record")) as file:
        with file.open() as tx:
            tx.execute(insert(rows), [{"n": n, "said": words(n)} for n in range(1, 30)])
        with monkeypatch.context() as patched, file.open() as tx:
            patched.setattr(sqlite.SQLite, "_look", lambda _: None)
            patched.setattr(sqlite.SQLite, "forget", lambda _: False)
            tx.execute(delete(rows).where(rows.c.n > 9))
            tx.execute(update(rows).where(rows.c.n == 9).values(said="nothing"))
        shutil.copytree(path.parent, killed := path.parent.with_name("killed"))
    assert standing(killed) == set(range(1, 30))
    with closing(SqlFile(killed / path.name, schema, "record")) as file:
        with file.open() as tx:
            assert len(tx.execute(select(rows)).all()) == 9
        assert standing(killed) == set(range(1, 9))


def test_a_file_of_before_is_looked_through(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a rollback journal, and perhaps copies that nobody looked for."""
    path.parent.mkdir()
    before = create_engine(f"sqlite:///{path}")
    schema.create_all(before)
    with before.begin() as tx:
        tx.execute(insert(rows), [{"n": n, "said": words(n)} for n in range(1, 9)])
    before.dispose()
    data = bytearray(path.read_bytes())
    at = data.index(words(8).encode()) - 400
    data[at : at + 15] = words(123, 3).encode()
    path.write_bytes(data)
    assert 123 in standing(path.parent)
    with closing(SqlFile(path, schema, "record")) as file:
        with file.open() as tx:
            assert tx.execute(select(rows.c.said).where(rows.c.n == 8)).scalar_one() == words(8)
        assert standing(path.parent) == set(range(1, 9))
