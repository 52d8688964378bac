"""A real PostgreSQL server, from the machine's packages, for as long as tests need one, on a socket of its own."""

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import create_engine

MISSING = "no PostgreSQL server is installed (on Debian and Ubuntu: apt-get install postgresql)"

EMPTY = """
DO $$
DECLARE
    filled text;
BEGIN
    SELECT string_agg('cogcore.' || quote_ident(tablename), ', ') INTO filled FROM pg_tables
    WHERE schemaname = 'cogcore' AND tablename NOT IN ('facts', 'alembic_version');
    IF filled IS NOT NULL THEN
        EXECUTE 'TRUNCATE ' || filled || ' RESTART IDENTITY';
        DELETE FROM cogcore.facts WHERE key <> 'version';
    END IF;
END $$
"""


def programs() -> Path | None:
    """The folder of the newest server's programs; None where there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    return Path(found).parent if found else None


class Server:
    """Runs as a user that is not root, as it must; passwords are asked of the user `locked` alone."""

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._user: str | None = None
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self.folder, self._user)
        self._names: set[str] = set()
        self._run("initdb", "-D", self._data, "-U", "tests", "-E", "UTF8", "--no-locale", "-A", "trust", "--no-sync")
        rules = self._data / "pg_hba.conf"
        rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _run(self, program: str, *arguments: object) -> None:
        said = [str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(
            said,
            user=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self.folder,
            capture_output=program == "initdb",
            stdout=None if program == "initdb" else subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr or (self.folder / "log").read_text()[-2000:]

    def start(self) -> None:
        settings = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-l", self.folder / "log", "-w", "-o", settings, "start")

    def stop(self, mode: str = "fast") -> None:
        """`immediate` is a crash: nothing is written down."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def url(self, database: str, user: str = "tests") -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder))}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        engine = create_engine(
            self.url(database).replace("postgresql", "postgresql+psycopg", 1), isolation_level="AUTOCOMMIT"
        )
        try:
            with engine.connect() as connection:
                result = connection.exec_driver_sql(statement)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()

    def fresh(self, database: str) -> str:
        """The address of a database with no catalog in it."""
        return self._cleaned(database, "DROP SCHEMA IF EXISTS cogcore CASCADE")

    def emptied(self, database: str) -> str:
        """The same, but for its tables: those are there from the second time on, with nothing in them."""
        return self._cleaned(database, EMPTY)

    def _cleaned(self, database: str, statement: str) -> str:
        if database in self._names:
            self.sql(statement, database)
        else:
            self.sql(f"CREATE DATABASE {database}")
            self._names.add(database)
        return self.url(database)

    def close(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self.folder)
