"""Uploaded bytes, kept under their SHA-256, so that the same upload twice is kept once.

A file appears whole or not at all (written aside, fsynced, renamed), and its name proves its contents. What is there is
written again all the same: the time that an upload takes must not tell that somebody else has the same file.
"""

import hashlib
import io
import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

from index.disk import sync
from index.errors import FolderFault


class Originals:
    """The folder of originals. What no catalog row names is swept at the next start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self._write(sha256, io.BytesIO(data))
        return sha256

    def take(self, sha256: str, source: IO[bytes]) -> None:
        """What is known to have this hash, read to its end, unless it is here already."""
        if not self.holds(sha256):
            self._write(sha256, source)

    def _write(self, sha256: str, source: IO[bytes]) -> None:
        place = self._place(sha256)
        place.parent.mkdir(exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._folder, prefix="new-")
        try:
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(source, file)
                file.flush()
                os.fsync(file.fileno())
            Path(aside).replace(place)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
        for folder in (place.parent, self._folder):
            sync(folder)

    def holds(self, sha256: str) -> bool:
        return self._place(sha256).exists()

    def open(self, sha256: str) -> IO[bytes]:
        """To be read; who does must compare the hash."""
        try:
            return self._place(sha256).open("rb")
        except FileNotFoundError as error:
            raise FolderFault(f"the original {sha256} is gone from {self._folder}; upload the file again") from error

    def get(self, sha256: str) -> bytes:
        with self.open(sha256) as file:
            data = file.read()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise FolderFault(
                f"the original {sha256} in {self._folder} is damaged; delete the file and upload it again"
            )
        return data

    def drop(self, sha256: str) -> None:
        self._place(sha256).unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> None:
        """Remove what a crash left: uploads that got no row, deletions that got no further than the row."""
        folders = [str(self._folder)]
        while folders:  # not rglob, which asks the system about each file
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif entry.name not in known:
                        Path(entry.path).unlink()

    def _place(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256
