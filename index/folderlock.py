"""One process owns a data folder: two would each keep indexes of which the other knows nothing."""

import fcntl
import os
from pathlib import Path

from index.errors import FolderFault


class FolderLock:
    """Held from creation to release; the system frees it when the process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise FolderFault(
                f"the data folder {path.parent} is in use by {owner}; stop it, use its HTTP interface, "
                "or choose another folder"
            ) from error
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}")
        self._file.flush()

    def release(self) -> None:
        self._file.close()
