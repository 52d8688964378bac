"""How a catalog comes to the schema that this program knows: Alembic's revisions, run whenever it is opened.

All that there is to do is one transaction, the revision's number with it. Who is killed in it leaves the catalog as it
was; of two who open it at once the second waits, and finds it done. There is no way back but a backup.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect, text

from index.errors import FolderFault

log = logging.getLogger(__name__)
_alembic = threading.Lock()  # the revisions' `op` is one for the whole process


def upgrade(engine: Engine, name: str) -> None:
    """Make the catalog, or bring it up to date. Raises FolderFault when it is newer than this program."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    newest = scripts.get_current_head()
    with engine.connect() as connection, connection.begin():
        if _revision(connection) == newest:
            return
    with _alembic, changing(engine) as connection:
        found = _revision(connection)  # another process may have been faster
        known = {script.revision for script in scripts.walk_revisions()}
        if found not in (None, *known):
            raise FolderFault(
                f"the catalog {name} has schema version {found}, this program knows up to {newest}: "
                "upgrade the program, or choose another data folder"
            )
        config.attributes["connection"] = connection
        if found is not None:
            log.info("the catalog %s goes from schema version %s to %s", name, found, newest)
            command.stamp(config, found)  # one from before there were revisions has no row that Alembic reads
        command.upgrade(config, "head")


@contextmanager
def changing(engine: Engine) -> Iterator[Connection]:
    """A transaction in which SQLite may rebuild a table: dropping it deletes no rows that refer to it."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:
            yield connection
        return
    with engine.connect().execution_options(immediate=True) as connection:
        driver = connection.connection.cursor()
        driver.execute("PRAGMA foreign_keys=OFF")  # means nothing once a transaction has begun
        try:
            with connection.begin():
                yield connection
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
                if broken is not None:
                    raise FolderFault(f"the catalog's tables do not fit together: {tuple(broken)}")
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def _revision(connection: Connection) -> str | None:
    """None where there is no catalog yet."""
    tables = inspect(connection).get_table_names()
    if "alembic_version" in tables:
        wanted = "SELECT version_num FROM alembic_version"
    elif "facts" in tables:  # before there were revisions, the catalog told its version here
        wanted = "SELECT value FROM facts WHERE key = 'version'"
    else:
        return None
    return str(connection.execute(text(wanted)).scalar_one())
